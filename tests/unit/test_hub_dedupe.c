/* Copies of a message: the first is delivered, the others are answered as it was and go nowhere. */
#include "hub_store_rig.h"

#define WINDOW_MS 10000

static char *by;

static void dedupe_life(void)
{
    set_up();
    store = store_mem_open(disk);
    hub_use_store(hub, store);
    routes_usual();
    for (size_t i = 0; i < plain->count; i++) {
        plain->routes[i].durable = true;
        plain->routes[i].dedupe = (struct dedupe_conf){.by = by, .window_ms = WINDOW_MS};
    }
    routes_use();
}

static void begin(void)
{
    static char id[] = "id";
    by = id;
    disk = store_disk_new(100000);
    dedupe_life();
}

static void dedupe_crash(size_t jobs)
{
    int64_t now = now_ms;
    store_mem_crash(store, jobs);
    hub_free(hub);
    dedupe_life();
    now_ms = now;
}

static uint64_t duplicates(void)
{
    struct hub_counts c;
    hub_counts(hub, &c);
    return c.duplicates;
}

START_TEST(a_copy_is_acknowledged_and_not_delivered)
{
    struct ask a, b;
    publish("math.sum", "id: one\n", &a);
    run_store();
    publish("math.sum", "id: one\n", &b);
    run_store();
    heard(&a, CODE_OK, "");
    heard(&b, CODE_OK, "");
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_uint_eq(duplicates(), 1);
    ck_assert_uint_eq(totals().accepted, 1);
    settle_ok(&math);
    run_store();
    publish("math.sum", "id: one\n", &b); /* though the first one is done */
    run_store();
    heard(&b, CODE_OK, "");
    ck_assert_uint_eq(math.sent, 1);
    all_over();
}
END_TEST

/* S1: the answer to the second is as good as that to the first. */
START_TEST(a_copy_is_acknowledged_when_the_first_is_on_disk)
{
    struct ask a, b;
    publish("math.sum", "id: one\n", &a);
    publish("math.sum", "id: one\n", &b);
    ck_assert_uint_eq(a.answers + b.answers, 0);
    dedupe_crash(0);
    run_store();
    ck_assert_uint_eq(math.sent, 0);
    ck_assert_uint_eq(a.answers + b.answers, 0);
    publish("math.sum", "id: one\n", &a);
    run_store();
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_uint_eq(duplicates(), 0);
}
END_TEST

START_TEST(a_copy_is_known_after_a_crash)
{
    struct ask a, b;
    publish("math.sum", "id: one\n", &a);
    run_store();
    heard(&a, CODE_OK, "");
    dedupe_crash(0); /* and the publisher has not heard of it */
    run_store();
    ck_assert_uint_eq(math.sent, 1);
    publish("math.sum", "id: one\n", &b);
    run_store();
    heard(&b, CODE_OK, "");
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_uint_eq(duplicates(), 1);
}
END_TEST

/* Killed after any step: with what is on record the message is on disk, and without it the next copy is. */
START_TEST(record_and_message_are_one)
{
    publish("math.sum", "id: zero\n", NULL); /* makes the queue */
    run_store();
    for (size_t steps = 0; steps < 6; steps++) {
        char id[] = "id: 0\n";
        id[4] = (char)('0' + steps);
        publish("math.sum", id, NULL);
        publish("math.sum", id, NULL);
        dedupe_crash(steps);
        publish("math.sum", id, NULL);
        run_store();
        ck_assert_uint_eq(totals().accepted, steps + 2);
    }
}
END_TEST

START_TEST(after_the_window_it_is_another_message)
{
    publish("math.sum", "id: one\n", NULL);
    run_store();
    pass(WINDOW_MS - 1);
    publish("math.sum", "id: one\n", NULL);
    run_store();
    ck_assert_uint_eq(totals().accepted, 1);
    pass(1);
    publish("math.sum", "id: one\n", NULL);
    run_store();
    ck_assert_uint_eq(totals().accepted, 2);
}
END_TEST

/* Not the id alone, or one sender could keep another's messages from coming through. */
START_TEST(route_and_source_are_part_of_it)
{
    publish("math.sum", "id: one\n", NULL);
    publish("math.sum", "id: two\n", NULL);
    publish("shop", "id: one\n", NULL);
    struct msg_input input = {.kind = MSG_EVENT, .subject = STR("math.sum"), .headers = STR("id: one\n"),
                              .source = STR("in2")};
    const char *what;
    struct msg *m = msg_new(in->factory, &input, &what);
    ck_assert_int_eq(intake_accept(in, m, NULL, &waiter, NULL), CODE_OK);
    msg_unref(m);
    run_store();
    ck_assert_uint_eq(totals().accepted, 4);
    ck_assert_uint_eq(duplicates(), 0);
}
END_TEST

