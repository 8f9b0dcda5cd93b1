/*
 * Deliveries that survive: accepted when the store has them, in memory only as far as they are
 * about to be handed over.
 *
 *                        +------------ through ------------+
 *     on disk, in order: | in memory: held, at most WINDOW | paged: on disk only |   delayed: not due yet
 *
 * Ready ones are taken into memory in the order of their keys. While any are paged, new ones are
 * paged behind them; durable_refill() reads on when half of the window is free. Where a destination has an order, lanes
 * that are long leave theirs on disk (lane.c), so that the window has room for those of other keys: for as long as not
 * more than LEFT_MAX are left so, and with about a hundred keys blocked at a time (WINDOW / 2 by LANE_BLOCKED_MAX + 1).
 */
#include <assert.h>

#include "base/fault.h"
#include "base/mem.h"
#include "delivery/history.h"
#include "delivery/internal.h"
#include "msg/headers.h"

#define WINDOW 1024                   /* stored deliveries in memory per destination */
#define WINDOW_BYTES (4u << 20)       /* less where limits.memory is small, or destinations are many */
#define LOAD_MAX 512                  /* of one load */
#define PENDING_BYTES_MAX (32u << 20) /* handed to the store and not committed: sources wait above it */
#define SHORT_PAUSE_MS 1000           /* a delivery that waits longer does so on disk */
#define LEFT_MAX 16384                /* read ahead so far over what lanes have left on disk */

/* One message on its way into the store. */
struct acceptance {
    struct list_node link; /* in hub->accepting */
    struct hub *hub;
    struct receipt *receipt;
    struct list deliveries; /* struct delivery by link, NEW */
    bool guarded;           /* it may be a duplicate */
    bool whole;             /* the message counts as accepted with it; else it was before: these are copies of a request */
    struct hub_log *log;    /* that it is appended to, or NULL */
    struct store_appended appended;
};

/* ---------------------------------------------------------------- books of the window */

void durable_hold(struct delivery *v)
{
    v->dest->backlog.held++;
    v->dest->backlog.held_bytes += v->charge;
    if (v->taken)
        durable_overdue_hold(v);
}

void durable_release(struct delivery *v)
{
    v->dest->backlog.held--;
    v->dest->backlog.held_bytes -= v->charge;
    if (v->taken)
        durable_overdue_release(v);
}

/* All windows together take a quarter of the memory at most, or many destinations that are down would fill it. */
static size_t window_bytes(const struct hub *h)
{
    uint64_t part = h->limits.memory / 4 / (h->queues.count + 1);
    return part < WINDOW_BYTES ? (size_t)part : WINDOW_BYTES;
}

/* One is always taken, however large it is. */
bool durable_full(const struct dest *d)
{
    const struct backlog *b = &d->backlog;
    return b->held >= WINDOW || (b->held > 0 && b->held_bytes >= window_bytes(d->hub));
}

bool durable_half_free(const struct dest *d)
{
    const struct backlog *b = &d->backlog;
    return b->held <= WINDOW / 2 && (b->held == 0 || b->held_bytes <= window_bytes(d->hub) / 2);
}

static uint32_t queue_of(struct dest *d)
{
    if (d->backlog.queue == 0) {
        d->backlog.queue = store_queue(d->hub->store, str_of(d->name), d->service);
        if (d->backlog.queue == 0)
            return 0; /* STORE_QUEUES_MAX destinations have one */
        d->routed++; /* it stays: its backlog is known by its address */
        idmap_add(&d->hub->queues, d->backlog.queue, d);
    }
    return d->backlog.queue;
}

static uint64_t new_key(struct dest *d)
{
    return store_key(queue_of(d), store_next_seq(d->hub->store));
}

uint64_t durable_stored(const struct hub *h)
{
    uint64_t sum = 0;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&h->dests, &i)) != NULL;) {
        const struct dest *d = e->value;
        sum += backlog_stored(&d->backlog);
    }
    return sum;
}

