/* Messages that services die of: suspects go alone, and the guilty one to the dead letters. */
#include "hub_store_rig.h"

static void poison_life(uint64_t crashes)
{
    set_up();
    store = store_mem_open(disk);
    hub_use_store(hub, store);
    plain->policy.crashes = crashes;
    plain->policy.retry.attempts = 10;
    routes_durable();
    run_store();
}

static void begin(void)
{
    disk = store_disk_new(100000);
    poison_life(2);
}

static void again(uint64_t crashes)
{
    store_close(store);
    hub_free(hub);
    poison_life(crashes);
}

/* Everything that math holds is lost with its process. */
static void die(int pid)
{
    enum crash how = math.held.count == 1 ? CRASH_SOLE : CRASH_SHARED;
    for (size_t n = math.held.count; n > 0; n--)
        settle_with(&math, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = 10, .crash = how, .pid = pid,
                                               .reply = {.code = CODE_UNAVAILABLE, .body = STR("closed by peer")}});
    run_store();
    pass(20);
    run_store();
}

static char error[200];

static void on_dead(void *arg, const struct dead_letter *d)
{
    (void)arg;
    snprintf(error, sizeof(error), "%s|%s", code_name(d->reason), d->last_error);
}

static const char *dead(void)
{
    struct dead_walked sum;
    struct dead_ask ask = {.action = DEAD_LIST, .each = on_dead, .done = on_walked, .arg = &sum};
    error[0] = '\0';
    hub_dead_walk(hub, &ask);
    run_store();
    return error;
}

START_TEST(one_that_kills_twice_is_dead)
{
    publish("math.sum", "id: bad\n", NULL);
    run_store();
    ck_assert(!oldest(&math)->alone);
    die(123);
    ck_assert(oldest(&math)->alone);
    ck_assert_uint_eq(totals().dead, 0);
    die(456);
    ck_assert_uint_eq(totals().dead, 1);
    ck_assert_str_eq(dead(), "unavailable|unavailable: crashed its service 2 times (pid 123, 456)");
    all_over();
}
END_TEST

START_TEST(suspects_go_alone_and_one_is_guilty)
{
    for (int i = 0; i < 4; i++)
        publish("math.sum", i == 2 ? "id: bad\n" : "id: good\n", NULL);
    run_store();
    ck_assert_uint_eq(math.held.count, 4);
    die(1);
    for (int i = 0; i < 10 && totals().done + totals().dead < 4; i++) {
        ck_assert_uint_eq(math.held.count, 1); /* one suspect at a time */
        ck_assert(oldest(&math)->alone);
        if (str_is(oldest(&math)->msg->id, "bad"))
            die(10 + i);
        else
            settle_ok(&math);
        run_store();
        pass(20);
        run_store();
    }
    ck_assert_uint_eq(totals().done, 3);
    ck_assert_uint_eq(totals().dead, 1);
    ck_assert_ptr_nonnull(strstr(dead(), "crashed its service 2 times"));
    publish("math.sum", "id: next\n", NULL);
    publish("math.sum", "id: next\n", NULL);
    run_store();
    ck_assert_uint_eq(math.held.count, 2);
    ck_assert(!oldest(&math)->alone);
}
END_TEST

/* One that was answered, be it with an error, is no suspect any more; but it is not forgotten. */
START_TEST(an_answer_clears_the_suspicion)
{
    publish("math.sum", "id: odd\n", NULL);
    run_store();
    die(1);
    settle_with(&math, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = 10,
                                           .reply = {.code = CODE_FAILED, .body = STR("no")}});
    run_store();
    pass(20);
    run_store();
    ck_assert(!oldest(&math)->alone);
    die(2);
    ck_assert_uint_eq(totals().dead, 1);
}
END_TEST

START_TEST(the_count_outlives_the_daemon)
{
    publish("math.sum", "id: bad\n", NULL);
    run_store();
    die(123);
    again(2);
    ck_assert(oldest(&math)->alone);
    die(456);
    ck_assert_uint_eq(totals().dead, 1);
    ck_assert_ptr_nonnull(strstr(dead(), "2 times (pid 123, 456)"));
}
END_TEST

/* Another error has the place of the last one meanwhile. */
START_TEST(the_count_outlives_other_errors_and_the_daemon)
{
    publish("math.sum", "id: bad\n", NULL);
    run_store();
    die(1);
    settle_with(&math, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = 10,
                                           .reply = {.code = CODE_FAILED, .body = STR("no")}});
    run_store();
    again(2);
    ck_assert_uint_eq(totals().dead, 0);
    ck_assert_uint_eq(math.held.count, 1);
    die(2);
    ck_assert_uint_eq(totals().dead, 1);
    ck_assert_ptr_nonnull(strstr(dead(), "crashed its service 2 times"));
    all_over();
}
END_TEST

