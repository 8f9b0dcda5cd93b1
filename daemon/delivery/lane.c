/*
 * Order within a key. A destination with an order has a lane per key: one delivery of a lane is out
 * (ready, in flight and, where the order is strict, waiting for its next attempt), the others are
 * parked behind it, oldest first. Lanes do not wait for each other.
 *
 *     lane:  out | parked in memory, a few | left on disk, from `left_from` on, up to what was read of the queue
 *
 * Of stored ones only a few are parked in memory, so that a lane that is held up does not fill the window of its
 * destination: those behind stay on disk, and are read again when the parked ones have gone (durable_lane.c).
 */
#include <assert.h>

#include "base/mem.h"
#include "delivery/internal.h"
#include "delivery/lane.h"

static struct lane *lane_get(struct dest *d, struct str key)
{
    struct lane *l = map_get(&d->lanes, key);
    if (l != NULL)
        return l;
    l = mem_zalloc(sizeof(*l));
    l->dest = d;
    l->key = str_dup(key);
    l->key_len = key.n;
    l->order = order_ref(d->order);
    list_init(&l->parked);
    map_set(&d->lanes, key, l);
    return l;
}

static void lane_free(struct lane *l)
{
    list_remove(&l->dest->hungry, &l->hungry);
    order_unref(l->order);
    mem_free(l->key);
    mem_free(l);
}

void lane_check(struct lane *l)
{
    if (l->out != NULL || l->left > 0 || l->feeding || !list_empty(&l->parked))
        return;
    map_remove(&l->dest->lanes, str_make(l->key, l->key_len));
    lane_free(l);
}

/* What was left on disk stays there. */
void lanes_fini(struct dest *d)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&d->lanes, &i)) != NULL;) {
        struct lane *l = e->value;
        assert(l->out == NULL && list_empty(&l->parked));
        lane_free(l);
    }
    map_fini(&d->lanes);
    order_unref(d->order);
}

static uint64_t age_of(const struct delivery *v)
{
    return v->key != 0 ? v->key : v->number;
}

/* The older ones in front: one that comes back from a pause stands before those that came after it. */
static void park(struct lane *l, struct delivery *v)
{
    struct list_node *at = list_first(&l->parked);
    while (at != NULL && age_of(CONTAINER_OF(at, struct delivery, lane_link)) < age_of(v))
        at = list_next(&l->parked, at);
    if (at != NULL)
        list_insert_before(&l->parked, at, &v->lane_link);
    else
        list_push(&l->parked, &v->lane_link);
}

/* The lane of its key; NULL where it has none, or (make: false) there is no such lane yet. */
static struct lane *lane_of(const struct delivery *v, bool make)
{
    struct dest *d = v->dest;
    struct lane *l = NULL;
    if (d->order == NULL)
        return NULL;
    buf_clear(&d->hub->lane_key);
    if (order_key(d->order, v->h.msg->headers, v->h.msg->body, &d->hub->lane_key))
        l = make ? lane_get(d, buf_str(&d->hub->lane_key)) : map_get(&d->lanes, buf_str(&d->hub->lane_key));
    return l;
}

size_t lane_room(const struct lane *l)
{
    return l->out != NULL && l->out->state == DELIVERY_WAITING ? LANE_BLOCKED_MAX : LANE_PARKED_MAX;
}

bool lane_enter_order(struct delivery *v)
{
    if (v->lane == NULL)
        v->lane = lane_of(v, true);
    if (v->lane == NULL)
        return true; /* without a key it is in no order */
    if (v->lane->out == NULL)
        v->lane->out = v;
    if (v->lane->out == v)
        return true;
    park(v->lane, v);
    return false;
}

void lane_leave(struct delivery *v)
{
    struct lane *l = v->lane;
    if (l == NULL)
        return;
    list_remove(&l->parked, &v->lane_link);
    if (l->out == v)
        l->out = NULL;
    v->lane = NULL;
    if (l->left > 0 && l->parked.count <= lane_room(l) / 2 && !list_linked(&l->hungry))
        list_push(&l->dest->hungry, &l->hungry);
    struct list_node *next = l->out == NULL ? list_first(&l->parked) : NULL;
    if (next == NULL) {
        lane_check(l);
        return;
    }
    struct delivery *first = CONTAINER_OF(next, struct delivery, lane_link);
    list_remove(&l->parked, next);
    l->out = first;
    delivery_unpark(first);
}

/* Back to where they can be read from again; one that was delayed cannot. */
static void leave_parked(struct lane *l)
{
    struct list_node *n;
    while (l->parked.count > LANE_BLOCKED_MAX && (n = list_last(&l->parked)) != NULL) {
        struct delivery *v = CONTAINER_OF(n, struct delivery, lane_link);
        if (v->key == 0 || v->taken)
            break;
        list_remove(&l->parked, n);
        l->left++;
        l->left_from = v->key;
        v->lane = NULL;
        delivery_leave(v);
    }
}

void lane_pause(struct delivery *v)
{
    if (v->lane != NULL && !v->dest->order_strict)
        lane_leave(v);
    else if (v->lane != NULL && v->dest->backlog.paged > 0 && !v->lane->feeding) /* else what is read stands behind them */
        leave_parked(v->lane); /* for those of other keys */
}

bool lane_leaves(const struct delivery *v)
{
    struct lane *l = lane_of(v, false);
    if (l == NULL || (l->left == 0 && l->parked.count < lane_room(l)))
        return false;
    if (l->left++ == 0)
        l->left_from = v->key;
    return true;
}

bool lane_crowded(const struct delivery *v)
{
    const struct lane *l = lane_of(v, false);
    return l != NULL && l->parked.count >= LANE_PARKED_MAX;
}

bool lane_has(struct lane *l, const struct store_record *r)
{
    struct buf *key = &l->dest->hub->lane_key;
    buf_clear(key);
    return order_key(l->order, r->headers, r->body, key) && key->base != NULL &&
           str_eq(buf_str(key), str_make(l->key, l->key_len));
}

void hub_set_order(struct dest *d, const char *by, bool strict)
{
    d->order_strict = strict;
    if (by != NULL && d->order != NULL && order_is(d->order, str_of(by)))
        return;
    if ((by != NULL) != (d->order != NULL))
        d->routed += by != NULL ? 1 : (size_t)-1; /* not forgotten while it has an order */
    order_unref(d->order);
    d->order = by != NULL ? order_new(str_of(by)) : NULL;
}
