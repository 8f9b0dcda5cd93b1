/* daemon/config/cron.h: what is refused, known times, and the calendar of the C library minute by minute. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "config/cron.h"

static struct cron parsed(const char *text)
{
    struct cron c;
    const char *why = "";
    ck_assert_msg(cron_parse(str_of(text), &c, &why), "%s: %s", text, why);
    return c;
}

static int64_t utc(const char *text)
{
    struct tm tm = {0};
    ck_assert_ptr_nonnull(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
    return (int64_t)timegm(&tm) * 1000;
}

START_TEST(fields_become_bits)
{
    struct cron c = parsed("0,30-40/5 */6 1,15 jan-MAR,12 mon,fri-sun");
    ck_assert_uint_eq(c.minutes, UINT64_C(1) | UINT64_C(1) << 30 | UINT64_C(1) << 35 | UINT64_C(1) << 40);
    ck_assert_uint_eq(c.hours, 1 | 1 << 6 | 1 << 12 | 1 << 18);
    ck_assert_uint_eq(c.days, 1 << 1 | 1 << 15);
    ck_assert_uint_eq(c.months, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 12);
    ck_assert_uint_eq(c.weekdays, 1 << 0 | 1 << 1 | 1 << 5 | 1 << 6);
    ck_assert(c.either_day);
    ck_assert(!parsed("* * * * 1").either_day);
    ck_assert(!parsed("* * */2 * 1").either_day); /* begins with `*`: not restricted, as in cron */
    ck_assert_uint_eq(parsed("* * * * 7").weekdays, 1);
    ck_assert_uint_eq(parsed("* * * * *").weekdays, 0x7F);
    ck_assert_uint_eq(parsed("  07\t08  *  * * ").minutes, UINT64_C(1) << 7);
}
END_TEST

static const struct { const char *text, *why; } refused[] = {
    {"", "five fields"}, {"  ", "five fields"}, {"* * * *", "five fields"}, {"* * * * * *", "more than five"},
    {"60 * * * *", "the minute"}, {"-1 * * * *", "the minute"}, {"5- * * * *", "the minute"},
    {"9-5 * * * *", "the minute"}, {"1,,2 * * * *", "the minute"}, {"1, * * * *", "the minute"},
    {"*/0 * * * *", "the minute"}, {"*/60 * * * *", "the minute"}, {"5/10 * * * *", "the minute"},
    {"*/ * * * *", "the minute"}, {"1-5/2/2 * * * *", "the minute"}, {"*-5 * * * *", "the minute"},
    {"** * * * *", "the minute"}, {"001 * * * *", "the minute"}, {"1-2-3 * * * *", "the minute"},
    {"*/99999999999999999999 * * * *", "the minute"}, {"jan * * * *", "the minute"},
    {"0 24 * * *", "the hour"}, {"0 0 0 * *", "the day of the month"}, {"0 0 32 * *", "the day of the month"},
    {"0 0 1 0 *", "the month"}, {"0 0 1 13 *", "the month"}, {"0 0 1 mon *", "the month"},
    {"0 0 1 janu *", "the month"}, {"0 0 * * 8", "the day of the week"}, {"0 0 * * may", "the day of the week"},
    {"0 0 * * sat-mon", "the day of the week"}, {"@reboot", "one of @hourly"}, {"@", "one of @hourly"},
    {"@daily *", "one of @hourly"},
};

START_TEST(what_is_no_expression)
{
    struct cron c;
    const char *why = NULL;
    ck_assert_msg(!cron_parse(str_of(refused[_i].text), &c, &why), "accepted: %s", refused[_i].text);
    ck_assert_msg(strstr(why, refused[_i].why) != NULL, "%s: %s", refused[_i].text, why);
}
END_TEST

/* Worked out by hand with a calendar. */
static const struct { const char *text, *after, *next; } vectors[] = {
    {"* * * * *", "2026-11-27 12:00:00", "2026-11-27 12:01:00"},
    {"* * * * *", "2026-11-27 12:00:59", "2026-11-27 12:01:00"},
    {"0 3 * * *", "2026-11-27 02:59:59", "2026-11-27 03:00:00"},
    {"0 3 * * *", "2026-11-27 03:00:00", "2026-11-28 03:00:00"},
    {"@hourly", "2026-12-31 23:00:00", "2027-01-01 00:00:00"},
    {"@daily", "2026-02-28 12:00:00", "2026-03-01 00:00:00"},
    {"@daily", "2028-02-28 12:00:00", "2028-02-29 00:00:00"},
    {"@weekly", "2026-11-27 00:00:00", "2026-11-29 00:00:00"},
    {"@monthly", "2026-11-01 00:00:00", "2026-12-01 00:00:00"},
    {"@yearly", "2026-01-01 00:00:00", "2027-01-01 00:00:00"},
    {"*/15 9-17 * * mon-fri", "2026-11-27 17:45:00", "2026-11-30 09:00:00"},
    {"0 0 13 * fri", "2026-11-13 00:00:00", "2026-11-20 00:00:00"}, /* the 13th, or any Friday */
    {"0 0 13 * fri", "2026-12-11 00:00:00", "2026-12-13 00:00:00"},
    {"0 0 */13 * fri", "2026-11-13 00:00:00", "2026-11-27 00:00:00"}, /* 1st, 14th or 27th, and a Friday */
    {"30 23 31 * *", "2026-01-31 23:30:00", "2026-03-31 23:30:00"},
    {"0 0 29 2 *", "2026-11-27 00:00:00", "2028-02-29 00:00:00"},
    {"0 0 29 2 *", "2096-02-29 00:00:00", "2104-02-29 00:00:00"}, /* 2100 has none */
    {"0 0 29 2 */7", "2088-02-29 00:00:00", "2128-02-29 00:00:00"}, /* a Sunday: 40 years around 2100 */
    {"59 23 * * *", "1970-01-01 00:00:00", "1970-01-01 23:59:00"},
};

