/* What is due, against a plain array that is searched. */
#include "base/rand.h"
#include "delivery/sched.h"
#include "rig.h"

#define DUES 400

static struct due dues[DUES];
static int64_t oracle[DUES]; /* when, or SCHED_NEVER */
static struct sched sched;

static int64_t oracle_next(void)
{
    int64_t next = SCHED_NEVER;
    for (size_t i = 0; i < DUES; i++)
        next = oracle[i] < next ? oracle[i] : next;
    return next;
}

static size_t scheduled(void)
{
    size_t n = sched.heap.count;
    for (size_t i = 0; i < sched.lane_count; i++)
        n += sched.lanes[i].list.count;
    return n;
}

static void take_all(int64_t now)
{
    struct due *d;
    int64_t before = INT64_MIN;
    while ((d = sched_take(&sched, now)) != NULL) {
        size_t i = (size_t)(d - dues);
        if (i >= DUES || oracle[i] != d->when_ms || d->when_ms > now || d->when_ms != oracle_next() ||
            d->when_ms < before)
            ck_abort_msg("%zu came at %lld, due at %lld", i, (long long)now, (long long)oracle[i]);
        before = d->when_ms;
        oracle[i] = SCHED_NEVER;
    }
    if (oracle_next() <= now)
        ck_abort_msg("one is still due at %lld", (long long)now);
}

START_TEST(what_is_due_comes_in_time_and_in_order)
{
    /* More spans than there are lanes, so that some regular ones stand in the heap. */
    struct rand r;
    int64_t now = 1000, spans[SCHED_LANES + 8];
    rand_seed(&r, (uint64_t)_i);
    sched_init(&sched);
    memset(dues, 0, sizeof(dues));
    for (size_t i = 0; i < DUES; i++)
        oracle[i] = SCHED_NEVER;
    for (size_t i = 0; i < SCHED_LANES + 8; i++)
        spans[i] = (int64_t)rand_below(&r, 3000);
    for (int step = 0; step < 20000; step++) {
        size_t i = rand_below(&r, DUES);
        uint64_t what = rand_below(&r, 10);
        if (what < 4) {
            int64_t span = spans[rand_below(&r, SCHED_LANES + 8)];
            sched_set(&sched, &dues[i], now, span, true);
            oracle[i] = now + span;
        } else if (what < 6) {
            int64_t span = (int64_t)rand_below(&r, 5000);
            sched_set(&sched, &dues[i], now, span, false);
            oracle[i] = now + span;
        } else if (what == 6) {
            sched_clear(&sched, &dues[i]);
            oracle[i] = SCHED_NEVER;
        } else if (what == 7) {
            sched_set(&sched, &dues[i], now, SCHED_NEVER, rand_below(&r, 2) == 0);
            oracle[i] = SCHED_NEVER;
        } else {
            now += (int64_t)rand_below(&r, 200);
            take_all(now);
        }
        if (sched_next(&sched) != oracle_next())
            ck_abort_msg("next is %lld, not %lld", (long long)sched_next(&sched), (long long)oracle_next());
    }
    ck_assert_uint_eq(sched.lane_count, SCHED_LANES);
    size_t left = 0;
    for (size_t i = 0; i < DUES; i++)
        left += oracle[i] != SCHED_NEVER;
    ck_assert_uint_eq(scheduled(), left);
    take_all(INT64_MAX - 1);
    ck_assert_uint_eq(scheduled(), 0);
    ck_assert_int_eq(sched_next(&sched), SCHED_NEVER);
    sched_fini(&sched);
}
END_TEST

START_TEST(equal_spans_come_in_the_order_they_were_set)
{
    sched_init(&sched);
    memset(dues, 0, sizeof(dues));
    for (size_t i = 0; i < 10; i++)
        sched_set(&sched, &dues[i], 100, 50, true);
    sched_set(&sched, &dues[3], 100, 50, true); /* set anew: the last now */
    ck_assert_ptr_null(sched_take(&sched, 149));
    for (size_t i = 0; i < 9; i++)
        ck_assert_ptr_eq(sched_take(&sched, 150), &dues[i < 3 ? i : i + 1]);
    ck_assert_ptr_eq(sched_take(&sched, 150), &dues[3]);
    ck_assert_ptr_null(sched_take(&sched, INT64_MAX));
    sched_clear(&sched, &dues[3]); /* legal when not scheduled */
    sched_fini(&sched);
}
END_TEST

START_TEST(beyond_the_end_of_time_is_never)
{
    sched_init(&sched);
    dues[0] = (struct due){0};
    sched_set(&sched, &dues[0], 1000, INT64_MAX - 500, false);
    ck_assert_int_eq(sched_next(&sched), SCHED_NEVER);
    sched_set(&sched, &dues[0], 1000, INT64_MAX - 1001, true);
    ck_assert_int_eq(sched_next(&sched), INT64_MAX - 1);
    sched_set(&sched, &dues[0], 1000, SCHED_NEVER, true); /* unschedules */
    ck_assert_int_eq(sched_next(&sched), SCHED_NEVER);
    sched_set(&sched, &dues[0], 1000, 0, true); /* due at once */
    ck_assert_ptr_eq(sched_take(&sched, 1000), &dues[0]);
    sched_fini(&sched);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sched");
    TCase *t = tcase_create("sched");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, what_is_due_comes_in_time_and_in_order, 1, 6);
    tcase_add_test(t, equal_spans_come_in_the_order_they_were_set);
    tcase_add_test(t, beyond_the_end_of_time_is_never);
    suite_add_tcase(s, t);
    return run_suite(s);
}
