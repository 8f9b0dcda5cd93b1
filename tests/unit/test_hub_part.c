/* A sink that leaves while it has work in hand, and its successor. */
#include "hub_rig.h"

static struct ask a, b;
static struct fake next; /* under the name of `edge` */

static void begin(void)
{
    set_up();
    plain->policy.timeout_ms = 10000;
    plain->policy.breaker.failures = 1;
    use_usual();
}

static void end(void)
{
    all_over();
    tear_down();
}

static void part(bool replaced)
{
    hub_part(hub, &edge.sink, replaced);
    sound();
}

static void adopt(void)
{
    next = (struct fake){.sink = {.ops = &fake_ops, .name = "edge"}, .room = 1000};
    list_init(&next.held);
    hub_adopt(hub, &next.sink);
}

START_TEST(both_do_their_work)
{
    request("edge.a", "", &a);
    part(true);
    adopt();
    request("edge.b", "", &b); /* waits for the new one */
    ck_assert_uint_eq(edge.held.count, 1);
    set_up_down(&next, true);
    ck_assert_uint_eq(next.held.count, 1);
    ck_assert_uint_eq(hub_held(&edge.sink), 1);
    settle_ok(&edge);
    heard(&a, CODE_OK, "fine");
    ck_assert_uint_eq(hub_held(&edge.sink), 0);
    hub_disown(hub, &edge.sink);
    settle_ok(&next);
    heard(&b, CODE_OK, "fine");
}
END_TEST

START_TEST(requests_wait_two_seconds_for_it)
{
    part(true);
    adopt();
    request("edge.a", "", &a);
    publish("edge.e", "", &b);
    pass(1999);
    ck_assert_uint_eq(a.answers, 0);
    pass(1);
    heard(&a, CODE_UNAVAILABLE, "nobody is there");
    ck_assert_int_eq(offer(MSG_REQUEST, "edge.a", "", &a), CODE_UNAVAILABLE);
    set_up_down(&next, true);
    settle_ok(&next);
    heard(&b, CODE_OK, "");
    hub_disown(hub, &edge.sink);
}
END_TEST

START_TEST(without_a_successor_they_are_refused)
{
    edge.room = 0;
    request("edge.a", "", &a);
    part(false);
    heard(&a, CODE_UNAVAILABLE, "nobody is there");
    ck_assert_int_eq(offer(MSG_REQUEST, "edge.a", "", &a), CODE_UNAVAILABLE);
    hub_disown(hub, &edge.sink);
}
END_TEST

/* What the old one has not ended goes out again, and its failures are not held against the new one. */
START_TEST(what_is_left_goes_to_the_successor)
{
    request("edge.a", "", &a);
    publish("edge.b", "", &b);
    part(true);
    adopt();
    set_up_down(&next, true);
    hub_disown(hub, &edge.sink);
    sound();
    ck_assert_uint_eq(edge.cancelled, 2);
    ck_assert_uint_eq(edge.abandoned, 0);
    pass(100);
    ck_assert_uint_eq(next.held.count, 2);
    ck_assert_uint_eq(oldest(&next)->attempt, 2);
    ck_assert_str_eq(status_of(&next).breaker, "closed");
    settle_ok(&next);
    settle_ok(&next);
    heard(&a, CODE_OK, "fine");
    heard(&b, CODE_OK, "");
}
END_TEST

START_TEST(who_gives_up_is_told_where_it_is)
{
    request("edge.a", "", &a);
    request("edge.b", "timeout: 1s\n", &b);
    part(true);
    adopt();
    set_up_down(&next, true);
    withdraw(&a);
    ck_assert_uint_eq(edge.abandoned, 1);
    pass(1000);
    heard(&b, CODE_TIMEOUT, "");
    ck_assert_uint_eq(edge.abandoned, 2);
    ck_assert_uint_eq(next.cancelled, 0);
    hub_disown(hub, &edge.sink);
}
END_TEST

START_TEST(what_it_says_of_itself_counts_no_more)
{
    edge.room = 1;
    publish("edge.a", "", &a);
    publish("edge.b", "", &b);
    part(true);
    make_room(&edge, 1000);
    ck_assert_uint_eq(edge.held.count, 1);
    adopt();
    set_up_down(&next, true);
    ck_assert_uint_eq(next.held.count, 1);
    settle(&edge, OUTCOME_RETRY, CODE_UNAVAILABLE, "lost");
    set_up_down(&edge, false);
    ck_assert(status_of(&next).up);
    pass(100);
    ck_assert_uint_eq(next.held.count, 2);
    settle_ok(&next);
    settle_ok(&next);
    hub_disown(hub, &edge.sink);
    ck_assert(status_of(&next).up);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_part");
    TCase *t = tcase_create("part");
    const TTest *const tests[] = {
        both_do_their_work, requests_wait_two_seconds_for_it, without_a_successor_they_are_refused,
        what_is_left_goes_to_the_successor, who_gives_up_is_told_where_it_is, what_it_says_of_itself_counts_no_more,
    };
    tcase_add_checked_fixture(t, begin, end);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
