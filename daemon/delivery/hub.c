#include "delivery/hub.h"

#include <assert.h>

#include "base/mem.h"
#include "delivery/history.h"
#include "delivery/internal.h"
#include "msg/headers.h"

#define TICK_MAX 1000 /* what is due beyond this many waits for the next turn */

static const struct intake_ops hub_intake_ops;

struct hub *hub_new(const struct hub_env *env, const struct hub_limits *limits)
{
    struct hub *h = mem_zalloc(sizeof(*h));
    h->env = *env;
    h->armed_ms = SCHED_NEVER;
    h->factory.sample = 1.0;
    if (env->seed != 0)
        rand_seed(&h->factory.rand, env->seed);
    else
        rand_seed_os(&h->factory.rand);
    h->subscriptions = matcher_new();
    sched_init(&h->sched);
    list_init(&h->dead);
    list_init(&h->walks);
    list_init(&h->whys);
    list_init(&h->memory_waiters);
    list_init(&h->store_waiters);
    list_init(&h->accepting);
    list_init(&h->deferring);
    list_init(&h->burying);
    list_init(&h->unpumped);
    list_init(&h->overdue);
    list_init(&h->replays);
    h->log_due.kind = DUE_LOGS;
    h->store_due.kind = DUE_STORE;
    h->store_due_ms = SCHED_NEVER;
    h->factory.now = env->now;
    h->factory.wall = env->wall;
    h->factory.arg = env->arg;
    hub_set_limits(h, limits);
    return h;
}

static void drop_all(struct list *l)
{
    while (!list_empty(l))
        delivery_drop(CONTAINER_OF(list_first(l), struct delivery, link));
}

static void forget_askers(struct list *l)
{
    LIST_EACH(l, n) {
        struct delivery *v = CONTAINER_OF(n, struct delivery, link);
        if (v->receipt != NULL)
            v->receipt->asker.ops = NULL;
    }
}

void hub_free(struct hub *h)
{
    struct map_entry *e;
    h->store = NULL; /* what is on disk stays there */
    durable_forget(h);
    dead_tells_forget(h);
    dead_walks_clear(h);
    whys_clear(h);
    history_free(h->history);
    h->history = NULL;
    replays_free(h);
    hub_logs_free(h);
    for (size_t i = 0; (e = map_next(&h->dests, &i)) != NULL;) {
        struct dest *d = e->value;
        d->pumping = true; /* nothing is handed over any more */
        struct list *lists[] = {&d->parked, &d->ready, &d->waiting, &d->inflight};
        for (size_t k = 0; k < 4; k++) {
            forget_askers(lists[k]);
            drop_all(lists[k]);
        }
    }
    dead_clear(h);
    route_set_unref(h->routes);
    for (size_t i = 0; (e = map_next(&h->dests, &i)) != NULL;)
        dest_free(e->value);
    for (size_t i = 0; (e = map_next(&h->sources, &i)) != NULL;) {
        mem_free(((struct source *)e->value)->key);
        mem_free(((struct source *)e->value)->name);
        mem_free(e->value);
    }
    map_fini(&h->dests);
    map_fini(&h->sources);
    for (uint32_t i = 0; i < h->subscriber_count; i++)
        mem_free(h->subscribers[i].filter);
    mem_free(h->subscribers);
    matcher_free(h->subscriptions);
    mem_free(h->plans);
    delivery_spares_free(h);
    idmap_fini(&h->queues);
    buf_fini(&h->lane_key);
    sched_clear(&h->sched, &h->store_due);
    sched_fini(&h->sched);
    mem_free(h);
}

void hub_set_limits(struct hub *h, const struct hub_limits *limits)
{
    h->limits = *limits;
    if (h->history == NULL && limits->history > 0)
        h->history = history_new(h);
    if (h->history != NULL)
        history_limit(h->history, limits->history);
}

void hub_flush(struct hub *h)
{
    if (h->history != NULL)
        history_flush(h->history);
}

void hub_set_sample(struct hub *h, double sample)
{
    h->factory.sample = sample;
}

int64_t hub_now(struct hub *h)
{
    return h->env.now(h->env.arg);
}

int64_t hub_wall(struct hub *h)
{
    return h->env.wall(h->env.arg);
}

