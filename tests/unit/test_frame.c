/* The frame of the local protocol: every verb, every split, every limit, the place of each error. */
#include <inttypes.h>

#include "base/rand.h"
#include "rig.h"
#include "wire/frame.h"

#define BODY_MAX 1000

static struct frame f;
static struct frame_error e;

static enum frame_status parse(struct str s)
{
    f = (struct frame){.id = 99};
    e = (struct frame_error){.offset = 99999};
    return frame_parse((const uint8_t *)s.p, s.n, BODY_MAX, &f, &e);
}

START_TEST(every_verb_goes_out_and_comes_back)
{
    static const char *const names[VERB_COUNT] = {"HELLO", "PUB", "REQ", "OK", "MORE", "REP", "ERR", "SUB", "UNSUB",
                                                  "WAIT", "CANCEL", "CREDIT", "PING", "PONG", "BYE"};
    struct buf b = BUF_EMPTY;
    char wanted[64];
    for (unsigned v = 0; v < VERB_COUNT; v++) {
        ck_assert_str_eq(verb_name((enum verb)v), names[v]);
        buf_clear(&b);
        frame_bare(&b, (enum verb)v, v * 7);
        snprintf(wanted, sizeof(wanted), "%s %u 0 0\n", names[v], v * 7);
        ck_assert_str_eq(buf_cstr(&b), wanted);
        ck_assert_int_eq(parse(buf_str(&b)), FRAME_OK);
        ck_assert(f.verb == (enum verb)v && f.id == v * 7 && f.size == b.len);
        ck_assert(f.subject.p == NULL && f.headers.n == 0 && f.body.n == 0 && f.body_size == 0);
    }
    buf_fini(&b);
}
END_TEST

START_TEST(a_whole_frame_is_sliced)
{
    struct str s = STR("PUB 18446744073709551615 5 4 {\"cmd\": \"a b\"}\na: b\n\0\n\xff\nREST");
    ck_assert_int_eq(parse(s), FRAME_OK);
    ck_assert_uint_eq(f.id, UINT64_MAX);
    ck_assert(str_is(f.subject, "{\"cmd\": \"a b\"}") && str_is(f.headers, "a: b\n"));
    ck_assert(str_eq(f.body, STR("\0\n\xff\n")));
    ck_assert_uint_eq(f.size, s.n - 4);
    ck_assert_uint_eq(f.body_size, 4);
    ck_assert_ptr_eq(f.subject.p, s.p + 29); /* of the input: nothing is copied */
    ck_assert_int_eq(parse(STR("REP 1 0 0  two  blanks \n")), FRAME_OK);
    ck_assert(str_is(f.subject, " two  blanks ")); /* a subject may hold blanks, at its ends too */
}
END_TEST

static void random_line(struct rand *r, struct frame_line *l, char *subject)
{
    static const char *const pieces[] = {"a", ".", " ", "\xc3\xa4", "{\"", "\xf0\x9f\x98\x80", "1", ">"};
    size_t n = rand_below(r, 3) == 0 ? 0 : 1 + rand_below(r, rand_below(r, 5) == 0 ? 250 : 12);
    struct buf b = BUF_EMPTY;
    for (size_t i = 0; i < n; i++)
        buf_puts(&b, pieces[rand_below(r, 8)]);
    *bytes_str(subject, buf_str(&b)) = '\0';
    *l = (struct frame_line){.verb = (enum verb)rand_below(r, VERB_COUNT), .id = rand_u64(r) >> rand_below(r, 64),
                             .headers = rand_below(r, 2) * rand_below(r, 40),
                             .body = rand_below(r, 2) * rand_below(r, 60), .subject = str_make(subject, b.len)};
    buf_fini(&b);
}

