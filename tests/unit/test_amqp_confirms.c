/* daemon/transport/amqp/confirms.h: confirms in any order, several at a time, returns, nacks, loss. */
#include <check.h>
#include <stdlib.h>

#include "base/rand.h"
#include "transport/amqp/confirms.h"

#define MOST 4096

struct seen {
    int how[MOST]; /* by value, -1 = not yet */
    size_t count;
    struct confirms *add_to; /* one more is published whenever one ends */
    uintptr_t next_value;
};

static void on_done(void *arg, void *value, enum confirm how)
{
    struct seen *s = arg;
    ck_assert_int_eq(s->how[(uintptr_t)value], -1);
    s->how[(uintptr_t)value] = (int)how;
    s->count++;
    if (s->add_to != NULL && !confirms_full(s->add_to))
        confirms_add(s->add_to, (void *)s->next_value++);
}

static void begin(struct confirms *c, struct seen *s, size_t span)
{
    *s = (struct seen){.next_value = 1};
    for (size_t i = 0; i < MOST; i++)
        s->how[i] = -1;
    confirms_init(c, span, on_done, s);
}

static void publish(struct confirms *c, uintptr_t count)
{
    for (uintptr_t i = 1; i <= count; i++)
        ck_assert_uint_eq(confirms_add(c, (void *)i), i);
}

START_TEST(test_out_of_order)
{
    struct confirms c;
    struct seen s;
    begin(&c, &s, 100);
    publish(&c, 3);
    ck_assert(confirms_settle(&c, 2, false, true));
    ck_assert_int_eq(s.how[2], CONFIRM_ACK);
    ck_assert_int_eq(s.how[1], -1);
    ck_assert_uint_eq(c.count, 2);
    ck_assert(confirms_settle(&c, 2, false, true)); /* again: passed over */
    ck_assert(confirms_settle(&c, 3, false, false));
    ck_assert(confirms_settle(&c, 1, false, true));
    ck_assert_int_eq(s.how[3], CONFIRM_NACK);
    ck_assert_uint_eq(s.count, 3);
    ck_assert_uint_eq(c.first, 4);
    confirms_fini(&c);
}
END_TEST

START_TEST(test_multiple)
{
    struct confirms c;
    struct seen s;
    begin(&c, &s, 100);
    publish(&c, 10);
    ck_assert(confirms_settle(&c, 4, false, true));
    ck_assert(confirms_settle(&c, 6, true, true));
    ck_assert_uint_eq(s.count, 6);
    ck_assert_int_eq(s.how[7], -1);
    ck_assert(confirms_settle(&c, 5, true, false)); /* all of them settled */
    ck_assert_int_eq(s.how[5], CONFIRM_ACK);
    ck_assert(confirms_settle(&c, 0, true, false));
    ck_assert_int_eq(s.how[10], CONFIRM_NACK);
    ck_assert_uint_eq(c.count, 0);
    confirms_fini(&c);
}
END_TEST

START_TEST(test_unknown_tags)
{
    struct confirms c;
    struct seen s;
    begin(&c, &s, 100);
    publish(&c, 2);
    ck_assert(!confirms_settle(&c, 3, false, true));
    ck_assert(!confirms_settle(&c, 3, true, true));
    ck_assert(!confirms_settle(&c, 0, false, true));
    ck_assert(!confirms_settle(&c, UINT64_MAX, true, true));
    ck_assert(!confirms_returned(&c, 3));
    ck_assert_uint_eq(s.count, 0);
    confirms_lose(&c);
    confirms_fini(&c);
}
END_TEST

START_TEST(test_returned)
{
    struct confirms c;
    struct seen s;
    begin(&c, &s, 100);
    publish(&c, 3);
    ck_assert(confirms_returned(&c, 2));
    ck_assert_uint_eq(s.count, 0);
    ck_assert(confirms_settle(&c, 3, true, true));
    ck_assert_int_eq(s.how[1], CONFIRM_ACK);
    ck_assert_int_eq(s.how[2], CONFIRM_RETURNED);
    ck_assert_int_eq(s.how[3], CONFIRM_ACK);
    ck_assert(!confirms_returned(&c, 2));
    confirms_fini(&c);
}
END_TEST

