/*
 * When stored deliveries are due. Pauses and delays are spans: they go by the store's time, which follows the
 * monotonic clock while a process lives and which the store keeps from life to life, so that no change of the wall
 * clock makes one early or late. What has a time of the wall clock (`deliver-at`) is handed out when that says so.
 */
#include <assert.h>

#include "delivery/internal.h"

#define TAKE_MAX 256
#define WALL_LOOK_MS 60000 /* where some wait for the wall clock: it may be set meanwhile */

int64_t durable_time(struct hub *h)
{
    return hub_now(h) + h->store_offset_ms;
}

int64_t durable_wall(struct hub *h, int64_t store_ms)
{
    return store_ms - durable_time(h) + hub_wall(h);
}

static struct store_when when_now(struct hub *h)
{
    return (struct store_when){durable_time(h), hub_wall(h)};
}

void durable_tell_time(struct hub *h)
{
    store_tell_time(h->store, when_now(h));
}

/* Its time goes on with the wall clock, but never back: where that was set back while no process lived, or has
 * not been set yet, its own goes on from where it was. */
void durable_set_time(struct hub *h, const struct store_stats *s)
{
    int64_t now = hub_wall(h) + s->ahead_ms;
    h->store_offset_ms = (now > s->time_ms ? now : s->time_ms) - hub_now(h);
    durable_tell_time(h);
}

/* A `delay` is a span of time, `deliver-at` a time of the wall clock. */
void durable_set_due(struct delivery *v, struct store_record *r)
{
    const struct msg *m = v->h.msg;
    r->by_wall = m->delay_ms == 0 && m->not_before_ms > 0 && m->not_before_ms > hub_wall(v->dest->hub);
    if (r->by_wall)
        r->due_ms = m->not_before_ms;
    else if (m->delay_ms > 0 && __builtin_add_overflow(r->accepted_ms, m->delay_ms, &r->due_ms))
        r->due_ms = STORE_DUE_MAX;
    v->due_at_ms = r->due_ms;
}

/* Something on disk is due in so long. */
static void note_due_in(struct hub *h, int64_t span)
{
    int64_t at;
    span = span > 0 ? span : 0;
    if (__builtin_add_overflow(hub_now(h), span, &at) || at >= h->store_due_ms)
        return;
    h->store_due_ms = at;
    hub_schedule(h, &h->store_due, span, false);
}

void durable_note_due(struct hub *h, bool by_wall, int64_t due_ms)
{
    int64_t span = due_ms - (by_wall ? hub_wall(h) : durable_time(h));
    if (due_ms != STORE_NEVER)
        note_due_in(h, by_wall && span > WALL_LOOK_MS ? WALL_LOOK_MS : span);
}

void durable_look(struct hub *h)
{
    note_due_in(h, 0);
}

/* ---------------------------------------------------------------- what is due */

static struct dest *dest_of(struct hub *h, uint64_t key)
{
    return idmap_get(&h->queues, store_queue_of(key));
}

bool durable_take_due(struct dest *d, const struct store_record *r, int64_t due_at_ms)
{
    struct delivery *v = durable_restore(d, r);
    if (v == NULL)
        return true;
    if (lane_crowded(v)) {
        delivery_discard(v);
        return false;
    }
    v->taken = true;
    v->drifts = v->h.attempt == 0 && v->last_error == NULL; /* not a retry */
    v->due_at_ms = due_at_ms;
    durable_hold(v);
    delivery_ready(v);
    return true;
}

const int64_t drift_bounds_ms[DRIFT_BUCKETS - 1] = {10, 100, 1000, 10000, 60000};

void durable_drift(struct delivery *v)
{
    struct hub_counts *c = &v->dest->hub->counts;
    int64_t late = hub_now(v->dest->hub) - v->due_at_ms;
    size_t i = 0;
    late = late > 0 ? late : 0;
    while (i < DRIFT_BUCKETS - 1 && late > drift_bounds_ms[i])
        i++;
    c->drift[i]++;
    c->drift_sum_ms += (uint64_t)late;
    v->drifts = false;
}

static int64_t due_at(struct hub *h, const struct store_record *r)
{
    return hub_now(h) - ((r->by_wall ? hub_wall(h) : durable_time(h)) - r->due_ms);
}

static void on_taken(void *arg, const struct store_rows *rows)
{
    struct hub *h = arg;
    h->taking = false;
    if (rows->result != STORE_OK)
        return;
    durable_note_due(h, false, h->take_again ? durable_time(h) : rows->next_due_ms);
    durable_note_due(h, true, rows->next_wall_ms);
    for (size_t i = 0; i < rows->count; i++) {
        struct dest *d = dest_of(h, rows->records[i].key);
        assert(d != NULL); /* every queue has been announced at the start, or made here */
        durable_page(d, &d->backlog.delayed, -1);
        if (durable_full(d) || !durable_take_due(d, &rows->records[i], due_at(h, &rows->records[i])))
            durable_put_off(d);
    }
    durable_overdue_look(h);
}

void durable_due(struct hub *h)
{
    h->store_due_ms = SCHED_NEVER;
    h->take_again = h->taking;
    if (h->taking || h->draining)
        return;
    h->taking = true;
    durable_tell_time(h);
    store_take_due(h->store, when_now(h), TAKE_MAX, on_taken, h);
}