void durable_page(struct dest *d, uint64_t *where, int64_t by)
{
    *where += (uint64_t)by;
    d->hub->counts.state[DELIVERY_STORED] += (uint64_t)by;
}

/* ---------------------------------------------------------------- acceptance */

bool durable_wanted(const struct hub *h, const struct plan *p, enum msg_kind kind, const struct msg *m)
{
    return h->store != NULL && kind == MSG_EVENT && p->route->conf != NULL &&
           (p->route->conf->durable || m->not_before_ms > 0);
}

enum code durable_room(struct dest *d, const struct msg *m, struct waiter *w)
{
    return queue_of(d) != 0 ? store_room(d->hub, m, w) : CODE_OVERLOADED;
}

enum code store_room(struct hub *h, const struct msg *m, struct waiter *w)
{
    struct store_stats s;
    store_stats(h->store, &s);
    if (s.faulted)
        return CODE_UNAVAILABLE;
    if (s.pending_bytes < PENDING_BYTES_MAX && !(s.full && h->limits.store_blocks) && !durable_crowded(h, &s, m->size))
        return CODE_OK;
    if (w == NULL)
        return CODE_OVERLOADED;
    waiter_enrol(w, &h->store_waiters);
    return CODE_BUSY;
}

static int64_t expires_at(struct delivery *v)
{
    int64_t at;
    if (v->deadline_ms == SCHED_NEVER ||
        __builtin_add_overflow(v->deadline_ms, v->dest->hub->store_offset_ms, &at))
        return STORE_NEVER;
    return at;
}

static struct store_record record_of(struct delivery *v)
{
    const struct msg *m = v->h.msg;
    return (struct store_record){
        .key = v->key, .accepted_ms = m->accepted_ms + v->dest->hub->store_offset_ms,
        .expires_ms = expires_at(v), .attempt = v->h.attempt, .crashes = v->crashes, .target = v->target,
        .redrives = v->redrives,
        .route = str_of(delivery_route(v)), .subject = m->subject, .headers = m->headers, .body = m->body,
        .as = v->subject != NULL ? v->h.subject : STR_NONE,
        .first_error = v->first_error != NULL ? str_of(v->first_error) : STR_NONE,
        .last_error = v->last_error != NULL ? str_of(v->last_error) : STR_NONE};
}

static void guard(struct acceptance *a, const struct route *r, const struct msg *m)
{
    struct buf name = BUF_EMPTY;
    a->guarded = !a->hub->again && dedupe_name(r, m, &name);
    if (a->guarded)
        store_once_begin(a->hub->store, &(struct store_once){.name = buf_str(&name), .now_ms = durable_time(a->hub),
                                                             .window_ms = r->conf->dedupe.window_ms});
    buf_fini(&name);
}

/* bytes: what it will put, roughly. */
static struct acceptance *acceptance_new(struct hub *h, const struct route *r, const struct msg *m, size_t bytes)
{
    struct acceptance *a = mem_zalloc(sizeof(*a));
    a->hub = h;
    list_init(&a->deliveries);
    durable_owe(h, bytes);
    durable_tell_time(h);
    store_begin(h->store);
    guard(a, r, m);
    return a;
}

static void on_appended(void *arg, const struct store_appended *appended)
{
    struct acceptance *a = arg;
    a->appended = *appended;
    if (appended->result == STORE_OK)
        log_wake(a->log);
}

struct acceptance *durable_log(struct hub *h, const struct route *r, const struct msg *m)
{
    struct acceptance *a = acceptance_new(h, r, m, m->size * (h->plan_count + 1));
    a->log = r->log;
    store_append(h->store, &(struct store_append){
        .log = r->log->number, .expected = m->expected_version, .now_ms = hub_wall(h),
        .key = headers_get(m->headers, "key"), .route = str_of(route_name(r)), .subject = m->subject,
        .headers = m->headers, .body = m->body}, on_appended, a);
    return a;
}

