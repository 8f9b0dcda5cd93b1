#pragma once
/* The core without sockets: a clock that moves when told, destinations that hold what they are given
 * until told how to answer, and askers that write down what they hear. */
#include "base/mem.h"
#include "delivery/hub.h"
#include "rig.h"

#define WALL INT64_C(1700000000000)
#define ROUTES 6

struct fake { /* a destination */
    struct sink sink; /* first */
    struct list held; /* struct handover by link, oldest first */
    size_t room;
    unsigned sent, cancelled, abandoned;
};

struct ask {
    unsigned answers, items;
    enum code code;
    char body[1200];
    struct receipt *receipt;
    bool full; /* says that it takes no more items for now */
    bool kept; /* as it was told */
};

struct plain { /* a configuration as config/ would make it; freed by the route set */
    struct policy_conf policy;
    struct route_conf routes[ROUTES];
    struct target_conf targets[ROUTES][3];
    size_t count;
    int *freed;
};

static struct hub *hub;
static struct plain *plain; /* not yet in use */
static struct fake math, shop, edge; /* two services and an endpoint */
static struct intake *in;
static int64_t now_ms, armed_ms;
static int64_t wall_step; /* by how much the wall clock was set */
static unsigned resumed;
static struct waiter waiter;

static inline void sound(void)
{
    if (hub_unaccounted(hub) != 0)
        ck_abort_msg("%lld deliveries unaccounted for", (long long)hub_unaccounted(hub));
}

static inline int64_t rig_now(void *arg)
{
    (void)arg;
    return now_ms;
}

static inline int64_t rig_wall(void *arg)
{
    (void)arg;
    return now_ms + WALL + wall_step;
}

static inline void rig_arm(void *arg, int64_t when_ms)
{
    (void)arg;
    armed_ms = when_ms;
}

/* Time goes on; what is due on the way happens at its time. */
static inline void pass(int64_t ms)
{
    int64_t until = now_ms + ms;
    while (armed_ms <= until) {
        now_ms = armed_ms > now_ms ? armed_ms : now_ms;
        armed_ms = INT64_MAX;
        hub_tick(hub);
        sound();
    }
    now_ms = until;
}

/* ---------------------------------------------------------------- destinations */

static inline bool fake_send(struct sink *s, struct handover *h)
{
    struct fake *f = (struct fake *)s;
    ck_assert(s->up && h->attempt >= 1);
    if (f->held.count >= f->room)
        return false;
    list_push(&f->held, &h->link);
    f->sent++;
    return true;
}

static inline void fake_cancel(struct sink *s, struct handover *h, bool abandoned)
{
    struct fake *f = (struct fake *)s;
    ck_assert(list_linked(&h->link));
    list_remove(&f->held, &h->link);
    f->cancelled++;
    f->abandoned += abandoned;
}

static const struct sink_ops fake_ops = {.send = fake_send, .cancel = fake_cancel};

static inline void fake_init(struct fake *f, const char *name, bool service)
{
    *f = (struct fake){.sink = {.ops = &fake_ops, .name = name, .service = service}, .room = 1000};
    list_init(&f->held);
    hub_adopt(hub, &f->sink);
    sink_set_up(&f->sink, true, "test");
}

static inline struct handover *oldest(const struct fake *f)
{
    struct list_node *n = list_first(&f->held);
    if (n == NULL)
        ck_abort_msg("%s holds nothing", f->sink.name);
    return CONTAINER_OF(n, struct handover, link);
}

static inline void settle_with(struct fake *f, struct settlement s)
{
    struct handover *h = oldest(f);
    list_remove(&f->held, &h->link);
    h->core->settled(h, &s);
    sound();
}

static inline void settle(struct fake *f, enum outcome o, enum code code, const char *body)
{
    settle_with(f, (struct settlement){.outcome = o, .retry_after_ms = -1, .reply = {.code = code, .body = str_of(body)}});
}

static inline void settle_ok(struct fake *f)
{
    settle(f, OUTCOME_OK, CODE_OK, "fine");
}

static inline void make_room(struct fake *f, size_t room)
{
    f->room = room;
    f->sink.core->ready(&f->sink);
    sound();
}

static inline void set_up_down(struct fake *f, bool up)
{
    sink_set_up(&f->sink, up, "test");
    sound();
}

static inline struct dest_status status_of(const struct fake *f)
{
    struct dest_status s;
    dest_status(f->sink.dest, &s);
    return s;
}

static inline uint64_t count_of(enum delivery_state s)
{
    struct hub_counts c;
    hub_counts(hub, &c);
    return c.state[s];
}

/* ---------------------------------------------------------------- askers */

static inline bool ask_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *w)
{
    struct ask *a = ctx;
    (void)w;
    ck_assert(token == 7 && a->answers == 0 && item->body.n > 0);
    a->items++;
    return !a->full;
}

static inline void ask_done(void *ctx, uint64_t token, const struct reply *reply)
{
    struct ask *a = ctx;
    ck_assert(token == 7 && a->answers == 0);
    a->answers++;
    a->code = reply->code;
    a->kept = reply->kept;
    *bytes_copy(a->body, reply->body.p, reply->body.n < sizeof(a->body) ? reply->body.n : 0) = '\0';
}

static const struct asker_ops ask_ops = {.more = ask_more, .done = ask_done};