/* What frame_head() writes is read as it was; split anywhere the answer is "more" until all is there. */
START_TEST(round_trip_at_every_split)
{
    struct rand r;
    struct buf b = BUF_EMPTY;
    rand_seed(&r, 12);
    for (int i = 0; i < 500; i++) {
        char subject[1100];
        struct frame_line l;
        random_line(&r, &l, subject);
        buf_clear(&b);
        frame_head(&b, &l);
        for (size_t k = 0; k < l.headers + l.body; k++)
            buf_putc(&b, (char)rand_u64(&r));
        for (size_t n = 0; n < b.len; n++)
            if (parse(str_make(buf_data(&b), n)) != FRAME_MORE)
                ck_abort_msg("%zu of %zu bytes of %s", n, b.len, buf_cstr(&b));
        size_t whole = b.len;
        for (int more = 0; more < 3; more++) { /* what follows changes nothing */
            ck_assert_int_eq(parse(buf_str(&b)), FRAME_OK);
            ck_assert(f.verb == l.verb && f.id == l.id && f.size == whole && str_eq(f.subject, l.subject));
            ck_assert(f.headers.n == l.headers && f.body.n == l.body && f.body_size == l.body);
            ck_assert_mem_eq(f.body.p, buf_data(&b) + whole - l.body, l.body);
            buf_putc(&b, (char)rand_u64(&r));
        }
    }
    buf_fini(&b);
}
END_TEST

static const struct {
    const char *line;
    size_t offset;
    const char *what;
} bad[] = {
    {"\n", 0, "verb in upper case"},
    {" PUB 1 0 0\n", 0, "verb in upper case"},
    {"pub 1 0 0\n", 0, "verb in upper case"},
    {"PUb 1 0 0\n", 2, "verb in upper case"},
    {"PUB\n", 3, "verb in upper case"},
    {"PUB\t1 0 0\n", 3, "verb in upper case"},
    {"1 0 0\n", 0, "verb in upper case"},
    {"\xff\xfe\n", 0, "verb in upper case"},
    {"\0PUB 1 0 0\n", 0, "verb in upper case"},
    {"PUT 1 0 0\n", 0, "unknown verb"},
    {"OKK 1 0 0\n", 0, "unknown verb"},
    {"O 1 0 0\n", 0, "unknown verb"},
    {"CREDITS 1 0 0\n", 0, "verb in upper case"},
    {"ABCDEFGHIJKLMNOPQRSTUVW", 0, "verb in upper case"},
    {"GET / HTTP/1.1\r\n", 0, "unknown verb"},
    {"PUB  1 0 0\n", 4, "expected a decimal number"},
    {"PUB 1  0 0\n", 6, "expected a decimal number"},
    {"PUB 1 0  0\n", 8, "expected a decimal number"},
    {"PUB \n", 4, "expected a decimal number"},
    {"PUB 1 \n", 6, "expected a decimal number"},
    {"PUB 1 0 \n", 8, "expected a decimal number"},
    {"PUB x 0 0\n", 4, "expected a decimal number"},
    {"PUB -1 0 0\n", 4, "expected a decimal number"},
    {"PUB +1 0 0\n", 4, "expected a decimal number"},
    {"PUB 1\n", 5, "the line ends too early"},
    {"PUB 1 0\n", 7, "the line ends too early"},
    {"PUB 1x 0 0\n", 5, "expected one blank"},
    {"PUB 1 0x0 0\n", 7, "expected one blank"},
    {"PUB 1 0 0x\n", 9, "expected one blank"},
    {"PUB 1 0 0\r\n", 9, "expected one blank"},
    {"PUB 1 0 0\t\n", 9, "expected one blank"},
    {"PUB 01 0 0\n", 4, "leading zeros"},
    {"PUB 00 0 0\n", 4, "leading zeros"},
    {"PUB 1 00 0\n", 6, "leading zeros"},
    {"PUB 1 0 05\n", 8, "leading zeros"},
    {"PUB 000000000000000000000000000000 0 0\n", 4, "leading zeros"},
    {"PUB 18446744073709551616 0 0\n", 4, "above 64 bits"},
    {"PUB 99999999999999999999 0 0\n", 4, "above 64 bits"},
    {"PUB 100000000000000000000 0 0\n", 4, "above 64 bits"},
    {"PUB 1 18446744073709551616 0\n", 6, "above 64 bits"},
    {"PUB 1 0 18446744073709551616\n", 8, "above 64 bits"},
    {"PUB 1 65537 0 s\n", 0, "headers above 64 KiB"},
    {"PUB 1 18446744073709551615 0 s\n", 0, "headers above 64 KiB"},
    {"PUB 1 0 1073741825 s\n", 0, "a body above 1 GiB"},
    {"PUB 1 0 18446744073709551615 s\n", 0, "a body above 1 GiB"},
    {"PUB 1 0 0 \n", 10, "a blank at the end"},
    {"PUB 1 0 0 a\rb\n", 10, "not UTF-8 without control"},
    {"PUB 1 0 0 a\tb\n", 10, "not UTF-8 without control"},
    {"PUB 1 0 0 a\x7f\n", 10, "not UTF-8 without control"},
    {"PUB 1 0 0 \xc3\n", 10, "not UTF-8 without control"},
    {"PUB 1 0 0 \xed\xa0\x80\n", 10, "not UTF-8 without control"},
};

