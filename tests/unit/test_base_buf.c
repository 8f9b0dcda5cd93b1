/* The byte buffer against a plain array, and the writers of numbers. */
#include <inttypes.h>
#include <signal.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "rig.h"

START_TEST(an_empty_one_holds_no_memory)
{
    struct buf b = BUF_EMPTY;
    ck_assert_ptr_null(buf_data(&b));
    ck_assert_uint_eq(buf_str(&b).n, 0);
    buf_consume(&b, 0);
    buf_clear(&b);
    ck_assert_ptr_null(b.base);
    buf_fini(&b);
    buf_fini(&b);
    buf_wipe(&b);
    ck_assert_str_eq(buf_cstr(&b), "");
    ck_assert_uint_eq(b.len, 0);
    buf_fini(&b);
    ck_assert(b.base == NULL && b.cap == 0);
}
END_TEST

/* Random puts, consumes and reserves: the live bytes are those of a plain array. */
START_TEST(bytes_stay_in_order_whatever_is_done)
{
    static uint8_t oracle[1 << 22];
    size_t from = 0, to = 0;
    struct buf b = BUF_EMPTY;
    struct rand r;
    rand_seed(&r, 7);
    for (int i = 0; i < 20000; i++) {
        size_t n = rand_below(&r, rand_below(&r, 20) == 0 ? 3000 : 100);
        if (rand_below(&r, 2) == 0 && to + n <= sizeof(oracle)) {
            uint8_t *room = buf_reserve(&b, n + 5); /* more than is used */
            for (size_t k = 0; k < n; k++)
                room[k] = oracle[to++] = (uint8_t)rand_u64(&r);
            buf_commit(&b, n);
        } else if (rand_below(&r, 200) == 0) {
            buf_clear(&b);
            from = to;
        } else {
            n = n < b.len ? n : b.len;
            buf_consume(&b, n);
            from += n;
        }
        ck_assert_uint_eq(b.len, to - from);
        ck_assert_uint_le(b.off + b.len, b.cap);
        if (b.len > 0 && (i % 16 == 0 || b.len < 64))
            ck_assert_mem_eq(buf_data(&b), oracle + from, b.len);
    }
    ck_assert_uint_gt(to, 100000);
    ck_assert_uint_lt(b.cap, 200000); /* what was consumed is used again */
    buf_fini(&b);
}
END_TEST

START_TEST(a_consumed_front_is_used_again)
{
    struct buf b = BUF_EMPTY;
    uint8_t bytes[100] = {0};
    for (int i = 0; i < 100000; i++) {
        bytes[0] = (uint8_t)i;
        buf_put(&b, bytes, sizeof(bytes));
        if (b.len > 200) {
            if (buf_data(&b)[0] != (uint8_t)(i - 2))
                ck_abort_msg("the front is not what was put there, at %d", i);
            buf_consume(&b, sizeof(bytes));
        }
    }
    ck_assert_uint_le(b.cap, 1024); /* 300 bytes live at most */
    buf_fini(&b);
}
END_TEST

START_TEST(an_emptied_one_starts_at_its_front)
{
    struct buf b = BUF_EMPTY;
    buf_puts(&b, "abc");
    buf_consume(&b, 2);
    ck_assert_uint_eq(b.off, 2);
    buf_consume(&b, 1);
    ck_assert_uint_eq(b.off, 0);
    uint8_t *room = buf_reserve(&b, b.cap);
    ck_assert_ptr_eq(room, b.base); /* all of it, without growing */
    buf_fini(&b);
}
END_TEST