void durable_hold_back(struct acceptance *a, struct delivery *v)
{
    list_push(&a->deliveries, &v->link);
}

struct acceptance *durable_accept(struct hub *h, struct acceptance *a, struct delivery *v)
{
    if (a == NULL)
        a = acceptance_new(h, v->route, v->h.msg, v->charge * h->plan_count);
    v->key = new_key(v->dest);
    struct store_record r = record_of(v);
    durable_set_due(v, &r);
    v->delayed = r.due_ms > 0;
    store_put(h->store, &r);
    list_push(&a->deliveries, &v->link);
    return a;
}

bool durable_guarded(const struct acceptance *a)
{
    return a->guarded;
}

/* It is next. */
static void come_in(struct delivery *v)
{
    if (lane_leaves(v)) {
        durable_page(v->dest, &v->dest->backlog.left, 1);
        delivery_discard(v);
        return;
    }
    durable_hold(v);
    delivery_ready(v);
}

/* It is on disk: into memory with it where it is next, else it stays there. */
static void admit(struct delivery *v)
{
    struct dest *d = v->dest;
    struct hub *h = d->hub;
    h->counts.accepted++;
    hub_trace(h, TAP_ACCEPTED, v);
    if (v->key == 0) {
        delivery_ready(v);
    } else if (v->delayed) {
        history_note(v, PAST_ACCEPTED, 0, STR("not before its time"));
        durable_page(d, &d->backlog.delayed, 1);
        durable_note_due(h, v->h.msg->delay_ms == 0, v->due_at_ms);
        delivery_discard(v);
    } else if (d->backlog.paged > 0 || d->backlog.left >= LEFT_MAX || durable_full(d)) {
        history_note(v, PAST_ACCEPTED, 0, STR("behind others on disk"));
        durable_page(d, &d->backlog.paged, 1);
        delivery_discard(v);
        durable_refill(d);
    } else {
        d->backlog.through = v->key;
        come_in(v);
    }
}

/* What has ended makes room, as what was accepted did: after each commit. */
static void wake_waiters(void *arg)
{
    struct hub *h = arg;
    struct store_stats s;
    if (list_empty(&h->store_waiters))
        return;
    store_stats(h->store, &s);
    if (s.faulted || (s.pending_bytes < PENDING_BYTES_MAX / 2 && !(s.full && h->limits.store_blocks)))
        waiters_wake(&h->store_waiters);
}

/* What the publisher learns of its append: where it stands, or which version the key has. */
static void answer(struct receipt *r, enum store_result result, const struct acceptance *a)
{
    struct buf text = BUF_EMPTY;
    const struct store_appended *appended = &a->appended;
    if (a->log != NULL && result == STORE_OK)
        buf_printf(&text, appended->version > 0 ? "offset: %llu\nversion: %llu\n" : "offset: %llu\n",
                   (unsigned long long)appended->offset, (unsigned long long)appended->version);
    else if (appended->mismatch)
        buf_printf(&text, "{\"error\":\"another version\",\"version\":%llu}", (unsigned long long)appended->version);
    else if (result == STORE_CONFLICT)
        buf_puts(&text, "refused with another message of the same unit, which expected another version");
    const struct reply replies[] = {
        [STORE_OK] = {.code = CODE_OK, .headers = buf_str(&text)},
        [STORE_CONFLICT] = {.code = appended->mismatch ? CODE_INVALID : CODE_FAILED, .body = buf_str(&text)},
        [STORE_FULL] = {.code = CODE_OVERLOADED, .body = STR("the store is full (store.max_size, or the disk)")},
        [STORE_UNKNOWN] = {.code = CODE_UNAVAILABLE,
                           .body = STR("the store has failed; whether the message was stored is unknown: "
                                            "send it again with the same id")},
        [STORE_DUPLICATE] = {.code = CODE_OK}};
    if (r->asker.ops != NULL)
        r->asker.ops->done(r->asker.ctx, r->asker.token, &replies[result]);
    mem_free(r);
    buf_fini(&text);
}

