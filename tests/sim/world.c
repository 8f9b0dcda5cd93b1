#include "world.h"

#include <stdio.h>

#include "base/mem.h"
#include "internal.h"

#define STEPS 600
#define HEAL_ROUNDS 10000 /* of 10 ms: a look at the wall clock takes a minute to come */

const char *const sight_names[SIGHTS] = {
    "done", "retry", "reject", "hold", "timeout", "dead", "expired", "dropped", "breaker", "busy", "resumed",
    "no-route", "no-service", "unavailable", "overloaded", "stream", "extend", "withdrawn", "redrive", "purge",
    "reload", "subscription", "retired", "fan-out", "request-ok", "request-error", "stored", "crash",
    "lost-ack", "redelivered", "store-full", "store-fault", "outbox",
    "ordered", "clock", "clock-while-down", "delayed", "delayed-over-life", "deliver-at", "pause", "pause-over-life",
    "copy", "copy-later", "buried", "canary", "canary-stopped", "dropped-oldest"};

static bool is_low(const struct world *w)
{
    struct store_stats s = {0};
    if (w->store != NULL)
        store_stats(w->store, &s);
    return s.low;
}

/* What is dropped makes room where there is little: before what has just happened, or after it. */
static void check_drops(struct world *w, bool was_low)
{
    struct hub_counts c;
    hub_counts(w->hub, &c);
    if (c.dropped_full > w->dropped && !was_low && !is_low(w))
        broken(w, "the oldest were dropped while there was room");
    w->dropped = c.dropped_full;
}

static void step(struct world *w)
{
    bool was_low = is_low(w);
    chance(w);
    if (w->drops)
        check_drops(w, was_low);
    if (hub_unaccounted(w->hub) != 0)
        broken(w, "a delivery is in no state, or in two");
}

static bool still_busy(struct world *w)
{
    struct hub_counts c;
    hub_counts(w->hub, &c);
    return hub_live(w->hub) > 0 || c.state[DELIVERY_STORED] > 0 ||
           (w->store != NULL && store_mem_pending(w->store) > 0);
}

/* Everybody is there, has room and says OK: all has to end within a bound. */
static void heal(struct world *w)
{
    clock_put_right(w);
    for (size_t i = 0; i < SINKS; i++) {
        w->sinks[i].room = 1000;
        sink_set_up(&w->sinks[i].sink, true, "healed");
        w->sinks[i].sink.core->ready(&w->sinks[i].sink);
    }
    if (w->subscribed)
        do_subscription(w);
    for (int round = 0; round < HEAL_ROUNDS && still_busy(w); round++) {
        while (w->store != NULL && store_mem_run(w->store, 1) > 0)
            continue;
        for (size_t i = 0; i < SINKS; i++) {
            struct handover *h = pick(w, &w->sinks[i]);
            if (h != NULL)
                answer(w, &w->sinks[i], h, OUTCOME_OK, CODE_OK);
        }
        move_clock(w, 10);
    }
}

/* What the disk says, and what was promised. */
static void judge_store(struct world *w, const struct hub_counts *c)
{
    uint64_t lost = 0;
    struct store_totals t;
    store_disk_totals(w->disk, &t);
    if (t.ready + t.delayed != 0)
        broken(w, "healed, but the store still holds deliveries");
    w->dropped_full += c->dropped_full;
    w->out->seen[SEEN_DROPPED_OLDEST] += w->dropped_full;
    if (t.accepted != t.done + t.expired + t.dropped + t.dead + t.quarantined)
        broken(w, "the books of the store do not add up");
    for (size_t i = 0; i < w->ask_count; i++) {
        if (w->asks[i].promised && !w->asks[i].ended)
            note(w, "lost", i);
        lost += w->asks[i].promised && !w->asks[i].ended;
    }
    if (lost > w->dropped_full)
        broken(w, "an acknowledged message is lost");
}

static void print_dest(void *arg, const struct dest_status *d)
{
    (void)arg;
    printf("         %s: ready %zu, waiting %zu, in flight %zu, stored %llu, breaker %s\n", d->name, d->ready, d->waiting,
           d->inflight, (unsigned long long)d->stored, d->breaker);
}

