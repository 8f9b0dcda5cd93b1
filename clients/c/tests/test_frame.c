/* Frames, header blocks and durations of libbellhop: pure functions. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bellhop.h"
#include "frame.h"

/* ---- frames --------------------------------------------------------------------------------------------- */

START_TEST(frame_round_trip)
{
    static const char *const lines[] = {
        "HELLO 0 0 0 a name", "PUB 1 0 0 a.b", "REQ 18446744073709551615 0 0 {\"cmd\":\"sum\"}", "OK 7 0 0",
        "MORE 7 0 0", "REP 7 0 0", "ERR 7 0 0 failed", "SUB 8 0 0 a.>", "UNSUB 8 0 0", "WAIT 9 0 0",
        "CANCEL 9 0 0", "CREDIT 3 0 0", "PING 1 0 0", "PONG 1 0 0", "BYE 0 0 0", "PUB 1 0 0 \xc3\xa9t\xc3\xa9",
    };
    char in[200], out[BELLHOP_LINE_MAX];
    int n = snprintf(in, sizeof in, "%s\n", lines[_i]);
    struct bellhop_frame f;
    const char *why = NULL;
    ck_assert_int_eq(bellhop_frame_parse(in, (size_t)n, 100, &f, &why), BELLHOP_PARSE_FRAME);
    ck_assert_uint_eq(f.size, (size_t)n);
    ck_assert_uint_eq(bellhop_frame_line(out, &f), (size_t)n);
    ck_assert_mem_eq(out, in, (size_t)n);
}
END_TEST

