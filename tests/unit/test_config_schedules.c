/* The section `schedules`: errors with their places, what is printed, compared, and when it is due. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "config/build.h"

static struct config *parse(const char *text)
{
    struct err err = {0};
    struct config *c = config_parse("t.yaml", str_of(text), NULL, &err);
    char *errors = err_text(&err);
    ck_assert_msg(c != NULL, "%s", errors);
    mem_free(errors);
    err_fini(&err);
    return c;
}

#define WHOLE                                                                                      \
    "schedules:\n"                                                                                 \
    "  nightly: { cron: \"0 3 * * *\", subject: report.nightly, body: '{\"days\": 7}' }\n"         \
    "  beat:\n"                                                                                    \
    "    every: 1m30s\n"                                                                           \
    "    subject: '{ \"cmd\": \"beat\", \"a\": 1 }'\n"                                                \
    "    headers: { tenant: 7, content-type: \"text/x; a=b\" }\n"                                    \
    "    body: |\n"                                                                               \
    "      one\n"                                                                                 \
    "      two: 2\n"

START_TEST(what_is_given_and_what_is_not)
{
    struct config *c = parse(WHOLE);
    ck_assert_uint_eq(c->schedule_count, 2);
    const struct schedule_conf *s = config_schedule(c, "nightly");
    ck_assert_str_eq(s->name, "nightly");
    ck_assert_uint_eq(s->times.hours, 1 << 3);
    ck_assert_int_eq(s->every_ms, 0);
    ck_assert_str_eq(s->subject, "report.nightly");
    ck_assert_str_eq(s->body, "{\"days\": 7}");
    s = config_schedule(c, "beat");
    ck_assert_ptr_null(s->cron);
    ck_assert_int_eq(s->every_ms, 90000);
    ck_assert_str_eq(s->subject, "{\"a\":1,\"cmd\":\"beat\"}");
    ck_assert_str_eq(s->body, "one\ntwo: 2\n");
    ck_assert_str_eq(s->headers, "tenant: 7\ncontent-type: text/x; a=b\n");
    ck_assert_ptr_null(config_schedule(c, "nothing"));
    config_free(c);
    c = parse("schedules: {}\n");
    ck_assert_uint_eq(c->schedule_count, 0);
    config_free(c);
}
END_TEST

#define AT "subject: x }\n"

static const struct { const char *text, *error; } refused[] = {
    {"schedules: [a]\n", "t.yaml:1:12: `schedules` must be a mapping of names; found a list\n"},
    {"schedules: { x: 5 }\n", "t.yaml:1:17: `x` must be a mapping (`key: value`); found `5`\n"},
    {"schedules: { a b: { every: 1s, " AT "}\n",
     "t.yaml:1:14: not a name: letters, digits, `.`, `_` and `-`, at most 64\n"},
    {"schedules:\n  x: { " AT, "t.yaml:2:3: schedule `x` must have `cron` or `every`\n"},
    {"schedules:\n  x: { every: 1s, cron: \"* * * * *\", " AT,
     "t.yaml:2:3: schedule `x` must have only one of `cron` and `every`\n"},
    {"schedules:\n  x: { every: 1s }\n", "t.yaml:2:6: the key `subject` is missing\n"},
    {"schedules:\n  x: { every: 999ms, " AT,
     "t.yaml:2:15: `every` must be a duration with its unit, such as 250ms, 5s or 1h30m, from 1s to "
     "366d; found `999ms`\n"},
    {"schedules:\n  x: { every: 367d, " AT,
     "t.yaml:2:15: `every` must be a duration with its unit, such as 250ms, 5s or 1h30m, from 1s to "
     "366d; found `367d`\n"},
    {"schedules:\n  x: { cron: 0 3 * *, " AT,
     "t.yaml:2:14: `cron`: not a cron expression: `0 3 * *`: five fields are needed: minute hour "
     "day-of-month month day-of-week\n"},
    {"schedules:\n  x: { cron: \"@noon\", " AT,
     "t.yaml:2:14: `cron`: not a cron expression: `@noon`: must be one of @hourly, @daily, @weekly, "
     "@monthly, @yearly\n"},
    {"schedules:\n  x: { cron: 0 0 30 2 *, " AT,
     "t.yaml:2:14: `cron`: `0 0 30 2 *` never comes: there is no such day\n"},
    {"schedules:\n  x: { every: 1s, subject: a.* }\n",
     "t.yaml:2:28: `subject`: not a subject: `a.*`: it has wildcards\n"},
    {"schedules:\n  x: { every: 1s, subject: a..b }\n",
     "t.yaml:2:28: `subject`: not a subject: `a..b`: empty token\n"},
    {"schedules:\n  x: { every: 1s, subjct: a }\n",
     "t.yaml:2:6: the key `subject` is missing\n"
     "t.yaml:2:19: unknown key `subjct`; did you mean `subject`? Allowed: cron every subject body headers\n"},
    {"schedules:\n  x: { every: 1s, body: \"\", " AT,
     "t.yaml:2:25: `body` must be text without control characters other than line ends and tabs; found an empty text\n"},
    {"schedules:\n  x: { every: 1s, body: \"a\\x07b\", " AT,
     "t.yaml:2:25: `body` must be text without control characters other than line ends and tabs; found some\n"},
    {"schedules:\n  x: { every: 1s, headers: [a], " AT,
     "t.yaml:2:28: `headers` must be a mapping of at most 64 names to texts, 16 KiB of them; found a list\n"},
    {"schedules:\n  x: { every: 1s, headers: { Key: a, id: b, ttl: c, \"y\": [d] }, " AT,
     "t.yaml:2:30: not a header's name: lower-case letters, digits and !#$%&'*+-.^_`|~, at most 128\n"
     "t.yaml:2:38: the header `id` is the daemon's own\n"
     "t.yaml:2:50: `ttl` must be a duration such as 30s or 2h; found `c`\n"
     "t.yaml:2:58: `y` must be text; found a list\n"},
    {"schedules:\n  x: { every: 0s, cron: x, subject: \">\" }\n",
     "t.yaml:2:3: schedule `x` must have only one of `cron` and `every`\n"
     "t.yaml:2:15: `every` must be a duration with its unit, such as 250ms, 5s or 1h30m, from 1s to "
     "366d; found `0s`\n"
     "t.yaml:2:25: `cron`: not a cron expression: `x`: the minute must be 0 to 59, a list, a range, or "
     "`*`\n"
     "t.yaml:2:37: `subject`: not a subject: `>`: it has wildcards\n"},
};

static void expect_errors(const char *text, const char *expected)
{
    struct err err = {0};
    struct config *c = config_parse("t.yaml", str_of(text), NULL, &err);
    ck_assert_msg(c == NULL, "accepted: %s", text);
    char *got = err_text(&err);
    ck_assert_str_eq(got, expected);
    mem_free(got);
    err_fini(&err);
}

START_TEST(errors_and_their_places)
{
    expect_errors(refused[_i].text, refused[_i].error);
}
END_TEST

START_TEST(body_within_its_limit)
{
    struct buf text = BUF_EMPTY;
    buf_puts(&text, "limits: { body: 1KiB }\nschedules:\n  x: { every: 1s, subject: x, body: ");
    for (int i = 0; i < 1024; i++)
        buf_putc(&text, 'b');
    buf_puts(&text, " }\n");
    config_free(parse(buf_cstr(&text)));
    text.len -= 3;
    buf_puts(&text, "b }\n");
    expect_errors(buf_cstr(&text), "t.yaml:3:37: `body` is larger than limits.body\n");
    buf_fini(&text);
}
END_TEST

START_TEST(printed_as_it_is_read)
{
    struct config *c = parse(WHOLE);
    struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
    config_print(c, &once);
    config_free(c);
    const char *at = strstr(buf_cstr(&once), "\nschedules:\n");
    ck_assert_ptr_nonnull(at);
    ck_assert_str_eq(at, "\nschedules:\n"
                         "  nightly:\n"
                         "    cron: \"0 3 * * *\"\n"
                         "    # every:\n"
                         "    subject: report.nightly\n"
                         "    body: \"{\\\"days\\\": 7}\"\n"
                         "    # headers:\n"
                         "  beat:\n"
                         "    # cron:\n"
                         "    every: 1m30s\n"
                         "    subject: \"{\\\"a\\\":1,\\\"cmd\\\":\\\"beat\\\"}\"\n"
                         "    body: \"one\\ntwo: 2\\n\"\n"
                         "    headers: { tenant: \"7\", content-type: \"text/x; a=b\" }\n");
    c = parse(buf_cstr(&once));
    config_print(c, &twice);
    config_free(c);
    ck_assert_str_eq(buf_cstr(&once), buf_cstr(&twice));
    buf_fini(&once);
    buf_fini(&twice);
}
END_TEST

START_TEST(what_a_reload_says)
{
    struct config *a = parse("schedules:\n  same: { every: 60s, subject: s }\n"
                             "  other: { every: 1m, subject: s }\n  gone: { cron: \"@daily\", subject: s }\n");
    struct config *b = parse("schedules:\n  new: { every: 1m, subject: s }\n"
                             "  same: { every: 1m, subject: s }\n  other: { every: 1m, subject: s, body: b }\n");
    struct texts lines = {0};
    config_diff(a, b, &lines);
    ck_assert_uint_eq(lines.count, 3);
    ck_assert_str_eq(lines.items[0], "schedule other: changed");
    ck_assert_str_eq(lines.items[1], "schedule gone: removed");
    ck_assert_str_eq(lines.items[2], "schedule new: added");
    texts_fini(&lines);
    config_free(a);
    config_free(b);
}
END_TEST

START_TEST(intervals_count_from_1970)
{
    struct config *c = parse(WHOLE);
    const struct schedule_conf *s = config_schedule(c, "beat");
    ck_assert_int_eq(schedule_next(s, 0), 90000);
    ck_assert_int_eq(schedule_next(s, 89999), 90000);
    ck_assert_int_eq(schedule_next(s, 90000), 180000);
    s = config_schedule(c, "nightly");
    ck_assert_int_eq(schedule_next(s, 0), 3 * 3600000);
    ck_assert_int_eq(schedule_next(s, INT64_MAX), INT64_MAX);
    config_free(c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config_schedules");
    TCase *t = tcase_create("schedules");
    tcase_add_test(t, what_is_given_and_what_is_not);
    tcase_add_loop_test(t, errors_and_their_places, 0, (int)(sizeof(refused) / sizeof(refused[0])));
    tcase_add_test(t, body_within_its_limit);
    tcase_add_test(t, printed_as_it_is_read);
    tcase_add_test(t, what_a_reload_says);
    tcase_add_test(t, intervals_count_from_1970);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
