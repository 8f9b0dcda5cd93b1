#pragma once

#include "local.h"

/* Publish and subscribe, spoken raw: what a dialect must know for pubsub.c to drive it. */

struct settings {
    const char *address;
    size_t subjects;    /* bench.0 … bench.N-1 */
    bool by_sub;        /* local protocol: subscribe with SUB, else as service `sink` */
    unsigned credit;    /* local protocol: deliveries the subscriber takes at once */
};

struct dialect {
    const char *name;
    /* Connects, logs in, subscribes; returns when the server has said so, if it does. */
    void (*subscriber)(struct conn *c, int epfd, const struct settings *s);
    void (*publisher)(struct conn *c, int epfd, const struct settings *s);
    /* One message on bench.<subject>. */
    void (*message)(struct buf *out, size_t subject, const char *body, size_t len);
    /* What the subscriber and the publisher read. arg is the struct tally of the run. */
    conn_take *delivered, *answered;
};

struct tally {
    uint64_t delivered;
    size_t body_len;    /* every message must be that long */
};

/* By name (local, nats, redis), or NULL. */
const struct dialect *dialect_find(const char *name);

/* What queue.c, which speaks the same protocols to durable queues, shares. */

/* The line at p without its CR LF; *used is its length with them. NULL while it is incomplete. */
const char *line_end(const char *p, size_t n, size_t *used);
/* Sends what is in `out`, then reads until `text` comes. */
void converse(struct conn *c, const char *text);

/* What a frame that is neither a delivery nor an answer asks for; dies of ERR. */
void local_other(struct conn *c, const struct frame *f, const char *p);

void nats_login(struct conn *c, int epfd, const struct settings *s);
/* One protocol line of the server, and the body behind it if it is MSG. Everything else is dealt with. */
struct nats_line {
    const char *line, *end;     /* without CR LF */
    const char *body;           /* NULL: no MSG */
    size_t body_len;
};
/* Returns its length or 0 while it is incomplete. */
size_t nats_parse(struct conn *c, const char *p, size_t n, struct nats_line *l);
