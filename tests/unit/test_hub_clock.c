/* S10: whatever the wall clock does, pauses, delays and times to live are as long as they were meant to be, in one
 * life and over several; only `deliver-at` goes by it. */
#include "base/clock.h"
#include "hub_store_rig.h"

#define HOUR INT64_C(3600000)
#define YEARS (INT64_C(10) * 366 * 24 * HOUR)

static int64_t carried; /* the monotonic clock begins anew with each life: what has passed before */

static void fresh(void)
{
    wall_step = carried = 0;
    start();
}

static void set_clock(int64_t step)
{
    wall_step = carried + step;
}

static void restart(bool clean)
{
    carried += now_ms - 1000;
    wall_step += now_ms - 1000;
    if (clean)
        stop_cleanly();
    else
        crash(0);
}

/* Time goes by, the store works meanwhile, and the service takes what it gets. */
static void live(int64_t ms)
{
    for (; ms > 0; ms -= 500) {
        pass(ms < 500 ? ms : 500);
        run_store();
        while (!list_empty(&math.held))
            settle_ok(&math);
    }
}

static void publish_now(const char *headers)
{
    struct ask a;
    publish("math.sum", headers, &a);
    run_store();
    heard(&a, CODE_OK, "");
}

static void publish_at(int64_t wall_ms)
{
    char when[32], headers[64];
    snprintf(headers, sizeof(headers), "id: at\ndeliver-at: %s\n", clock_rfc3339(wall_ms, when));
    publish_now(headers);
}

/* One that is to be tried again in so long, on disk. */
static void pause_for(int64_t ms)
{
    publish_now("id: retry\n");
    settle_with(&math, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = ms,
                                           .reply = {.code = CODE_FAILED, .body = STR("no")}});
    run_store();
    ck_assert_uint_eq(hub_live(hub), 0);
}

/* After so many ms one more is there, and not before. */
static void one_comes_after(int64_t ms)
{
    unsigned before = math.sent;
    live(ms - 2000);
    ck_assert_msg(math.sent == before, "early");
    live(4000);
    ck_assert_msg(math.sent == before + 1, "late: %u", math.sent - before);
}

static const int64_t steps[] = {YEARS, -YEARS, 90000, -90000, 40000, -40000};
#define STEPS ((int)(sizeof(steps) / sizeof(steps[0])))

START_TEST(a_pause_is_as_long_as_it_was_meant)
{
    pause_for(60000);
    set_clock(steps[_i]);
    publish_now("delay: 10s\n"); /* what is due is looked for meanwhile */
    one_comes_after(10000);
    one_comes_after(48000);
}
END_TEST

START_TEST(a_pause_from_a_life_with_another_clock)
{
    set_clock(steps[_i]);
    restart(false);
    pause_for(60000);
    set_clock(0);
    restart(true);
    run_store();
    ck_assert_uint_eq(math.sent, 0);
    if (steps[_i] < 0)
        live(60000); /* the clock says that more time has gone by: that counts */
    else
        one_comes_after(60000);
    ck_assert_uint_eq(math.sent, 1);
}
END_TEST

START_TEST(a_pause_in_the_life_after_the_clock_was_set)
{
    pause_for(60000);
    publish_now("id: delayed\ndelay: 70s\n");
    live(5000);
    set_clock(steps[_i]);
    publish_now("delay: 1h\n"); /* a commit that tells it */
    restart(false);
    one_comes_after(55000);
    one_comes_after(8000);
}
END_TEST

START_TEST(a_delay_is_as_long_as_it_was_meant)
{
    publish_now("delay: 60s\n");
    set_clock(steps[_i]);
    publish_now("delay: 10s\n");
    one_comes_after(10000);
    one_comes_after(48000);
    struct hub_counts c;
    hub_counts(hub, &c);
    ck_assert_int_lt((int64_t)c.drift_sum_ms, 1100);
}
END_TEST

START_TEST(nothing_expires_early_or_late)
{
    sink_set_up(&math.sink, false, "test");
    publish_now("ttl: 10m\n");
    set_clock(steps[_i]);
    publish_now("ttl: 1h\n");
    restart(false);
    sink_set_up(&math.sink, false, "test");
    live(590000);
    ck_assert_uint_eq(totals().expired, 0);
    live(20000);
    ck_assert_uint_eq(totals().expired, 1);
}
END_TEST