START_TEST(frame_bad)
{
    static const struct {
        const char *line, *why;
    } bad[] = {
        { "PUBS 1 0 0 a", "unknown verb" },    { "pub 1 0 0 a", "unknown verb" },
        { " PUB 1 0 0 a", "unknown verb" },    { "", "unknown verb" },
        { "PUB", "unknown verb" },             { "PUB  1 0 0 a", "bad id" },
        { "PUB -1 0 0 a", "bad id" },          { "PUB 18446744073709551616 0 0 a", "bad id" },
        { "PUB 1", "bad header length" },      { "PUB 1 65537 0 a", "bad header length" },
        { "PUB 1 0x1 0 a", "bad body length" }, { "PUB 1 0 101 a", "bad body length" },
        { "PUB 1 0", "bad body length" },      { "PUB 1 0 99999999999999999999 a", "bad body length" },
        { "PUB 1 0 0a", "bad subject" },       { "PUB 1 0 0 a\tb", "bad subject" },
        { "PUB 1 0 0 a\r", "bad subject" },    { "PUB 1 0 0 \xff", "bad subject" },
        { "PUB 1 0 0 \xc0\x80", "bad subject" }, { "PUB 1 0 0 \xe0\x80\x80", "bad subject" },
        { "PUB 1 0 0 \xf0\x80\x80\x80", "bad subject" }, { "PUB 1 0 0 \xed\xa0\x80", "bad subject" },
        { "PUB 1 0 0 \xf4\x90\x80\x80", "bad subject" }, { "PUB 1 0 0 \x7f", "bad subject" },
        { "PUB 1 0 0 \xe2\x82", "bad subject" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char in[200];
        int n = snprintf(in, sizeof in, "%s\n", bad[i].line);
        struct bellhop_frame f;
        const char *why = NULL;
        ck_assert_msg(bellhop_frame_parse(in, (size_t)n, 100, &f, &why) == BELLHOP_PARSE_BAD, "accepted: %s", in);
        ck_assert_str_eq(why, bad[i].why);
    }
}
END_TEST

START_TEST(frame_bounds)
{
    char in[2000];
    struct bellhop_frame f;
    const char *why = NULL;
    memset(in, 'x', sizeof in);
    ck_assert_int_eq(bellhop_frame_parse(in, BELLHOP_LINE_MAX - 1, 0, &f, &why), BELLHOP_PARSE_MORE);
    ck_assert_uint_eq(f.size, 0);
    ck_assert_int_eq(bellhop_frame_parse(in, BELLHOP_LINE_MAX, 0, &f, &why), BELLHOP_PARSE_BAD);
    for (int extra = 0; extra <= 1; extra++) { /* the longest subject, and one byte more */
        int n = snprintf(in, sizeof in, "PUB 1 0 0 ");
        memset(in + n, 's', BELLHOP_SUBJECT_MAX + (unsigned)extra);
        in[n + (int)BELLHOP_SUBJECT_MAX + extra] = '\n';
        ck_assert_int_eq(bellhop_frame_parse(in, sizeof in, 0, &f, &why),
                         extra ? BELLHOP_PARSE_BAD : BELLHOP_PARSE_FRAME);
    }
    ck_assert_int_eq(bellhop_frame_parse("PUB 1 3 4 s\nabc", 15, 9, &f, &why), BELLHOP_PARSE_MORE);
    ck_assert_uint_eq(f.size, 19);
}
END_TEST

/* ---- headers -------------------------------------------------------------------------------------------- */

START_TEST(headers_build_and_walk)
{
    struct bellhop_headers h = { 0 };
    struct bellhop_header out;
    size_t pos = 0;
    bellhop_headers_add(&h, "a", "1");
    bellhop_headers_add(&h, "b-c", "x: y");
    bellhop_headers_add(&h, "a", "");
    ck_assert_int_eq(h.error, 0);
    ck_assert_uint_eq(h.len, 19);
    ck_assert_mem_eq(h.data, "a: 1\nb-c: x: y\na: \n", 19);
    ck_assert(bellhop_header_next(h.data, h.len, &pos, &out) && out.value_len == 1 && *out.value == '1');
    ck_assert(bellhop_header_next(h.data, h.len, &pos, &out) && out.name_len == 3 && out.value_len == 4);
    ck_assert(bellhop_header_next(h.data, h.len, &pos, &out) && out.value_len == 0);
    ck_assert(!bellhop_header_next(h.data, h.len, &pos, &out));
    ck_assert(bellhop_header_find(h.data, h.len, "b-c", &out));
    ck_assert(!bellhop_header_find(h.data, h.len, "b", &out) && out.name == NULL);
    ck_assert(bellhop_header_find("n:  two", 7, "n", &out) && out.value_len == 4); /* one space belongs to the line */
    ck_assert(bellhop_header_find("junk\n: x\nq:v", 12, "q", &out) && out.value_len == 1);
    bellhop_headers_fini(&h);
}
END_TEST

START_TEST(headers_refuse)
{
    char long_name[130];
    static const char *const bad[][2] = { { "A", "v" }, { "", "v" }, { "a b", "v" }, { "a:", "v" }, { "a", "x\ny" },
                                          { "a", "\x01" }, { "a", "\xff" } };
    struct bellhop_headers h = { 0 };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(bellhop_headers_add(&h, bad[i][0], bad[i][1]), -EINVAL);
        ck_assert_int_eq(bellhop_headers_add(&h, "fine", "v"), -EINVAL); /* sticky */
        ck_assert_uint_eq(h.len, 0);
        bellhop_headers_clear(&h);
    }
    memset(long_name, 'n', sizeof long_name);
    long_name[129] = '\0';
    ck_assert_int_eq(bellhop_headers_add(&h, long_name, "v"), -EINVAL);
    bellhop_headers_clear(&h);
    ck_assert_int_eq(bellhop_headers_add(&h, long_name + 1, "v"), 0);
    bellhop_headers_clear(&h);
    for (unsigned i = 0; i < BELLHOP_HEADERS_LINES; i++)
        ck_assert_int_eq(bellhop_headers_add(&h, "n", "v"), 0);
    ck_assert_int_eq(bellhop_headers_add(&h, "n", "v"), -EMSGSIZE);
    bellhop_headers_clear(&h);
    char *big = malloc(BELLHOP_HEADERS_MAX);
    memset(big, 'v', BELLHOP_HEADERS_MAX);
    big[BELLHOP_HEADERS_MAX - 4] = '\0'; /* name, ": " and LF make it exactly 64 KiB */
    ck_assert_int_eq(bellhop_headers_add(&h, "n", big), 0);
    ck_assert_uint_eq(h.len, BELLHOP_HEADERS_MAX);
    ck_assert_int_eq(bellhop_headers_add(&h, "n", ""), -EMSGSIZE);
    free(big);
    bellhop_headers_fini(&h);
}
END_TEST

START_TEST(durations)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = { { "250ms", 250 }, { "5s", 5000 }, { "2m", 120000 }, { "1h30m", 5400000 }, { "7d", 604800000 },
                  { "0s", 0 }, { "", -1 }, { "5", -1 }, { "s", -1 }, { "-5s", -1 }, { "5 s", -1 }, { "5x", -1 },
                  { "99999999999999999999d", -1 }, { "1099511627776d", -1 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(bellhop_duration_ms(cases[i].text, strlen(cases[i].text)) == cases[i].ms, "%s", cases[i].text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("client-c-frame");
    TCase *tc = tcase_create("frames");
    tcase_add_loop_test(tc, frame_round_trip, 0, 16);
    tcase_add_test(tc, frame_bad);
    tcase_add_test(tc, frame_bounds);
    tcase_add_test(tc, headers_build_and_walk);
    tcase_add_test(tc, headers_refuse);
    tcase_add_test(tc, durations);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
