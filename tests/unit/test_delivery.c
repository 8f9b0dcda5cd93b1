/* daemon/delivery: retry, breaker, schedule, and the rules of the core one by one (tests/sim has them mixed). */
#include <check.h>

#include "base/mem.h"
#include "delivery/breaker.h"
#include "delivery/hub.h"
#include "delivery/policy.h"
#include "delivery/sched.h"

START_TEST(back_off_stays_in_bounds)
{
    struct retry_conf r = {.attempts = 5, .delay_ms = 100, .factor = 2, .max_delay_ms = 30000, .jitter = JITTER_NONE};
    ck_assert_int_eq(retry_delay_ms(&r, 1, 0), 100);
    ck_assert_int_eq(retry_delay_ms(&r, 4, 0), 800);
    ck_assert_int_eq(retry_delay_ms(&r, 1000, 0), 30000);
    r.jitter = JITTER_FULL;
    for (unsigned attempt = 1; attempt <= 1000; attempt++) {
        ck_assert_int_eq(retry_delay_ms(&r, attempt, 0), 1);
        ck_assert_int_le(retry_delay_ms(&r, attempt, UINT64_MAX), 30000);
    }
    ck_assert(retry_allowed(&r, 4) && !retry_allowed(&r, 5));
}
END_TEST

START_TEST(breaker_moves)
{
    struct breaker_conf c = {.failures = 3, .open_for_ms = 1000, .probes = 1};
    struct breaker b = {0};
    ck_assert(!breaker_failure(&b, &c, 0) && !breaker_failure(&b, &c, 0) && breaker_allows(&b, &c, 0));
    ck_assert(breaker_failure(&b, &c, 0));
    ck_assert(!breaker_allows(&b, &c, 999));
    ck_assert(breaker_allows(&b, &c, 1000));
    breaker_sent(&b);
    ck_assert(!breaker_allows(&b, &c, 1000)); /* one probe at a time */
    breaker_unsent(&b);
    ck_assert(breaker_allows(&b, &c, 1000));
    ck_assert(breaker_failure(&b, &c, 1000) && !breaker_allows(&b, &c, 1999));
    ck_assert(breaker_allows(&b, &c, 2000));
    breaker_success(&b);
    ck_assert_int_eq(b.state, BREAKER_CLOSED);
}
END_TEST

START_TEST(schedule_against_oracle)
{
    enum { DUES = 300 };
    static struct due dues[DUES];
    struct sched s;
    struct rand r;
    int64_t now = 0;
    sched_init(&s);
    rand_seed(&r, 5);
    for (int round = 0; round < 50000; round++) {
        struct due *d = &dues[rand_below(&r, DUES)];
        bool regular = rand_below(&r, 2) == 0;
        sched_set(&s, d, now, regular ? 5000 : (int64_t)rand_below(&r, 9000), regular);
        if (rand_below(&r, 4) == 0)
            sched_clear(&s, &dues[rand_below(&r, DUES)]);
        now += (int64_t)rand_below(&r, 20);
        for (int64_t last = 0; (d = sched_take(&s, now)) != NULL; last = d->when_ms)
            ck_assert(d->when_ms <= now && d->when_ms >= last);
        ck_assert(sched_next(&s) > now);
    }
    while (sched_take(&s, INT64_MAX - 1) != NULL)
        ;
    sched_fini(&s);
}
END_TEST

/* ---------------------------------------------------------------- the core with one destination */

static struct rig {
    struct hub *hub;
    struct sink sink;
    struct list held;
    size_t room;
    int64_t now;
    struct policy_conf policy;
    struct target_conf to;
    struct route_conf route;
    struct intake *in;
    enum code answer; /* of the last asker; CODE_COUNT = none yet */
    int items, cancels, resumed;
    struct waiter waiter;
} rig;

static int64_t env_now(void *arg)
{
    (void)arg;
    return rig.now;
}

static void env_arm(void *arg, int64_t when_ms)
{
    (void)arg;
    (void)when_ms;
}

static bool on_send(struct sink *s, struct handover *h)
{
    (void)s;
    if (rig.held.count >= rig.room)
        return false;
    list_push(&rig.held, &h->link);
    return true;
}

static void on_cancel(struct sink *s, struct handover *h, bool abandoned)
{
    (void)s;
    (void)abandoned;
    list_remove(&rig.held, &h->link);
    rig.cancels++;
}

static const struct sink_ops sink_ops = {.send = on_send, .cancel = on_cancel};

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *w)
{
    (void)ctx;
    (void)token;
    (void)item;
    (void)w;
    rig.items++;
    return true;
}