static inline enum code offer(enum msg_kind kind, const char *subject, const char *headers, struct ask *a)
{
    const char *what;
    struct msg_input input = {.kind = kind, .subject = str_of(subject), .headers = str_of(headers), .body = STR("body"),
                              .source = STR("in")};
    struct msg *m = msg_new(in->factory, &input, &what);
    struct asker asker = {.ops = &ask_ops, .ctx = a, .token = 7};
    if (a != NULL)
        *a = (struct ask){0};
    enum code code = intake_accept(in, m, a != NULL ? &asker : NULL, &waiter, a != NULL ? &a->receipt : NULL);
    ck_assert(a == NULL || a->answers == 0); /* no callback before it returns */
    msg_unref(m);
    sound();
    return code;
}

static inline void publish(const char *subject, const char *headers, struct ask *a)
{
    ck_assert_int_eq(offer(MSG_EVENT, subject, headers, a), CODE_OK);
}

static inline void request(const char *subject, const char *headers, struct ask *a)
{
    ck_assert_int_eq(offer(MSG_REQUEST, subject, headers, a), CODE_OK);
}

static inline void heard(const struct ask *a, enum code code, const char *part)
{
    ck_assert_uint_eq(a->answers, 1);
    ck_assert_msg(a->code == code && strstr(a->body, part) != NULL, "%s: %s", code_name(a->code), a->body);
}

static inline void withdraw(struct ask *a)
{
    in->ops->withdraw(a->receipt);
    sound();
}

static inline void on_room(void *arg)
{
    (void)arg;
    resumed++;
}

/* ---------------------------------------------------------------- routes */

static inline void plain_free(void *owner)
{
    struct plain *p = owner;
    if (p->freed != NULL)
        ++*p->freed;
    mem_free(p);
}

static inline void plain_new(void)
{
    plain = mem_zalloc(sizeof(*plain));
    plain->policy = (struct policy_conf){
        .name = "p", .timeout_ms = 1000, .ttl_ms = INT64_MAX,
        .retry = {.attempts = 3, .delay_ms = 100, .factor = 2, .max_delay_ms = 5000, .jitter = JITTER_NONE},
        .breaker = {.failures = 1000, .open_for_ms = 500, .probes = 1}, .dead_letter = true, .idempotent = true};
}

static inline void route(const char *match, const struct fake *const to[3], const char *subject)
{
    struct route_conf *r = &plain->routes[plain->count];
    struct target_conf *targets = plain->targets[plain->count++];
    *r = (struct route_conf){.name = (char *)(uintptr_t)match, .from = (char *)(uintptr_t)"in",
                             .source = (char *)(uintptr_t)"in", .match = (char *)(uintptr_t)match, .to = targets};
    for (; r->to_count < 3 && to[r->to_count] != NULL; r->to_count++)
        targets[r->to_count] = (struct target_conf){.name = (char *)(uintptr_t)to[r->to_count]->sink.name,
                                                    .service = to[r->to_count]->sink.service,
                                                    .subject = (char *)(uintptr_t)subject};
}

#define ROUTE(match, ...) route(match, (const struct fake *const[3]){__VA_ARGS__}, NULL)
#define ROUTE_AS(match, subject, ...) route(match, (const struct fake *const[3]){__VA_ARGS__}, subject)

/* The routes that every test has, of the policy as it stands in `plain`. */
static inline void routes_usual(void)
{
    ROUTE("math.*", &math);
    ROUTE("shop", &shop);
    ROUTE("edge.>", &edge);
    ROUTE("all", &math, &shop, &edge);
}

static inline void routes_use(void)
{
    struct route_set *set = route_set_new(plain, plain_free);
    for (size_t i = 0; i < plain->count; i++)
        route_set_add(set, &plain->routes[i], &plain->policy);
    route_set_default(set, &plain->policy);
    hub_use(hub, set);
    plain = NULL;
}

static inline void limits(uint64_t memory, uint64_t queue, uint64_t dead)
{
    hub_set_limits(hub, &(struct hub_limits){.memory = memory, .queue = queue, .dead = dead});
}

static inline void set_up(void)
{
    struct hub_env env = {.now = rig_now, .wall = rig_wall, .arm = rig_arm, .seed = 1};
    now_ms = 1000;
    armed_ms = INT64_MAX;
    resumed = 0;
    waiter = (struct waiter){.resume = on_room};
    hub = hub_new(&env, &(struct hub_limits){.memory = 1 << 20, .queue = 100, .dead = 100});
    fake_init(&math, "math", true);
    fake_init(&shop, "shop", true);
    fake_init(&edge, "edge", false);
    in = hub_intake(hub, "in", "in");
    plain_new();
}

static inline void use_usual(void)
{
    routes_usual();
    routes_use();
}

static inline void tear_down(void)
{
    sound();
    mem_free(plain);
    waiter_cancel(&waiter);
    hub_free(hub);
}

/* Nothing is held any more: the books add up and no memory is charged. */
static inline void all_over(void)
{
    struct hub_counts c;
    hub_counts(hub, &c);
    ck_assert_uint_eq(hub_live(hub), 0);
    ck_assert_uint_eq(hub_memory(hub), 0);
    ck_assert_uint_eq(c.accepted, c.state[DELIVERY_DONE] + c.state[DELIVERY_DEAD] + c.state[DELIVERY_EXPIRED] +
                                      c.state[DELIVERY_DROPPED]);
}
