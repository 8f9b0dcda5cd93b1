/* daemon/codec/nest.h: frames, packets, subjects, bodies; expectations are captures of NestJS 12 and 11. */
#include <check.h>

#include "base/mem.h"
#include "base/rand.h"
#include "codec/nest.h"
#include "msg/headers.h"
#include "wire/json.h"
#include "wire/utf8.h"

#define LIMIT 100000
#define ID "\"d7152cc80070df84c5312\""
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static enum nest_frame next(struct nest_framer *f, struct str in, struct str *json, size_t *used, const char **what)
{
    struct nest_found found = {0};
    enum nest_frame status = nest_frame_next(f, in, LIMIT, &found);
    *json = found.json;
    *used = found.used;
    *what = found.what;
    return status;
}

static void assert_text(struct buf *b, const char *text)
{
    ck_assert_str_eq(buf_cstr(b), text);
    buf_clear(b);
}

/* ---- frames ---- */

START_TEST(test_frame_captures)
{
    static const char *const frames[] = {
        "69#{\"pattern\":{\"cmd\":\"sum\"},\"data\":[1,2,3],\"id\":\"d7152cc80070df84c5312\"}",
        "61#{\"response\":6,\"isDisposed\":true,\"id\":\"d7152cc80070df84c5312\"}",
        "42#{\"pattern\":\"user.created\",\"data\":{\"id\":1}}",
        "74#{\"pattern\":{\"cmd\":\"echo\"},\"data\":\"za\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87 \xf0\x9f\x90\xa2\",\"id\":\"7152cc80070df84c53124\"}",
        "1#5",
        "4#null",
    };
    struct buf all = BUF_EMPTY;
    for (size_t i = 0; i < COUNT(frames); i++)
        buf_puts(&all, frames[i]);
    struct nest_framer f = {0};
    struct str rest = buf_str(&all), json;
    const char *what;
    size_t used;
    for (size_t i = 0; i < COUNT(frames); i++) {
        ck_assert_int_eq(next(&f, rest, &json, &used, &what), NEST_FRAME);
        ck_assert_uint_eq(used, strlen(frames[i]));
        ck_assert_str_eq(strchr(frames[i], '#') + 1 + json.n, "");
        rest = str_make(rest.p + used, rest.n - used);
    }
    ck_assert_int_eq(next(&f, rest, &json, &used, &what), NEST_MORE);
    buf_fini(&all);
}
END_TEST

START_TEST(test_frame_refused)
{
    static const char *const heads[] = {
        "abc#", "#{}", "0#", "00047#x", "-5#{}", "+47#", " 47#", "\n47#", "0x10#", "47junk#", "47.9#",
        "47 #", "4{}",
        "12345678901#", "99999999999999999999999#", "2147483648#", "9223372036854775808#", "100001#",
        "\xef\xbb\xbf" "4#null",
        "1e3#", "{\"a\":1}", "\0#", "2#\xf0\x9f\x90\xa2" "x1#\xf0\x9f\x90\xa2",
    };
    for (size_t i = 0; i < COUNT(heads); i++) {
        struct nest_framer f = {0};
        struct str json, in = str_of(heads[i]);
        const char *what = NULL;
        size_t used;
        if (in.n == 0)
            in = str_make("\0#", 2);
        enum nest_frame got = next(&f, in, &json, &used, &what);
        if (got == NEST_FRAME) /* the last one: a good frame, then one that splits a pair */
            in = str_make(in.p + used + 1, in.n - used - 1), got = next(&f, in, &json, &used, &what);
        ck_assert_msg(got == NEST_BAD && what != NULL, "taken: %s", heads[i]);
    }
}
END_TEST

/* A decoder as slow and plain as the rule: units of the text that Node would make of these bytes. */
static uint64_t naive_units(const uint8_t *p, size_t n)
{
    uint64_t units = 0;
    for (size_t i = 0; i < n;) {
        size_t length;
        enum utf8 form = utf8_step(p + i, n - i, &length);
        units += form == UTF8_GOOD && length == 4 ? 2 : 1;
        i += length;
    }
    return units;
}

