/* daemon/msg and wire/frame: header blocks, messages, trace context, frames. */
#include <check.h>

#include "msg/headers.h"
#include "msg/msg.h"
#include "msg/trace.h"
#include "wire/frame.h"

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static int64_t fixed_now(void *arg)
{
    return *(int64_t *)arg;
}

static struct msg_factory factory(int64_t *now)
{
    struct msg_factory f = {.sample = 1.0, .now = fixed_now, .wall = fixed_now, .arg = now};
    rand_seed(&f.rand, 3);
    return f;
}

static struct msg *make(struct msg_factory *f, const char *headers, const char **what)
{
    struct msg_input in = {.kind = MSG_REQUEST, .subject = STR("a.b"), .headers = str_of(headers),
                           .body = STR("body"), .source = STR("edge")};
    *what = NULL;
    return msg_new(f, &in, what);
}

START_TEST(header_blocks)
{
    static const struct {
        const char *block;
        int offset; /* -1 = legal */
    } rows[] = {{"", -1},           {"a: b\n", -1},          {"a: \n", -1},          {"a: b\nx-y.z_1: q\n", -1},
                {"a: b", 0},        {"A: b\n", 0},           {"a:b\n", 0},           {": b\n", 0},
                {"a: b\nnope\n", 5}, {"a: b\n\n", 5},        {"a: \x01\n", 0},       {"a: \xff\n", 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *what;
        size_t offset = 0;
        bool legal = headers_check(str_of(rows[i].block), &what, &offset);
        ck_assert_msg(legal == (rows[i].offset < 0), "row %zu", i);
        if (!legal)
            ck_assert_uint_eq(offset, (size_t)rows[i].offset);
    }
}
END_TEST

START_TEST(made_where_absent)
{
    int64_t now = 1700000000000;
    const char *what;
    struct msg_factory f = factory(&now);
    struct msg *a = make(&f, "x-mine: 1\nsource: forged\nattempt: 9\nreason: no\n", &what);
    struct msg *b = make(&f, "", &what);
    ck_assert_uint_eq(a->id.n, 36);
    ck_assert_int_eq(a->id.p[14], '7'); /* RFC 9562: the version */
    ck_assert_int_eq(memcmp(a->id.p, b->id.p, 13), 0); /* the same millisecond */
    ck_assert(!str_eq(a->id, b->id) && str_eq(a->id, a->correlation_id));
    ck_assert(traceparent_valid(a->traceparent) && str_ends(a->traceparent, STR("-01")));
    ck_assert(str_is(headers_get(a->headers, "source"), "edge") && str_is(headers_get(a->headers, "x-mine"), "1"));
    ck_assert_ptr_null(headers_get(a->headers, "attempt").p);
    ck_assert_ptr_null(headers_get(a->headers, "reason").p);
    ck_assert(headers_check(a->headers, &what, &(size_t){0}));
    ck_assert(str_is(a->subject, "a.b") && str_is(a->body, "body") && a->timeout_ms == -1);
    msg_unref(a);
    msg_unref(b);
}
END_TEST

START_TEST(kept_where_given)
{
    int64_t now = 5;
    const char *what;
    struct msg_factory f = factory(&now);
    struct msg *m = make(&f, "id: mine\ntraceparent: " TRACE "\ncorrelation-id: c\ntimeout: 1500ms\nttl: 2s\n", &what);
    ck_assert(str_is(m->id, "mine") && str_is(m->traceparent, TRACE) && str_is(m->correlation_id, "c"));
    ck_assert(m->timeout_ms == 1500 && m->ttl_ms == 2000);
    ck_assert_ptr_null(headers_get(m->headers, "timeout").p); /* counts down: added per delivery */
    msg_unref(m);
    m = make(&f, "traceparent: garbage\n", &what); /* W3C: restart the trace */
    ck_assert(traceparent_valid(m->traceparent));
    msg_unref(m);
    static const char *const bad[] = {"timeout: 5\n", "ttl: soon\n", "id: \n", "delay: 5s\n"};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_ptr_null(make(&f, bad[i], &what));
        ck_assert_ptr_nonnull(what);
    }
}
END_TEST

