#include <stdio.h>

#include "base/clock.h"
#include "internal.h"

/* ---------------------------------------------------------------- what chance does */

static struct fake_sink *some_sink(struct world *w)
{
    uint64_t n = below(w, SINKS + w->subscribed);
    return n < SINKS ? &w->sinks[n] : &w->subscriber;
}

static void do_answer(struct world *w)
{
    static const struct {
        enum outcome outcome;
        enum code code;
        enum sight sight;
    } ways[] = {
        {OUTCOME_OK, CODE_OK, SEEN_DONE},           {OUTCOME_OK, CODE_OK, SEEN_DONE},
        {OUTCOME_RETRY, CODE_FAILED, SEEN_RETRY},   {OUTCOME_RETRY, CODE_UNAVAILABLE, SEEN_RETRY},
        {OUTCOME_REJECT, CODE_INVALID, SEEN_REJECT}, {OUTCOME_HOLD, CODE_OK, SEEN_HOLD},
    };
    struct fake_sink *f = some_sink(w);
    struct handover *h = pick(w, f);
    if (h == NULL)
        return;
    size_t way = below(w, sizeof(ways) / sizeof(ways[0]));
    see(w, ways[way].sight);
    answer(w, f, h, ways[way].outcome, ways[way].code);
}

static void do_stream(struct world *w)
{
    struct fake_sink *f = some_sink(w);
    struct handover *h = pick(w, f);
    struct reply item = {.body = STR("1")};
    if (h != NULL && h->kind == MSG_REQUEST)
        h->core->more(h, &item, NULL);
}

static void do_extend(struct world *w)
{
    struct fake_sink *f = some_sink(w);
    struct handover *h = pick(w, f);
    if (h == NULL)
        return;
    see(w, SEEN_EXTEND);
    note(w, "extend", h->attempt);
    h->core->extend(h);
}

static void do_state(struct world *w)
{
    struct fake_sink *f = some_sink(w);
    bool up = below(w, 3) > 0;
    note(w, up ? "up" : "down", 0);
    sink_set_up(&f->sink, up, "chance");
    if (!up)
        lose_all(w, f);
}

static void do_room(struct world *w)
{
    struct fake_sink *f = some_sink(w);
    f->room = below(w, 20);
    if (f->starved && f->held.count < f->room && f->sink.up) {
        f->starved = false;
        f->sink.core->ready(&f->sink);
    }
}

static void do_withdraw(struct world *w)
{
    if (w->ask_count == 0)
        return;
    struct ask *a = &w->asks[below(w, w->ask_count)];
    if (a->state != ASK_OPEN)
        return;
    a->state = ASK_WITHDRAWN;
    see(w, SEEN_WITHDRAWN);
    note(w, "withdraw", (uint64_t)(a - w->asks));
    w->sources[0]->ops->withdraw(a->receipt);
}

static void note_refusal(struct world *w, enum code code)
{
    static const enum sight sights[CODE_COUNT] = {
        [CODE_NO_ROUTE] = SEEN_NO_ROUTE, [CODE_NO_SERVICE] = SEEN_NO_SERVICE,
        [CODE_UNAVAILABLE] = SEEN_UNAVAILABLE, [CODE_OVERLOADED] = SEEN_OVERLOADED, [CODE_BUSY] = SEEN_BUSY};
    if (sights[code] != 0)
        see(w, sights[code]);
    note(w, "refused", code);
}

const char *const subjects[SUBJECTS] = {"a.one", "a.two", "b.x.y", "c", "d.both", "nowhere"};

/* The last two need a store. */
static int put_time(struct world *w, struct ask *a, char *out, size_t room)
{
    int64_t ms = (int64_t)below(w, 3000) + 1;
    char when[32];
    switch (below(w, w->disk != NULL ? 10 : 8)) {
    case 0:
        a->expires = w->now + (ms < w->ttl_ms ? ms : w->ttl_ms);
        return snprintf(out, room, "ttl: %lldms\n", (long long)ms);
    case 1:
        return snprintf(out, room, "timeout: %lldms\n", (long long)ms);
    case 8:
        a->begins = w->now + ms;
        return snprintf(out, room, "delay: %lldms\n", (long long)ms);
    case 9:
        a->at_wall = env_wall(w) + ms;
        return snprintf(out, room, "deliver-at: %s\n", clock_rfc3339(a->at_wall, when));
    default:
        return 0;
    }
}