START_TEST(a_suspect_stays_one_over_a_restart)
{
    publish("math.sum", "id: a\n", NULL);
    publish("math.sum", "id: b\n", NULL);
    run_store();
    die(1);
    again(2);
    ck_assert_uint_eq(math.held.count, 1);
    ck_assert(oldest(&math)->alone);
}
END_TEST

START_TEST(zero_is_never)
{
    again(0);
    publish("math.sum", "id: bad\n", NULL);
    run_store();
    for (int i = 0; i < 5; i++) {
        ck_assert(!oldest(&math)->alone);
        die(1);
    }
    ck_assert_uint_eq(totals().dead, 0);
}
END_TEST

/* A request that killed two is not tried a third time. */
START_TEST(requests_end_too)
{
    struct ask a;
    request("math.sum", "id: ask\n", &a);
    die(1);
    ck_assert_uint_eq(a.answers, 0);
    die(2);
    heard(&a, CODE_UNAVAILABLE, "closed by peer");
}
END_TEST

/* As a session does it: a suspect goes to empty hands. */
static bool careful_send(struct sink *s, struct handover *h)
{
    return !(h->alone && ((struct fake *)s)->held.count > 0) && fake_send(s, h);
}

static const struct sink_ops careful_ops = {.send = careful_send, .cancel = fake_cancel};

static bool holds(const char *id)
{
    LIST_EACH(&math.held, n) {
        if (str_is(CONTAINER_OF(n, struct handover, link)->msg->id, id))
            return true;
    }
    return false;
}

/* One that takes for ever is in hand when a suspect's turn comes. */
static void suspect_behind_a_long_one(void)
{
    math.sink.ops = &careful_ops;
    publish("math.sum", "id: bad\n", NULL);
    publish("math.sum", "id: worse\n", NULL);
    run_store();
    for (size_t n = math.held.count; n > 0; n--)
        settle_with(&math, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = 500 + 10 * (2 - (int64_t)n), .crash = CRASH_SHARED,
                                               .pid = 1,
                                               .reply = {.code = CODE_UNAVAILABLE, .body = STR("closed by peer")}});
    run_store();
    publish("math.sum", "id: long\n", NULL);
    run_store();
    ck_assert(holds("long") && math.held.count == 1);
}

static void pass_extended(int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 100) {
        pass(100);
        run_store();
        LIST_EACH(&math.held, n)
            CONTAINER_OF(n, struct handover, link)->core->extend(CONTAINER_OF(n, struct handover, link));
    }
}

START_TEST(a_suspect_holds_up_its_queue_for_a_while)
{
    suspect_behind_a_long_one();
    pass_extended(600);
    publish("math.sum", "id: next\n", NULL);
    run_store();
    pass_extended(700);
    ck_assert(!holds("next") && !holds("bad"));
    pass_extended(400); /* the time-out is 1 s */
    ck_assert(holds("next") && !holds("bad"));
    publish("math.sum", "id: later\n", NULL);
    run_store();
    ck_assert(holds("later"));
    pass_extended(29000);
    ck_assert(!holds("bad"));
    pass_extended(1500);
    ck_assert(holds("bad") && !holds("worse"));
    pass_extended(32000);
    ck_assert(holds("worse"));
}
END_TEST

START_TEST(a_suspect_goes_as_soon_as_hands_are_empty)
{
    suspect_behind_a_long_one();
    pass_extended(5000);
    ck_assert(!holds("bad"));
    settle_ok(&math);
    run_store();
    ck_assert(holds("bad") && math.held.count == 1 && oldest(&math)->alone);
    publish("math.sum", "id: next\n", NULL);
    run_store();
    pass_extended(500);
    ck_assert(!holds("worse"));
    pass_extended(1000); /* `worse` has held it up, in its turn */
    ck_assert(holds("next") && !holds("worse"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_poison");
    TCase *t = tcase_create("poison");
    const TTest *const tests[] = {
        one_that_kills_twice_is_dead, suspects_go_alone_and_one_is_guilty, an_answer_clears_the_suspicion,
        the_count_outlives_the_daemon, the_count_outlives_other_errors_and_the_daemon,
        a_suspect_stays_one_over_a_restart, zero_is_never, requests_end_too, a_suspect_holds_up_its_queue_for_a_while,
        a_suspect_goes_as_soon_as_hands_are_empty,
    };
    tcase_add_checked_fixture(t, begin, end);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
