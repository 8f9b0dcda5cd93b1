#include "world.h"

#include <stdio.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/rand.h"
#include "delivery/hub.h"
#include "msg/headers.h"
#include "store/store_mem.h"

#define SINKS 4
#define STEPS 600
#define ASKS_MAX 4096
#define HEAL_ROUNDS 20000
#define SOURCES 2

const char *const sight_names[SIGHTS] = {
    "done", "retry", "reject", "hold", "timeout", "dead", "expired", "dropped", "breaker", "busy", "resumed",
    "no-route", "no-service", "unavailable", "overloaded", "stream", "extend", "withdrawn", "redrive", "purge",
    "reload", "subscription", "retired", "fan-out", "request-ok", "request-error", "stored", "crash",
    "lost-ack", "redelivered", "store-full", "store-fault", "outbox",
    "ordered"};

struct fake_sink { /* a destination that holds what it is given until chance answers */
    struct sink sink; /* first */
    struct world *world;
    char name[16];
    struct list held; /* struct handover by link */
    size_t room;
    bool starved;
};

enum ask_state { ASK_UNUSED, ASK_OPEN, ASK_ANSWERED, ASK_WITHDRAWN, ASK_LOST /* with the process */ };

struct ask {
    enum ask_state state;
    bool request;
    bool durable;
    bool promised; /* told OK while its route was durable: has to end, whatever happens */
    bool ended;    /* delivered, dead or expired at least once */
    struct receipt *receipt;
    struct handed {
        unsigned times, life, suspect; /* suspect: the attempt at which it was last handed over as one that a
                                          crash may have left in flight, in that life */
    } handed[SINKS + 1];
};

struct world {
    struct rand rand;
    int64_t now, armed;
    bool verbose;
    struct hub *hub;
    struct fake_sink sinks[SINKS], subscriber;
    bool subscribed;
    uint32_t subscription;
    struct intake *sources[SOURCES];
    struct waiter waiters[SOURCES];
    struct ask asks[ASKS_MAX];
    size_t ask_count;
    struct store_disk *disk; /* NULL = this seed has no store */
    struct store *store;
    unsigned life; /* processes so far */
    unsigned armed_actions; /* swarm: which kinds of mischief this seed has */
    struct outcome_of_run *out;
};

/* ---------------------------------------------------------------- books */

static void note(struct world *w, const char *what, uint64_t number)
{
    w->out->trace = (w->out->trace ^ number ^ (uint64_t)w->now) *
                    UINT64_C(0x100000001B3);
    for (const char *p = what; *p != '\0'; p++)
        w->out->trace = (w->out->trace ^ (uint64_t)*p) * UINT64_C(0x100000001B3);
    if (w->verbose)
        printf("%8lld %s %llu\n", (long long)w->now, what, (unsigned long long)number);
}

static void see(struct world *w, enum sight s)
{
    w->out->seen[s]++;
}

static void broken(struct world *w, const char *what)
{
    if (w->out->broken == NULL)
        w->out->broken = what;
}

static uint64_t below(struct world *w, uint64_t bound)
{
    return rand_below(&w->rand, bound);
}

/* ---------------------------------------------------------------- askers */

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *waiter)
{
    struct world *w = ctx;
    (void)item;
    (void)waiter;
    if (w->asks[token].state != ASK_OPEN)
        broken(w, "an item for an asker that is not waiting");
    see(w, SEEN_STREAM);
    note(w, "more", token);
    return true;
}

static void on_done(void *ctx, uint64_t token, const struct reply *reply)
{
    struct world *w = ctx;
    struct ask *a = &w->asks[token];
    if (a->state != ASK_OPEN)
        broken(w, "an asker was answered twice, or after it had withdrawn");
    a->state = ASK_ANSWERED;
    a->promised = a->durable && reply->code == CODE_OK;
    if (a->durable && reply->code == CODE_OVERLOADED)
        see(w, SEEN_STORE_FULL);
    if (a->request)
        see(w, reply->code == CODE_OK ? SEEN_REQUEST_OK : SEEN_REQUEST_ERROR);
    note(w, "answered", token << 8 | reply->code);
}

