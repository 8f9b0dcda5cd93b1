/* Memory of messages: what is kept, how much, and who frees it last (the sanitizer sees what leaks). */
#include "base/mem.h"
#include "msg/msg.h"
#include "msg/pool.h"
#include "rig.h"

START_TEST(what_ended_is_taken_again)
{
    struct msg_pool *p = msg_pool_new();
    void *small = msg_pool_take(p, 1), *large = msg_pool_take(p, 1000);
    ck_assert_ptr_ne(small, large);
    msg_pool_give(p, small, 1);
    msg_pool_give(p, large, 1000);
    ck_assert_ptr_eq(msg_pool_take(p, 1500), large);
    ck_assert_ptr_eq(msg_pool_take(p, 600), small);
    void *more = msg_pool_take(p, 600);
    ck_assert_ptr_ne(more, small);
    msg_pool_give(p, small, 600);
    msg_pool_give(p, more, 600);
    msg_pool_give(p, large, 1500);
    msg_pool_close(p);
}
END_TEST

/* Every byte asked for is there to be written. */
START_TEST(each_size_has_its_room)
{
    struct msg_pool *p = msg_pool_new();
    for (int round = 0; round < 2; round++) {
        for (size_t size = 1; size < 5000; size += 7) {
            void *block = msg_pool_take(p, size);
            memset(block, 0xA5, size);
            msg_pool_give(p, block, size);
        }
    }
    msg_pool_close(p);
}
END_TEST

static size_t kept(size_t count, size_t size)
{
    struct msg_pool *p = msg_pool_new();
    void **blocks = mem_calloc(count, sizeof(void *)), **again = mem_calloc(count, sizeof(void *));
    size_t same = 0;
    for (size_t i = 0; i < count; i++)
        blocks[i] = msg_pool_take(p, size);
    for (size_t i = 0; i < count; i++) {
        memset(blocks[i], 1, size);
        msg_pool_give(p, blocks[i], size);
    }
    size_t n = MSG_POOL_BYTES / 640; /* as many as are kept come back in turn, the last given first */
    for (size_t i = 0; i < count; i++)
        again[i] = msg_pool_take(p, size);
    for (size_t i = 0; i < n; i++)
        same += again[i] == blocks[n - 1 - i];
    for (size_t i = 0; i < count; i++)
        msg_pool_give(p, again[i], size);
    msg_pool_close(p);
    mem_free(blocks);
    mem_free(again);
    return same;
}

START_TEST(no_more_is_kept_than_the_bound)
{
    ck_assert_uint_eq(kept(2000, 100), MSG_POOL_BYTES / 640);
}
END_TEST

START_TEST(messages_may_outlive_their_source)
{
    struct msg_pool *p = msg_pool_new();
    void *first = msg_pool_take(p, 10), *second = msg_pool_take(p, 10), *third = msg_pool_take(p, 5000);
    msg_pool_give(p, first, 10);
    msg_pool_close(p);
    msg_pool_give(p, third, 5000);
    msg_pool_give(p, second, 10);
    msg_pool_close(NULL);
    msg_pool_give(NULL, msg_pool_take(NULL, 10), 10);
}
END_TEST

#pragma weak __asan_address_is_poisoned

/* Only a sanitized build can tell: what was given back, and what lies behind what was asked for. */
START_TEST(nobody_touches_what_was_given_back)
{
    if (__asan_address_is_poisoned == NULL)
        return;
    struct msg_pool *p = msg_pool_new();
    char *given = msg_pool_take(p, 100), *taken = msg_pool_take(p, 96);
    msg_pool_give(p, given, 100);
    ck_assert(__asan_address_is_poisoned(given + 50) && __asan_address_is_poisoned(taken + 96));
    ck_assert(!__asan_address_is_poisoned(taken + 95));
    ck_assert_ptr_eq(msg_pool_take(p, 200), given);
    ck_assert(!__asan_address_is_poisoned(given + 199));
    msg_pool_give(p, given, 200);
    msg_pool_give(p, taken, 96);
    msg_pool_close(p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("msg/pool");
    TCase *t = tcase_create("pool");
    const TTest *const tests[] = {what_ended_is_taken_again, each_size_has_its_room, no_more_is_kept_than_the_bound,
                                  messages_may_outlive_their_source, nobody_touches_what_was_given_back};
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
