#include <assert.h>

#include "base/fault.h"
#include "base/mem.h"
#include "delivery/internal.h"
#include "delivery/policy.h"

#define ARRIVAL_MS 2000 /* how long a request waits for a successor that connects */

void dest_free(struct dest *d)
{
    assert(list_empty(&d->ready) && list_empty(&d->parked) && list_empty(&d->waiting) && list_empty(&d->inflight));
    lanes_fini(d);
    durable_overdue_fini(d);
    sched_clear(&d->hub->sched, &d->probe);
    sched_clear(&d->hub->sched, &d->arrival);
    sched_clear(&d->hub->sched, &d->suspect);
    list_remove(&d->hub->unpumped, &d->unpumped);
    waiters_wake(&d->waiters);
    waiters_wake(&d->share.waiters);
    mem_free(d->name);
    mem_free(d);
}

const char *dest_name(const struct dest *d)
{
    return d->name;
}

bool dest_is_up(const struct dest *d)
{
    return d->sink != NULL && d->sink->up;
}

void dest_status(const struct dest *d, struct dest_status *out)
{
    *out = (struct dest_status){
        .name = d->name, .service = d->service, .up = dest_is_up(d), .routed = d->routed > 0, .ready = d->ready.count,
        .waiting = d->waiting.count, .inflight = d->inflight.count,
        .parked = d->parked.count, .stored = backlog_stored(&d->backlog), .memory = d->share.bytes,
        .done = d->done, .failed = d->failed,
        .dead = d->dead, .retries = d->retries, .breaker = breaker_name(d->breaker.state)};
}

static size_t dest_load(const struct dest *d)
{
    return d->ready.count + d->parked.count + d->waiting.count;
}

/*
 * May one more delivery be accepted? A request wants its answer now: it is refused at once where
 * nobody is there or the breaker is open. An event waits; its source is held back while the
 * destination is alive but slow, and refused when nobody is there to make room.
 */
enum code dest_room(struct dest *d, const struct msg *m, enum msg_kind kind, struct waiter *w)
{
    bool up = dest_is_there(d);
    if (kind == MSG_REQUEST && !up)
        return d->service ? CODE_NO_SERVICE : CODE_UNAVAILABLE;
    if (kind == MSG_REQUEST && !breaker_allows(&d->breaker, &d->breaker_conf, hub_now(d->hub)))
        return CODE_UNAVAILABLE;
    if (dest_load(d) < d->hub->limits.queue)
        return share_room(d, m, kind, w);
    if (kind == MSG_REQUEST || w == NULL || !up)
        return CODE_OVERLOADED;
    waiter_enrol(w, &d->waiters);
    return CODE_BUSY;
}

void dest_wake(struct dest *d)
{
    if (!list_empty(&d->waiters) && (dest_load(d) <= d->hub->limits.queue / 2 || !dest_is_up(d)))
        waiters_wake(&d->waiters);
    if (!list_empty(&d->share.waiters) && !dest_is_up(d))
        waiters_wake(&d->share.waiters);
}

/* The next one to be handed over, or NULL. What is safe on disk stays there while the daemon drains. past: no suspect. */
static struct delivery *next_ready(const struct dest *d, bool past)
{
    LIST_EACH(&d->ready, n) {
        struct delivery *v = CONTAINER_OF(n, struct delivery, link);
        if ((v->key == 0 || !d->hub->draining) && !(past && v->h.alone))
            return v;
    }
    return NULL;
}

/* In a group it waits: what it ends or puts on disk would be undone with a unit that is refused. */
static bool pump_waits(struct dest *d)
{
    struct hub *h = d->hub;
    if (h->group > 0 && h->store != NULL && !list_linked(&d->unpumped))
        list_push(&h->unpumped, &d->unpumped);
    return d->pumping || list_linked(&d->unpumped);
}

void dest_pump(struct dest *d)
{
    int64_t now = hub_now(d->hub);
    bool past = false;
    struct delivery *v;
    if (pump_waits(d))
        return;
    d->pumping = true;
    while (dest_is_up(d) && (v = next_ready(d, past)) != NULL) { /* bounded by the credit of its peers */
        if (v->old && !retry_allowed(&v->route->policy->retry, v->h.attempt)) {
            delivery_die(v, CODE_FAILED, "the daemon ended as often as it was handed over");
            continue;
        }
        if (v->key != 0 && !durable_ready(v))
            break;
        poison_wait_ends(v, now);
        if (v->h.alone && d->suspects > 0) {
            past = !poison_holds_up(v, now);
            if (past)
                continue;
            break;
        }
        if (!breaker_allows(&d->breaker, &d->breaker_conf, now))
            break;
        if (v->key != 0 && v->deadline_ms <= now) {
            delivery_due(v); /* its time was over while it was on disk */
            continue;
        }
        v->h.attempt++;
        v->h.deadline_ms = now + v->route->policy->timeout_ms;
        if (v->deadline_ms < v->h.deadline_ms)
            v->h.deadline_ms = v->deadline_ms;
        v->h.holder = NULL;
        if (!d->sink->ops->send(d->sink, &v->h)) {
            v->h.attempt--;
            past = v->h.alone && !poison_holds_up(v, now);
            if (past)
                continue;
            break;
        }
        breaker_sent(&d->breaker);
        delivery_sent(v, now);
        fault_point("delivery.handed-over");
    }
    d->pumping = false;
    durable_refill(d);
    dest_wake(d);
}