static const struct asker_ops asker_ops = {.more = on_more, .done = on_done};

static void on_resume(void *arg)
{
    struct world *w = arg;
    see(w, SEEN_RESUMED);
    note(w, "resumed", 0);
}

/* ---------------------------------------------------------------- destinations */

/* The ask that a message carries in its id, or NULL. */
static struct ask *ask_of(struct world *w, const struct msg *m)
{
    uint64_t token;
    struct str id = m->id;
    bool ours = id.n > 1 && id.p[0] == 't' && str_parse_u64(str_make(id.p + 1, id.n - 1), &token);
    return ours ? &w->asks[token] : NULL;
}

/* S6: a suspect's attempts go up from life to life. S7: a second delivery says why. */
static void check_redelivery(struct fake_sink *f, const struct handover *h)
{
    struct world *w = f->world;
    struct ask *a = ask_of(w, h->msg);
    if (a == NULL || !a->durable || h->kind != MSG_EVENT || f == &w->subscriber)
        return;
    struct handed *seen = &a->handed[f - w->sinks];
    bool suspect = h->redelivered != NULL && h->redelivered[0] == 'c';
    if (seen->times++ > 0 && h->redelivered == NULL)
        broken(w, "a second delivery that does not say why");
    if (suspect && seen->suspect >= h->attempt && seen->life < w->life)
        broken(w, "a suspect was handed over in two lives under one attempt");
    if (suspect) {
        seen->suspect = h->attempt;
        seen->life = w->life;
    }
}

/* S8: of one key one at a time, and first attempts in the order of acceptance. */
static void check_order(struct fake_sink *f, const struct handover *h)
{
    struct str key = headers_get(h->msg->headers, "key");
    if (f != &f->world->sinks[0] || key.n == 0)
        return;
    LIST_EACH(&f->held, n) {
        const struct handover *other = CONTAINER_OF(n, struct handover, link);
        if (str_eq(key, headers_get(other->msg->headers, "key")))
            broken(f->world, "two of one key are in flight");
    }
    see(f->world, SEEN_ORDERED);
}

static bool sink_send(struct sink *s, struct handover *h)
{
    struct fake_sink *f = (struct fake_sink *)s;
    struct world *w = f->world;
    if (!s->up)
        broken(w, "a handover to a destination that is down");
    if (f->held.count >= f->room) {
        f->starved = true;
        return false;
    }
    if (h->attempt < 1 || h->attempt > 50)
        broken(w, "an attempt number out of range");
    check_redelivery(f, h);
    check_order(f, h);
    if (h->redelivered != NULL)
        see(w, SEEN_REDELIVERED);
    list_push(&f->held, &h->link);
    note(w, "sent", h->attempt);
    return true;
}

static void sink_cancel(struct sink *s, struct handover *h, bool abandoned)
{
    struct fake_sink *f = (struct fake_sink *)s;
    if (!list_linked(&h->link))
        broken(f->world, "a cancel for a handover that is not held");
    list_remove(&f->held, &h->link);
    note(f->world, "cancelled", abandoned);
}

static const struct sink_ops sink_ops = {.send = sink_send, .cancel = sink_cancel};

static void sink_setup(struct world *w, struct fake_sink *f, const char *name, bool service)
{
    f->world = w;
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->sink = (struct sink){.ops = &sink_ops, .name = f->name, .service = service};
    f->room = 1 + below(w, 20);
    list_init(&f->held);
    hub_adopt(w->hub, &f->sink);
}

static struct handover *pick(struct world *w, struct fake_sink *f)
{
    struct list_node *n = list_first(&f->held);
    for (uint64_t skip = n != NULL ? below(w, f->held.count) : 0; skip > 0; skip--)
        n = list_next(&f->held, n);
    return n != NULL ? CONTAINER_OF(n, struct handover, link) : NULL;
}