static void count_duplicate(struct acceptance *a)
{
    struct hub *h = a->hub;
    h->counts.duplicates++;
    if (list_empty(&a->deliveries))
        return; /* a route that only logs */
    const struct delivery *v = CONTAINER_OF(list_first(&a->deliveries), struct delivery, link);
    hub_trace(h, TAP_DUPLICATE, v);
    history_note(v, PAST_DUPLICATE, 0, STR("a copy of one that was accepted"));
    msg_log(h->env.log, LOG_DEBUG, "message_duplicate", v->h.msg,
            (struct log_pair[4]){{"route", delivery_route(v)}});
}

static void count(struct acceptance *a, enum store_result result)
{
    static const enum code refusals[] = {
        [STORE_FULL] = CODE_OVERLOADED, [STORE_UNKNOWN] = CODE_UNAVAILABLE, [STORE_CONFLICT] = CODE_INVALID};
    if (result == STORE_OK)
        a->hub->counts.messages++;
    else if (result == STORE_DUPLICATE)
        count_duplicate(a);
    else
        a->hub->counts.refused[refusals[result]]++;
}

static void on_accepted(void *arg, enum store_result result)
{
    struct acceptance *a = arg;
    struct hub *h = a->hub;
    if (a->whole)
        count(a, result);
    fault_point("durable.stored");
    if (a->receipt != NULL)
        answer(a->receipt, result, a);
    fault_point("durable.acknowledged");
    LIST_EACH(&a->deliveries, n) {
        struct delivery *v = CONTAINER_OF(n, struct delivery, link);
        list_remove(&a->deliveries, n);
        if (result == STORE_OK)
            admit(v);
        else
            delivery_discard(v);
    }
    list_remove(&h->accepting, &a->link);
    mem_free(a);
    durable_pay(h);
}

void durable_accepted(struct acceptance *a, struct receipt *r, bool whole)
{
    a->receipt = r;
    a->whole = whole;
    list_push(&a->hub->accepting, &a->link);
    store_then(a->hub->store, on_accepted, a);
    if (a->guarded)
        store_once_end(a->hub->store);
    store_commit(a->hub->store);
    fault_point("durable.accepting");
}

/* ---------------------------------------------------------------- what becomes of them */

void durable_end(struct delivery *v, enum delivery_state how)
{
    static const enum store_end ends[DELIVERY_STATES] = {
        [DELIVERY_DONE] = STORE_DONE, [DELIVERY_EXPIRED] = STORE_EXPIRED, [DELIVERY_DROPPED] = STORE_DROPPED};
    struct store *st = v->dest->hub->store;
    if (how == DELIVERY_DEAD || st == NULL)
        return; /* durable_bury() has said so */
    fault_point("durable.settle");
    store_begin(st);
    store_end(st, v->key, ends[how]);
    store_commit(st);
    fault_point("durable.settling");
}

static void on_saved(void *arg, enum store_result result)
{
    struct dest *d = arg;
    d->backlog.saved++;
    if (result != STORE_UNKNOWN)
        dest_pump(d);
}

bool durable_wait(struct delivery *v, int64_t span_ms)
{
    struct hub *h = v->dest->hub;
    struct store_record r = record_of(v);
    bool leave = v->lane == NULL && (span_ms > SHORT_PAUSE_MS || v->dest->waiting.count >= WINDOW / 2);
    int64_t due;
    if (__builtin_add_overflow(durable_time(h), span_ms, &due) || !leave)
        due = leave ? STORE_DUE_MAX : 0;
    durable_tell_time(h);
    store_begin(h->store);
    store_update(h->store, &(struct store_change){v->key, v->h.attempt, due, r.first_error, r.last_error, v->crashes});
    v->save = ++v->dest->backlog.saves;
    store_then(h->store, on_saved, v->dest);
    store_commit(h->store);
    fault_point("durable.retrying");
    if (leave) {
        durable_page(v->dest, &v->dest->backlog.delayed, 1);
        durable_note_due(h, false, due);
    }
    return leave;
}