static void on_done(void *ctx, uint64_t token, const struct reply *r)
{
    (void)ctx;
    (void)token;
    ck_assert_int_eq(rig.answer, CODE_COUNT); /* once */
    rig.answer = r->code;
}

static void on_resume(void *arg)
{
    (void)arg;
    rig.resumed++;
}

static const struct asker_ops asker_ops = {.more = on_more, .done = on_done};

static void setup(void)
{
    struct hub_env env = {.now = env_now, .wall = env_now, .arm = env_arm, .seed = 1};
    struct hub_limits limits = {.memory = 1 << 20, .queue = 4, .dead = 2};
    rig = (struct rig){.now = 1000, .room = 100, .answer = CODE_COUNT};
    list_init(&rig.held);
    rig.policy = (struct policy_conf){
        .name = "p", .timeout_ms = 1000, .ttl_ms = INT64_MAX, .dead_letter = true, .idempotent = true,
        .retry = {.attempts = 3, .delay_ms = 100, .factor = 2, .max_delay_ms = 1000, .jitter = JITTER_NONE},
        .breaker = {.failures = 100, .open_for_ms = 1000, .probes = 1}};
    rig.to = (struct target_conf){.name = (char *)(uintptr_t)"s", .service = true};
    rig.route = (struct route_conf){.name = (char *)(uintptr_t)"r", .from = (char *)(uintptr_t)"in", .source = (char *)(uintptr_t)"in", .to = &rig.to, .to_count = 1};
    rig.waiter = (struct waiter){.resume = on_resume};
    rig.hub = hub_new(&env, &limits);
    struct route_set *set = route_set_new(NULL, NULL);
    route_set_add(set, &rig.route, &rig.policy);
    route_set_default(set, &rig.policy);
    hub_use(rig.hub, set);
    rig.sink = (struct sink){.ops = &sink_ops, .name = "s", .service = true};
    hub_adopt(rig.hub, &rig.sink);
    rig.in = hub_intake(rig.hub, "in", "in");
}

static void teardown(void)
{
    ck_assert_int_eq(hub_unaccounted(rig.hub), 0);
    waiter_cancel(&rig.waiter);
    hub_free(rig.hub);
}

static void up(bool is)
{
    sink_set_up(&rig.sink, is, "test");
}

static enum code give(enum msg_kind kind, const char *headers, struct receipt **receipt)
{
    const char *what;
    struct asker asker = {.ops = &asker_ops};
    struct receipt *r = NULL;
    struct msg_input in = {.kind = kind, .subject = STR("x"), .headers = str_of(headers), .source = STR("in")};
    struct msg *m = msg_new(rig.in->factory, &in, &what);
    rig.answer = CODE_COUNT;
    enum code code = intake_accept(rig.in, m, &asker, &rig.waiter, receipt != NULL ? receipt : &r);
    msg_unref(m);
    return code;
}

static void settle(enum outcome o, enum code code)
{
    struct handover *h = CONTAINER_OF(list_first(&rig.held), struct handover, link);
    struct settlement s = {.outcome = o, .reply = {.code = code, .body = STR("why")}, .retry_after_ms = -1};
    list_remove(&rig.held, &h->link);
    h->core->settled(h, &s);
}

static unsigned attempt(void)
{
    return CONTAINER_OF(list_first(&rig.held), struct handover, link)->attempt;
}

static void pass(int64_t ms)
{
    rig.now += ms;
    hub_tick(rig.hub);
}

START_TEST(request_without_service_is_refused_at_once)
{
    ck_assert_int_eq(give(MSG_REQUEST, "", NULL), CODE_NO_SERVICE);
    ck_assert_int_eq(give(MSG_EVENT, "", NULL), CODE_OK); /* an event waits */
    up(true);
    ck_assert_uint_eq(rig.held.count, 1);
    settle(OUTCOME_OK, CODE_OK);
    ck_assert_int_eq(rig.answer, CODE_OK);
}
END_TEST

START_TEST(attempts_then_dead_letter)
{
    struct dead_query all = {0};
    up(true);
    ck_assert_int_eq(give(MSG_EVENT, "", NULL), CODE_OK);
    for (unsigned n = 1; n <= 3; n++) {
        ck_assert_uint_eq(attempt(), n);
        settle(OUTCOME_RETRY, CODE_FAILED);
        pass(2000);
    }
    ck_assert_uint_eq(rig.held.count, 0);
    ck_assert_int_eq(rig.answer, CODE_FAILED);
    ck_assert_uint_eq(hub_dead_count(rig.hub), 1);
    ck_assert_uint_eq(hub_redrive(rig.hub, &all, true), 1);
    ck_assert_uint_eq(hub_redrive(rig.hub, &all, false), 1);
    ck_assert_uint_eq(attempt(), 1);
    settle(OUTCOME_REJECT, CODE_INVALID);
    ck_assert_uint_eq(hub_dead_count(rig.hub), 1);
    ck_assert_uint_eq(hub_purge(rig.hub, &all, false), 1);
}
END_TEST