static void put_random_text(struct buf *b, struct rand *r, bool ill)
{
    static const char *const good[] = {"a", "plain text, a little longer than a word", "\xc5\xbc",
        "\xe2\x82\xac",
                                       "\xf0\x9f\x90\xa2", "\xf4\x8f\xbf\xbf", "0123456789abcdef",
                                       "\xef\xbf\xbd"};
    static const char *const bad[] = {"\x80", "\xc5", "\xe2\x82", "\xf0\x9f\x90", "\xed\xa0\x80", "\xff",
        "\xc0\xaf",
                                      "\xf4\x90\x80\x80", "\xf0\x80\x80"};
    for (uint64_t n = rand_below(r, 12) + 1; n > 0; n--)
        buf_puts(b, ill && rand_below(r, 3) == 0 ? bad[rand_below(r, COUNT(bad))] : good[rand_below(r, COUNT(good))]);
    buf_putc(b, '.');
}

/* Whole, cut at every byte, and byte by byte: the same frame. */
static void check_splits(const struct buf *frame, size_t head)
{
    const uint8_t *p = buf_data(frame);
    struct nest_framer slow = {0};
    for (size_t cut = 0; cut <= frame->len; cut++) {
        struct nest_framer f = {0};
        struct str json;
        const char *what;
        size_t used;
        uint8_t *exact = mem_alloc(cut + 1);
        bytes_copy((char *)exact, p, cut);
        enum nest_frame whole = cut == frame->len ? NEST_FRAME : NEST_MORE;
        ck_assert_int_eq(next(&f, str_make(exact, cut), &json, &used, &what), whole);
        ck_assert_int_eq(next(&slow, str_make(exact, cut), &json, &used, &what), whole);
        mem_free(exact);
        if (cut == frame->len)
            break;
        ck_assert_int_eq(next(&f, str_make(p, frame->len), &json, &used, &what), NEST_FRAME);
        ck_assert(used == frame->len && json.n == frame->len - head);
        ck_assert(f.head == 0 && f.counted_bytes == 0);
    }
}

START_TEST(test_frame_splits_and_units)
{
    struct rand r;
    struct buf text = BUF_EMPTY, frame = BUF_EMPTY;
    rand_seed(&r, 3);
    for (int round = 0; round < 300; round++) {
        buf_clear(&text);
        buf_clear(&frame);
        put_random_text(&text, &r, round % 2 == 1);
        uint64_t units = naive_units(buf_data(&text), text.len);
        if (round % 2 == 0)
            ck_assert_uint_eq(nest_units(buf_str(&text)), units);
        buf_u64(&frame, units);
        buf_putc(&frame, '#');
        size_t head = frame.len;
        buf_str_put(&frame, buf_str(&text));
        check_splits(&frame, head);
    }
    buf_fini(&text);
    buf_fini(&frame);
}
END_TEST

START_TEST(test_frame_head)
{
    struct buf b = BUF_EMPTY;
    nest_frame_head(&b, STR("\"\xf0\x9f\x90\xa2\xc5\xbc\""));
    assert_text(&b, "5#");
    nest_frame_head(&b, STR("1"));
    assert_text(&b, "1#");
    buf_fini(&b);
}
END_TEST

/* A frame of many tiny reads must not be counted from its start each time: the framer remembers. */
START_TEST(test_frame_remembers)
{
    struct nest_framer f = {0};
    struct str json;
    const char *what;
    size_t used;
    ck_assert_int_eq(next(&f, STR("9#\"za\xc5\xbc\xc5"), &json, &used, &what), NEST_MORE);
    ck_assert_uint_eq(f.counted_units, 4);
    ck_assert_uint_eq(f.counted_bytes, 5);
}
END_TEST

/* ---- packets ---- */

START_TEST(test_requests)
{
    struct nest_request q;
    const char *what = NULL;
    ck_assert(nest_request_parse(STR("{\"pattern\":{\"cmd\":\"sum\"},\"data\":[1,2,3],\"metadata\":{\"a\":\"b\"},\"id\":" ID "}"), &q, &what));
    ck_assert(str_is(q.pattern, "{\"cmd\":\"sum\"}") && str_is(q.data, "[1,2,3]") && str_is(q.id, ID));
    ck_assert(str_is(q.metadata, "{\"a\":\"b\"}"));
    ck_assert(nest_request_parse(STR("{\"pattern\":\"e\",\"extra\":1}"), &q, &what));
    ck_assert(q.id.p == NULL && q.data.p == NULL && q.metadata.p == NULL);
    ck_assert(nest_request_parse(STR("{\"pattern\":7,\"id\":null,\"metadata\":[1]}"), &q, &what));
    ck_assert(str_is(q.id, "null") && q.metadata.p == NULL);
    static const char *const wrong[] = {"null", "42", "[1]", "\"hi\"", "{}", "{\"data\":1}",
        "{\"pattern\":1", "{\"pattern\":\"\xff\"}", ""};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        what = NULL;
        ck_assert_msg(!nest_request_parse(str_of(wrong[i]), &q, &what) && what != NULL, "taken: %s", wrong[i]);
    }
}
END_TEST