static void answer(struct world *w, struct fake_sink *f, struct handover *h, enum outcome o, enum code code)
{
    struct settlement s = {.outcome = o, .retry_after_ms = below(w, 4) == 0 ? (int64_t)below(w, 500) : -1,
                           .final = below(w, 2) == 0, .reply = {.code = code, .body = STR("because")}};
    struct ask *a = ask_of(w, h->msg);
    list_remove(&f->held, &h->link);
    if (o == OUTCOME_HOLD && a != NULL && f != &w->subscriber)
        a->handed[f - w->sinks].suspect = 0; /* given back: that attempt was none */
    if (o == OUTCOME_OK && a != NULL)
        a->ended = true; /* whether or not the process lives to know that it is on disk */
    note(w, "settled", o);
    f->sink.core->settled(h, &s);
    if (f->starved && f->held.count < f->room) {
        f->starved = false;
        f->sink.core->ready(&f->sink);
    }
}

/* A peer that goes away takes what it holds with it. */
static void lose_all(struct world *w, struct fake_sink *f)
{
    while (!list_empty(&f->held))
        answer(w, f, CONTAINER_OF(list_first(&f->held), struct handover, link), OUTCOME_RETRY, CODE_UNAVAILABLE);
}

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

static void on_tap(void *arg, const struct tap *t)
{
    struct ask *a = ask_of(arg, t->msg);
    if (a != NULL && (t->event == TAP_DONE || t->event == TAP_DEAD || t->event == TAP_EXPIRED))
        a->ended = true;
    for (size_t i = 0; a != NULL && t->event == TAP_DEAD && i <= SINKS; i++)
        a->handed[i].suspect = 0; /* it may come back, attempts anew */
}

static struct msg *make_message(struct world *w, struct intake *in)
{
    static const char *const subjects[] = {"a.one", "a.two", "b.x.y", "c", "d.both", "nowhere"};
    char body[512] = {0}, headers[80] = "";
    const char *what;
    int n = snprintf(headers, sizeof(headers), "id: t%zu\n", w->ask_count);
    static const char *const names[] = {"ttl", "timeout", "delay"};
    if (below(w, 3) == 0)
        n += snprintf(headers + n, sizeof(headers) - (size_t)n, "key: %c\n", (char)('a' + (char)below(w, 3)));
    uint64_t which = below(w, 8);
    if (which < 3 && (which < 2 || w->disk != NULL))
        snprintf(headers + n, sizeof(headers) - (size_t)n, "%s: %llums\n", names[which],
                 (unsigned long long)below(w, 3000) + 1);
    struct msg_input input = {.kind = below(w, 2) == 0 ? MSG_REQUEST : MSG_EVENT,
                              .subject = str_of(subjects[below(w, 6)]), .headers = str_of(headers),
                              .body = str_make(body, below(w, sizeof(body))), .source = str_of(in->name)};
    return msg_new(in->factory, &input, &what);
}

static void do_send(struct world *w)
{
    size_t source = below(w, SOURCES);
    struct intake *in = w->sources[source];
    if (w->ask_count == ASKS_MAX || w->waiters[source].in != NULL)
        return; /* a source that waits offers nothing */
    struct msg *m = make_message(w, in);
    struct ask *a = &w->asks[w->ask_count];
    struct asker asker = {.ops = m->kind == MSG_REQUEST || below(w, 2) == 0 ? &asker_ops : NULL, .ctx = w,
                          .token = w->ask_count};
    struct waiter *waiter = below(w, 4) > 0 ? &w->waiters[source] : NULL;
    *a = (struct ask){.request = m->kind == MSG_REQUEST,
                      .durable = w->disk != NULL && source == 0 && m->kind == MSG_EVENT};
    struct receipt *receipt = NULL;
    enum code code = intake_accept(in, m, &asker, waiter, &receipt);
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

static void move_clock(struct world *w, int64_t ms)
{
    int64_t until = w->now + ms;
    while (w->armed <= until) {
        w->now = w->armed > w->now ? w->armed : w->now;
        w->armed = INT64_MAX;
        hub_tick(w->hub);
    }
    w->now = until;
}

static void do_time(struct world *w)
{
    move_clock(w, (int64_t)below(w, below(w, 10) == 0 ? 5000 : 200));
}

/* ---------------------------------------------------------------- the store and its disk */

static void do_store(struct world *w)
{
    if (w->store != NULL && store_mem_run(w->store, 1 + below(w, 4)) > 0)
        see(w, SEEN_STORED);
}

static void world_start(struct world *w);

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
    hub_free(w->hub);
    w->subscribed = false;
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
    store_mem_crash(w->store, below(w, store_mem_pending(w->store) + 1));
    lose_process(w);
    world_start(w);
}