void hub_drain(struct hub *h, bool draining)
{
    h->draining = draining;
}

bool hub_draining(const struct hub *h)
{
    return h->draining;
}

/* ---------------------------------------------------------------- time */

void hub_schedule_from(struct hub *h, struct due *d, int64_t now, int64_t span_ms, bool regular)
{
    sched_set(&h->sched, d, now, span_ms, regular);
    if (span_ms != SCHED_NEVER && d->when_ms < h->armed_ms) {
        h->armed_ms = d->when_ms;
        h->env.arm(h->env.arg, d->when_ms);
    }
}

void hub_schedule(struct hub *h, struct due *d, int64_t span_ms, bool regular)
{
    hub_schedule_from(h, d, hub_now(h), span_ms, regular);
}

void hub_tick(struct hub *h)
{
    int64_t now = hub_now(h);
    struct due *d;
    for (int i = 0; i < TICK_MAX && (d = sched_take(&h->sched, now)) != NULL; i++) {
        if (d->kind == DUE_HISTORY)
            history_flush(h->history);
        else if (d->kind == DUE_STORE)
            durable_due(h);
        else if (d->kind == DUE_WALK)
            dead_walk_due(d);
        else if (d->kind == DUE_LOGS)
            logs_due(h);
        else if (d->kind == DUE_REPLAY)
            replay_due(d);
        else if (d->kind == DUE_PROBE)
            dest_due(CONTAINER_OF(d, struct dest, probe));
        else if (d->kind == DUE_ARRIVAL)
            dest_arrival_due(CONTAINER_OF(d, struct dest, arrival));
        else if (d->kind == DUE_SUSPECT)
            dest_due(CONTAINER_OF(d, struct dest, suspect));
        else
            delivery_due(CONTAINER_OF(d, struct delivery, due));
    }
    h->armed_ms = sched_next(&h->sched);
    if (h->armed_ms != SCHED_NEVER)
        h->env.arm(h->env.arg, h->armed_ms);
}

/* ---------------------------------------------------------------- sources */

struct intake *hub_intake(struct hub *h, const char *key, const char *name)
{
    struct source *s = map_get(&h->sources, str_of(key));
    if (s == NULL) {
        s = mem_zalloc(sizeof(*s));
        s->hub = h;
        s->key = mem_strdup(key);
        s->name = mem_strdup(name);
        s->intake = (struct intake){.ops = &hub_intake_ops, .factory = &h->factory, .name = s->name};
        s->routes = h->routes != NULL ? map_get(&h->routes->sources, str_of(key)) : NULL;
        map_set(&h->sources, str_of(key), s);
    }
    return &s->intake;
}

/* Written and read where they stand: a copy in wide pieces would wait for the narrow ones to be written. */
static struct plan *plan_add(struct hub *h)
{
    if (h->plan_count == h->plan_cap) {
        h->plan_cap = h->plan_cap > 0 ? h->plan_cap * 2 : 8;
        h->plans = mem_realloc(h->plans, h->plan_cap * sizeof(*h->plans));
    }
    return &h->plans[h->plan_count++];
}

static void plan_subscriber(void *arg, uint32_t value)
{
    struct hub *h = arg;
    *plan_add(h) = (struct plan){.dest = h->subscribers[value].dest, .route = &h->routes->subscriptions};
}

static void plan_targets(struct hub *h, struct route *r, const char *only)
{
    for (size_t i = 0; i < r->conf->to_count; i++) {
        if (only == NULL || strcmp(r->targets[i].dest->name, only) == 0)
            *plan_add(h) = (struct plan){.dest = r->targets[i].dest, .route = r, .to = r->targets[i].conf, .target = (uint32_t)i};
    }
}

/* Fills hub.plans: the route's targets first, then the subscriptions (events only); and hub.logged. */
static void plan_message(struct source *s, const struct msg *m, struct captures *c)
{
    struct hub *h = s->hub;
    uint32_t index = s->routes != NULL ? matcher_first(s->routes->matcher, m->subject, c) : MATCH_NONE;
    h->plan_count = 0;
    h->logged = NULL;
    if (index != MATCH_NONE) {
        struct route *r = h->routes->routes[index];
        r->matched++;
        route_captures(r, m->subject, c);
        h->logged = r->conf->log.name != NULL && m->kind == MSG_EVENT ? r : NULL;
        plan_targets(h, r, NULL);
    }
    if (m->kind == MSG_EVENT && m->not_before_ms == 0 && matcher_count(h->subscriptions) > 0)
        matcher_all(h->subscriptions, m->subject, plan_subscriber, h);
}