/* A copy has the id, the source and the subject of its original, and nothing that tells when. */
static struct msg *make_message(struct world *w, size_t source, struct ask *a)
{
    char body[512] = {0}, headers[160] = "";
    const char *what;
    bool copy = a->original != w->ask_count;
    int n = snprintf(headers, sizeof(headers), "id: t%zu\n", a->original);
    if (below(w, 3) == 0)
        n += snprintf(headers + n, sizeof(headers) - (size_t)n, "key: %c\n", (char)('a' + (char)below(w, 3)));
    if (!copy)
        put_time(w, a, headers + n, sizeof(headers) - (size_t)n);
    struct msg_input input = {.kind = !copy && below(w, 2) == 0 ? MSG_REQUEST : MSG_EVENT,
                              .subject = str_of(subjects[a->subject]), .headers = str_of(headers),
                              .body = str_make(body, below(w, sizeof(body))), .source = str_of(w->sources[source]->name)};
    a->request = input.kind == MSG_REQUEST;
    return msg_new(w->sources[source]->factory, &input, &what);
}

static void set_promise(struct world *w, struct ask *a, size_t source)
{
    int route = route_of(a->subject, source);
    a->durable = w->disk != NULL && source == 0 && !a->request;
    a->deduped = a->durable && route >= 0 && w->dedupes[route] && a->begins == a->born && a->at_wall == 0;
}

static void offer(struct world *w, size_t source, struct ask *a)
{
    struct msg *m = make_message(w, source, a);
    struct asker asker = {.ops = a->request || below(w, 2) == 0 ? &asker_ops : NULL, .ctx = w, .token = w->ask_count};
    struct waiter *waiter = below(w, 4) > 0 ? &w->waiters[source] : NULL;
    struct receipt *receipt = NULL;
    set_promise(w, a, source);
    enum code code = intake_accept(w->sources[source], m, &asker, waiter, &receipt);
    if (code != CODE_OK) {
        note_refusal(w, code);
    } else if (asker.ops != NULL) {
        a->state = ASK_OPEN;
        a->receipt = receipt;
        note(w, "asked", asker.token);
    } else {
        note(w, "told", asker.token);
    }
    w->ask_count += code == CODE_OK; /* its id is in use */
    msg_unref(m);
}

static struct ask *next_ask(struct world *w, size_t source)
{
    if (w->ask_count == ASKS_MAX || w->waiters[source].in != NULL)
        return NULL; /* a source that waits offers nothing */
    struct ask *a = &w->asks[w->ask_count];
    *a = (struct ask){.life = w->life, .original = w->ask_count, .born = w->now, .begins = w->now,
                      .expires = w->now + w->ttl_ms};
    return a;
}

static void do_send(struct world *w)
{
    size_t source = below(w, SOURCES);
    struct ask *a = next_ask(w, source);
    if (a == NULL)
        return;
    a->subject = (unsigned)below(w, SUBJECTS);
    offer(w, source, a);
}

/* Sent again by somebody who has not heard, or does not know. */
static void do_copy(struct world *w)
{
    struct ask *first = w->ask_count > 0 ? &w->asks[below(w, w->ask_count)] : NULL;
    if (first == NULL || !first->deduped || first->born < w->trusted || !w->dedupes[route_of(first->subject, 0)])
        return;
    struct ask *a = next_ask(w, 0);
    if (a == NULL)
        return;
    first = &w->asks[first->original];
    first->expires = first->expires < a->expires ? first->expires : a->expires; /* if that was lost, this one is the first */
    a->original = first->original;
    a->subject = first->subject;
    offer(w, 0, a);
}

static void do_time(struct world *w)
{
    move_clock(w, (int64_t)below(w, below(w, 10) == 0 ? 5000 : 200));
}

/* ---------------------------------------------------------------- the store and its disk */

void do_store(struct world *w)
{
    if (w->store != NULL && store_mem_run(w->store, 1 + below(w, 4)) > 0)
        see(w, SEEN_STORED);
}

static void lose_process(struct world *w)
{
    for (size_t i = 0; i < w->ask_count; i++) {
        if (w->asks[i].state == ASK_OPEN) {
            w->asks[i].state = ASK_LOST;
            see(w, SEEN_LOST_ACK);
        }
    }
    for (size_t i = 0; i < SOURCES; i++)
        waiter_cancel(&w->waiters[i]);
    struct hub_counts c;
    hub_counts(w->hub, &c);
    w->dropped_full += c.dropped_full;
    hub_free(w->hub);
    w->subscribed = w->walking = false;
    w->life++;
    w->armed = INT64_MAX;
}

/* kill -9 when some of what was handed to the store is on disk, and the next start. */
static void do_crash(struct world *w)
{
    if (w->store == NULL)
        return;
    see(w, SEEN_CRASH);
    note(w, "crash", 0);
    size_t pending = store_mem_pending(w->store), done = below(w, 4) > 0 ? pending : below(w, pending + 1);
    store_mem_crash(w->store, done);
    lose_process(w);
    clock_while_down(w, done == pending && !w->faulted);
    w->faulted = false;
    world_start(w);
}

