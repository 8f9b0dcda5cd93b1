#include "transport/amqp/hand.h"

#include "base/mem.h"
#include "loop/timer.h"
#include "msg/msg.h"

#define ACK_LATER_MS 5 /* how long an acknowledgement waits for others */
#define SPARES_MAX 1024

struct delivery *hand_take(struct hand *h, struct source *s, uint64_t tag)
{
    struct list_node *n = list_first(&h->spares);
    struct delivery *d;
    if (n != NULL) {
        list_remove(&h->spares, n);
        d = CONTAINER_OF(n, struct delivery, link);
    } else {
        d = mem_alloc(sizeof(*d));
    }
    *d = (struct delivery){.hand = h, .source = s, .tag = tag};
    list_push(&h->unacked, &d->link);
    return d;
}

void hand_drop(struct delivery *d)
{
    struct hand *h = d->hand;
    list_remove(&h->unacked, &d->link);
    list_remove(&h->done, &d->done_link);
    list_remove(&h->held, &d->held_link);
    msg_unref(d->msg);
    mem_free(d->texts);
    if (h->spares.count < SPARES_MAX)
        list_push_front(&h->spares, &d->link);
    else
        mem_free(d);
}

void hand_reject(struct delivery *d)
{
    amqp_basic_reject_t reject = {.delivery_tag = d->tag, .requeue = false};
    channel_put(d->hand->channel, AMQP_BASIC_REJECT_METHOD, &reject);
    hand_drop(d);
}

/* ---------------------------------------------------------------- acknowledging */

static void put_ack(struct hand *h, uint64_t tag, bool multiple)
{
    amqp_basic_ack_t ack = {.delivery_tag = tag, .multiple = multiple};
    channel_put(h->channel, AMQP_BASIC_ACK_METHOD, &ack);
}

/* What is done from the oldest on without a gap goes in one acknowledgement, the rest one by one: a slow message does not
 * hold back the credit of those behind it. */
void hand_flush(struct hand *h)
{
    uint64_t through = 0, count = 0;
    timer_stop(h->ack);
    h->armed = false;
    for (struct delivery *d; (d = hand_first(h)) != NULL && list_linked(&d->done_link);) {
        through = d->tag;
        count++;
        hand_drop(d);
    }
    if (count > 0)
        put_ack(h, through, count > 1);
    while (!list_empty(&h->done)) {
        struct delivery *d = CONTAINER_OF(list_first(&h->done), struct delivery, done_link);
        put_ack(h, d->tag, false);
        hand_drop(d);
    }
}

static void on_ack_timer(void *arg)
{
    hand_flush(arg);
}

/* None waits while there is nothing else that its company could be, or while the broker may be out of credit. */
static void on_turn_end(void *arg)
{
    struct hand *h = arg;
    h->flushing = false;
    if (h->ack == NULL)
        return;
    if (h->hurried || h->done.count == h->unacked.count || h->done.count * 4 >= h->prefetch) {
        hand_flush(h);
    } else if (!h->armed) {
        timer_after(h->ack, ACK_LATER_MS);
        h->armed = true;
    }
}

void hand_done(struct delivery *d)
{
    struct hand *h = d->hand;
    list_push(&h->done, &d->done_link);
    if (!h->flushing)
        loop_later(h->loop, on_turn_end, h);
    h->flushing = true;
}

void hand_hurry(struct hand *h)
{
    h->hurried = true;
    hand_flush(h);
}

size_t hand_unsettled(const struct hand *h)
{
    return h->unacked.count - h->held.count - h->done.count;
}

/* ---------------------------------------------------------------- life */

void hand_init(struct hand *h, struct channel *ch, struct loop *l, uint64_t prefetch)
{
    *h = (struct hand){.channel = ch, .loop = l, .prefetch = prefetch};
    list_init(&h->unacked);
    list_init(&h->done);
    list_init(&h->held);
    list_init(&h->spares);
    h->ack = timer_new(l, on_ack_timer, h);
}

void hand_fini(struct hand *h)
{
    timer_free(h->ack);
    h->ack = NULL;
    for (struct list_node *n; (n = list_first(&h->spares)) != NULL;) {
        list_remove(&h->spares, n);
        mem_free(CONTAINER_OF(n, struct delivery, link));
    }
}
