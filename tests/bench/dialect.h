#pragma once

#include "conn.h"

/* Publish and subscribe, spoken raw: what a dialect must know for pubsub.c to drive it. */

struct settings {
    const char *address;
    size_t subjects;    /* bench.0 … bench.N-1 */
    bool by_sub;        /* local protocol: subscribe with SUB, else as service `sink` */
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