static void do_fault(struct world *w)
{
    if (w->store == NULL || below(w, 4) > 0)
        return;
    see(w, SEEN_STORE_FAULT);
    note(w, "fault", 0);
    store_mem_fault(w->store);
    for (int i = 0; i < 10; i++)
        do_store(w);
    do_crash(w); /* a faulted daemon ends */
}

/* A service answers OK together with what it has staged. */
static void do_send(struct world *w);
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
    if (sum->count > 0)
        see(w, SEEN_REDRIVE);
}

static void do_dead(struct world *w)
{
    if (w->store != NULL) {
        struct dead_ask ask = {.query.limit = below(w, 3), .action = below(w, 3) == 0 ? DEAD_PURGE : DEAD_REDRIVE,
                               .done = on_walked, .arg = w};
        hub_dead_walk(w->hub, &ask);
        return;
    }
    struct dead_query q = {.limit = below(w, 3)};
    bool redrive = below(w, 2) == 0;
    size_t n = redrive ? hub_redrive(w->hub, &q, false) : hub_purge(w->hub, &q, below(w, 4) == 0);
    if (n > 0)
        see(w, redrive ? SEEN_REDRIVE : SEEN_PURGE);
    note(w, redrive ? "redrive" : "purge", n);
}

static void do_subscription(struct world *w)
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

/* ---------------------------------------------------------------- routes */

/* Configuration as the structs that config/ would make; owned by the route set. */
struct plain_conf {
    struct policy_conf policies[2];
    struct route_conf routes[6];
    struct target_conf targets[6][3];
};

static struct policy_conf some_policy(struct world *w)
{
    return (struct policy_conf){
        .name = "p", .timeout_ms = 10 + (int64_t)below(w, 2000),
        .ttl_ms = below(w, 3) == 0 ? 100 + (int64_t)below(w, 5000) : INT64_MAX,
        .retry = {.attempts = 1 + below(w, 6), .delay_ms = 1 + (int64_t)below(w, 300), .factor = 2,
                  .max_delay_ms = 2000, .jitter = below(w, 2) == 0 ? JITTER_FULL : JITTER_NONE},
        .breaker = {.failures = 1 + below(w, 6), .open_for_ms = 50 + (int64_t)below(w, 3000), .probes = 1 + below(w, 2)},
        .dead_letter = below(w, 3) > 0, .idempotent = below(w, 2) == 0};
}

static void set_route(struct plain_conf *c, size_t i, char *from, char *match, const char *const names[3])
{
    struct route_conf *r = &c->routes[i];
    static const char *const route_names[] = {"r0", "r1", "r2", "r3", "r4", "r5"};
    *r = (struct route_conf){.name = (char *)(uintptr_t)route_names[i], .from = from, .source = from, .match = match,
                             .to = c->targets[i]};
    for (size_t k = 0; k < 3 && names[k] != NULL; k++) {
        c->targets[i][r->to_count] = (struct target_conf){.name = (char *)(uintptr_t)names[k],
                                                          .service = names[k][0] == 's'};
        r->to_count++;
    }
}