/* The same place and text however little or much has come: first "more", then always this. */
START_TEST(each_error_has_its_place_at_every_split)
{
    size_t n = strlen(bad[_i].line);
    n = n > 0 ? n : strlen(bad[_i].line + 1) + 1;
    bool found = false;
    for (size_t k = 0; k <= n; k++) {
        enum frame_status s = parse(str_make(bad[_i].line, k));
        ck_assert_msg(s == FRAME_BAD || (s == FRAME_MORE && !found), "%s: %d at %zu", bad[_i].line, s, k);
        found = s == FRAME_BAD;
        if (found) {
            ck_assert_msg(strstr(e.what, bad[_i].what) != NULL, "%s: %s", bad[_i].line, e.what);
            ck_assert_uint_eq(e.offset, bad[_i].offset);
        }
    }
    ck_assert_msg(found, "%s", bad[_i].line);
}
END_TEST

static struct str line_of(struct buf *b, const char *head, size_t subject)
{
    buf_clear(b);
    buf_puts(b, head);
    for (size_t i = 0; i < subject; i++)
        buf_putc(b, 's');
    buf_putc(b, '\n');
    return buf_str(b);
}

START_TEST(a_subject_has_at_most_1024_bytes)
{
    struct buf b = BUF_EMPTY;
    ck_assert_int_eq(parse(line_of(&b, "PUB 1 0 0 ", 1024)), FRAME_OK);
    ck_assert_uint_eq(f.subject.n, 1024);
    ck_assert_int_eq(parse(line_of(&b, "CANCEL 18446744073709551615 0 0 ", 1024)), FRAME_OK);
    ck_assert_int_eq(parse(line_of(&b, "PUB 1 0 0 ", 1025)), FRAME_BAD);
    ck_assert_str_eq(e.what, "a subject above 1,024 bytes");
    ck_assert_uint_eq(e.offset, 10);
    buf_fini(&b);
}
END_TEST

START_TEST(a_line_has_at_most_1200_bytes)
{
    struct buf b = BUF_EMPTY;
    struct str whole = line_of(&b, "PUB 1 0 0 ", 1189); /* 1,200 with its line feed */
    ck_assert_uint_eq(whole.n, FRAME_LINE_MAX);
    ck_assert_int_eq(parse(whole), FRAME_BAD);
    ck_assert_str_eq(e.what, "a subject above 1,024 bytes");
    whole = line_of(&b, "PUB 1 0 0 ", 3000);
    for (size_t n = 0; n < whole.n; n++) {
        enum frame_status s = parse(str_make(whole.p, n));
        if (s != (n < FRAME_LINE_MAX ? FRAME_MORE : FRAME_BAD))
            ck_abort_msg("%d at %zu", s, n);
    }
    ck_assert_str_eq(e.what, "a first line above 1,200 bytes");
    ck_assert_uint_eq(e.offset, FRAME_LINE_MAX);
    buf_fini(&b);
}
END_TEST

