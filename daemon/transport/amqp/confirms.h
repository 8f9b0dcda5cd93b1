#pragma once
/*
 * The window of publisher confirms: what was published on a channel and what the broker has said of
 * it. Confirms come in any order, one at a time or up to a tag; a return comes before its confirm.
 * Pure. Tags are counted from 1 with each channel, as the broker does.
 *
 *     published --confirm--> done(CONFIRM_ACK, or CONFIRM_RETURNED where it came back)
 *         |-----reject-----> done(CONFIRM_NACK)
 *         +-----lost-------> done(CONFIRM_LOST)
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum confirm { CONFIRM_ACK, CONFIRM_RETURNED, CONFIRM_NACK, CONFIRM_LOST };

struct confirm_slot {
    void *value;  /* NULL = settled */
    bool returned;
};

struct confirms {
    struct confirm_slot *slots; /* a ring of cap; tag t stands at t & (cap - 1) */
    size_t cap;                 /* a power of two or 0 */
    size_t span;                /* how many tags it may hold: the distance is bounded, not the count */
    uint64_t first, next;       /* tags first … next-1 are in the ring; first is the oldest unsettled */
    size_t count;               /* unsettled ones */
    void (*done)(void *arg, void *value, enum confirm how); /* may publish more */
    void *arg;
};

void confirms_init(struct confirms *c, size_t span, void (*done)(void *arg, void *value, enum confirm how), void *arg);
void confirms_fini(struct confirms *c);

bool confirms_full(const struct confirms *c); /* the oldest one is so far back that nothing more may go out */
uint64_t confirms_add(struct confirms *c, void *value); /* its tag; not when full; value != NULL */
void *confirms_get(const struct confirms *c, uint64_t tag); /* NULL where it is settled or was never given out */

/* false: the broker speaks of a tag that was never given out. What is settled already is passed over.
 * tag 0 with multiple = all of them (AMQP 0-9-1, basic.ack). */
bool confirms_settle(struct confirms *c, uint64_t tag, bool multiple, bool ack);

/* The broker has returned it; its confirm comes next. */
bool confirms_returned(struct confirms *c, uint64_t tag);

void confirms_lose(struct confirms *c); /* the channel has gone: each is told, tags begin again at 1 */