void durable_bury(struct delivery *v, enum code reason)
{
    struct hub *h = v->dest->hub;
    struct store_dead d = {.died_ms = hub_wall(h), .reason = str_of(code_name(reason)), .record = record_of(v)};
    if (v->key == 0)
        d.record.key = store_key(queue_of(v->dest), 0);
    store_begin(h->store);
    store_bury(h->store, &d);
    store_commit(h->store);
    fault_point("durable.burying");
}

/* Not read before: a load that is asked for inside a unit is done before it. */
static void on_moved(void *arg, enum store_result result)
{
    struct dest *d = arg;
    d->backlog.moving--;
    d->backlog.paged++;
    if (result == STORE_OK)
        durable_refill(d);
}

bool durable_move(struct delivery *v, uint64_t from)
{
    struct dest *d = v->dest;
    struct store *st = d->hub->store;
    if (queue_of(d) == 0)
        return false;
    v->key = new_key(d);
    struct store_record r = record_of(v);
    store_begin(st);
    store_move(st, from, &r);
    store_then(st, on_moved, d);
    store_commit(st);
    fault_point("durable.burying");
    durable_page(d, &d->backlog.moving, 1);
    delivery_discard(v);
    return true;
}

/* ---------------------------------------------------------------- groups: settled with what it staged */

struct deferred {
    struct list_node link; /* in hub->deferring */
    struct hub *hub;
    struct delivery *delivery; /* NULL = its destination has gone meanwhile */
    struct buf headers, body; /* of the reply */
};

static void deferred_free(struct deferred *f)
{
    list_remove(&f->hub->deferring, &f->link);
    buf_fini(&f->headers);
    buf_fini(&f->body);
    mem_free(f);
}

static void on_deferred(void *arg, enum store_result result)
{
    struct deferred *f = arg;
    struct delivery *v = f->delivery;
    struct settlement again = {.outcome = OUTCOME_RETRY, .retry_after_ms = -1,
                               .reply = {.code = result == STORE_CONFLICT ? CODE_FAILED : CODE_OVERLOADED,
                                         .body = STR("what it staged could not be stored with its answer")}};
    struct reply reply = {.code = CODE_OK, .headers = buf_str(&f->headers), .body = buf_str(&f->body)};
    if (v != NULL)
        v->settling = false;
    if (v != NULL && result == STORE_OK)
        delivery_done(v, &reply);
    else if (v != NULL)
        delivery_undone(v, &again);
    deferred_free(f);
}

bool durable_defer(struct delivery *v, const struct settlement *s)
{
    struct store *st = v->dest->hub->store;
    if (v->dest->hub->group == 0 || st == NULL || !store_unit_puts(st))
        return false;
    struct deferred *f = mem_zalloc(sizeof(*f));
    f->hub = v->dest->hub;
    f->delivery = v;
    buf_str_put(&f->headers, s->reply.headers);
    buf_str_put(&f->body, s->reply.body);
    list_push(&v->dest->hub->deferring, &f->link);
    v->settling = true;
    v->h.holder = NULL; /* may be gone before the store answers */
    if (v->key != 0)
        store_end(st, v->key, STORE_DONE);
    store_then(st, on_deferred, f);
    return true;
}

static void drop_accepting(struct acceptance *a, const struct dest *d)
{
    LIST_EACH(&a->deliveries, n) {
        struct delivery *v = CONTAINER_OF(n, struct delivery, link);
        if (v->dest != d)
            continue;
        list_remove(&a->deliveries, n);
        delivery_discard(v);
    }
}