START_TEST(headers_up_to_64_kib)
{
    struct buf b = BUF_EMPTY;
    struct str line = line_of(&b, "PUB 1 65536 2 ", 3);
    size_t head = line.n;
    for (size_t i = 0; i < 65538; i++)
        buf_putc(&b, 'h');
    for (size_t cut = 0; cut < 5; cut++)
        ck_assert_int_eq(parse(str_make(buf_data(&b), b.len - cut)), cut == 0 ? FRAME_OK : FRAME_MORE);
    ck_assert_int_eq(parse(buf_str(&b)), FRAME_OK);
    ck_assert(f.headers.n == 65536 && f.body.n == 2 && f.size == head + 65538);
    buf_fini(&b);
}
END_TEST

START_TEST(a_big_body_is_told_once_its_headers_are_there)
{
    struct str s = STR("REQ 7 5 1001 add\na: b\nxxx");
    size_t before = strlen("REQ 7 5 1001 add\na: b\n");
    for (size_t n = 0; n <= s.n; n++) {
        enum frame_status status = parse(str_make(s.p, n));
        ck_assert_msg(status == (n < before ? FRAME_MORE : FRAME_BIG), "%d at %zu", status, n);
    }
    ck_assert(f.verb == VERB_REQ && f.id == 7 && str_is(f.subject, "add") && str_is(f.headers, "a: b\n"));
    ck_assert_uint_eq(f.size, before);
    ck_assert_uint_eq(f.body_size, 1001);
    ck_assert_uint_eq(f.body.n, 0);
    ck_assert_int_eq(parse(STR("PUB 7 0 1073741824 s\n")), FRAME_BIG); /* 1 GiB is still skipped */
    ck_assert_uint_eq(f.body_size, FRAME_SKIP_MAX);
    ck_assert_int_eq(parse(STR("PUB 7 0 1000 s\n")), FRAME_MORE); /* at the limit */
}
END_TEST

START_TEST(a_line_is_written_in_full_length)
{
    struct buf b = BUF_EMPTY;
    char subject[1025] = {0};
    memset(subject, 's', 1024);
    frame_head(&b, &(struct frame_line){VERB_CANCEL, UINT64_MAX, SIZE_MAX, SIZE_MAX, str_make(subject, 1024)});
    ck_assert_uint_eq(b.len, strlen("CANCEL") + 3 * 21 + 1 + 1024 + 1);
    ck_assert(str_starts(buf_str(&b), STR("CANCEL 18446744073709551615 18446744073709551615 18446744073709551615 ss")));
    buf_fini(&b);
}
END_TEST

/* Nothing that comes makes it read behind the end (the sanitizer looks) or take more than there is. */
START_TEST(random_bytes)
{
    static const char *const pieces[] = {"PUB ", "REQ", " ", "1", "0 ", "\n", "18446744073709551615", "00", "a: b\n",
                                         "\xff", "HELLO", "5 ", "\0", "65536 ", "9", "s"};
    struct rand r;
    rand_seed(&r, 77);
    for (int i = 0; i < 60000; i++) {
        struct buf b = BUF_EMPTY;
        for (size_t n = rand_below(&r, 14); n > 0; n--)
            buf_puts(&b, pieces[rand_below(&r, 16)]);
        uint8_t *exact = memcpy(malloc(b.len + 1), b.len > 0 ? (void *)buf_data(&b) : "", b.len);
        exact = realloc(exact, b.len > 0 ? b.len : 1);
        enum frame_status s = parse(str_make(exact, b.len));
        if ((s == FRAME_OK || s == FRAME_BIG) && f.size > b.len)
            ck_abort_msg("more than there is");
        if (s == FRAME_BAD && e.offset > b.len)
            ck_abort_msg("an error behind the end");
        free(exact);
        buf_fini(&b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("frame");
    TCase *t = tcase_create("frame");
    const TTest *const tests[] = {
        every_verb_goes_out_and_comes_back, a_whole_frame_is_sliced, round_trip_at_every_split,
        a_subject_has_at_most_1024_bytes, a_line_has_at_most_1200_bytes, headers_up_to_64_kib,
        a_big_body_is_told_once_its_headers_are_there, a_line_is_written_in_full_length, random_bytes,
    };
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, each_error_has_its_place_at_every_split, 0, (int)(sizeof(bad) / sizeof(bad[0])));
    suite_add_tcase(s, t);
    return run_suite(s);
}