static void judge(struct world *w)
{
    struct hub_counts c;
    hub_counts(w->hub, &c);
    if (w->verbose)
        hub_each_dest(w->hub, print_dest, NULL);
    if (w->disk != NULL)
        judge_store(w, &c);
    if (still_busy(w))
        broken(w, "healed, but some deliveries never end");
    if (c.accepted != c.state[DELIVERY_DONE] + c.state[DELIVERY_DEAD] + c.state[DELIVERY_EXPIRED] +
                          c.state[DELIVERY_DROPPED])
        broken(w, "the books do not add up");
    if (hub_memory(w->hub) != 0)
        broken(w, "nothing is held, but memory is charged");
    for (size_t i = 0; i < w->ask_count; i++) {
        if (w->asks[i].state == ASK_OPEN)
            broken(w, "an asker was never answered");
    }
    w->out->seen[SEEN_TIMEOUT] += c.timeouts;
    w->out->seen[SEEN_DEAD] += c.state[DELIVERY_DEAD];
    w->out->seen[SEEN_EXPIRED] += c.state[DELIVERY_EXPIRED];
    w->out->seen[SEEN_DROPPED] += c.state[DELIVERY_DROPPED];
    w->out->seen[SEEN_FAN_OUT] += c.accepted > c.messages;
}

static void watch_breakers(void *arg, const struct dest_status *d)
{
    if (d->breaker[0] == 'o')
        see(arg, SEEN_BREAKER);
}

void world_start(struct world *w)
{
    static const char *const names[SINKS] = {"s0", "s1", "s2", "e3", "grave"};
    struct hub_env env = {.arg = w, .now = env_now, .wall = env_wall, .arm = env_arm, .seed = rand_u64(&w->rand) | 1};
    struct hub_limits limits = {.memory = 20000, .queue = 5 + below(w, 30), .dead = 1 + below(w, 20),
                                .store_drops = w->drops};
    w->hub = hub_new(&env, &limits);
    hub_tap(w->hub, on_tap, w);
    if (w->disk != NULL) {
        w->store = store_mem_open(w->disk);
        hub_use_store(w->hub, w->store);
    }
    use_routes(w);
    hub_set_order(hub_dest(w->hub, names[0], true), "key", below(w, 2) == 0);
    for (size_t i = 0; i < SINKS; i++) {
        sink_setup(w, &w->sinks[i], names[i], names[i][0] == 's');
        sink_set_up(&w->sinks[i].sink, below(w, 4) > 0, "start");
    }
    for (size_t i = 0; i < SOURCES; i++) {
        w->sources[i] = hub_intake(w->hub, i == 0 ? "in0" : "in1", i == 0 ? "in0" : "in1");
        w->waiters[i] = (struct waiter){.resume = on_resume, .arg = w};
    }
}

void world_run(uint64_t seed, bool verbose, struct outcome_of_run *out)
{
    struct world *w = mem_zalloc(sizeof(*w));
    *out = (struct outcome_of_run){.trace = UINT64_C(0xcbf29ce484222325)};
    rand_seed(&w->rand, seed);
    w->out = out;
    w->verbose = verbose;
    w->now = 1000;
    w->armed = INT64_MAX;
    w->armed_actions = (unsigned)rand_u64(&w->rand);
    if (below(w, 2) == 0)
        w->disk = store_disk_new(5 + below(w, 100));
    w->buries[0] = below(w, 2) == 0;
    w->buries[1] = below(w, 2) == 0;
    w->drops = w->disk != NULL && below(w, 3) == 0;
    world_start(w);
    for (int i = 0; i < STEPS && out->broken == NULL; i++) {
        step(w);
        if (i % 16 == 0)
            hub_each_dest(w->hub, watch_breakers, w);
    }
    if (out->broken == NULL) {
        heal(w);
        judge(w);
    }
    out->simulated_ms = (uint64_t)w->now;
    for (size_t i = 0; i < SOURCES; i++)
        waiter_cancel(&w->waiters[i]);
    store_close(w->store);
    hub_free(w->hub);
    if (w->disk != NULL)
        store_disk_free(w->disk);
    mem_free(w);
}
