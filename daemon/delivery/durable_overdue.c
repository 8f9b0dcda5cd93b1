/*
 * Stored deliveries that fell due when the window of their destination was full, or their lane had enough in memory. They
 * wait on disk as store_take_due() has left them, which writes nothing, and are read again, in the order of their keys,
 * when half of the window is free:
 *
 *     delayed --(due)--> in memory
 *                \--> overdue, on disk --(room)--> in memory
 *
 * What is read may be in memory already, or may have left it while it was being read: `held` tells.
 */
#include "base/buf.h"
#include "delivery/internal.h"

#define READ_MAX 256
#define REST_MS 1000 /* all that are left are of crowded lanes */

void durable_put_off(struct dest *d)
{
    if (d->backlog.overdue == 0) {
        d->overdue.since_ms = hub_now(d->hub);
        list_push(&d->hub->overdue, &d->overdue.link);
    }
    durable_page(d, &d->backlog.overdue, 1);
}

static void count_down(struct dest *d, uint64_t by)
{
    if (by == 0)
        return;
    by = by < d->backlog.overdue ? by : d->backlog.overdue;
    durable_page(d, &d->backlog.overdue, -(int64_t)by);
    if (d->backlog.overdue == 0)
        list_remove(&d->hub->overdue, &d->overdue.link);
}

/* ---------------------------------------------------------------- what is in memory */

void durable_overdue_hold(struct delivery *v)
{
    idmap_add(&v->dest->overdue.held, v->key, v->dest); /* the value is of no use */
}

void durable_overdue_release(struct delivery *v)
{
    struct overdue *o = &v->dest->overdue;
    if (o->reading)
        buf_put(&o->gone, &v->key, sizeof(v->key));
    else
        idmap_remove(&o->held, v->key);
}

static void forget_gone(struct overdue *o)
{
    const uint64_t *keys = (const uint64_t *)(const void *)buf_data(&o->gone);
    for (size_t i = 0; keys != NULL && i < o->gone.len / sizeof(*keys); i++)
        idmap_remove(&o->held, keys[i]);
    buf_clear(&o->gone);
}

void durable_overdue_fini(struct dest *d)
{
    list_remove(&d->hub->overdue, &d->overdue.link);
    idmap_fini(&d->overdue.held);
    buf_fini(&d->overdue.gone);
}

/* ---------------------------------------------------------------- what is read again */

/* The rows from `i` on; how many were passed until there was no more room. */
static size_t take_rows(struct dest *d, const struct store_rows *rows)
{
    struct overdue *o = &d->overdue;
    size_t i = 0;
    for (; i < rows->count && d->backlog.overdue > 0 && !durable_full(d); i++) {
        const struct store_record *r = &rows->records[i];
        o->from = r->key;
        if (idmap_get(&o->held, r->key) != NULL || !durable_take_due(d, r, o->since_ms))
            continue;
        o->found = true;
        count_down(d, 1);
    }
    return i;
}

/* Behind the last of them it begins anew, at once only if that is worth it. */
static void begin_anew(struct dest *d)
{
    struct overdue *o = &d->overdue;
    struct hub *h = d->hub;
    bool rests = !o->found && d->backlog.overdue > 0;
    o->from = 0;
    o->found = false;
    if (!rests)
        return;
    o->rest_until_ms = hub_now(h) + REST_MS;
    durable_note_due(h, false, durable_time(h) + REST_MS); /* durable_overdue_look() comes behind it */
}

static void on_read(void *arg, const struct store_rows *rows)
{
    struct dest *d = arg;
    if (rows->result != STORE_OK)
        return; /* faulted: the process is about to end */
    durable_quarantined(d, rows->quarantined);
    count_down(d, rows->quarantined);
    size_t passed = take_rows(d, rows);
    if (passed == rows->count && !rows->cut && rows->count + rows->quarantined < READ_MAX)
        begin_anew(d);
    d->overdue.reading = false;
    forget_gone(&d->overdue);
    durable_refill(d);
}

/* Not inside a group, nor while some are dropped: what that unit has ended would be read as if it were there still. */
static bool has_to_wait(const struct dest *d)
{
    const struct overdue *o = &d->overdue;
    return d->hub->draining || d->hub->group > 0 || d->hub->paying ||
           o->reading || d->backlog.overdue == 0 || hub_now(d->hub) < o->rest_until_ms;
}

void durable_overdue_feed(struct dest *d)
{
    struct overdue *o = &d->overdue;
    struct hub *h = d->hub;
    if (h->group > 0 && !list_linked(&d->unpumped))
        list_push(&h->unpumped, &d->unpumped);
    if (has_to_wait(d) || !durable_half_free(d))
        return;
    o->reading = true;
    store_load_taken(h->store, o->from != 0 ? o->from : store_key(d->backlog.queue, 0), READ_MAX, on_read, d);
}

void durable_overdue_look(struct hub *h)
{
    LIST_EACH(&h->overdue, n)
        durable_overdue_feed(CONTAINER_OF(n, struct dest, overdue.link));
}
