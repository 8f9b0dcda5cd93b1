/* What a lane has left on disk comes into memory when there is room behind the one that is out: the queue is read from
 * there on once more, and what is not of the lane is passed over. */
#include "delivery/lane.h"

#define REACH_MIN 32
#define REACH_MAX 256

/* True: it was one of the lane. */
static bool pass(struct lane *l, const struct store_record *r)
{
    l->left_from = r->key + 1;
    if (!lane_has(l, r))
        return false;
    l->left--;
    l->asked_left--;
    durable_page(l->dest, &l->dest->backlog.left, -1);
    durable_take(l->dest, r);
    return true;
}

/* They were there when they were read first, and are not any more: their checksums have failed meanwhile. */
static void lost(struct lane *l)
{
    durable_quarantined(l->dest, l->asked_left);
    durable_page(l->dest, &l->dest->backlog.left, -(int64_t)l->asked_left);
    l->left -= l->asked_left;
}

static bool full(const struct lane *l)
{
    return l->asked_left == 0 || l->parked.count >= lane_room(l);
}

/* False: there are no more of those that were there when it was asked for. */
static bool read_on(struct lane *l, const struct store_rows *rows)
{
    bool found = false;
    for (size_t i = 0; i < rows->count && !full(l); i++) {
        if (rows->records[i].key > l->asked_through)
            return false;
        found |= pass(l, &rows->records[i]);
    }
    bool more = rows->cut || rows->count + rows->quarantined >= l->reach;
    l->reach = found ? REACH_MIN : l->reach < REACH_MAX ? l->reach * 2 : REACH_MAX;
    return full(l) || more;
}

static void on_loaded(void *arg, const struct store_rows *rows)
{
    struct lane *l = arg;
    struct dest *d = l->dest;
    if (rows->result != STORE_OK)
        return; /* faulted: the process is about to end */
    if (!read_on(l, rows) && l->asked_left > 0)
        lost(l);
    if (l->left > 0 && l->parked.count <= lane_room(l) / 2 && !list_linked(&l->hungry))
        list_push(&d->hungry, &l->hungry); /* after the others */
    l->feeding = false;
    lane_check(l);
    d->backlog.loading = false;
    durable_refill(d);
}

bool durable_feed(struct dest *d)
{
    struct list_node *n = list_first(&d->hungry);
    if (n == NULL)
        return false;
    struct lane *l = CONTAINER_OF(n, struct lane, hungry);
    list_remove(&d->hungry, n);
    l->feeding = true;
    d->backlog.loading = true;
    l->asked_left = l->left;
    l->asked_through = d->backlog.through;
    l->reach = l->reach > 0 ? l->reach : REACH_MIN;
    store_load(d->hub->store, l->left_from - 1, l->reach, on_loaded, l);
    return true;
}