void durable_undefer(struct dest *d)
{
    LIST_EACH(&d->hub->accepting, n)
        drop_accepting(CONTAINER_OF(n, struct acceptance, link), d);
    LIST_EACH(&d->hub->deferring, n) {
        struct deferred *f = CONTAINER_OF(n, struct deferred, link);
        if (f->delivery == NULL || f->delivery->dest != d)
            continue;
        f->delivery->settling = false;
        delivery_drop(f->delivery);
        f->delivery = NULL;
    }
}

/* ---------------------------------------------------------------- from disk into memory */

static void set_route(struct delivery *v, struct route_set *set, const struct store_record *r)
{
    struct route *route = route_named(set, r->route);
    v->route = route != NULL ? route : &set->subscriptions;
    if (route == NULL)
        v->origin = str_dup(r->route); /* an orphan: the default policy holds for it */
    else if (r->target == TARGET_DEAD)
        v->h.to = route->dead_to.conf;
    else if (r->target < route->conf->to_count)
        v->h.to = route->targets[r->target].conf;
}

/* NULL: its headers are no block of ours, or its time was over. */
static struct delivery *restore(struct dest *d, const struct store_record *r)
{
    struct hub *h = d->hub;
    struct msg *m = msg_restore(&h->factory, r->subject, r->headers, r->body);
    struct plan p = {.dest = d, .route = &h->routes->subscriptions, .target = r->target, .durable = true};
    struct captures none = {.count = 0};
    if (m == NULL)
        return NULL;
    struct delivery *v = delivery_new(h, m, MSG_EVENT, &p, &none);
    m->accepted_ms = r->accepted_ms - h->store_offset_ms;
    if (r->expires_ms != STORE_NEVER) /* not a dead letter, nor what was sent again */
        str_parse_duration(headers_get(m->headers, "ttl"), &m->ttl_ms);
    msg_unref(m);
    set_route(v, h->routes, r);
    v->key = r->key;
    v->redrives = r->redrives;
    v->h.attempt = r->attempt;
    v->h.redelivered = r->redrives > 0 ? "redrive" : r->attempt > 0 || r->last_error.n > 0 ? "retry" : NULL;
    v->old = store_seq_of(r->key) < h->old_below;
    if (v->old)
        v->h.redelivered = "crash";
    if (r->as.n > 0) {
        v->subject = str_dup(r->as);
        v->h.subject = str_make(v->subject, r->as.n);
    }
    if (r->first_error.n > 0) {
        v->first_error = str_dup(r->first_error);
        v->last_error = str_dup(r->last_error);
    }
    v->crashes = r->crashes;
    poison_restore(v);
    v->deadline_ms = SCHED_NEVER;
    if (r->expires_ms != STORE_NEVER)
        v->deadline_ms = r->expires_ms - h->store_offset_ms;
    return v;
}

static void unreadable(struct dest *d, uint64_t key)
{
    log_write(d->hub->env.log, LOG_ERROR, "stored_message_unreadable", "destination", d->name, "key", LOG_NUM(key),
              NULL);
    d->hub->counts.state[DELIVERY_DROPPED]++;
    dead_ended(d->hub, key, DELIVERY_DROPPED);
    store_begin(d->hub->store);
    store_end(d->hub->store, key, STORE_DROPPED);
    store_commit(d->hub->store);
}

struct delivery *durable_restore(struct dest *d, const struct store_record *r)
{
    struct delivery *v = restore(d, r);
    if (v == NULL)
        unreadable(d, r->key);
    return v;
}

void durable_take(struct dest *d, const struct store_record *r)
{
    struct delivery *v = durable_restore(d, r);
    if (v == NULL)
        return;
    durable_hold(v);
    delivery_ready(v);
}

void durable_quarantined(struct dest *d, uint64_t count)
{
    if (count == 0)
        return;
    d->hub->counts.state[DELIVERY_DROPPED] += count;
    log_write(d->hub->env.log, LOG_ERROR, "stored_messages_damaged", "destination", d->name, "count", LOG_NUM(count),
              "kept", "in the store's quarantine", NULL);
}

