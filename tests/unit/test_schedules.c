/* daemon/app/schedules.h: when a schedule is due while the wall clock is set this way and that. */
#include <check.h>
#include <stdlib.h>

#include "app/schedules.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define START (INT64_C(20000) * DAY + 12 * HOUR) /* noon of some day */

static struct config *conf;
static const struct schedule_conf *beat, *nightly; /* every 5 minutes; at 3 o'clock */
static struct phase phase;
static int64_t wall, first_due;
static size_t fired;

static void setup(void)
{
    struct err err = {0};
    conf = config_parse("t.yaml", STR("schedules:\n  beat: { every: 5m, subject: s }\n"
                                      "  nightly: { cron: 0 3 * * *, subject: s }\n"), NULL, &err);
    ck_assert_ptr_nonnull(conf);
    beat = config_schedule(conf, "beat");
    nightly = config_schedule(conf, "nightly");
    phase = PHASE_NONE;
    wall = START;
    fired = 0;
}

static void teardown(void)
{
    config_free(conf);
}

static void look(const struct schedule_conf *s)
{
    int64_t due = phase_look(&phase, s, wall);
    if (due < 0)
        return;
    ck_assert_int_le(due, wall);
    ck_assert_int_gt(phase.next, wall);
    first_due = fired++ == 0 ? due : first_due;
}

/* So much time goes by, with looks as the timer has them: when something is due, or each minute. */
static void pass(const struct schedule_conf *s, int64_t span)
{
    int64_t end = wall + span;
    look(s);
    while (wall < end) {
        int64_t wake = phase.next < wall + MINUTE ? phase.next : wall + MINUTE;
        wall = wake < end ? wake : end;
        look(s);
    }
}

static void expect(size_t count, int64_t first)
{
    ck_assert_uint_eq(fired, count);
    if (count > 0)
        ck_assert_int_eq(first_due, first);
    fired = 0;
}

START_TEST(steady_clock)
{
    look(beat);
    expect(0, 0); /* the time of the start itself is not made up for */
    pass(beat, HOUR);
    expect(12, START + 5 * MINUTE);
    pass(beat, 5 * MINUTE - 1);
    expect(0, 0);
    pass(beat, 1);
    expect(1, START + HOUR + 5 * MINUTE);
}
END_TEST

START_TEST(forward_is_one_event)
{
    pass(beat, MINUTE);
    wall += 3 * HOUR;
    pass(beat, 0);
    expect(1, START + 5 * MINUTE);
    pass(beat, 4 * MINUTE);
    expect(1, START + 3 * HOUR + 5 * MINUTE);
    phase = PHASE_NONE;
    pass(nightly, HOUR);
    wall += 30 * DAY;
    pass(nightly, 0);
    expect(1, START + 15 * HOUR);
    pass(nightly, DAY);
    expect(1, START + 30 * DAY + 15 * HOUR);
}
END_TEST

START_TEST(a_little_back_is_no_second_event)
{
    pass(beat, 5 * MINUTE);
    expect(1, START + 5 * MINUTE);
    wall -= 1;
    pass(beat, MINUTE);
    wall -= 3 * MINUTE;
    pass(beat, 2 * MINUTE);
    expect(0, 0);
    pass(beat, 5 * MINUTE + 1);
    expect(1, START + 10 * MINUTE);
}
END_TEST

START_TEST(far_back_skips_no_period)
{
    pass(beat, HOUR);
    expect(12, START + 5 * MINUTE);
    wall -= 30 * DAY;
    pass(beat, HOUR); /* not silent for 30 days */
    expect(12, START + HOUR - 30 * DAY + 5 * MINUTE);
    phase = PHASE_NONE;
    wall = START;
    pass(nightly, DAY);
    expect(1, START + 15 * HOUR);
    wall -= 10 * DAY;
    pass(nightly, DAY);
    expect(1, START - 9 * DAY + 15 * HOUR);
}
END_TEST

/* Before the next look: what was to come is computed anew, so nothing fires too late. */
START_TEST(back_before_anything_was_due)
{
    look(nightly);
    wall -= 10 * DAY;
    pass(nightly, DAY);
    expect(1, START - 10 * DAY + 15 * HOUR);
}
END_TEST

START_TEST(forth_and_back_again)
{
    pass(beat, 6 * MINUTE);
    expect(1, START + 5 * MINUTE);
    wall += HOUR;
    look(beat);
    expect(1, START + 10 * MINUTE);
    wall -= HOUR;
    pass(beat, 14 * MINUTE); /* 10 was published meanwhile */
    expect(2, START + 15 * MINUTE);
}
END_TEST

START_TEST(pauses_grow)
{
    static const int64_t want[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
        ck_assert_int_eq(schedule_pause_ms(i + 1), want[i]);
    ck_assert_int_eq(schedule_pause_ms(4000000000u), 60000);
}
END_TEST

int main(void)
{
    const TTest *const all[] = {steady_clock, forward_is_one_event, a_little_back_is_no_second_event,
                                far_back_skips_no_period, back_before_anything_was_due, forth_and_back_again, pauses_grow};
    Suite *s = suite_create("schedules");
    TCase *t = tcase_create("clock");
    tcase_add_checked_fixture(t, setup, teardown);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        tcase_add_test(t, all[i]);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