static enum code memory_room(struct hub *h, const struct msg *m, struct waiter *w)
{
    uint64_t need = (m->size + sizeof(struct delivery)) * h->plan_count;
    if (h->memory + need <= h->limits.memory)
        return CODE_OK;
    if (w == NULL || m->kind == MSG_REQUEST || need > h->limits.memory)
        return CODE_OVERLOADED;
    waiter_enrol(w, &h->memory_waiters);
    return CODE_BUSY;
}

static enum code log_room(struct hub *h, const struct msg *m, struct waiter *w)
{
    if (h->logged == NULL)
        return m->expected_version == MSG_ANY_VERSION ? CODE_OK : CODE_INVALID;
    if (m->expected_version != MSG_ANY_VERSION && headers_get(m->headers, "key").n == 0)
        return CODE_INVALID;
    return h->logged->log != NULL ? store_room(h, m, w) : CODE_OVERLOADED;
}

/* Is there room everywhere? All or nothing: a message is never accepted for half of its targets. */
static enum code plan_check(struct hub *h, const struct msg *m, struct waiter *w)
{
    if (h->plan_count == 0 && h->logged == NULL)
        return CODE_NO_ROUTE;
    if (m->not_before_ms > 0 && h->store == NULL)
        return CODE_INVALID;
    enum code logged = log_room(h, m, w);
    if (logged != CODE_OK)
        return logged;
    for (size_t i = 0; i < h->plan_count; i++) {
        struct plan *p = &h->plans[i];
        enum msg_kind kind = i == 0 ? m->kind : MSG_EVENT;
        p->durable = durable_wanted(h, p, kind, m);
        enum code code = p->durable ? durable_room(p->dest, m, w) : dest_room(p->dest, m, kind, w);
        if (code != CODE_OK)
            return code;
    }
    return memory_room(h, m, w);
}

/* What is planned becomes deliveries. Where it is logged or some are durable, the asker is answered when
 * that is on disk, else when all have ended. */
static void accept_all(struct hub *h, struct msg *m, struct receipt *r, const struct captures *c)
{
    const struct route *logged = h->logged;
    struct acceptance *durable = logged != NULL ? durable_log(h, logged, m) : NULL;
    size_t count = h->plan_count;
    bool stored = durable != NULL || (count > 0 && h->plans[0].durable);
    for (size_t n = 0; n < count; n++) {
        enum msg_kind kind = n == 0 ? m->kind : MSG_EVENT;
        const struct plan *p = &h->plans[n];
        struct delivery *v = delivery_new(h, m, kind, p, c);
        if (p->durable) {
            durable = durable_accept(h, durable, v);
            continue;
        }
        if (durable != NULL && (logged != NULL || durable_guarded(durable))) {
            durable_hold_back(durable, v);
            continue;
        }
        if (r != NULL && !stored && (m->kind == MSG_EVENT || n == 0)) {
            v->receipt = r;
            r->open++;
            r->request = m->kind == MSG_REQUEST ? v : NULL;
        }
        h->counts.accepted++;
        hub_trace(h, TAP_ACCEPTED, v);
        delivery_ready(v);
    }
    if (durable != NULL)
        durable_accepted(durable, stored ? r : NULL, stored);
    if (!stored)
        h->counts.messages++;
}

static enum code hub_accept(struct intake *i, struct msg *m, const struct asker *asker, struct waiter *w,
                            struct receipt **receipt)
{
    struct source *s = (struct source *)i;
    struct hub *h = s->hub;
    struct captures c; /* 150 bytes, most often empty */
    c.count = 0;
    h->why = NULL;
    plan_message(s, m, &c);
    enum code code = plan_check(h, m, w);
    i->why = h->why;
    if (code != CODE_OK) {
        if (code != CODE_BUSY)
            hub_refused(h, code);
        return code;
    }
    struct receipt *r = receipt_new(h, asker);
    accept_all(h, m, r, &c);
    if (receipt != NULL)
        *receipt = r;
    return CODE_OK;
}