static void on_loaded(void *arg, const struct store_rows *rows)
{
    struct dest *d = arg;
    struct backlog *b = &d->backlog;
    uint64_t taken = rows->count + rows->quarantined;
    if (rows->result != STORE_OK)
        return; /* faulted: the process is about to end */
    if (taken > b->paged || taken == 0) {
        log_write(d->hub->env.log, LOG_ERROR, "backlog_miscounted", "destination", d->name, "expected",
                  LOG_NUM(b->paged), "found", LOG_NUM(taken), NULL);
        taken = b->paged; /* the audit names what does not add up; what is there is served */
    }
    durable_page(d, &b->paged, -(int64_t)taken);
    durable_quarantined(d, rows->quarantined);
    for (size_t i = 0; i < rows->count; i++) {
        b->through = rows->records[i].key;
        struct delivery *v = durable_restore(d, &rows->records[i]);
        if (v != NULL)
            come_in(v); /* hands over what it can, which must not load from here on yet */
    }
    b->loading = false;
    durable_refill(d);
}

void durable_refill(struct dest *d)
{
    struct backlog *b = &d->backlog;
    if (d->hub->store == NULL || d->hub->draining)
        return;
    if (b->overdue > 0)
        durable_overdue_feed(d);
    if (b->loading || durable_full(d) || (b->left > 0 && durable_feed(d)))
        return;
    if (b->paged == 0 || b->left >= LEFT_MAX || !durable_half_free(d))
        return;
    b->loading = true;
    store_load(d->hub->store, b->through != 0 ? b->through : store_key(b->queue, 0), LOAD_MAX, on_loaded, d);
}

/* ---------------------------------------------------------------- the start */

static void adopt_queue(void *arg, const struct store_queue_view *q)
{
    struct hub *h = arg;
    char *name = str_dup(q->name);
    struct dest *d = hub_dest(h, name, q->service);
    mem_free(name);
    d->routed++;
    d->backlog.queue = q->queue;
    idmap_add(&h->queues, q->queue, d);
    durable_page(d, &d->backlog.paged, (int64_t)q->ready);
    durable_page(d, &d->backlog.delayed, (int64_t)q->delayed);
}

void hub_use_store(struct hub *h, struct store *st)
{
    struct store_stats s;
    store_stats(st, &s);
    h->store = st;
    durable_set_time(h, &s);
    h->old_below = s.suspect_below;
    hub_set_limits(h, &h->limits); /* room for notes in it */
    store_on_report(st, wake_waiters, h);
    store_each_queue(st, adopt_queue, h);
    logs_adopt(h);
    h->counts.state[DELIVERY_DEAD] = s.totals.dead;
    h->counts.accepted = h->counts.state[DELIVERY_STORED] + s.totals.dead;
    durable_look(h);
    fault_point("durable.adopted");
}

/* The process ends: what the store has not answered is told to nobody. */
void durable_forget(struct hub *h)
{
    LIST_EACH(&h->accepting, n) {
        struct acceptance *a = CONTAINER_OF(n, struct acceptance, link);
        LIST_EACH(&a->deliveries, k) {
            list_remove(&a->deliveries, k);
            delivery_discard(CONTAINER_OF(k, struct delivery, link));
        }
        list_remove(&h->accepting, n);
        mem_free(a->receipt);
        mem_free(a);
    }
    LIST_EACH(&h->deferring, n)
        deferred_free(CONTAINER_OF(n, struct deferred, link));
}

void durable_each_accepting(struct hub *h, void (*fn)(void *arg, const struct delivery *v), void *arg)
{
    LIST_EACH(&h->accepting, n) {
        LIST_EACH(&CONTAINER_OF(n, struct acceptance, link)->deliveries, k)
            fn(arg, CONTAINER_OF(k, struct delivery, link));
    }
}

struct store *hub_store(const struct hub *h)
{
    return h->store;
}
