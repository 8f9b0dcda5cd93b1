#pragma once
/*
 * One AMQP connection that is kept up for ever (transport/link.h): handshake, heartbeats, channels.
 * The owners of the channels bring what happens on them.
 *
 *     connected: header sent --start--> start-ok sent --tune--> open sent --open-ok--> ready
 *        any of them: link lost, no end to it (transport/link.h), close from the broker -> down
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "loop/loop.h"
#include "loop/tls.h"
#include "transport/amqp/wire.h"

#define BROKER_OUTPUT_HIGH (1u << 20) /* unwritten bytes above which nothing more is published */

struct broker;

/* All optional but on_ready and on_method. None is called from inside a call of this header but broker_reset(). */
struct channel_ops {
    void (*on_ready)(void *arg);  /* the connection is there: open the channel */
    void (*on_method)(void *arg, const amqp_method_t *m); /* any but close */
    /* Of a basic.deliver or basic.return that on_method was told of. */
    void (*on_properties)(void *arg, const amqp_basic_properties_t *p);
    void (*on_content)(void *arg, struct str body, bool oversized); /* complete; oversized: above body_max, without body */
    /* The broker has closed the channel; what was pipelined behind is ignored by it. */
    void (*on_closed)(void *arg, const amqp_channel_close_t *why);
    void (*on_down)(void *arg, const char *reason); /* the connection was ready and has gone */
    void (*on_drain)(void *arg);   /* output has gone out, or the broker has unblocked us */
    void (*on_blocked)(void *arg); /* it has no room, and reads nothing of us until then */
};

struct channel {
    uint16_t number;   /* set by broker_add() */
    const struct channel_ops *ops;
    void *arg;
    struct broker *conn; /* likewise */
    struct assembly assembly;
};

struct broker_spec {
    struct loop *loop;
    const struct endpoint_conf *conf;
    const char *role;        /* for people who look at the broker: "publish", "consume" */
    struct tls_context *tls;
    bool external;           /* SASL EXTERNAL instead of PLAIN */
    int64_t heartbeat_ms;
    int64_t reconnect_max_ms;
    uint64_t body_max;
};

struct broker *broker_new(const struct broker_spec *spec); /* starts dialling */
void broker_free(struct broker *c); /* says good-bye; no callback afterwards; NULL is legal */
void broker_set_tls(struct broker *c, struct tls_context *tls);

/* Borrowed; before the loop turns again. */
void broker_add(struct broker *c, struct channel *ch);

bool broker_is_ready(const struct broker *c);
bool broker_is_blocked(const struct broker *c); /* the broker has no room: publish nothing */
const char *broker_state(const struct broker *c); /* as endpoint_status.state */
const char *broker_error(const struct broker *c); /* or NULL */
unsigned broker_major(const struct broker *c);    /* of its version, as the greeting gave it; 0 = it did not */
uint64_t broker_bad(const struct broker *c);      /* frames that were no good */

/* Something is wrong with it: on_down from inside, then it dials again. */
void broker_reset(struct broker *c, const char *reason);

/* Another connection to the same broker has come up: do not wait any longer. */
void broker_hurry(struct broker *c);

/* Reads nothing for a while, heartbeats neither: a few seconds at most. */
void broker_pause(struct broker *c);
void broker_resume(struct broker *c); /* legal when it has gone meanwhile */

/* Only while ready. */
const struct wire *broker_wire(const struct broker *c);
struct buf *broker_out(struct broker *c);
size_t broker_pending(const struct broker *c);

/* wire_put_method() on that channel; nothing where the connection is not ready. */
void channel_put(struct channel *ch, amqp_method_number_t id, void *method);

/* "404 NOT_FOUND - no queue 'x' in vhost '/'": into text, NUL-terminated. */
const char *close_text(uint16_t code, amqp_bytes_t reason, char text[static 320]);