enum code hub_send_again(struct hub *h, struct route *r, struct msg *m, const char *service, struct waiter *w)
{
    struct captures c = {.count = 0};
    h->plan_count = 0;
    h->logged = NULL;
    if (!filter_matches(str_of(r->conf->match != NULL ? r->conf->match : ">"), m->subject, &c))
        return CODE_NO_ROUTE; /* its filter is another one now */
    route_captures(r, m->subject, &c);
    plan_targets(h, r, service);
    enum code code = plan_check(h, m, w);
    h->again = true;
    if (code == CODE_OK)
        accept_all(h, m, NULL, &c);
    h->again = false;
    return code;
}

static void hub_withdraw(struct receipt *r)
{
    r->asker.ops = NULL;
    if (r->request == NULL)
        return; /* events go on without their asker; the last delivery frees the receipt */
    struct delivery *v = r->request;
    struct dest *d = v->dest;
    if (v->settling)
        return; /* answered already; its end frees the receipt */
    if (v->state == DELIVERY_INFLIGHT) {
        v->sink->ops->cancel(v->sink, &v->h, true);
        if (v->sink == d->sink)
            breaker_unsent(&d->breaker);
    }
    delivery_drop(v);
    if (!list_empty(&d->ready)) /* it was the probe that they were waiting for */
        dest_pump(d);
}

static void count_refused(struct intake *i, enum code code)
{
    hub_refused(((struct source *)i)->hub, code);
}

static const struct intake_ops hub_intake_ops = {.accept = hub_accept, .withdraw = hub_withdraw, .refused = count_refused};

/* ---------------------------------------------------------------- groups */

void hub_group_begin(struct hub *h)
{
    h->group++;
    if (h->store != NULL)
        store_begin(h->store);
}

void hub_group_end(struct hub *h)
{
    assert(h->group > 0);
    h->group--;
    if (h->store != NULL)
        store_commit(h->store);
    while (h->group == 0 && !list_empty(&h->unpumped)) {
        struct dest *d = CONTAINER_OF(list_first(&h->unpumped), struct dest, unpumped);
        list_remove(&h->unpumped, &d->unpumped);
        dest_pump(d);
    }
}

/* ---------------------------------------------------------------- memory and waiting sources */

void hub_release_memory(struct hub *h, size_t bytes)
{
    assert(h->memory >= bytes);
    h->memory -= bytes;
    if (!list_empty(&h->memory_waiters) && h->memory < h->limits.memory / 10 * 9)
        waiters_wake(&h->memory_waiters);
}

/* ---------------------------------------------------------------- destinations */

struct dest *hub_dest(struct hub *h, const char *name, bool service)
{
    struct dest *d = map_get(&h->dests, str_of(name));
    if (d != NULL)
        return d;
    d = mem_zalloc(sizeof(*d));
    d->hub = h;
    d->name = mem_strdup(name);
    d->service = service;
    d->probe.kind = DUE_PROBE;
    d->arrival.kind = DUE_ARRIVAL;
    d->suspect.kind = DUE_SUSPECT;
    list_init(&d->ready);
    list_init(&d->parked);
    list_init(&d->hungry);
    list_init(&d->waiting);
    list_init(&d->inflight);
    list_init(&d->waiters);
    list_init(&d->share.waiters);
    map_set(&h->dests, str_of(name), d);
    return d;
}

struct dest *hub_adopt(struct hub *h, struct sink *sink)
{
    struct dest *d = hub_dest(h, sink->name, sink->service);
    assert(d->sink == NULL);
    d->sink = sink;
    d->service = sink->service;
    sink->core = &dest_up;
    sink->dest = d;
    if (sink->up) {
        dest_came(d);
        dest_pump(d);
    }
    return d;
}

void hub_each_dest(struct hub *h, void (*fn)(void *arg, const struct dest_status *s), void *arg)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&h->dests, &i)) != NULL;) {
        struct dest_status status;
        dest_status(e->value, &status);
        fn(arg, &status);
    }
}

/* ---------------------------------------------------------------- subscriptions */

