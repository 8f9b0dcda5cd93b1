#pragma once
/*
 * One connection to a NATS server: greeting, TLS when the server has said INFO, credentials, PING and PONG, and a watch over a
 * server that says nothing more.
 *
 *     connected -> INFO (-> TLS) -> CONNECT, PING -> PONG: up
 *
 * After nats_conn_open() the callbacks come from the loop, none after nats_conn_close().
 */
#include "transport/link.h"
#include "transport/nats/wire.h"

#define NATS_PORT "4222"
#define CONN_OUTPUT_HIGH (1u << 20) /* unwritten bytes above which nothing more is offered to it */

struct conn;

struct conn_ops {
    void (*up)(struct conn *c); /* nothing is subscribed, no PING is on its way */
    /* false = wait: nothing has been taken, reading stops, and it is shown again after nats_conn_resume(). Of one that is too large
     * (in->skip) the answer does not count. */
    bool (*message)(struct conn *c, const struct wire_in *in);
    void (*pong)(struct conn *c);                           /* c->pongs has risen */
    void (*refused)(struct conn *c, struct str subject);    /* what was published there since the last PONG is not taken */
    void (*room)(struct conn *c);                           /* output has been written: see nats_conn_has_room() */
    void (*down)(struct conn *c, const char *reason);       /* after each up() once, and when a greeting fails */
};

struct conn_spec { /* all of it borrowed for the connection's life */
    struct loop *loop;
    const struct endpoint_conf *conf;
    struct tls_context *tls;
    uint64_t body_max;
    const char *name;  /* what the server shows of us */
    const char *token; /* or NULL */
    int64_t reply_ms;  /* a server that owes a PONG and says nothing for so long (at most twice) is given up */
    int64_t reconnect_max_ms;
};

struct conn {
    struct conn_spec spec;
    const struct conn_ops *ops;
    void *owner;
    struct link *link;
    struct wire_info info; /* what the server has said last */
    struct timer *watch;
    uint64_t pings, pongs; /* sent and answered since it connected */
    uint64_t watched;      /* pings that have to be answered when the watch looks again */
    bool heard;            /* something was read since it looked last */
    size_t skip;           /* bytes of a message that was too large */
    bool greeted;          /* CONNECT is sent */
    uint64_t bad;          /* protocol errors */
};

void nats_conn_open(struct conn *c, const struct conn_spec *spec, const struct conn_ops *ops, void *owner);
void nats_conn_close(struct conn *c); /* legal when it was never opened (zeroed) */

static inline bool nats_conn_is_up(const struct conn *c)
{
    return c->link != NULL && link_is_up(c->link);
}

struct buf *nats_conn_out(struct conn *c); /* only while it is up; for this turn */
bool nats_conn_has_room(const struct conn *c);
size_t nats_conn_pending(const struct conn *c);
/* Sends a PING and gives its number: once c->pongs has reached it, the server has dealt with all that was written before. */
uint64_t nats_conn_ping(struct conn *c);

void nats_conn_pause(struct conn *c);
void nats_conn_resume(struct conn *c); /* legal at any time */
