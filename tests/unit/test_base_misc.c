/* The generator, collected errors and the two clocks. */
#include <inttypes.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "rig.h"

START_TEST(the_generator_repeats_itself_by_seed)
{
    struct rand a, b;
    rand_seed(&a, 0); /* splitmix64 keeps the state from being zero */
    rand_seed(&b, 0);
    bool differs = false;
    for (int i = 0; i < 1000; i++) {
        uint64_t x = rand_u64(&a);
        ck_assert_uint_eq(x, rand_u64(&b));
        differs |= x != 0;
    }
    ck_assert(differs);
    rand_seed(&b, 1);
    ck_assert_uint_ne(rand_u64(&a), rand_u64(&b));
    rand_seed_os(&a);
    rand_seed_os(&b);
    ck_assert_uint_ne(rand_u64(&a), rand_u64(&b));
}
END_TEST

/* The first outputs of the authors' xoshiro256plusplus.c from the state {1, 2, 3, 4}. */
START_TEST(the_generator_is_xoshiro256_plus_plus)
{
    static const uint64_t wanted[] = {41943041, 58720359, UINT64_C(3588806011781223), UINT64_C(3591011842654386)};
    struct rand r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < 4; i++)
        ck_assert_uint_eq(rand_u64(&r), wanted[i]);
}
END_TEST

START_TEST(below_is_below_and_even)
{
    static const uint64_t bounds[] = {1, 2, 3, 10, 1000, UINT64_C(1) << 33, UINT64_MAX};
    struct rand r;
    rand_seed(&r, 4);
    for (size_t b = 0; b < sizeof(bounds) / sizeof(bounds[0]); b++) {
        uint64_t most = 0;
        for (int i = 0; i < 20000; i++) {
            uint64_t n = rand_below(&r, bounds[b]);
            if (n >= bounds[b])
                ck_abort_msg("%" PRIu64 " is not below %" PRIu64, n, bounds[b]);
            most = n > most ? n : most;
        }
        ck_assert_uint_ge(most, bounds[b] - 1 - bounds[b] / 100);
    }
    unsigned counts[10] = {0};
    for (int i = 0; i < 100000; i++)
        counts[rand_below(&r, 10)]++;
    for (int i = 0; i < 10; i++)
        ck_assert(counts[i] > 9500 && counts[i] < 10500); /* 5 standard deviations */
}
END_TEST

START_TEST(errors_are_kept_in_order_up_to_a_limit)
{
    struct err e = {0};
    char *all = err_text(&e);
    ck_assert_str_eq(all, "");
    mem_free(all);
    ck_assert(!err_add(&e, "%s:%d: wrong", "a.yaml", 1));
    ck_assert(!err_add(&e, "%s", ""));
    all = err_text(&e);
    ck_assert_str_eq(all, "a.yaml:1: wrong\n\n");
    mem_free(all);
    for (int i = 2; i < 250; i++)
        err_add(&e, "number %d", i);
    ck_assert_uint_eq(e.count, ERR_MAX);
    ck_assert_uint_eq(e.total, 250);
    ck_assert_str_eq(e.texts[99], "number 99");
    all = err_text(&e);
    ck_assert(str_ends(str_of(all), STR("number 99\n(and 150 more)\n")));
    mem_free(all);
    err_fini(&e);
    ck_assert(e.count == 0 && e.total == 0 && e.texts == NULL);
    err_fini(&e);
}
END_TEST

START_TEST(times_are_written_as_rfc_3339)
{
    static const struct {
        int64_t ms;
        const char *text;
    } table[] = {
        {0, "1970-01-01T00:00:00.000Z"}, {999, "1970-01-01T00:00:00.999Z"},
        {INT64_C(951827696007), "2000-02-29T12:34:56.007Z"}, {INT64_C(1763805600123), "2025-11-22T10:00:00.123Z"},
        {INT64_C(2147483648000), "2038-01-19T03:14:08.000Z"}, {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
    };
    char out[32];
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        ck_assert_ptr_eq(clock_rfc3339(table[i].ms, out), out);
        ck_assert_str_eq(out, table[i].text);
    }
    setenv("TZ", "America/New_York", 1); /* no matter where */
    tzset();
    ck_assert_str_eq(clock_rfc3339(0, out), "1970-01-01T00:00:00.000Z");
}
END_TEST

START_TEST(clocks_go_forward)
{
    int64_t mono = clock_mono_ms(), wall = clock_wall_ms();
    ck_assert_int_gt(wall, INT64_C(1700000000000));
    ck_assert_int_le(llabs(wall / 1000 - (int64_t)time(NULL)), 1);
    usleep(20000);
    int64_t later = clock_mono_ms() - mono;
    ck_assert(later >= 19 && later < 10000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/misc");
    TCase *t = tcase_create("misc");
    const TTest *const tests[] = {
        the_generator_repeats_itself_by_seed, the_generator_is_xoshiro256_plus_plus, below_is_below_and_even,
        errors_are_kept_in_order_up_to_a_limit, times_are_written_as_rfc_3339, clocks_go_forward,
    };
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