START_TEST(trace_context)
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {{TRACE, true},
                {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true},
                {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false},
                {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
                {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
                {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
                {"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
                {"", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert_msg(traceparent_valid(str_of(rows[i].text)) == rows[i].good, "row %zu", i);
}
END_TEST

START_TEST(every_verb_every_split)
{
    for (unsigned v = 0; v < VERB_COUNT; v++) {
        struct buf out = BUF_EMPTY;
        struct frame f = {0};
        struct frame_error e;
        frame_head(&out, &(struct frame_line){(enum verb)v, UINT64_MAX, 5, 3, STR("{\"a\": 1} b")});
        buf_puts(&out, "a: b\nxyz");
        for (size_t n = 0; n < out.len; n++)
            ck_assert_int_eq(frame_parse(buf_data(&out), n, 100, &f, &e), FRAME_MORE);
        ck_assert_int_eq(frame_parse(buf_data(&out), out.len, 100, &f, &e), FRAME_OK);
        ck_assert(f.verb == v && f.id == UINT64_MAX && f.size == out.len && str_is(f.body, "xyz"));
        ck_assert(str_is(f.headers, "a: b\n") && str_is(f.subject, "{\"a\": 1} b"));
        ck_assert_int_eq(frame_parse(buf_data(&out), out.len, 2, &f, &e), FRAME_BIG);
        buf_fini(&out);
    }
}
END_TEST

START_TEST(bad_frames)
{
    static const struct {
        const char *text;
        size_t offset;
    } rows[] = {{"pub 1 0 0 x\n", 0},  {"NOPE 1 0 0 x\n", 0},  {"PUB  1 0 0 x\n", 4},  {"PUB x 0 0 x\n", 4},
                {"PUB 1 0\n", 7},      {"PUB 01 0 0 x\n", 4},  {"PUB 1 0 0 \n", 10},   {"PUB 1 0 0 a\tb\n", 10},
                {"PUB 18446744073709551616 0 0 x\n", 4},       {"PUB 1 65537 0 x\n", 0}, {"\n", 0},
                {"PUB 1 0 -1 x\n", 8}, {"PUBLISHING 1 0 0\n", 0}, {"PUB 1 0 9999999999999 x\n", 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct frame f = {0};
        struct frame_error e = {0};
        const uint8_t *p = (const uint8_t *)rows[i].text;
        ck_assert_msg(frame_parse(p, strlen(rows[i].text), 100, &f, &e) == FRAME_BAD, "%s", rows[i].text);
        ck_assert_msg(e.offset == rows[i].offset && e.what != NULL, "%s: %zu", rows[i].text, e.offset);
    }
}
END_TEST

START_TEST(line_and_subject_limits)
{
    struct buf b = BUF_EMPTY;
    struct frame f = {0};
    struct frame_error e;
    buf_puts(&b, "PUB 1 0 0 ");
    for (int i = 0; i < FRAME_SUBJECT_MAX; i++)
        buf_putc(&b, 's');
    buf_putc(&b, '\n');
    ck_assert_int_eq(frame_parse(buf_data(&b), b.len, 0, &f, &e), FRAME_OK);
    b.len--;
    buf_puts(&b, "s\n");
    ck_assert_int_eq(frame_parse(buf_data(&b), b.len, 0, &f, &e), FRAME_BAD);
    b.len--;
    while (b.len < 2000)
        buf_putc(&b, 's');
    ck_assert_int_eq(frame_parse(buf_data(&b), b.len, 0, &f, &e), FRAME_BAD); /* no line feed in sight */
    buf_fini(&b);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {header_blocks, made_where_absent, kept_where_given, trace_context,
                                         every_verb_every_split, bad_frames, line_and_subject_limits};
    Suite *s = suite_create("msg");
    TCase *c = tcase_create("msg");
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed > 0;
}