START_TEST(text_is_appended_and_handed_over)
{
    struct buf b = BUF_EMPTY;
    buf_puts(&b, "skip");
    buf_printf(&b, "%s-%d", "x", 7);
    buf_str_put(&b, STR("|"));
    buf_str_put(&b, STR_NONE);
    buf_putc(&b, '!');
    buf_u64(&b, 0);
    buf_u64(&b, UINT64_MAX);
    buf_consume(&b, 4);
    ck_assert_str_eq(buf_cstr(&b), "x-7|!018446744073709551615");
    ck_assert_uint_eq(b.len, strlen("x-7|!018446744073709551615")); /* the NUL does not count */
    char *text = buf_steal(&b);
    ck_assert_str_eq(text, "x-7|!018446744073709551615");
    ck_assert(b.base == NULL && b.len == 0 && b.off == 0);
    mem_free(text);
    text = buf_steal(&b);
    ck_assert_str_eq(text, "");
    mem_free(text);
    buf_printf(&b, "%5000d", 1); /* above the first allocation */
    ck_assert_uint_eq(b.len, 5000);
    ck_assert_uint_eq(buf_data(&b)[4999], '1');
    buf_wipe(&b);
    ck_assert_ptr_null(b.base);
}
END_TEST

START_TEST(consuming_more_than_there_is_ends_the_process)
{
    struct buf b = BUF_EMPTY;
    buf_puts(&b, "ab");
    buf_consume(&b, 3);
}
END_TEST

START_TEST(a_size_beyond_what_can_be_ends_the_process)
{
    struct buf b = BUF_EMPTY;
    buf_puts(&b, "ab");
    buf_reserve(&b, SIZE_MAX - (size_t)_i);
}
END_TEST

START_TEST(decimal_and_hexadecimal)
{
    struct rand r;
    rand_seed(&r, 3);
    for (int i = 0; i < 200000; i++) {
        uint64_t value = rand_u64(&r) >> rand_below(&r, 64);
        char got[48], wanted[48];
        if (i < 6)
            value = (const uint64_t[]){0, 9, 10, UINT64_MAX, UINT64_C(0xabcdef0123456789), UINT64_C(0x9a9a9a9a0f0f0f0f)}[i];
        char *end = bytes_u64(got, value);
        *end++ = '|';
        *bytes_hex64(end, value) = '\0';
        snprintf(wanted, sizeof(wanted), "%" PRIu64 "|%016" PRIx64, value, value);
        if (strcmp(got, wanted) != 0)
            ck_abort_msg("%s, not %s", got, wanted);
    }
}
END_TEST

START_TEST(memory_is_zeroed_where_it_says_so)
{
    char *p = mem_calloc(100, 3);
    for (int i = 0; i < 300; i++)
        ck_assert_int_eq(p[i], 0);
    mem_free(p);
    mem_free(mem_alloc(0));
    mem_free(mem_realloc(NULL, 0));
    mem_free(NULL);
    p = mem_strndup("a\0bc", 3);
    ck_assert_mem_eq(p, "a\0b", 4);
    mem_free(p);
    p = mem_strdup("text");
    p = mem_realloc(p, 100);
    ck_assert_str_eq(p, "text");
    mem_free(p);
}
END_TEST

/* With sanitizers too an allocation that fails returns NULL. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

START_TEST(no_memory_left_ends_the_process_with_71)
{
    mem_calloc(SIZE_MAX / 2, 16);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/buf");
    TCase *t = tcase_create("buf");
    const TTest *const tests[] = {
        an_empty_one_holds_no_memory, bytes_stay_in_order_whatever_is_done, a_consumed_front_is_used_again,
        an_emptied_one_starts_at_its_front, text_is_appended_and_handed_over, decimal_and_hexadecimal,
        memory_is_zeroed_where_it_says_so,
    };
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_test_raise_signal(t, consuming_more_than_there_is_ends_the_process, SIGABRT);
    tcase_add_loop_test_raise_signal(t, a_size_beyond_what_can_be_ends_the_process, SIGABRT, 0, 4);
    tcase_add_exit_test(t, no_memory_left_ends_the_process_with_71, 71);
    suite_add_tcase(s, t);
    return run_suite(s);
}