START_TEST(given_back_counts_no_attempt)
{
    up(true);
    give(MSG_EVENT, "", NULL);
    for (int i = 0; i < 10; i++) {
        ck_assert_uint_eq(attempt(), 1);
        settle(OUTCOME_HOLD, CODE_OK);
        pass(50);
    }
    settle(OUTCOME_OK, CODE_OK);
}
END_TEST

START_TEST(silence_times_out)
{
    up(true);
    give(MSG_REQUEST, "timeout: 250ms\n", NULL);
    pass(249);
    ck_assert_int_eq(rig.answer, CODE_COUNT);
    pass(1);
    ck_assert_int_eq(rig.answer, CODE_TIMEOUT);
    ck_assert_int_eq(rig.cancels, 1);
}
END_TEST

START_TEST(wait_extends)
{
    up(true);
    give(MSG_REQUEST, "", NULL);
    for (int i = 0; i < 5; i++) {
        struct handover *h = CONTAINER_OF(list_first(&rig.held), struct handover, link);
        pass(900);
        h->core->extend(h);
    }
    settle(OUTCOME_OK, CODE_OK);
    ck_assert_int_eq(rig.answer, CODE_OK);
}
END_TEST

START_TEST(a_stream_is_never_repeated)
{
    struct reply item = {.body = STR("1")};
    up(true);
    give(MSG_REQUEST, "timeout: 20s\n", NULL);
    struct handover *h = CONTAINER_OF(list_first(&rig.held), struct handover, link);
    h->core->more(h, &item, NULL);
    settle(OUTCOME_RETRY, CODE_UNAVAILABLE);
    ck_assert_int_eq(rig.answer, CODE_UNAVAILABLE);
    ck_assert_int_eq(rig.items, 1);
}
END_TEST

START_TEST(full_queue_holds_its_source_back)
{
    rig.room = 1;
    up(true);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(give(MSG_EVENT, "", NULL), CODE_OK);
    ck_assert_int_eq(give(MSG_EVENT, "", NULL), CODE_BUSY);
    ck_assert_int_eq(give(MSG_REQUEST, "", NULL), CODE_OVERLOADED);
    for (int i = 0; i < 2; i++) {
        rig.answer = CODE_COUNT;
        settle(OUTCOME_OK, CODE_OK);
    }
    ck_assert_int_eq(rig.resumed, 1);
    while (rig.held.count > 0) {
        rig.answer = CODE_COUNT;
        settle(OUTCOME_OK, CODE_OK);
    }
}
END_TEST

START_TEST(withdrawn_is_cancelled)
{
    struct receipt *r = NULL;
    up(true);
    give(MSG_REQUEST, "", &r);
    rig.in->ops->withdraw(r);
    ck_assert_int_eq(rig.cancels, 1);
    ck_assert_uint_eq(hub_live(rig.hub), 0);
    ck_assert_int_eq(rig.answer, CODE_COUNT);
}
END_TEST

START_TEST(ttl_ends_a_wait)
{
    give(MSG_EVENT, "ttl: 300ms\n", NULL);
    pass(299);
    ck_assert_int_eq(rig.answer, CODE_COUNT);
    pass(1);
    ck_assert_int_eq(rig.answer, CODE_EXPIRED);
}
END_TEST

int main(void)
{
    const TTest *const pure[] = {back_off_stays_in_bounds, breaker_moves, schedule_against_oracle};
    const TTest *const core[] = {request_without_service_is_refused_at_once, attempts_then_dead_letter,
                                 given_back_counts_no_attempt, silence_times_out, wait_extends,
                                 a_stream_is_never_repeated, full_queue_holds_its_source_back,
                                 withdrawn_is_cancelled, ttl_ends_a_wait};
    Suite *s = suite_create("delivery");
    TCase *p = tcase_create("pure"), *c = tcase_create("core");
    for (size_t i = 0; i < sizeof(pure) / sizeof(pure[0]); i++)
        tcase_add_test(p, pure[i]);
    tcase_add_checked_fixture(c, setup, teardown);
    for (size_t i = 0; i < sizeof(core) / sizeof(core[0]); i++)
        tcase_add_test(c, core[i]);
    suite_add_tcase(s, p);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed > 0;
}
