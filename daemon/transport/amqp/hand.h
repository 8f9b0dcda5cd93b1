#pragma once
/*
 * The messages of one consumer that the broker waits to hear of, and how it is told. Acknowledgements wait for company: one
 * `multiple` for many is less work for both sides.
 *
 *     taken --hand_done()--> to be acknowledged --(end of turn, or a little later)--> acknowledged
 *       +-----hand_reject()--> rejected, without requeue
 */
#include "transport/amqp/internal.h"

struct source;

struct delivery {
    struct list_node link;      /* in hand.unacked, by tag */
    struct list_node done_link; /* in hand.done */
    struct list_node held_link; /* in hand.held */
    struct hand *hand;
    struct source *source;      /* whoever took it */
    uint64_t tag;
    bool again;                 /* its deliveries have failed in passing once already */
    struct msg *msg;            /* of an event, to offer it again; referenced */
    struct receipt *receipt;
    char *texts;                /* request: reply_to, correlation id and raw id, one after the other; owned */
    struct answer answer;       /* slices of texts */
};

struct hand {
    struct channel *channel;
    struct loop *loop;
    uint64_t prefetch;
    struct list unacked; /* all of them */
    struct list done;    /* to be acknowledged */
    struct list held;    /* the core has not taken them yet; in the order of their coming */
    struct list spares;
    struct timer *ack;   /* acknowledgements that wait for others; NULL once it is over */
    bool armed, flushing;
    bool hurried;        /* none waits for others any more */
};

void hand_init(struct hand *h, struct channel *ch, struct loop *l, uint64_t prefetch);
void hand_fini(struct hand *h); /* h itself has to live to the end of the turn; it is empty: hand_drop() */

struct delivery *hand_take(struct hand *h, struct source *s, uint64_t tag);
void hand_done(struct delivery *d);
/* Never back into the queue, from which it would come again at once: to the dead letters of the queue, or away. */
void hand_reject(struct delivery *d);
void hand_drop(struct delivery *d);  /* its channel has gone: nobody is told */
void hand_flush(struct hand *h);     /* what is done is acknowledged now */
void hand_hurry(struct hand *h);     /* the same from now on */
size_t hand_unsettled(const struct hand *h); /* in the core's hands */

static inline struct delivery *hand_first(const struct hand *h) /* of unacked; NULL = none */
{
    struct list_node *n = list_first(&h->unacked);
    return n != NULL ? CONTAINER_OF(n, struct delivery, link) : NULL;
}