/* An open breaker's time is over: let the probes through. Or that of a suspect which waits. */
void dest_due(struct dest *d)
{
    dest_pump(d);
}

void dest_failed(struct dest *d, const struct delivery *v, enum code code)
{
    struct hub *h = d->hub;
    d->breaker_conf = v->route->policy->breaker;
    if (!breaker_failure(&d->breaker, &d->breaker_conf, hub_now(h)))
        return;
    hub_schedule(h, &d->probe, d->breaker_conf.open_for_ms, true);
    log_write(h->env.log, LOG_WARN, "breaker_open", "destination", d->name, "failures",
              LOG_NUM(d->breaker.failures), "last", code_name(code), "open_for_ms",
              LOG_NUM(d->breaker_conf.open_for_ms), NULL);
}

/* ---------------------------------------------------------------- what a carrier reports */

static void on_settled(struct handover *handover, const struct settlement *s)
{
    delivery_settle((struct delivery *)handover, s);
}

static bool on_more(struct handover *handover, const struct reply *item, struct waiter *w)
{
    return delivery_more((struct delivery *)handover, item, w);
}

static void on_extend(struct handover *handover)
{
    delivery_extend((struct delivery *)handover);
}

static void on_ready(struct sink *s)
{
    struct dest *d = s->dest;
    if (d->sink == s)
        dest_pump(d);
}

/* Nobody will take them: requests that wait are refused now, events stay. */
static void refuse_requests(struct list *l)
{
    LIST_EACH(l, n) {
        struct delivery *v = CONTAINER_OF(n, struct delivery, link);
        if (v->h.kind == MSG_REQUEST)
            delivery_refuse_nobody(v);
    }
}

/* Nobody is there, and nobody is on the way. */
static void gone(struct dest *d)
{
    refuse_requests(&d->parked);
    refuse_requests(&d->ready);
    refuse_requests(&d->waiting);
    dest_wake(d);
}

static void set_awaited(struct dest *d, bool awaited)
{
    d->awaited = awaited;
    if (awaited)
        hub_schedule(d->hub, &d->arrival, ARRIVAL_MS, true);
    else
        sched_clear(&d->hub->sched, &d->arrival);
}

/* New peers have no record of failures. */
void dest_came(struct dest *d)
{
    d->breaker = (struct breaker){0};
    set_awaited(d, false);
}

void dest_arrival_due(struct dest *d)
{
    d->awaited = false;
    if (!dest_is_up(d))
        gone(d);
}

static void on_state(struct sink *s, bool up, const char *why)
{
    struct dest *d = s->dest;
    bool known = !d->service || d->routed > 0; /* mere callers come and go: two lines for each would bury the rest */
    if (d->sink != s)
        return; /* it has left */
    log_write(d->hub->env.log, known ? LOG_INFO : LOG_DEBUG, up ? "destination_up" : "destination_down", "destination", d->name,
              "reason", why, NULL);
    if (up) {
        dest_came(d);
        dest_pump(d);
    } else {
        gone(d);
    }
}

const struct sink_up dest_up = {
    .settled = on_settled, .more = on_more, .extend = on_extend, .ready = on_ready, .state = on_state};

void hub_part(struct hub *h, struct sink *sink, bool replaced)
{
    struct dest *d = sink->dest;
    assert(d->sink == sink);
    log_write(h->env.log, LOG_INFO, "destination_leaves", "destination", d->name, "unanswered", LOG_NUM(hub_held(sink)),
              "successor", replaced ? "yes" : "no", NULL);
    d->sink = NULL;
    d->parted++;
    set_awaited(d, replaced);
    if (!replaced)
        gone(d);
}

size_t hub_held(const struct sink *sink)
{
    const struct dest *d = sink->dest;
    size_t held = 0;
    LIST_EACH(&d->inflight, n) {
        const struct delivery *v = CONTAINER_OF(n, struct delivery, link);
        held += v->sink == sink && !v->settling;
    }
    return held;
}

void hub_disown(struct hub *h, struct sink *sink)
{
    struct dest *d = sink->dest;
    (void)h;
    sink_set_up(sink, false, "closed");
    if (d->sink == sink)
        d->sink = NULL;
    else
        d->parted--;
    LIST_EACH(&d->inflight, n) {
        struct delivery *v = CONTAINER_OF(n, struct delivery, link);
        if (v->settling || v->sink != sink)
            continue; /* the carrier is done with it, or it is another's */
        struct settlement lost = {.outcome = OUTCOME_RETRY, .retry_after_ms = -1,
                                  .reply = {.code = CODE_UNAVAILABLE, .body = STR("the endpoint was closed")}};
        sink->ops->cancel(sink, &v->h, false);
        delivery_settle(v, &lost);
    }
    sink->core = NULL;
    sink->dest = NULL;
}
