/* The subjects of patterns that came lately. */
#include "rig.h"
#include "transport/tcp/memo.h"

static struct memo memo;

static struct str pattern_of(char out[static 32], int i)
{
    return str_make(out, (size_t)snprintf(out, 32, "{\"cmd\":\"c%d\"}", i));
}

static struct str subject_of(char out[static 32], int i)
{
    return str_make(out, (size_t)snprintf(out, 32, "s%d", i));
}

START_TEST(what_was_put_is_there)
{
    memo_put(&memo, STR("\"a\""), STR("a"));
    ck_assert(str_is(memo_get(&memo, STR("\"a\"")), "a"));
    ck_assert_ptr_null(memo_get(&memo, STR("\"b\"")).p);
    ck_assert_ptr_null(memo_get(&memo, STR("\"a\" ")).p);
    ck_assert_ptr_null(memo_get(&memo, STR("\"a")).p);
    ck_assert_ptr_null(memo_get(&memo, STR("")).p);
    memo_put(&memo, STR("\"a\""), STR("other"));
    ck_assert(str_is(memo_get(&memo, STR("\"a\"")), "other"));
    memo_fini(&memo);
    ck_assert_ptr_null(memo_get(&memo, STR("\"a\"")).p);
}
END_TEST

/* Each is there with its own subject or not at all, and the last one always. */
START_TEST(many_take_each_others_places)
{
    char pattern[32], subject[32];
    int kept = 0;
    for (int i = 0; i < 10000; i++) {
        struct str p = pattern_of(pattern, i), s = subject_of(subject, i);
        memo_put(&memo, p, s);
        ck_assert(str_eq(memo_get(&memo, p), s));
    }
    for (int i = 0; i < 10000; i++) {
        struct str got = memo_get(&memo, pattern_of(pattern, i));
        ck_assert(got.p == NULL || str_eq(got, subject_of(subject, i)));
        kept += got.p != NULL;
    }
    ck_assert_int_gt(kept, MEMO_PLACES / 2);
    ck_assert_int_le(kept, MEMO_PLACES);
    memo_fini(&memo);
}
END_TEST

START_TEST(long_patterns_are_not_kept)
{
    char text[MEMO_PATTERN_MAX + 1];
    memset(text, '1', sizeof(text));
    memo_put(&memo, str_make(text, sizeof(text)), STR("long"));
    ck_assert_ptr_null(memo_get(&memo, str_make(text, sizeof(text))).p);
    memo_put(&memo, str_make(text, sizeof(text) - 1), STR("just"));
    ck_assert(str_is(memo_get(&memo, str_make(text, sizeof(text) - 1)), "just"));
    memo_fini(&memo);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport/tcp/memo");
    TCase *t = tcase_create("memo");
    const TTest *const tests[] = {what_was_put_is_there, many_take_each_others_places, long_patterns_are_not_kept};
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