uint32_t hub_subscribe(struct hub *h, struct str filter, struct dest *dest)
{
    uint32_t at = 0;
    while (at < h->subscriber_count && h->subscribers[at].dest != NULL)
        at++;
    if (at == h->subscriber_count) {
        h->subscriber_count = h->subscriber_count > 0 ? h->subscriber_count * 2 : 8;
        h->subscribers = mem_realloc(h->subscribers, h->subscriber_count * sizeof(*h->subscribers));
        for (uint32_t i = at; i < h->subscriber_count; i++)
            h->subscribers[i] = (struct subscription){NULL, NULL};
    }
    h->subscribers[at] = (struct subscription){dest, str_dup(filter)};
    matcher_add(h->subscriptions, filter, at);
    return at;
}

void hub_unsubscribe(struct hub *h, uint32_t at)
{
    assert(at < h->subscriber_count && h->subscribers[at].dest != NULL);
    matcher_remove(h->subscriptions, str_of(h->subscribers[at].filter), at);
    mem_free(h->subscribers[at].filter);
    h->subscribers[at] = (struct subscription){NULL, NULL};
}

bool hub_forgettable(const struct dest *d)
{
    return d->routed == 0 && d->parted == 0 && list_empty(&d->ready) && list_empty(&d->parked) && list_empty(&d->waiting) && list_empty(&d->inflight);
}

void hub_retire(struct hub *h, struct dest *d)
{
    hub_disown(h, d->sink);
    durable_undefer(d);
    drop_all(&d->parked);
    drop_all(&d->ready);
    drop_all(&d->waiting);
    map_remove(&h->dests, str_of(d->name));
    dest_free(d);
}

/* ---------------------------------------------------------------- figures */

void hub_counts(const struct hub *h, struct hub_counts *out)
{
    *out = h->counts;
}

uint64_t hub_memory(const struct hub *h)
{
    return h->memory;
}

size_t hub_live(const struct hub *h)
{
    return h->counts.state[DELIVERY_READY] + h->counts.state[DELIVERY_PARKED] + h->counts.state[DELIVERY_WAITING] +
           h->counts.state[DELIVERY_INFLIGHT];
}

/* Stored ones that nobody has in hand: a draining daemon leaves them where they are. */
static size_t stays_on_disk(const struct dest *d)
{
    size_t sum = 0;
    const struct list *lists[] = {&d->ready, &d->parked, &d->waiting};
    for (size_t i = 0; d->backlog.held > 0 && i < 3; i++) {
        LIST_EACH(lists[i], n)
            sum += CONTAINER_OF(n, struct delivery, link)->key != 0;
    }
    return sum;
}

/* Those that somebody is there to take. */
size_t hub_deliverable(const struct hub *h)
{
    size_t sum = h->accepting.count + h->deferring.count + h->burying.count;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&h->dests, &i)) != NULL;) {
        const struct dest *d = e->value;
        if (d->sink != NULL && d->sink->up)
            sum += d->ready.count + d->parked.count + d->waiting.count + d->inflight.count - stays_on_disk(d);
    }
    return sum;
}

void hub_refused(struct hub *h, enum code code)
{
    h->counts.refused[code]++;
}

int64_t hub_unaccounted(const struct hub *h)
{
    uint64_t live[DELIVERY_STATES] = {0}, sum = 0;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&h->dests, &i)) != NULL;) {
        const struct dest *d = e->value;
        live[DELIVERY_READY] += d->ready.count;
        live[DELIVERY_PARKED] += d->parked.count;
        live[DELIVERY_WAITING] += d->waiting.count;
        live[DELIVERY_INFLIGHT] += d->inflight.count;
    }
    live[DELIVERY_STORED] = durable_stored(h);
    for (int s = DELIVERY_STORED; s < DELIVERY_STATES; s++)
        sum += s <= DELIVERY_INFLIGHT ? live[s] : h->counts.state[s];
    return (int64_t)(h->counts.accepted - sum);
}

void hub_tap(struct hub *h, void (*fn)(void *arg, const struct tap *t), void *arg)
{
    h->tap = fn;
    h->tap_arg = arg;
}

void hub_tell_tap(struct hub *h, enum tap_event event, const struct delivery *v)
{
    struct tap t = {event, v->h.msg, route_name(v->route), v->dest->name, v->h.attempt};
    h->tap(h->tap_arg, &t);
}