START_TEST(a_boot_without_a_clock)
{
    pause_for(60000);
    publish_now("id: delayed\ndelay: 70s\n");
    publish_at(WALL + HOUR);
    sink_set_up(&math.sink, false, "test");
    publish_now("ttl: 10m\n");
    set_clock(-WALL + 5000); /* 1970; what was down for a while did not know */
    restart(false);
    unsigned sent = math.sent;
    live(50000);
    ck_assert_uint_eq(math.sent, sent + 1); /* the one with a ttl: it was ready */
    live(11000);
    ck_assert_uint_eq(math.sent, sent + 2);
    set_clock(0);
    live(9500);
    ck_assert_uint_eq(math.sent, sent + 3);
    live(HOUR);
    ck_assert_uint_eq(math.sent, sent + 4); /* `deliver-at` */
}
END_TEST

START_TEST(deliver_at_goes_by_the_wall_clock)
{
    publish_at(WALL + HOUR);
    live(60000);
    set_clock(HOUR / 2);
    live(120000);
    ck_assert_uint_eq(math.sent, 0);
    set_clock(HOUR);
    live(61000); /* it is looked at once a minute */
    ck_assert_uint_eq(math.sent, 1);
    set_clock(0);
    publish_at(rig_wall(NULL) + 100000);
    set_clock(-HOUR);
    live(110000);
    ck_assert_uint_eq(math.sent, 1); /* not before its time */
    live(HOUR - 20000);
    ck_assert_uint_eq(math.sent, 1);
    live(20000);
    ck_assert_uint_eq(math.sent, 2);
}
END_TEST

START_TEST(deliver_at_is_left_as_it_is_at_a_start)
{
    publish_at(WALL + YEARS);
    set_clock(-YEARS);
    restart(false);
    live(HOUR);
    set_clock(0);
    restart(true);
    live(HOUR);
    ck_assert_uint_eq(math.sent, 0);
    set_clock(YEARS);
    restart(false);
    live(1000);
    ck_assert_uint_eq(math.sent, 1);
}
END_TEST

static void on_times_walked(void *arg, const struct dead_walked *sum)
{
    (void)arg;
    ck_assert(sum->count == 1 && !sum->failed);
}

static void show_times(void *arg, const struct dead_letter *d)
{
    int64_t *times = arg;
    times[0] = d->accepted_wall_ms;
    times[1] = d->time_wall_ms;
}

START_TEST(a_dead_letter_shows_times_of_the_wall_clock)
{
    int64_t times[2] = {0};
    set_clock(YEARS);
    restart(false);
    publish_now("id: zero\n");
    set_clock(0);
    restart(true); /* the store's time is years ahead from now on */
    run_store();
    settle_ok(&math);
    int64_t accepted = rig_wall(NULL);
    publish_now("id: one\n");
    pass(50);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "no");
    run_store();
    ck_assert_ptr_nonnull(hub_dead_walk(hub, &(struct dead_ask){.action = DEAD_LIST, .each = show_times,
                                                                .done = on_times_walked, .arg = times}));
    run_store();
    ck_assert_int_eq(times[0], accepted);
    ck_assert_int_eq(times[1], accepted + 50);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_clock");
    TCase *t = tcase_create("clock");
    const TTest *const stepped[] = {
        a_pause_is_as_long_as_it_was_meant, a_pause_from_a_life_with_another_clock,
        a_pause_in_the_life_after_the_clock_was_set, a_delay_is_as_long_as_it_was_meant, nothing_expires_early_or_late,
    };
    const TTest *const tests[] = {
        a_boot_without_a_clock, deliver_at_goes_by_the_wall_clock, deliver_at_is_left_as_it_is_at_a_start,
        a_dead_letter_shows_times_of_the_wall_clock,
    };
    tcase_add_checked_fixture(t, fresh, end);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(stepped) / sizeof(stepped[0]); i++)
        tcase_add_loop_test(t, stepped[i], 0, STEPS);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