static void use_routes(struct world *w)
{
    struct plain_conf *c = mem_zalloc(sizeof(*c));
    struct route_set *set = route_set_new(w->hub, c, mem_free);
    c->policies[0] = some_policy(w);
    c->policies[1] = some_policy(w);
    set_route(c, 0, "in0", "a.*", (const char *const[3]){"s0"});
    set_route(c, 1, "in1", "a.*", (const char *const[3]){"s1", "s2"});
    set_route(c, 2, "in0", "b.>", (const char *const[3]){"e3"});
    set_route(c, 3, "in1", "b.>", (const char *const[3]){"s0"});
    set_route(c, 4, "in0", "d.both", (const char *const[3]){"s0", "s1", "e3"});
    set_route(c, 5, "in1", "c", (const char *const[3]){"s2"});
    c->targets[3][0].subject = "x.{1}";
    for (size_t i = 0; i < 6; i++) {
        c->routes[i].durable = w->disk != NULL && c->routes[i].from[2] == '0'; /* all of in0, none of in1 */
        if (c->routes[i].durable && below(w, 2) > 0) /* what is accepted then waits for its append */
            c->routes[i].log = (struct event_log_conf){.name = (char *)(uintptr_t)"events", .keep_ms = 5000, .max_size = 9000};
    }
    for (size_t i = 0; i < 6; i++)
        route_set_add(set, &c->routes[i], &c->policies[i % 2]);
    route_set_default(set, &c->policies[0]);
    hub_use(w->hub, set);
}

static void do_reload(struct world *w)
{
    struct hub_limits limits = {.memory = 2000 + below(w, 40000), .queue = 1 + below(w, 40), .dead = below(w, 20)};
    use_routes(w);
    hub_set_limits(w->hub, &limits);
    see(w, SEEN_RELOAD);
    note(w, "reload", 0);
}

/* ---------------------------------------------------------------- one life */

static const struct {
    void (*fn)(struct world *w);
    unsigned weight;
} actions[] = {
    {do_send, 40}, {do_answer, 30}, {do_time, 15}, {do_state, 3}, {do_room, 3}, {do_stream, 4},
    {do_extend, 2}, {do_withdraw, 3}, {do_dead, 2}, {do_subscription, 1}, {do_reload, 1}, {do_store, 30},
    {do_crash, 1}, {do_fault, 1}, {do_outbox, 3},
};
#define ACTIONS (sizeof(actions) / sizeof(actions[0]))

static void step(struct world *w)
{
    size_t i = below(w, ACTIONS);
    if ((i < 3 || (w->armed_actions >> i & 1) != 0) && below(w, 40) < actions[i].weight)
        actions[i].fn(w);
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
static void judge_store(struct world *w)
{
    struct store_totals t;
    store_disk_totals(w->disk, &t);
    if (t.ready + t.delayed != 0)
        broken(w, "healed, but the store still holds deliveries");
    if (t.accepted != t.done + t.expired + t.dropped + t.dead + t.quarantined)
        broken(w, "the books of the store do not add up");
    for (size_t i = 0; i < w->ask_count; i++) {
        if (w->asks[i].promised && !w->asks[i].ended)
            note(w, "lost", i);
        if (w->asks[i].promised && !w->asks[i].ended)
            broken(w, "an acknowledged message is lost");
    }
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
        judge_store(w);
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

static int64_t env_now(void *arg)
{
    return ((struct world *)arg)->now;
}

static int64_t env_wall(void *arg)
{
    return ((struct world *)arg)->now + INT64_C(1700000000000);
}

static void env_arm(void *arg, int64_t when_ms)
{
    ((struct world *)arg)->armed = when_ms;
}

static void watch_breakers(void *arg, const struct dest_status *d)
{
    if (d->breaker[0] == 'o')
        see(arg, SEEN_BREAKER);
}

static void world_start(struct world *w)
{
    static const char *const names[SINKS] = {"s0", "s1", "s2", "e3"};
    struct hub_env env = {.arg = w, .now = env_now, .wall = env_wall, .arm = env_arm, .seed = rand_u64(&w->rand) | 1};
    struct hub_limits limits = {.memory = 20000, .queue = 5 + below(w, 30), .dead = 1 + below(w, 20)};
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