START_TEST(test_request_format)
{
    struct buf b = BUF_EMPTY;
    nest_request_format(&b, STR("{\"cmd\":\"sum\"}"), STR("[1,2,3]"), STR_NONE, STR("d7152cc80070df84c5312"));
    assert_text(&b, "69#{\"pattern\":{\"cmd\":\"sum\"},\"data\":[1,2,3],\"id\":\"d7152cc80070df84c5312\"}");
    nest_request_format(&b, STR("user.created"), STR("{\"id\":1}"), STR_NONE, STR_NONE);
    assert_text(&b, "42#{\"pattern\":\"user.created\",\"data\":{\"id\":1}}");
    nest_request_format(&b, STR("a\"\\\xf0\x9f\x90\xa2"), STR_NONE, STR("{\"k\":\"v\"}"), STR("x"));
    assert_text(&b, "63#{\"pattern\":\"a\\\"\\\\\xf0\x9f\x90\xa2\",\"data\":null,\"metadata\":{\"k\":\"v\"},\"id\":\"x\"}");
    nest_request_format(&b, STR("{no object"), STR("1"), STR_NONE, STR_NONE);
    assert_text(&b, "33#{\"pattern\":\"{no object\",\"data\":1}");
    buf_fini(&b);
}
END_TEST

START_TEST(test_reply_format)
{
    struct buf b = BUF_EMPTY;
    nest_reply_value(&b, STR(ID), STR("6"), true);
    assert_text(&b, "61#{\"response\":6,\"isDisposed\":true,\"id\":" ID "}");
    nest_reply_value(&b, STR("7"), STR("\"\xc5\xbc\""), false);
    assert_text(&b, "23#{\"response\":\"\xc5\xbc\",\"id\":7}");
    nest_reply_end(&b, STR("null"));
    assert_text(&b, "29#{\"isDisposed\":true,\"id\":null}");
    nest_reply_error(&b, STR("{\"a\":1}"), STR("\"E\""));
    assert_text(&b, "42#{\"err\":\"E\",\"isDisposed\":true,\"id\":{\"a\":1}}");
    nest_reply_no_handler(&b, STR(ID));
    assert_text(&b, "123#{\"id\":" ID ",\"status\":\"error\",\"err\":\"There is no matching message handler defined in the remote service.\"}");
    buf_fini(&b);
}
END_TEST

