/* Order within a key: one of a lane is out at a time, lanes do not wait for each other. */
#include "hub_rig.h"

static void start(void)
{
    set_up();
    hub_set_order(math.sink.dest, "key", false);
    use_usual();
}

static void strict(void)
{
    hub_set_order(math.sink.dest, "key", true);
}

static void holds(const char *const ids[])
{
    size_t i = 0;
    LIST_EACH(&math.held, n) {
        struct handover *h = CONTAINER_OF(n, struct handover, link);
        ck_assert_msg(ids[i] != NULL && str_is(h->msg->id, ids[i]), "%zu: %.*s", i, STR_ARG(h->msg->id));
        i++;
    }
    ck_assert_ptr_null(ids[i]);
}
#define HOLDS(...) holds((const char *const[]){__VA_ARGS__ __VA_OPT__(,) NULL})

static void fail_oldest(void)
{
    settle(&math, OUTCOME_RETRY, CODE_FAILED, "not yet");
}

START_TEST(one_of_a_key_at_a_time)
{
    publish("math.x", "id: a1\nkey: a\n", NULL);
    publish("math.x", "id: a2\nkey: a\n", NULL);
    publish("math.x", "id: b1\nkey: b\n", NULL);
    publish("math.x", "id: n1\n", NULL);
    publish("math.x", "id: n2\n", NULL);
    publish("math.x", "id: a3\nkey: a\n", NULL);
    HOLDS("a1", "b1", "n1", "n2");
    ck_assert_uint_eq(status_of(&math).parked, 2);
    settle_ok(&math);
    HOLDS("b1", "n1", "n2", "a2");
    for (int i = 0; i < 4; i++)
        settle_ok(&math);
    HOLDS("a3");
    settle_ok(&math);
    all_over();
}
END_TEST

START_TEST(relaxed_lets_others_pass_a_failed_one)
{
    publish("math.x", "id: a1\nkey: a\n", NULL);
    publish("math.x", "id: a2\nkey: a\n", NULL);
    publish("math.x", "id: a3\nkey: a\n", NULL);
    fail_oldest();
    HOLDS("a2");
    pass(200); /* a1 is due again, and stands before a3 */
    HOLDS("a2");
    settle_ok(&math);
    HOLDS("a1");
    settle_ok(&math);
    HOLDS("a3");
    settle_ok(&math);
    all_over();
}
END_TEST

START_TEST(strict_holds_them_up)
{
    strict();
    publish("math.x", "id: a1\nkey: a\n", NULL);
    publish("math.x", "id: a2\nkey: a\n", NULL);
    publish("math.x", "id: b1\nkey: b\n", NULL);
    fail_oldest();
    HOLDS("b1"); /* only its own lane is parked */
    settle_ok(&math);
    pass(50);
    HOLDS();
    pass(100);
    HOLDS("a1");
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "never");
    HOLDS("a2"); /* dead is an end too */
    settle_ok(&math);
    all_over();
}
END_TEST

START_TEST(a_parked_one_expires)
{
    publish("math.x", "id: a1\nkey: a\n", NULL);
    publish("math.x", "id: a2\nkey: a\nttl: 100ms\n", NULL);
    publish("math.x", "id: a3\nkey: a\n", NULL);
    pass(200);
    ck_assert_uint_eq(count_of(DELIVERY_EXPIRED), 1);
    settle_ok(&math);
    HOLDS("a3");
    settle_ok(&math);
    all_over();
}
END_TEST

START_TEST(one_that_expires_lets_the_next_out)
{
    strict();
    publish("math.x", "id: a1\nkey: a\nttl: 50ms\n", NULL);
    publish("math.x", "id: a2\nkey: a\n", NULL);
    fail_oldest();
    pass(60);
    HOLDS("a2");
    settle_ok(&math);
    all_over();
}
END_TEST

START_TEST(a_withdrawn_request_lets_the_next_out)
{
    struct ask a, b;
    request("math.x", "key: a\n", &a);
    request("math.x", "key: a\n", &b);
    ck_assert_uint_eq(math.held.count, 1);
    withdraw(&a);
    ck_assert_uint_eq(math.held.count, 1);
    settle_ok(&math);
    heard(&b, CODE_OK, "");
    all_over();
}
END_TEST

START_TEST(an_order_that_is_taken_away)
{
    publish("math.x", "id: a1\nkey: a\n", NULL);
    publish("math.x", "id: a2\nkey: a\n", NULL);
    hub_set_order(math.sink.dest, NULL, false);
    publish("math.x", "id: a3\nkey: a\n", NULL);
    HOLDS("a1", "a3"); /* what is parked stays in its lane */
    settle_ok(&math);
    settle_ok(&math);
    HOLDS("a2");
    settle_ok(&math);
    all_over();
}
END_TEST

START_TEST(many_dead_ones_in_a_lane)
{
    for (int i = 0; i < 90; i++)
        publish("math.x", "key: a\nttl: 10ms\n", NULL);
    publish("math.x", "id: last\nkey: a\n", NULL);
    pass(20);
    HOLDS("last");
    settle_ok(&math);
    all_over();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lane");
    TCase *t = tcase_create("lane");
    const TTest *const tests[] = {
        one_of_a_key_at_a_time, relaxed_lets_others_pass_a_failed_one, strict_holds_them_up, a_parked_one_expires,
        one_that_expires_lets_the_next_out, a_withdrawn_request_lets_the_next_out, an_order_that_is_taken_away,
        many_dead_ones_in_a_lane,
    };
    tcase_add_checked_fixture(t, start, tear_down);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
