/* Header blocks, messages as they are made, trace context, codes. */
#include <inttypes.h>
#include <jansson.h>

#include "base/mem.h"
#include "msg/headers.h"
#include "msg/msg.h"
#include "msg/trace.h"
#include "rig.h"

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define LONG_64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG_128 LONG_64 LONG_64

/* ---------------------------------------------------------------- header blocks */

START_TEST(legal_blocks)
{
    static const char *const table[] = {
        "", "a: b\n", "a: \n", "a:  \n", "a: b\na: c\n", "a-b.c_d!#$%&'*+^`|~09: x\n", LONG_128 ": x\n",
        "a: b: c\n", "a: \xc3\xa4\xf0\x9f\x98\x80\n", "a:  b \n",
    };
    const char *what = "unset";
    size_t offset = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        ck_assert_msg(headers_check(str_of(table[i]), &what, &offset), "%s", table[i]);
        ck_assert_ptr_null(what);
        ck_assert_uint_eq(offset, strlen(table[i]));
    }
    ck_assert(headers_check(STR_NONE, &what, &offset));
}
END_TEST

START_TEST(each_refusal_says_what_and_where)
{
    static const struct {
        struct str block;
        size_t offset;
        const char *what;
    } table[] = {
        {{"a", 1}, 0, "do not end with a line feed"}, {{"a: b", 4}, 0, "do not end with a line feed"},
        {{"a: b\nc: d", 9}, 5, "do not end with a line feed"}, {{"\n", 1}, 0, "without a colon"},
        {{"a: b\n\n", 6}, 5, "without a colon"}, {{"a b\n", 4}, 0, "without a colon"},
        {{": b\n", 4}, 0, "no lower-case token"}, {{"A: b\n", 5}, 0, "no lower-case token"},
        {{"a: b\nbC: d\n", 11}, 5, "no lower-case token"}, {{"a b: c\n", 7}, 0, "no lower-case token"},
        {{"a\0: c\n", 6}, 0, "no lower-case token"}, {{"\xc3\xa4: b\n", 6}, 0, "no lower-case token"},
        {{"a(: b\n", 6}, 0, "no lower-case token"}, {{"a@: b\n", 6}, 0, "no lower-case token"},
        {{"a : b\n", 6}, 0, "no lower-case token"}, {{LONG_128 "a: b\n", 133}, 0, "no lower-case token"},
        {{"a:b\n", 4}, 0, "without a blank"}, {{"a:\n", 3}, 0, "without a blank"},
        {{"a:\tb\n", 5}, 0, "without a blank"}, {{"a: b\r\n", 6}, 0, "not UTF-8 without control"},
        {{"a: b\0c\n", 7}, 0, "not UTF-8 without control"}, {{"a: \t\n", 5}, 0, "not UTF-8 without control"},
        {{"a: \x7f\n", 5}, 0, "not UTF-8 without control"}, {{"x: y\na: \xff\n", 10}, 5, "not UTF-8 without control"},
        {{"a: \xed\xa0\x80\n", 7}, 0, "not UTF-8 without control"}, {{"a: \xc3\n", 5}, 0, "not UTF-8 without control"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *what = NULL;
        size_t offset = 99;
        ck_assert_msg(!headers_check(table[i].block, &what, &offset), "%zu", i);
        ck_assert_msg(strstr(what, table[i].what) != NULL, "%zu: %s", i, what);
        ck_assert_msg(offset == table[i].offset, "%zu: at %zu", i, offset);
    }
}
END_TEST

START_TEST(at_most_128_lines)
{
    struct buf b = BUF_EMPTY;
    const char *what;
    size_t offset;
    for (int i = 0; i < HEADERS_MAX_LINES; i++)
        headers_put(&b, "n", STR("v"));
    ck_assert(headers_check(buf_str(&b), &what, &offset));
    headers_put(&b, "n", STR("v"));
    ck_assert(!headers_check(buf_str(&b), &what, &offset));
    ck_assert_str_eq(what, "more than 128 header lines");
    ck_assert_uint_eq(offset, 128 * 5);
    buf_fini(&b);
}
END_TEST

START_TEST(lines_are_read_in_order)
{
    struct str block = STR("a: 1\nb: \na: x: y\n");
    struct header h;
    ck_assert(str_is(headers_get(block, "a"), "1"));
    ck_assert(headers_get(block, "b").n == 0 && headers_get(block, "b").p != NULL); /* there, and empty */
    ck_assert_ptr_null(headers_get(block, "c").p);
    ck_assert_ptr_null(headers_get(STR_NONE, "a").p);
    ck_assert(headers_next(&block, &h) && str_is(h.name, "a") && str_is(h.value, "1"));
    ck_assert(headers_next(&block, &h) && str_is(h.name, "b") && h.value.n == 0);
    ck_assert(headers_next(&block, &h) && str_is(h.name, "a") && str_is(h.value, "x: y"));
    ck_assert(!headers_next(&block, &h));
    ck_assert(header_value_valid(STR("a b")) && header_value_valid(STR("")));
    ck_assert(!header_value_valid(STR(" a")) && !header_value_valid(STR("a ")) && !header_value_valid(STR("a\n")));
    ck_assert(!header_name_valid(STR("")) && header_name_valid(STR("a")) && !header_name_valid(STR("a:")));
}
END_TEST

/* ---------------------------------------------------------------- messages */

static int64_t mono_ms, wall_ms;
static unsigned wall_asked;
static struct msg_factory factory;
static const char *why;

static int64_t now(void *arg)
{
    ck_assert_ptr_eq(arg, &factory);
    return mono_ms;
}

static int64_t wall(void *arg)
{
    (void)arg;
    wall_asked++;
    return wall_ms;
}

static void set_up(void)
{
    mono_ms = 5000;
    wall_ms = INT64_C(1763805600123);
    wall_asked = 0;
    factory = (struct msg_factory){.sample = 1.0, .now = now, .wall = wall, .arg = &factory};
    rand_seed(&factory.rand, 42);
}

static struct msg *make(const char *headers)
{
    struct msg_input in = {.kind = MSG_EVENT, .subject = STR("a.b"), .headers = str_of(headers),
                           .body = str_make("\0body", 5), .source = STR("edge")};
    why = NULL;
    return msg_new(&factory, &in, &why);
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* RFC 9562: 8-4-4-4-12 lower-case digits, version 7, variant 10. Returns its milliseconds. */
static int64_t uuid7_ms(struct str id)
{
    int64_t ms = 0;
    ck_assert_uint_eq(id.n, 36);
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        ck_assert_msg(dash ? id.p[i] == '-' : is_hex(id.p[i]), STR_FMT, STR_ARG(id));
        if (i < 13 && !dash)
            ms = ms * 16 + (id.p[i] <= '9' ? id.p[i] - '0' : id.p[i] - 'a' + 10);
    }
    ck_assert_int_eq(id.p[14], '7');
    ck_assert_ptr_nonnull(memchr("89ab", id.p[19], 4));
    return ms;
}

START_TEST(ids_are_made_and_sort_by_time)
{
    char before[37] = "";
    for (int i = 0; i < 500; i++, mono_ms += 7, wall_ms += 7) {
        struct msg *m = make("");
        ck_assert_int_eq(uuid7_ms(m->id), wall_ms);
        ck_assert_msg(str_cmp(str_of(before), m->id) < 0, "%s is not before " STR_FMT, before, STR_ARG(m->id));
        *bytes_str(before, m->id) = '\0';
        ck_assert(str_eq(m->correlation_id, m->id));
        msg_unref(m);
    }
    ck_assert_uint_le(wall_asked, 5); /* once a second at most */
    struct msg *a = make(""), *b = make("");
    ck_assert(!str_eq(a->id, b->id)); /* in one millisecond */
    ck_assert(!str_eq(a->traceparent, b->traceparent));
    msg_unref(a);
    msg_unref(b);
}
END_TEST

static void block_is(const struct msg *m, const char *wanted)
{
    ck_assert_msg(str_is(m->headers, wanted), STR_FMT "instead of\n%s", STR_ARG(m->headers), wanted);
}

START_TEST(what_came_is_kept)
{
    struct msg *m = make("x-one: 1\nid: my id\ncorrelation-id: c 7\nttl: 30s\ntraceparent: " TRACE
                         "\ntracestate: a=b\nx-one: 2\nbaggage: k=v\ncontent-type: text/plain\nkey: k\n"
                         "time: 2026-01-01T00:00:00Z\ngroup: g\nretry: no\n");
    block_is(m, "id: my id\nsource: edge\ncorrelation-id: c 7\ntraceparent: " TRACE
                "\nx-one: 1\nttl: 30s\ntracestate: a=b\nx-one: 2\nbaggage: k=v\ncontent-type: text/plain\nkey: k\n"
                "time: 2026-01-01T00:00:00Z\ngroup: g\nretry: no\n");
    ck_assert(str_is(m->id, "my id") && str_is(m->correlation_id, "c 7") && str_is(m->source, "edge"));
    ck_assert(str_is(m->traceparent, TRACE) && str_is(m->subject, "a.b"));
    ck_assert_mem_eq(m->body.p, "\0body", 5);
    ck_assert_uint_eq(m->body.n, 5);
    ck_assert_int_eq(m->ttl_ms, 30000);
    ck_assert_int_eq(m->timeout_ms, -1);
    ck_assert_int_eq(m->accepted_ms, 5000);
    ck_assert_uint_eq(m->size, sizeof(*m) + m->subject.n + m->headers.n + m->body.n);
    ck_assert_uint_eq(wall_asked, 0); /* no id was made */
    ck_assert(m->headers.p == m->data + 3 && m->body.p == m->headers.p + m->headers.n); /* one allocation */
    msg_unref(m);
}
END_TEST

START_TEST(reserved_names_are_the_daemons)
{
    struct msg *m = make("source: liar\nattempt: 9\nreason: none\nwith: 1\ntimeout: 1500ms\nx: y\nid: a\n"
                         "correlation-id: b\ntraceparent: " TRACE "\n");
    block_is(m, "id: a\nsource: edge\ncorrelation-id: b\ntraceparent: " TRACE "\nx: y\n");
    ck_assert_int_eq(m->timeout_ms, 1500); /* counts down across hops: each delivery writes its own */
    msg_unref(m);
    m = make("id: a\nid: b\ncorrelation-id: \ncorrelation-id: c\nidx: 1\ni: 2\n");
    ck_assert(str_is(m->id, "a") && str_is(m->correlation_id, "c")); /* the first of a name; none is none */
    ck_assert(str_is(headers_get(m->headers, "idx"), "1") && str_is(headers_get(m->headers, "i"), "2"));
    msg_unref(m);
    m = make("correlation-id: \nid: only\n");
    ck_assert(str_is(m->correlation_id, "only"));
    msg_unref(m);
}
END_TEST

START_TEST(a_bad_traceparent_starts_a_new_trace)
{
    static const char *const bad[] = {
        "traceparent: \n", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331\n",
        "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\n", "traceparent: nonsense\n", "",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct msg *m = make(bad[i]);
        ck_assert(traceparent_valid(m->traceparent));
        ck_assert(str_starts(m->traceparent, STR("00-")) && str_ends(m->traceparent, STR("-01")));
        ck_assert(str_eq(headers_get(m->headers, "traceparent"), m->traceparent));
        msg_unref(m);
    }
    struct msg *m = make("traceparent: nonsense\ntraceparent: " TRACE "\n");
    ck_assert(str_is(m->traceparent, TRACE));
    msg_unref(m);
}
END_TEST

START_TEST(traces_are_sampled_by_their_share)
{
    static const double shares[] = {0, 0.25, 1};
    for (int s = 0; s < 3; s++) {
        unsigned sampled = 0;
        factory.sample = shares[s];
        for (int i = 0; i < 4000; i++) {
            struct msg *m = make("");
            sampled += m->traceparent.p[54] == '1';
            msg_unref(m);
        }
        ck_assert_uint_ge(sampled, (unsigned)(4000 * shares[s] * 0.85));
        ck_assert_uint_le(sampled, (unsigned)(4000 * shares[s] * 1.15));
    }
    factory.sample = 0;
    struct msg *m = make("traceparent: " TRACE "\n");
    ck_assert(str_is(m->traceparent, TRACE)); /* the decision of whoever started it */
    msg_unref(m);
}
END_TEST

START_TEST(durations_in_headers)
{
    static const struct {
        const char *headers;
        int64_t timeout_ms, ttl_ms;
        const char *what;
    } table[] = {
        {"", -1, -1, NULL}, {"timeout: 0s\n", 0, -1, NULL}, {"timeout: 1m30s\nttl: 7d\n", 90000, 604800000, NULL},
        {"timeout: 5\n", 0, 0, "header `timeout`"}, {"timeout: \n", 0, 0, "header `timeout`"},
        {"timeout: -1s\n", 0, 0, "header `timeout`"}, {"timeout: 5s \n", 0, 0, "header `timeout`"},
        {"ttl: soon\n", 0, 0, "header `ttl`"}, {"ttl: 11111111111111111111d\n", 0, 0, "header `ttl`"},
        {"ttl: 5s\nttl: x\n", 0, 0, "header `ttl`"}, {"delay: x\n", 0, 0, "header `delay`"},
        {"deliver-at: x\n", 0, 0, "`deliver-at`"}, {"id: \n", 0, 0, "header `id`"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct msg *m = make(table[i].headers);
        ck_assert_msg((m != NULL) == (table[i].what == NULL), "%s", table[i].headers);
        if (m == NULL) {
            ck_assert_ptr_nonnull(strstr(why, table[i].what));
            continue;
        }
        ck_assert_int_eq(m->timeout_ms, table[i].timeout_ms);
        ck_assert_int_eq(m->ttl_ms, table[i].ttl_ms);
        msg_unref(m);
    }
}
END_TEST

START_TEST(not_before_a_time)
{
    static const struct {
        const char *headers;
        int64_t at;
    } table[] = {
        {"", 0}, {"delay: 0s\n", 0}, {"deliver-at: 2030-01-01T00:00:00Z\n", 1893456000000},
        {"deliver-at: 2030-01-01T01:00:00.250+01:00\n", 1893456000250},
        {"delay: 5s\ndeliver-at: 2030-01-01T00:00:00Z\n", 1893456000000},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct msg *m = make(table[i].headers);
        ck_assert_int_eq(m->not_before_ms, table[i].at);
        ck_assert_int_eq(m->delay_ms, 0);
        ck_assert_ptr_null(headers_get(m->headers, "delay").p);
        msg_unref(m);
    }
    struct msg *m = make("delay: 5s\n");
    ck_assert_int_eq(m->not_before_ms, factory.wall(factory.arg) + 5000);
    ck_assert_int_eq(m->delay_ms, 5000);
    msg_unref(m);
    static const char *const wrong[] = {"2030-01-01", "2030-01-01T00:00:00", "2030-01-01T00:00:00.Z", "1969-01-01T00:00:00Z",
                                        "2030-01-01T00:00:00Zx", "tomorrow"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        int64_t ms;
        ck_assert_msg(!str_parse_time(str_of(wrong[i]), &ms), "%s", wrong[i]);
    }
}
END_TEST

START_TEST(a_stored_message_is_the_same)
{
    struct msg *m = make("id: one\nx: y\nttl: 5s\n");
    struct msg *again = msg_restore(&factory, m->subject, m->headers, m->body);
    ck_assert(str_eq(again->id, m->id) && str_eq(again->traceparent, m->traceparent));
    ck_assert(str_eq(again->headers, m->headers) && str_eq(again->body, m->body) && str_eq(again->subject, m->subject));
    msg_unref(again);
    msg_unref(m);
    ck_assert_ptr_null(msg_restore(&factory, STR("s"), STR("no header block"), STR_NONE));
}
END_TEST

START_TEST(ids_are_at_most_256_bytes)
{
    struct msg *m = make("id: " LONG_128 LONG_128 "\n");
    ck_assert_uint_eq(m->id.n, 256);
    msg_unref(m);
    ck_assert_ptr_null(make("id: " LONG_128 LONG_128 "a\n"));
    ck_assert_str_eq(why, "header `id` has to be 1 to 256 bytes");
}
END_TEST

START_TEST(a_message_of_nothing)
{
    struct msg_input in = {.kind = MSG_REQUEST, .subject = STR("s")};
    struct msg *m = msg_new(&factory, &in, &why);
    ck_assert_int_eq(m->kind, MSG_REQUEST);
    ck_assert(m->body.n == 0 && m->source.n == 0);
    struct msg *same = msg_ref(m);
    ck_assert_ptr_eq(same, m);
    msg_unref(m);
    ck_assert(str_is(same->subject, "s"));
    msg_unref(same);
    msg_unref(NULL);
}
END_TEST

START_TEST(a_line_of_its_maker_stands_before_the_others)
{
    struct msg_input in = {.kind = MSG_EVENT, .subject = STR("s"), .headers = STR("source: x\na: b\n"),
                           .lines = STR("content-type: text/plain\n"), .line_count = 1, .source = STR("in"), .body = STR("body")};
    struct msg *m = msg_new(&factory, &in, &why);
    ck_assert(str_ends(m->headers, STR("\ncontent-type: text/plain\na: b\n")));
    ck_assert(str_is(headers_get(m->headers, "source"), "in"));
    ck_assert(str_is(m->body, "body"));
    msg_unref(m);
}
END_TEST

/* With what the daemon adds (and each delivery once more) a block is still one that a client takes. */
START_TEST(what_the_daemon_adds_counts)
{
    struct buf b = BUF_EMPTY;
    const char *what;
    size_t offset, most = 0, least = SIZE_MAX;
    for (size_t lines = 100; lines <= HEADERS_MAX_LINES; lines++) {
        buf_clear(&b);
        for (size_t i = 0; i < lines; i++)
            headers_put(&b, "n", STR("v"));
        struct msg *m = make(buf_cstr(&b));
        most = m != NULL ? lines : most;
        least = m == NULL && lines < least ? lines : least;
        msg_unref(m);
    }
    ck_assert_uint_eq(most, HEADERS_MAX_LINES - 7); /* id, source, correlation-id, traceparent; attempt, redelivered, timeout */
    ck_assert_uint_eq(least, most + 1);
    ck_assert_ptr_nonnull(strstr(why, "128 lines"));
    most = 0;
    for (size_t bytes = HEADERS_MAX_BYTES - 600; bytes <= HEADERS_MAX_BYTES; bytes++) {
        buf_clear(&b);
        buf_printf(&b, "n: %0*d\n", (int)bytes - 4, 0);
        ck_assert_uint_eq(b.len, bytes);
        struct msg *m = make(buf_cstr(&b));
        if (m != NULL) {
            ck_assert(headers_check(m->headers, &what, &offset));
            ck_assert_uint_le(m->headers.n + strlen("attempt: 4294967295\ntimeout: 9223372036854775807ms\n"),
                              HEADERS_MAX_BYTES);
            most = bytes;
        }
        msg_unref(m);
    }
    ck_assert_uint_gt(most, HEADERS_MAX_BYTES - 400);
    buf_fini(&b);
}
END_TEST

START_TEST(a_log_line_names_the_message)
{
    char path[] = "/tmp/test-msg-XXXXXX", text[4096] = "";
    int fd = mkstemp(path);
    struct log *l = log_new(LOG_INFO, LOG_JSON, path);
    struct msg *m = make("id: i\ncorrelation-id: c\ntraceparent: " TRACE "\n");
    msg_log(l, LOG_DEBUG, "hidden", m, (struct log_pair[4]){{NULL, NULL}});
    msg_log(NULL, LOG_ERROR, "nobody", m, (struct log_pair[4]){{NULL, NULL}});
    msg_log(l, LOG_WARN, "dead", m, (struct log_pair[4]){{"a", "1"}, {"none", NULL}, {NULL, "x"}, {"d", "4"}});
    ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
    json_error_t e;
    json_t *o = json_loads(text, 0, &e);
    static const char *const wanted[][2] = {
        {"event", "dead"}, {"id", "i"}, {"correlation_id", "c"}, {"traceparent", TRACE}, {"subject", "a.b"},
        {"source", "edge"}, {"a", "1"}, {"d", "4"}, {"level", "warn"},
    };
    ck_assert_ptr_nonnull(o);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        ck_assert_str_eq(json_string_value(json_object_get(o, wanted[i][0])), wanted[i][1]);
    ck_assert_uint_eq(json_object_size(o), 10); /* these and `time`: nothing of the body */
    json_decref(o);
    msg_unref(m);
    log_free(l);
    close(fd);
    unlink(path);
}
END_TEST

/* ---------------------------------------------------------------- trace context and codes */

START_TEST(traceparents)
{
    static const struct {
        const char *text;
        bool valid;
    } table[] = {
        {TRACE, true}, {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", true},
        {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},        /* a later version */
        {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true},
        {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-", true},
        {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false},  /* not in version 00 */
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ", false},
        {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"0f-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
        {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
        {"00-00000000000000000000000000000001-0000000000000001-01", true},
        {"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false},       /* lower case only */
        {"00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01", false},
        {"0G-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-011", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x", false},
        {"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01", false}, {"", false}, {"00", false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        ck_assert_msg(traceparent_valid(str_of(table[i].text)) == table[i].valid, "%s", table[i].text);
    for (size_t n = 0; n < TRACEPARENT_LENGTH; n++)
        ck_assert(!traceparent_valid(str_make(TRACE, n)));
    for (int i = 0; i < 1000; i++) {
        char out[TRACEPARENT_LENGTH];
        traceparent_make(out, &factory.rand, i % 2 == 0);
        if (!traceparent_valid(str_make(out, sizeof(out))) || out[54] != (i % 2 == 0 ? '1' : '0'))
            ck_abort_msg("%.*s", TRACEPARENT_LENGTH, out);
    }
}
END_TEST

START_TEST(codes_have_stable_names)
{
    static const char *const names[] = {
        "ok", "bad-frame", "version", "denied", "no-route", "no-service", "timeout", "unavailable", "overloaded",
        "too-large", "invalid", "expired", "duplicate", "failed", "draining", "internal", "busy"};
    for (unsigned c = CODE_OK; c < CODE_COUNT; c++) {
        ck_assert_str_eq(code_name((enum code)c), names[c]);
        bool spoken = c != CODE_OK && c != CODE_BUSY; /* no peer says these */
        ck_assert_int_eq(code_parse(str_of(names[c])), spoken ? (enum code)c : CODE_FAILED);
    }
    ck_assert_int_eq(code_parse(STR("teapot")), CODE_FAILED);
    ck_assert_int_eq(code_parse(STR_NONE), CODE_FAILED);
    ck_assert_int_eq(code_parse(STR("Timeout")), CODE_FAILED);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("msg");
    TCase *t = tcase_create("msg");
    const TTest *const tests[] = {
        legal_blocks, each_refusal_says_what_and_where, at_most_128_lines, lines_are_read_in_order,
        ids_are_made_and_sort_by_time, what_came_is_kept, reserved_names_are_the_daemons,
        a_bad_traceparent_starts_a_new_trace, traces_are_sampled_by_their_share, durations_in_headers,
        not_before_a_time, a_stored_message_is_the_same, ids_are_at_most_256_bytes, a_message_of_nothing,
        a_line_of_its_maker_stands_before_the_others, what_the_daemon_adds_counts,
        a_log_line_names_the_message, traceparents, codes_have_stable_names,
    };
    tcase_add_checked_fixture(t, set_up, NULL);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