START_TEST(test_reply_parse)
{
    static const struct {
        const char *json, *response, *err; /* NULL = absent */
        bool last;
    } replies[] = {
        {"{\"response\":1,\"isDisposed\":true,\"id\":7}", "1", NULL, true},
        {"{\"response\":1,\"id\":7}", "1", NULL, false},
        {"{\"response\":null,\"isDisposed\":true,\"id\":7}", "null", NULL, true},
        {"{\"id\":7}", NULL, NULL, false},
        {"{\"id\":7,\"isDisposed\":true}", NULL, NULL, true},
        {"{\"id\":7,\"err\":\"\",\"isDisposed\":true}", NULL, NULL, true},
        {"{\"id\":7,\"err\":0,\"isDisposed\":true}", NULL, NULL, true},
        {"{\"id\":7,\"err\":-0.0e5,\"response\":2}", "2", NULL, false},
        {"{\"id\":7,\"err\":null,\"isDisposed\":true}", NULL, NULL, true},
        {"{\"id\":7,\"err\":false,\"isDisposed\":false}", NULL, NULL, false},
        {"{\"id\":7,\"err\":0.1}", NULL, "0.1", true},
        {"{\"id\":7,\"err\":{}}", NULL, "{}", true},
        {"{\"id\":7,\"err\":\"E\",\"response\":5,\"isDisposed\":true}", NULL, "\"E\"", true},
        {"{\"id\":7,\"err\":\"E\"}", NULL, "\"E\"", true},
        {"{\"id\":7,\"status\":\"error\",\"err\":\"E\"}", NULL, "\"E\"", true},
        {"{\"id\":7,\"isDisposed\":\"yes\"}", NULL, NULL, true},
        {"{\"id\":7,\"isDisposed\":\"\"}", NULL, NULL, false},
        {"{\"id\":7,\"isDisposed\":1}", NULL, NULL, true},
        {"{\"id\":7,\"isDisposed\":0}", NULL, NULL, false},
        {"{\"id\":7,\"isDisposed\":[]}", NULL, NULL, true},
        {"{\"id\":7,\"hello\":1}", "{\"id\":7,\"hello\":1}", NULL, true},
        {"{\"response\":1,\"isDisposed\":true,\"id\":7,\"trace\":\"x\"}",
         "{\"response\":1,\"isDisposed\":true,\"id\":7,\"trace\":\"x\"}", NULL, true},
    };
    for (size_t i = 0; i < COUNT(replies); i++) {
        struct nest_reply p;
        const char *what;
        ck_assert_msg(nest_reply_parse(str_of(replies[i].json), &p, &what), "refused: %s", replies[i].json);
        ck_assert(str_is(p.id, "7"));
        ck_assert_msg((p.response.p == NULL) == (replies[i].response == NULL) &&
                          str_eq(p.response, str_of(replies[i].response)) && str_eq(p.err, str_of(replies[i].err)) &&
                          p.last == replies[i].last, "%s", replies[i].json);
    }
    struct nest_reply p;
    const char *what = NULL;
    ck_assert(!nest_reply_parse(STR("[1]"), &p, &what) && what != NULL);
    ck_assert(nest_reply_parse(STR("{\"response\":1}"), &p, &what) && p.id.p == NULL);
}
END_TEST

/* ---- subjects ---- */

START_TEST(test_subjects)
{
    static const struct {
        const char *pattern, *subject; /* NULL = none */
    } rows[] = {
        {"\"user.created\"", "user.created"},
        {"7", "7"}, {"1.0", "1"}, {"1e3", "1000"}, {"-0", "0"}, {"0.5", "0.5"}, {"1.50", "1.5"},
        {"-12.25e1", "-122.5"},
        {"1e21", "1e+21"}, {"1e20", "100000000000000000000"}, {"123456789012345678901234",
        "1.2345678901234569e+23"},
        {"0.000001", "0.000001"}, {"1e-7", "1e-7"}, {"1.5e-9", "1.5e-9"}, {"9007199254740993",
        "9007199254740992"},
        {"0.1", "0.1"}, {"5e-324", "5e-324"}, {"1e400", "1e400"},
        {"{\"cmd\":\"sum\"}", "{\"cmd\":\"sum\"}"},
        {"{\"b\":1,\"a\":\"x\"}", "{\"a\":\"x\",\"b\":1}"},
        {"{ \"b\" : { \"d\" : null , \"c\" : true } , \"a\" : [ 1.0 , \"z\" ] }",
        "{\"a\":{\"0\":1,\"1\":\"z\"},\"b\":{\"c\":true,\"d\":null}}"},
        {"{\"a\":1,\"a\":2}", "{\"a\":2}"},
        {"{\"\\u0061\":1,\"a\":2,\"A\":3}", "{\"A\":3,\"a\":2}"},
        {"{\"k\":\"a\\/b\\u00e9\\\"\\\\\"}", "{\"k\":\"a/b\xc3\xa9\\\"\\\\\"}"},
        {"{\"a\\\"\":1,\"a!\":2,\"a#\":3}", "{\"a!\":2,\"a\\\"\":1,\"a#\":3}"},
        {"\"{ \\\"cmd\\\" : \\\"sum\\\" }\"", "{\"cmd\":\"sum\"}"},
        {"\"\\n{\\\"b\\\":1,\\\"a\\\":2}\"", "{\"a\":2,\"b\":1}"},
        {"\"{not json\"", "{not json"},
        {"\"\\\"x\\\"\"", "\"x\""},
        {"[\"a\",{\"b\":[]}]", "{\"0\":\"a\",\"1\":{\"b\":{}}}"},
        {"{}", "{}"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}", "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}", "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}", NULL},
        {"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21]", NULL},
        {"null", NULL}, {"true", NULL}, {"false", NULL}, {"\"\"", NULL}, {"\"a\\nb\"", NULL},
        {"{\"a\":\"\\t\"}", NULL},
        {"{\"\\u007f\":1}", NULL}, {"\"\x7f\"", NULL}, {"\"\\u0000\"", NULL},
    };
    struct buf b = BUF_EMPTY;
    for (size_t i = 0; i < COUNT(rows); i++) {
        buf_puts(&b, "before ");
        bool ok = nest_subject(str_of(rows[i].pattern), &b);
        ck_assert_msg(ok == (rows[i].subject != NULL), "%s: %d", rows[i].pattern, ok);
        ck_assert_msg(str_is(str_make(buf_cstr(&b) + 7, b.len - 7), ok ? rows[i].subject : ""), "%s: %s",
                      rows[i].pattern, buf_cstr(&b));
        buf_clear(&b);
    }
    ck_assert(!nest_subject(STR_NONE, &b));
    ck_assert(nest_subject_text(STR("{\"b\": 1,\"a\":2}"), &b));
    assert_text(&b, "{\"a\":2,\"b\":1}");
    ck_assert(nest_subject_text(STR("orders.*.created"), &b));
    assert_text(&b, "orders.*.created");
    ck_assert(!nest_subject_text(STR("a\nb"), &b) && !nest_subject_text(STR(""), &b) && !nest_subject_text(STR("\xff"), &b));
    buf_fini(&b);
}
END_TEST

