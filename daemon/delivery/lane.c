/*
 * Order within a key. A destination with an order has a lane per key: one delivery of a lane is out
 * (ready, in flight and, where the order is strict, waiting for its next attempt), the others are
 * parked behind it, oldest first. Lanes do not wait for each other.
 */
#include <assert.h>

#include "base/mem.h"
#include "delivery/internal.h"
#include "msg/headers.h"

struct lane {
    struct delivery *out; /* or NULL */
    struct list parked;   /* struct delivery by lane_link */
    struct dest *dest;
    char *key;
};

static struct lane *lane_get(struct dest *d, struct str key)
{
    struct lane *l = map_get(&d->lanes, key);
    if (l != NULL)
        return l;
    l = mem_zalloc(sizeof(*l));
    l->dest = d;
    l->key = str_dup(key);
    list_init(&l->parked);
    map_set(&d->lanes, key, l);
    return l;
}

static void lane_unref(struct lane *l)
{
    if (l->out != NULL || !list_empty(&l->parked))
        return;
    map_remove(&l->dest->lanes, str_of(l->key));
    mem_free(l->key);
    mem_free(l);
}

void lanes_fini(struct dest *d)
{
    assert(d->lanes.count == 0);
    map_fini(&d->lanes);
    mem_free(d->order_header);
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

bool lane_enter(struct delivery *v)
{
    struct dest *d = v->dest;
    if (d->order_header == NULL && v->lane == NULL)
        return true;
    if (v->lane == NULL) {
        struct str key = headers_get(v->h.msg->headers, d->order_header);
        if (key.n == 0)
            return true; /* without a key it is in no order */
        v->lane = lane_get(d, key);
    }
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
    struct list_node *next = l->out == NULL ? list_first(&l->parked) : NULL;
    if (next == NULL) {
        lane_unref(l);
        return;
    }
    struct delivery *first = CONTAINER_OF(next, struct delivery, lane_link);
    list_remove(&l->parked, next);
    l->out = first;
    delivery_unpark(first);
}

void lane_pause(struct delivery *v)
{
    if (v->lane != NULL && !v->dest->order_strict)
        lane_leave(v);
}

void hub_set_order(struct dest *d, const char *header, bool strict)
{
    if ((header != NULL) != (d->order_header != NULL))
        d->routed += header != NULL ? 1 : (size_t)-1; /* not forgotten while it has an order */
    mem_free(d->order_header);
    d->order_header = header != NULL ? mem_strdup(header) : NULL;
    d->order_strict = strict;
}
