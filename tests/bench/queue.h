#pragma once

#include "dialect.h"

/* Durable queues, spoken raw: what a dialect must know for durable.c to drive it. What is common with
 * publish and subscribe comes from dialect.c. */

/* The generator's books, kept by durable.c: what the two takes below are handed as arg. */
struct books;
/* The put of that id, on that connection, is acknowledged; id 0 is the oldest that is not yet. */
void books_acked(struct books *b, struct conn *c, uint64_t id);
/* A message is delivered and its answer is in `out`. Returns how many were so far. */
uint64_t books_delivered(struct books *b, const char *body, size_t len);

struct queue {
    const char *name;
    /* Once, before all others: makes the stream or the like. May be NULL. */
    void (*create)(struct conn *c, int epfd, const struct settings *s);
    void (*publisher)(struct conn *c, int epfd, const struct settings *s);
    /* NULL: this dialect only publishes here. */
    void (*consumer)(struct conn *c, int epfd, const struct settings *s);
    void (*put)(struct conn *c, uint64_t id, const char *body, size_t len);
    /* What publisher and consumer read. Anything but an acknowledgement or a message ends the program. */
    conn_take *acked, *delivered;
};

/* By name (local, jetstream, redis, beanstalkd), or NULL. */
const struct queue *queue_find(const char *name);