static bool subject_of_size(size_t n, bool object)
{
    struct buf b = BUF_EMPTY, out = BUF_EMPTY;
    buf_puts(&b, object ? "{\"a\":\"" : "\"");
    while (b.len < (object ? n - 2 : n + 1))
        buf_putc(&b, 'x');
    buf_puts(&b, object ? "\"}" : "\"");
    bool ok = nest_subject(buf_str(&b), &out);
    ck_assert_uint_eq(out.len, ok ? n : 0);
    buf_fini(&b);
    buf_fini(&out);
    return ok;
}

START_TEST(test_subject_size)
{
    ck_assert(subject_of_size(1024, false) && subject_of_size(1024, true));
    ck_assert(!subject_of_size(1025, false) && !subject_of_size(1025, true));
    ck_assert(!subject_of_size(100000, true));
}
END_TEST

static void put_pattern(struct buf *b, struct rand *r, unsigned depth)
{
    static const char *const leaves[] = {"1", "1.0", "-2.5e3", "null", "true", "\"x\"", "\"\\u0041\\\"\"",
        "\"\xc5\xbc\"", "\" \"",
                                         "1e-7", "12345678901234567890", "\"\\\\\""};
    static const char *const names[] = {"a", "b", "cmd", "B", "\\u0061", "\xc5\xbc", "_", "a\\\"", "10", "2"};
    uint64_t kind = depth > 0 ? rand_below(r, 4) : 3, n = rand_below(r, 4);
    if (kind == 3) {
        buf_puts(b, leaves[rand_below(r, COUNT(leaves))]);
        return;
    }
    buf_putc(b, kind == 2 ? '[' : '{');
    for (uint64_t i = 0; i < n; i++) {
        buf_puts(b, i > 0 ? " , " : " ");
        if (kind != 2)
            buf_printf(b, "\"%s\" :", names[rand_below(r, COUNT(names))]);
        put_pattern(b, r, depth - 1);
    }
    buf_putc(b, kind == 2 ? ']' : '}');
}

/* Whatever stands for a subject has that subject: the canonical text, the same as an object, and quoted. */
START_TEST(test_subject_idempotent)
{
    struct rand r;
    struct buf pattern = BUF_EMPTY, subject = BUF_EMPTY, again = BUF_EMPTY, quoted = BUF_EMPTY;
    unsigned objects = 0;
    rand_seed(&r, 4);
    for (int round = 0; round < 20000; round++) {
        buf_clear(&pattern);
        buf_clear(&subject);
        buf_clear(&again);
        buf_clear(&quoted);
        put_pattern(&pattern, &r, 4);
        if (!nest_subject(buf_str(&pattern), &subject))
            continue;
        ck_assert(str_printable(buf_str(&subject)) && subject.len <= 1024);
        ck_assert(nest_subject_text(buf_str(&subject), &again));
        ck_assert_msg(str_eq(buf_str(&again), buf_str(&subject)), "%s -> %s", buf_cstr(&subject), buf_cstr(&again));
        buf_clear(&again);
        json_quote(buf_str(&subject), &quoted);
        ck_assert(nest_subject(buf_str(&quoted), &again) && str_eq(buf_str(&again), buf_str(&subject)));
        if (buf_data(&subject)[0] != '{')
            continue;
        objects++;
        buf_clear(&again);
        ck_assert(nest_subject(buf_str(&subject), &again) && str_eq(buf_str(&again), buf_str(&subject)));
    }
    ck_assert_uint_gt(objects, 5000);
    buf_fini(&pattern);
    buf_fini(&subject);
    buf_fini(&again);
    buf_fini(&quoted);
}
END_TEST

