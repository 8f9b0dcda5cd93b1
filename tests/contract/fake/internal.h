#pragma once
/*
 * A broker that does not exist, and the smallest transport that passes the contract. Its protocol is the frame of the local
 * protocol (wire/frame.h), both ways:
 *
 *     HELLO 0                       the greeting, answered by HELLO 0, or by ERR 0 where the broker will not have us
 *     SUB n QUEUE, `credit: N`      consume; at most N unsettled messages at a time
 *     PUB, REQ with `sub: n`        from the broker: a message of that queue; OK, ERR, MORE, REP settle it
 *     PUB, REQ                      to the broker: OK confirms, MORE and REP reply, ERR refuses
 *     UNSUB n                       no more messages
 *     PING n, answered by PONG n    is anything wrong with the broker? The body says so, or is empty
 *
 * It was written from daemon/transport/README.md, transport.h, link.h and codec.h alone.
 */
#include "base/map.h"
#include "codec/codec.h"
#include "transport/link.h"
#include "transport/transport.h"
#include "wire/frame.h"

#define FAKE_OUTPUT_HIGH (1u << 20) /* unwritten bytes above which it takes no handover */
#define FAKE_PORT "7999"
#define FAKE_UNANSWERED 1024

struct fake_source { /* the further keys of `from: {endpoint: …}` */
    char *queue;
    uint64_t credit;
};

struct taken; /* a message of the broker that is not settled yet */

struct endpoint {
    struct sink sink; /* first */
    const struct endpoint_conf *conf;
    struct endpoint_env env;
    struct link *link;
    struct codec_room room;
    struct idmap waiting;   /* number -> struct handover */
    uint64_t next_id;
    struct idmap taken;     /* the broker's number -> struct taken */
    struct list held;       /* messages that the core could not take yet, as many as there was credit for */
    struct waiter waiter;   /* the core is full */
    bool planned, closed;   /* at the end of this turn held ones are offered, and the core is told of room */
    struct waiter stalled;  /* an asker that does not read its stream */
    struct doctor *doctor;  /* who asked, and waits for PONG */
    bool starved, stopped;
    uint64_t received, sent, bad;
};

extern const struct transport fake_transport;
const struct codec *fake_codec(unsigned choice);

/* fake_sink.c */
extern const struct sink_ops fake_sink_ops;
void fake_answer(struct endpoint *e, const struct frame *f); /* OK, MORE, REP, ERR of something we sent */
void fake_ready(struct endpoint *e);                         /* there may be room again */
void fake_lose(struct endpoint *e, const char *reason);      /* the connection is gone with all that was sent */

/* fake_source.c */
void fake_take(struct endpoint *e, const struct frame *f); /* PUB, REQ */
void fake_plan(void *arg); /* also the waiter's resume */
void fake_subscribe(struct endpoint *e);
void fake_withdraw(struct endpoint *e); /* the broker will bring them again */