START_TEST(known_times)
{
    struct cron c = parsed(vectors[_i].text);
    char got[32];
    int64_t next = cron_next(&c, utc(vectors[_i].after));
    ck_assert_msg(next == utc(vectors[_i].next), "%s after %s: %s", vectors[_i].text, vectors[_i].after,
                  clock_rfc3339(next, got));
}
END_TEST

START_TEST(times_that_never_come)
{
    static const char *const never[] = {"0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 feb *"};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        struct cron c = parsed(never[i]);
        ck_assert_int_eq(cron_next(&c, utc("2026-11-27 00:00:00")), -1);
    }
    struct cron c = parsed("0 0 30 2 mon"); /* or any Monday of February */
    ck_assert_int_eq(cron_next(&c, utc("2026-11-27 00:00:00")), utc("2027-02-01 00:00:00"));
    ck_assert_int_eq(cron_next(&c, -1), -1);
    ck_assert_int_eq(cron_next(&c, INT64_MAX), -1);
}
END_TEST

/* ---- against the C library's calendar, with a reading of the fields of its own ---- */

static bool in_field(const char *field, int value, int first)
{
    char copy[64], *save = NULL;
    snprintf(copy, sizeof(copy), "%s", field);
    for (char *item = strtok_r(copy, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save)) {
        int low, high, step = 1;
        if (*item == '*') {
            low = first, high = 99;
            sscanf(item, "*/%d", &step);
        } else if (sscanf(item, "%d-%d/%d", &low, &high, &step) == 1) {
            high = low;
        }
        if (value >= low && value <= high && (value - low) % step == 0)
            return true;
    }
    return false;
}

static bool oracle(char part[5][32], const struct tm *tm)
{
    bool date = in_field(part[2], tm->tm_mday, 1);
    bool weekday = in_field(part[4], tm->tm_wday, 0) || (tm->tm_wday == 0 && in_field(part[4], 7, 0));
    bool either = part[2][0] != '*' && part[4][0] != '*';
    return in_field(part[0], tm->tm_min, 0) && in_field(part[1], tm->tm_hour, 0) &&
           in_field(part[3], tm->tm_mon + 1, 1) && (either ? date || weekday : date && weekday);
}

static const char *const compared[] = {
    "*/7 */5 * * *", "0 0 * * *", "17 3 1,15 * *", "5-50/9 6-18 * 2,11 *", "0 12 13 * 5", "30 4 */10 * 1",
    "59 23 31 * *", "0 0 29 2 *", "0 6 29-31 1-12/3 0", "1 1 1 1 7", "0 9 * * 1-5", "*/20 * 10 6 2,4",
};

START_TEST(every_minute_of_some_months)
{
    char part[5][32];
    const char *text = compared[_i];
    struct cron c = parsed(text);
    ck_assert_int_eq(sscanf(text, "%31s %31s %31s %31s %31s", part[0], part[1], part[2], part[3], part[4]), 5);
    int64_t begin = utc("2028-01-29 00:00:00"), end = utc("2028-07-02 00:00:00");
    int64_t next = cron_next(&c, begin - 1);
    size_t matched = 0;
    for (int64_t at = begin; at < end; at += 60000) {
        time_t seconds = (time_t)(at / 1000);
        struct tm tm;
        gmtime_r(&seconds, &tm);
        bool due = oracle(part, &tm);
        ck_assert_msg(due == (next == at), "%s: %04d-%02d-%02d %02d:%02d", text, tm.tm_year + 1900,
                      tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min);
        if (due)
            next = cron_next(&c, at);
        matched += due;
    }
    ck_assert_uint_gt(matched, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config_cron");
    TCase *t = tcase_create("cron");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, fields_become_bits);
    tcase_add_loop_test(t, what_is_no_expression, 0, (int)(sizeof(refused) / sizeof(refused[0])));
    tcase_add_loop_test(t, known_times, 0, (int)(sizeof(vectors) / sizeof(vectors[0])));
    tcase_add_test(t, times_that_never_come);
    tcase_add_loop_test(t, every_minute_of_some_months, 0, (int)(sizeof(compared) / sizeof(compared[0])));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
