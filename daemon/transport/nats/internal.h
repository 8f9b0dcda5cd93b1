#pragma once
/* What the files of this folder share; nats.h is the contract. */
#include "base/map.h"
#include "base/slots.h"
#include "codec/codec.h"
#include "transport/nats/conn.h"
#include "transport/nats/nats.h"
#include "transport/origin.h"

enum ack_choice { ACK_INHERIT, ACK_YES, ACK_NO };

struct nats_keys { /* of an endpoint */
    bool ack;
    uint64_t concurrency;
    int64_t reply_timeout_ms, reconnect_max_ms;
    char *token;
    char *inbox;
};

struct nats_source {
    char *subject, *queue;
};

struct nats_target {
    unsigned ack; /* enum ack_choice */
};

/* Two connections, because a source that has to wait is not read, and may be waiting for a reply or a confirmation. */
struct endpoint {
    struct sink sink; /* first */
    const struct endpoint_conf *conf;
    struct endpoint_env env;
    const struct nats_keys *keys;
    char *name;     /* what the server shows of us */
    struct conn out; /* what we publish, and the inbox */
    struct conn in;  /* the subscriptions of sources, and answers to who asked there; not opened where there are none */
    struct codec_room room;
    struct buf lines; /* scratch: the header block of what goes out */
    uint64_t received, sent, bad;

    /* sink.c */
    struct buf inbox;        /* "PREFIX.SALT.": a number follows */
    uint32_t salt;           /* of the ids in packets of NestJS */
    struct slots waiting;    /* number -> handover that waits for a reply */
    struct list unconfirmed; /* handovers that wait for the PONG whose number is in carrier_id */
    struct list refused;     /* handovers that cannot be sent; carrier says why */
    struct waiter stalled;   /* an asker that does not read its stream */
    struct timer *patience;  /* with it */
    uint64_t stalled_id;     /* what it asked */
    bool listens;            /* the inbox is subscribed to */
    bool starved;            /* the core is told when there is room */
    bool planned;            /* end_turn() runs at the end of this turn */
    bool closed;

    /* source.c */
    struct origin origin;  /* where the message in hand was */
    struct waiter waiter;  /* the core is full: the message in front waits */
    struct list asked;     /* requests that wait for their reply */
    struct list crowded;   /* streams of replies that wait for room */
    bool stopped;
    uint64_t last_ping;    /* behind the UNSUBs: its PONG means that nothing more comes */

    struct doctor *doctor; /* who asked; found out when doctor_ping is answered */
    uint64_t doctor_ping;
};

extern const struct transport nats_transport;
const struct codec *nats_codec(unsigned choice);

/* Reads the headers of in into e->room, but for those that stand apart and for the names that we say ourselves (nats-subject,
 * nats-queue). status as nats_headers(). */
struct native {
    struct str headers, content_type;
    struct str id;            /* header Nats-Msg-Id, where it is a legal one */
    struct str service_error; /* header Nats-Service-Error: a server of the NATS services framework has failed */
    int status;
};
void nats_read_headers(struct endpoint *e, const struct codec *c, const struct wire_in *in, struct native *out);

/* One message in a codec other than nest, ready to go out but for its reply subject: slices of e->room and e->lines. first: lines
 * of our own before the message's headers. */
void nats_encode(struct endpoint *e, const struct codec *c, const struct message_parts *parts, struct str first,
                 struct wire_pub *out);

/* sink.c */
extern const struct sink_ops nats_sink_ops;
extern const struct conn_ops nats_out_ops;
void nats_sink_init(struct endpoint *e);
void nats_sink_fini(struct endpoint *e);

/* source.c */
extern const struct conn_ops nats_in_ops;
void nats_source_stop(struct endpoint *e);
size_t nats_source_busy(const struct endpoint *e);
void nats_source_fini(struct endpoint *e); /* withdraws all receipts */

/* nats.c: PONG to the doctor's PING, or the connection has gone. */
void nats_doctor_pong(struct endpoint *e);
void nats_doctor_end(struct endpoint *e);