START_TEST(without_a_name_of_its_own_none_is_a_copy)
{
    publish("math.sum", "", NULL);
    publish("math.sum", "", NULL);
    run_store();
    ck_assert_uint_eq(math.sent, 2);
    struct store_stats s;
    store_stats(store, &s);
    ck_assert_uint_eq(s.seen, 0);
}
END_TEST

START_TEST(by_a_header)
{
    static char header[] = "header:order";
    by = header;
    dedupe_crash(0);
    publish("math.sum", "id: a\norder: 1\n", NULL);
    publish("math.sum", "id: b\norder: 1\n", NULL);
    publish("math.sum", "id: a\norder: 2\n", NULL);
    publish("math.sum", "id: a\n", NULL);
    publish("math.sum", "id: a\n", NULL); /* has no such header: is what it is */
    run_store();
    ck_assert_uint_eq(math.sent, 4);
    ck_assert_uint_eq(duplicates(), 1);
}
END_TEST

START_TEST(the_second_copy_of_one_that_was_refused_is_a_first)
{
    struct ask a;
    store_close(store);
    hub_free(hub);
    store_disk_free(disk);
    disk = store_disk_new(1);
    dedupe_life();
    publish("math.sum", "id: zero\n", NULL);
    run_store();
    publish("math.sum", "id: one\n", &a);
    run_store();
    heard(&a, CODE_OVERLOADED, "full");
    settle_ok(&math);
    run_store();
    publish("math.sum", "id: one\n", &a);
    run_store();
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(math.sent, 2);
    ck_assert_uint_eq(duplicates(), 0);
}
END_TEST

START_TEST(all_targets_or_none)
{
    publish("all", "id: one\n", NULL);
    publish("all", "id: one\n", NULL);
    run_store();
    ck_assert_uint_eq(math.sent + shop.sent + edge.sent, 3);
    ck_assert_uint_eq(totals().accepted, 3);
    ck_assert_uint_eq(duplicates(), 1);
}
END_TEST

/* Who has subscribed gets it once too, and not before it is sure that it is the first. */
START_TEST(subscriptions_see_the_first_only)
{
    struct fake ear;
    fake_init(&ear, "ear", true);
    hub_subscribe(hub, STR("math.*"), ear.sink.dest);
    publish("math.sum", "id: one\n", NULL);
    ck_assert_uint_eq(ear.sent, 0);
    run_store();
    publish("math.sum", "id: one\n", NULL);
    run_store();
    ck_assert_uint_eq(ear.sent, 1);
    ck_assert_uint_eq(math.sent, 1);
    publish("math.sum", "id: two\n", NULL);
    hub_unsubscribe(hub, 0);
    settle_ok(&ear);
    ck_assert(hub_forgettable(ear.sink.dest));
    hub_retire(hub, ear.sink.dest); /* while one for it waits for the store */
    run_store();
    ck_assert_uint_eq(math.sent, 2);
    settle_ok(&math);
    settle_ok(&math);
    run_store();
    all_over();
}
END_TEST

/* What a service stages with its answer: a copy of it counts as stored. */
START_TEST(staged_copies)
{
    struct ask a, b;
    publish("math.sum", "id: in\n", NULL);
    run_store();
    hub_group_begin(hub);
    publish("shop", "id: out\n", &a);
    publish("shop", "id: out\n", &b);
    settle_ok(&math);
    hub_group_end(hub);
    run_store();
    heard(&a, CODE_OK, "");
    heard(&b, CODE_OK, "");
    ck_assert_uint_eq(shop.sent, 1);
    ck_assert_uint_eq(totals().done, 1);
    settle_ok(&shop);
    run_store();
    all_over();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_dedupe");
    TCase *t = tcase_create("dedupe");
    const TTest *const tests[] = {
        a_copy_is_acknowledged_and_not_delivered, a_copy_is_acknowledged_when_the_first_is_on_disk,
        a_copy_is_known_after_a_crash, record_and_message_are_one, after_the_window_it_is_another_message, route_and_source_are_part_of_it,
        without_a_name_of_its_own_none_is_a_copy, by_a_header,
        the_second_copy_of_one_that_was_refused_is_a_first, all_targets_or_none, subscriptions_see_the_first_only,
        staged_copies,
    };
    tcase_add_checked_fixture(t, begin, end);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
