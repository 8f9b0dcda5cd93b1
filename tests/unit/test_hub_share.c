/* What one destination may hold of the memory, so that the others are served beside it. */
#include "hub_rig.h"

static struct ask a;
static uint64_t one; /* bytes that a delivery of the rig is charged with */

static void begin(uint64_t deliveries)
{
    use_usual();
    publish("edge.x", "", NULL);
    one = hub_memory(hub);
    settle_ok(&edge);
    limits(one * deliveries + one / 2, 100000, 10);
}

static size_t fill(const char *subject, enum code *last)
{
    size_t n = 0;
    while ((*last = offer(MSG_EVENT, subject, "", NULL)) == CODE_OK)
        n++;
    return n;
}

START_TEST(one_that_is_down_leaves_memory_to_the_others)
{
    enum code last;
    begin(1000);
    set_up_down(&shop, false);
    size_t held = fill("shop", &last);
    ck_assert_int_eq(last, CODE_OVERLOADED);
    ck_assert_uint_ge(held, 300);
    ck_assert_uint_le(held, 500);
    ck_assert_ptr_nonnull(in->why);
    ck_assert_ptr_nonnull(strstr(in->why, "shop"));
    for (int i = 0; i < 2000; i++) {
        request("math.x", "", &a);
        settle_ok(&math);
        publish("edge.x", "", &a);
        settle_ok(&edge);
    }
    ck_assert_ptr_null(in->why);
    ck_assert_uint_eq(status_of(&shop).ready, held);
    ck_assert_uint_le(status_of(&shop).memory, held * one);
    ck_assert_uint_ge(status_of(&shop).memory, held * (one - 8)); /* a shorter subject */
}
END_TEST

START_TEST(many_that_are_down_leave_memory_to_the_others)
{
    enum code last;
    char name[32];
    begin(1000);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "gone.%d", i);
        hub_subscribe(hub, str_of(name), hub_dest(hub, name, true));
    }
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "gone.%d", i);
        ck_assert_uint_ge(fill(name, &last), 1);
        ck_assert_int_eq(last, CODE_OVERLOADED);
        ck_assert_ptr_nonnull(strstr(in->why, name));
    }
    request("math.x", "", &a);
    settle_ok(&math);
    for (int i = 0; i < 5; i++)
        publish("edge.x", "", NULL);
}
END_TEST

START_TEST(a_slow_one_holds_its_sources_until_it_has_caught_up)
{
    enum code last;
    begin(1000);
    math.room = 0;
    size_t held = fill("math.x", &last);
    ck_assert_int_eq(last, CODE_BUSY);
    ck_assert_uint_le(held, 500);
    ck_assert_int_eq(offer(MSG_REQUEST, "math.x", "", &a), CODE_OVERLOADED);
    ck_assert_ptr_nonnull(strstr(in->why, "math"));
    publish("edge.x", "", NULL);
    settle_ok(&edge);
    make_room(&math, 100000);
    for (size_t i = 0; i < held / 4 - 1; i++)
        settle_ok(&math);
    ck_assert_uint_eq(resumed, 0);
    settle_ok(&math);
    settle_ok(&math);
    ck_assert_uint_eq(resumed, 1);
    publish("math.x", "", NULL);
    while (!list_empty(&math.held))
        settle_ok(&math);
    all_over();
}
END_TEST

START_TEST(a_source_does_not_wait_for_one_that_has_gone)
{
    enum code last;
    begin(1000);
    math.room = 0;
    fill("math.x", &last);
    ck_assert_int_eq(last, CODE_BUSY);
    set_up_down(&math, false);
    ck_assert_uint_eq(resumed, 1);
    ck_assert_int_eq(offer(MSG_EVENT, "math.x", "", NULL), CODE_OVERLOADED);
}
END_TEST

START_TEST(one_that_holds_nothing_may_take_what_fits)
{
    enum code last;
    begin(4);
    set_up_down(&shop, false);
    ck_assert_uint_eq(fill("shop", &last), 2);
    publish("math.x", "", NULL);
    publish("edge.x", "", NULL);
    ck_assert_int_eq(offer(MSG_EVENT, "edge.x", "", NULL), CODE_BUSY); /* the memory is full */
    waiter_cancel(&waiter);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub share");
    TCase *t = tcase_create("share");
    const TTest *const tests[] = {
        one_that_is_down_leaves_memory_to_the_others, many_that_are_down_leave_memory_to_the_others,
        a_slow_one_holds_its_sources_until_it_has_caught_up, a_source_does_not_wait_for_one_that_has_gone,
        one_that_holds_nothing_may_take_what_fits,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