static void do_fault(struct world *w)
{
    if (w->store == NULL || below(w, 4) > 0)
        return;
    see(w, SEEN_STORE_FAULT);
    note(w, "fault", 0);
    store_mem_fault(w->store);
    w->faulted = true;
    for (int i = 0; i < 10; i++)
        do_store(w);
    do_crash(w); /* a faulted daemon ends */
}

/* A service answers OK together with what it has staged. */
static void do_outbox(struct world *w)
{
    struct fake_sink *f = some_sink(w);
    struct handover *h = pick(w, f);
    if (h == NULL)
        return;
    see(w, SEEN_OUTBOX);
    hub_group_begin(w->hub);
    do_send(w);
    answer(w, f, h, OUTCOME_OK, CODE_OK);
    hub_group_end(w->hub);
}

static void on_walked(void *arg, const struct dead_walked *sum)
{
    struct world *w = arg;
    note(w, "walked", sum->count);
    w->walking = false;
    if (sum->count > 0)
        see(w, SEEN_REDRIVE);
    if (sum->done > 0 && !sum->stopped)
        see(w, SEEN_CANARY);
    if (sum->stopped)
        see(w, SEEN_CANARY_STOPPED);
    if (sum->stopped ? sum->bad == 0 : sum->left > 0)
        broken(w, "a canary stopped without a cause, or left some and did not stop");
    if (sum->done + sum->bad > sum->count)
        broken(w, "more of a canary's have ended than it sent");
}

static void walk_dead(struct world *w)
{
    struct dead_ask ask = {.query.limit = below(w, 3), .action = below(w, 3) == 0 ? DEAD_PURGE : DEAD_REDRIVE,
                           .done = on_walked, .arg = w};
    ask.canary = ask.action == DEAD_REDRIVE && below(w, 2) == 0;
    ask.pause_us = below(w, 3) == 0 ? (int64_t)below(w, 200000) : 0;
    bool started = hub_dead_walk(w->hub, &ask) != NULL;
    if (started == w->walking)
        broken(w, "two walks change dead letters at a time, or none may");
    w->walking = true;
}

static void do_dead(struct world *w)
{
    if (w->store != NULL) {
        walk_dead(w);
        return;
    }
    struct dead_query q = {.limit = below(w, 3)};
    bool redrive = below(w, 2) == 0;
    size_t n = redrive ? hub_redrive(w->hub, &q, false) : hub_purge(w->hub, &q, below(w, 4) == 0);
    if (n > 0)
        see(w, redrive ? SEEN_REDRIVE : SEEN_PURGE);
    note(w, redrive ? "redrive" : "purge", n);
}

void do_subscription(struct world *w)
{
    if (w->subscribed) {
        hub_unsubscribe(w->hub, w->subscription);
        hub_retire(w->hub, w->subscriber.sink.dest);
        if (!list_empty(&w->subscriber.held))
            broken(w, "a retired destination still holds handovers");
        see(w, SEEN_RETIRED);
    } else {
        sink_setup(w, &w->subscriber, "subscriber", true);
        sink_set_up(&w->subscriber.sink, true, "subscribed");
        w->subscription = hub_subscribe(w->hub, STR("a.*"), w->subscriber.sink.dest);
        see(w, SEEN_SUBSCRIPTION);
    }
    w->subscribed = !w->subscribed;
    note(w, "subscription", w->subscribed);
}

static void do_reload(struct world *w)
{
    struct hub_limits limits = {.memory = 2000 + below(w, 40000), .queue = 1 + below(w, 40), .dead = below(w, 20),
                                .store_drops = w->drops};
    use_routes(w);
    hub_set_limits(w->hub, &limits);
    see(w, SEEN_RELOAD);
    note(w, "reload", 0);
}

/* ---------------------------------------------------------------- one of them */

static const struct {
    void (*fn)(struct world *w);
    unsigned weight;
} actions[] = {
    {do_send, 40}, {do_answer, 30}, {do_time, 15}, {do_state, 3}, {do_room, 3}, {do_stream, 4},
    {do_extend, 2}, {do_withdraw, 3}, {do_dead, 4}, {do_subscription, 1}, {do_reload, 1}, {do_store, 30},
    {do_crash, 2}, {do_fault, 1}, {do_outbox, 3}, {do_copy, 12}, {do_clock, 1},
};
#define ACTIONS (sizeof(actions) / sizeof(actions[0]))

void chance(struct world *w)
{
    size_t i = below(w, ACTIONS);
    if ((i < 3 || (w->armed_actions >> i & 1) != 0) && below(w, 40) < actions[i].weight)
        actions[i].fn(w);
}