START_TEST(test_full_by_distance)
{
    struct confirms c;
    struct seen s;
    begin(&c, &s, 5);
    publish(&c, 5);
    ck_assert(confirms_full(&c));
    for (uint64_t tag = 2; tag <= 5; tag++)
        confirms_settle(&c, tag, false, true);
    ck_assert(confirms_full(&c)); /* the first one is still out */
    confirms_settle(&c, 1, false, true);
    ck_assert(!confirms_full(&c));
    ck_assert_uint_eq(confirms_add(&c, (void *)6), 6);
    confirms_lose(&c);
    confirms_fini(&c);
}
END_TEST

START_TEST(test_lose)
{
    struct confirms c;
    struct seen s;
    begin(&c, &s, 200);
    publish(&c, 150); /* the ring has grown */
    confirms_settle(&c, 100, false, true);
    confirms_lose(&c);
    ck_assert_int_eq(s.how[99], CONFIRM_LOST);
    ck_assert_int_eq(s.how[100], CONFIRM_ACK);
    ck_assert_uint_eq(s.count, 150);
    ck_assert_uint_eq(confirms_add(&c, (void *)200), 1);
    confirms_settle(&c, 1, false, true);
    ck_assert_int_eq(s.how[200], CONFIRM_ACK);
    confirms_fini(&c);
}
END_TEST

START_TEST(test_done_publishes_more)
{
    struct confirms c;
    struct seen s;
    begin(&c, &s, 70);
    s.add_to = &c;
    s.next_value = 11;
    publish(&c, 10);
    confirms_settle(&c, 10, true, true);
    ck_assert_uint_eq(s.count, 10); /* what was added meanwhile is not meant */
    ck_assert_uint_eq(c.count, 10);
    for (int i = 0; i < 200; i++)
        ck_assert(confirms_settle(&c, 0, true, true));
    ck_assert_uint_eq(c.count, 10);
    s.add_to = NULL;
    confirms_lose(&c);
    confirms_fini(&c);
}
END_TEST

/* Against the plainest model: whatever is said in whatever order, each ends once and rightly. */
START_TEST(test_random)
{
    struct rand r;
    struct confirms c;
    struct seen s;
    rand_seed(&r, (uint64_t)_i);
    begin(&c, &s, 64);
    uint64_t published = 0;
    int expected[MOST];
    for (size_t i = 0; i < MOST; i++)
        expected[i] = -1;
    while (published < 1000) {
        if (!confirms_full(&c) && rand_below(&r, 3) > 0) {
            published++;
            ck_assert_uint_eq(confirms_add(&c, (void *)(uintptr_t)published), published);
            continue;
        }
        uint64_t tag = 1 + rand_below(&r, published + 1);
        bool multiple = rand_below(&r, 2), ack = rand_below(&r, 4) > 0;
        ck_assert_int_eq(confirms_settle(&c, tag, multiple, ack), tag <= published);
        for (uint64_t t = multiple ? 1 : tag; t <= tag && tag <= published; t++) {
            if (expected[t] < 0)
                expected[t] = ack ? CONFIRM_ACK : CONFIRM_NACK;
        }
        ck_assert_mem_eq(expected, s.how, sizeof(expected));
    }
    confirms_lose(&c);
    ck_assert_uint_eq(s.count, published);
    confirms_fini(&c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp_confirms");
    TCase *tc = tcase_create("confirms");
    tcase_add_test(tc, test_out_of_order);
    tcase_add_test(tc, test_multiple);
    tcase_add_test(tc, test_unknown_tags);
    tcase_add_test(tc, test_returned);
    tcase_add_test(tc, test_full_by_distance);
    tcase_add_test(tc, test_lose);
    tcase_add_test(tc, test_done_publishes_more);
    tcase_add_loop_test(tc, test_random, 0, 20);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