/* ---- bodies and metadata ---- */

START_TEST(test_bodies)
{
    static const struct {
        const char *body, *type, *json; /* NULL = refused */
    } rows[] = {
        {"{\"a\":1}", "", "{\"a\":1}"},       {"{\"a\":1}", "application/json", "{\"a\":1}"},
        {"{\"a\":1}", "text/plain", "\"{\\\"a\\\":1}\""}, {"hello", "", "\"hello\""},
        {"12", "", "12"},                     {"12", "text/plain; charset=utf-8", "\"12\""},
        {"{a", "application/json; charset=utf-8", NULL}, {"{a", "application/cloudevents+json", NULL},
        {"{a", "application/x", "\"{a\""},    {"\xff\xfe", "", NULL}, {"\xff", "text/plain", NULL},
    };
    struct buf scratch = BUF_EMPTY;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct str json;
        bool ok = nest_body_json(str_of(rows[i].body), str_of(rows[i].type), &scratch, &json);
        ck_assert_msg(ok == (rows[i].json != NULL) && (!ok || str_is(json, rows[i].json)), "row %zu", i);
    }
    struct str json = STR("x");
    ck_assert(nest_body_json(STR_NONE, STR("application/json"), &scratch, &json) && json.p == NULL);
    buf_fini(&scratch);
}
END_TEST

START_TEST(test_metadata)
{
    struct buf b = BUF_EMPTY, back = BUF_EMPTY;
    nest_metadata_headers(STR("{\"TraceParent\":\"00-a\",\"n\":7,\"bad name\":\"x\",\"v\":\"a\\nb\",\"u\":\"\\u00e9\",\"\":\"e\",\"o\":{},"
                              "\"\xc5\xbc\":\"q\",\"e\":\"\",\"s\":\" s\"}"), &b);
    ck_assert_str_eq(buf_cstr(&b), "traceparent: 00-a\nu: \xc3\xa9\ne: \n");
    nest_headers_metadata(buf_str(&b), &back);
    assert_text(&back, "{\"traceparent\":\"00-a\",\"u\":\"\xc3\xa9\",\"e\":\"\"}");
    nest_headers_metadata(STR("a: 1\nb: \"q\\\na: 2\n"), &back);
    assert_text(&back, "{\"b\":\"\\\"q\\\\\",\"a\":\"2\"}");
    nest_headers_metadata(STR_NONE, &back);
    ck_assert_uint_eq(back.len, 0);
    buf_clear(&b);
    buf_putc(&back, '{');
    for (int i = 0; i < 500; i++)
        buf_printf(&back, "%s\"k%d\":\"v\"", i > 0 ? "," : "", i);
    buf_putc(&back, '}');
    nest_metadata_headers(buf_str(&back), &b);
    const char *what;
    size_t offset;
    ck_assert(headers_check(buf_str(&b), &what, &offset));
    buf_fini(&b);
    buf_fini(&back);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nest");
    TCase *tc = tcase_create("nest");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_frame_captures);
    tcase_add_test(tc, test_frame_refused);
    tcase_add_test(tc, test_frame_splits_and_units);
    tcase_add_test(tc, test_frame_head);
    tcase_add_test(tc, test_frame_remembers);
    tcase_add_test(tc, test_requests);
    tcase_add_test(tc, test_request_format);
    tcase_add_test(tc, test_reply_format);
    tcase_add_test(tc, test_reply_parse);
    tcase_add_test(tc, test_subjects);
    tcase_add_test(tc, test_subject_size);
    tcase_add_test(tc, test_subject_idempotent);
    tcase_add_test(tc, test_bodies);
    tcase_add_test(tc, test_metadata);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
