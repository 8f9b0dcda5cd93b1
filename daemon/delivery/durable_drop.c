/*
 * when_full: drop-oldest. While the store has little room left each message that comes pays for its place: ready
 * deliveries of the fullest queue end as dropped, oldest first, in the batch that holds the new one, a quarter more
 * than it takes, so that the level sinks. What is in flight, or waits for its next attempt, is never touched, and of
 * what is on disk only those are that come next: the window of each destination has the oldest.
 */
#include "delivery/internal.h"

#define LOOK_MAX 64     /* deliveries looked at for a stored one */
#define QUIET_MS 10000  /* between two lines of the log */

static struct delivery *oldest_ready(const struct dest *d)
{
    unsigned looked = 0;
    LIST_EACH(&d->ready, n) {
        struct delivery *v = CONTAINER_OF(n, struct delivery, link);
        if (v->key != 0)
            return v;
        if (++looked == LOOK_MAX)
            break;
    }
    return NULL;
}

static uint64_t fullness(const struct dest *d)
{
    return backlog_stored(&d->backlog) + d->backlog.held;
}

static struct dest *fullest(struct hub *h)
{
    struct dest *most = NULL;
    struct idmap_entry *e;
    for (size_t i = 0; (e = idmap_next(&h->queues, &i)) != NULL;) {
        struct dest *d = e->value;
        if ((most == NULL || fullness(d) > fullness(most)) && oldest_ready(d) != NULL)
            most = d;
    }
    return most;
}

static void tell(struct hub *h, const struct dest *d, uint64_t count)
{
    int64_t now = hub_now(h);
    h->counts.dropped_full += count;
    h->drops_untold += count;
    if (h->drops_untold == 0 || (h->drops_told_ms != 0 && now - h->drops_told_ms < QUIET_MS))
        return;
    log_write(h->env.log, LOG_WARN, "store_dropped_oldest", "destination", d->name, "count", LOG_NUM(h->drops_untold),
              "why", "the store is nearly full (store.max_size; store.when_full: drop-oldest)", NULL);
    h->drops_untold = 0;
    h->drops_told_ms = now;
}

/* A unit of its own: it is never refused, and the books of memory and disk stay the same. */
static void drop_from(struct dest *d)
{
    struct hub *h = d->hub;
    struct delivery *v;
    uint64_t count = 0;
    store_begin(h->store);
    for (; h->drop_debt > 0 && (v = oldest_ready(d)) != NULL; count++) {
        h->drop_debt -= (int64_t)v->charge;
        msg_log(h->env.log, LOG_DEBUG, "message_dropped", v->h.msg,
                (struct log_pair[4]){{"destination", d->name}, {"route", delivery_route(v)}, {"reason", "the store is nearly full"}});
        delivery_drop(v);
    }
    store_commit(h->store);
    tell(h, d, count);
}

static bool drops(const struct hub *h, const struct store_stats *s)
{
    return h->limits.store_drops && s->low && !s->disk_full && !s->faulted;
}

void durable_pay(struct hub *h)
{
    struct dest *d;
    if (h->group > 0 || h->paying || h->drop_debt <= 0)
        return; /* in a group the debt stays */
    h->paying = true; /* what is dropped may let others in */
    while (h->drop_debt > 0 && (d = fullest(h)) != NULL)
        drop_from(d);
    h->paying = false;
    durable_overdue_look(h);
    if (h->drop_debt > 0)
        h->drop_debt = 0; /* there was nothing to drop: the store will refuse */
}

void durable_owe(struct hub *h, size_t bytes)
{
    struct store_stats s;
    if (!h->limits.store_drops)
        return;
    store_stats(h->store, &s);
    if (drops(h, &s))
        h->drop_debt += (int64_t)(bytes + bytes / 4);
    else
        h->drop_debt = 0;
    durable_pay(h);
}

/* A row may take whole pages, twice its own size at worst. */
bool durable_crowded(const struct hub *h, const struct store_stats *s, size_t bytes)
{
    return h->limits.store_drops && s->pending_bytes > 0 && s->pending_bytes + bytes > s->room / 2;
}
