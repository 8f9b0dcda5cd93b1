/* daemon/codec/codec.h: `cloudevents`. The examples are those of the CloudEvents 1.0.2 specifications. */
#include <check.h>

#include "base/base64.h"
#include "base/mem.h"
#include "codec/codec.h"
#include "msg/headers.h"
#include "msg/msg.h"
#include "wire/json.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define JSON_TYPE STR("application/cloudevents+json; charset=UTF-8")
#define FOUR "\"specversion\":\"1.0\",\"type\":\"com.example.someevent\",\"source\":\"/mycontext\",\"id\":\"A234\""
#define FOUR_READ "ce-type: com.example.someevent\nce-source: /mycontext\nid: A234\n"

static const struct codec http = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "ce-", .percent = true};
static const struct codec kafka = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "ce_"};
static const struct codec amqp = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "cloudEvents_"};
static const struct codec mqtt = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = ""};
static const struct codec redis = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "", .structured = true};

static struct codec_room room;
static const char *what;

static void setup(void)
{
    room = (struct codec_room){0};
    what = NULL;
}

static void teardown(void)
{
    codec_room_fini(&room);
}

static void assert_str(struct str got, const char *text)
{
    ck_assert_msg(str_is(got, text), "`" STR_FMT "`, expected `%s`", STR_ARG(got), text);
}

/* Native headers given as a block of lines. */
static bool read_lines(const struct codec *c, const char *lines, struct wire_message *in, struct message_parts *m)
{
    struct str rest = str_of(lines);
    codec_begin(&room);
    while (rest.n > 0) {
        struct str line = str_cut(&rest, '\n');
        const char *colon = memmem(line.p, line.n, ": ", 2);
        ck_assert_ptr_ne(colon, NULL);
        size_t n = (size_t)(colon - line.p);
        codec_header(c, &room, str_make(line.p, n), str_make(colon + 2, line.n - n - 2));
    }
    in->headers = codec_room_headers(&room);
    bool ok = codec_decode(c, &room, in, m, &what);
    ck_assert_int_eq(ok, what == NULL);
    size_t offset;
    const char *why;
    ck_assert(!ok || headers_check(m->headers, &why, &offset));
    return ok;
}

static void assert_read(const struct codec *c, const char *lines, const char *headers)
{
    struct wire_message in = {.subject = STR("s"), .content_type = STR("application/json"), .body = STR("{}")};
    struct message_parts m;
    ck_assert_msg(read_lines(c, lines, &in, &m), "%s: %s", lines, what);
    assert_str(m.headers, headers);
    assert_str(m.subject, "s");
    assert_str(m.body, "{}");
}

START_TEST(test_binary_read)
{
    static const char headers[] = "content-type: application/json\nce-type: t\ntime: 2018-04-05T03:56:24Z\nid: 1\n"
                                  "ce-source: /a\nce-subject: \xe2\x82\xac\nx-app: y\n";
    assert_read(&http, "Ce-Specversion: 1.0\nCe-Type: t\nCe-Time: 2018-04-05T03:56:24Z\nCe-Id: 1\nCe-Source: /a\n"
                       "Ce-Subject: %E2%82%aC\nX-App: y\n", headers);
    assert_read(&kafka, "ce_specversion: 1.0\nce_type: t\nce_time: 2018-04-05T03:56:24Z\nce_id: 1\nce_source: /a\n"
                        "ce_subject: \xe2\x82\xac\nX-App: y\n", headers);
    assert_read(&amqp, "cloudEvents:specversion: 1.0\ncloudEvents:type: t\ncloudEvents_time: 2018-04-05T03:56:24Z\n"
                       "cloudEvents_id: 1\ncloudEvents:source: /a\ncloudEvents_subject: \xe2\x82\xac\nx-app: y\n", headers);
    assert_read(&mqtt, "specversion: 1.0\ntype: t\ntime: 2018-04-05T03:56:24Z\nid: 1\nsource: /a\n"
                       "subject: \xe2\x82\xac\nx-app: y\n", headers);
    assert_read(&redis, "ce-specversion: 1.0\nce-type: t\nce-time: 2018-04-05T03:56:24Z\nce-id: 1\nce-source: /a\n"
                       "ce-subject: \xe2\x82\xac\nx-app: y\n", headers);
}
END_TEST

START_TEST(test_escapes_read)
{
    static const struct {
        const char *value, *read; /* NULL: refused */
    } cases[] = {
        {"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\"a \\\"b\\\" \\\\c\"", "a \"b\" \\c"},
        {"100%", "100%"},
        {"%zz%4", "%zz%4"},
        {"%41%2", "A%2"},
        {"%25%34%31", "%41"}, /* one round only */
        {"%20a%20", "a"},
        {"\"", "\""},
        {"%C0%A0", NULL},
        {"%0a", ""},
        {"a%0ab", NULL},
        {"%00", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf lines = BUF_EMPTY;
        struct message_parts m;
        struct wire_message in = {.subject = STR("s")};
        buf_printf(&lines, "ce-specversion: 1.0\nce-type: t\nce-id: 1\nce-source: /a\nce-x: %s\n", cases[i].value);
        bool ok = read_lines(&http, buf_cstr(&lines), &in, &m);
        struct str got = ok ? headers_get(m.headers, "ce-x") : STR_NONE;
        if (cases[i].read != NULL && *cases[i].read != '\0')
            assert_str(got, cases[i].read);
        else
            ck_assert_msg(!ok, "taken: %s", cases[i].value);
        buf_fini(&lines);
    }
}
END_TEST

static void assert_refused(const char *lines, const char *part)
{
    struct wire_message in = {.subject = STR("s")};
    struct message_parts m;
    ck_assert_msg(!read_lines(&kafka, lines, &in, &m), "taken: %s", lines);
    ck_assert_msg(strstr(what, part) != NULL, "%s: %s", lines, what);
}

START_TEST(test_binary_refused)
{
    struct wire_message in = {.subject = STR("s"), .content_type = STR("application/cloudevents-batch+json"), .body = STR("[]")};
    struct message_parts m;
    assert_refused("x: y\n", "`specversion`");
    assert_refused("ce_specversion: 1.0\nce_type: t\nce_source: /a\n", "`id`");
    assert_refused("ce_specversion: 1.0\nce_type: t\nce_id: 1\n", "`source`");
    assert_refused("ce_specversion: 1.0\nce_source: t\nce_id: 1\n", "`type`");
    assert_refused("ce_specversion: 1.0\nce_source: t\nce_id: 1\nce_type: \n", "`type`");
    assert_refused("ce_specversion: 0.3\nce_source: t\nce_id: 1\nce_type: t\n", "1.x");
    assert_refused("ce_specversion: 1.0\nce_source: t\nce_id: 1\nce_type: t\nce_id: 2\n", "twice");
    assert_refused("ce_specversion: 1.0\nce_source: t\nce_id: 1\nce_type: t\nce_x: 2\nce-x: 2\n", "twice");
    ck_assert(!read_lines(&kafka, "", &in, &m));
    ck_assert_ptr_ne(strstr(what, "batch"), NULL);
    in.content_type = STR("application/cloudevents+avro");
    ck_assert(!read_lines(&kafka, "", &in, &m));
    struct buf id = BUF_EMPTY;
    buf_puts(&id, "ce_specversion: 1.0\nce_type: t\nce_source: /a\nce_id: ");
    for (unsigned i = 0; i < MSG_ID_MAX + 1; i++)
        buf_putc(&id, '1');
    buf_putc(&id, '\n');
    assert_refused(buf_cstr(&id), "256 bytes");
    buf_fini(&id);
    in = (struct wire_message){0}; /* the type is the subject, and has to be one */
    struct buf lines = BUF_EMPTY;
    buf_puts(&lines, "ce_specversion: 1.0\nce_id: 1\nce_source: /a\nce_type: ");
    for (unsigned i = 0; i < 1025; i++)
        buf_putc(&lines, 't');
    buf_putc(&lines, '\n');
    ck_assert(!read_lines(&kafka, buf_cstr(&lines), &in, &m));
    ck_assert_ptr_ne(strstr(what, "subject"), NULL);
    buf_fini(&lines);
    ck_assert(read_lines(&kafka, "ce_specversion: 1.7\nce_id: 1\nce_source: /a\nce_type: a.b\n", &in, &m));
    assert_str(m.subject, "a.b");
}
END_TEST

/* What the protocol brought of its own is nearer than an attribute. */
START_TEST(test_places)
{
    struct wire_message in = {.subject = STR("s")};
    struct message_parts m;
    ck_assert(read_lines(&kafka, "id: native\ntime: never\ncontent-type: a/b\nkey: k\nce_specversion: 1.0\nce_id: 1\nce_source: /a\n"
                                 "ce_type: t\nce_partitionkey: p\nce_correlationid: c\nce_datacontenttype: x/y\nce-x-y: z\n", &in, &m));
    assert_str(m.headers, "content-type: a/b\nid: 1\nce-source: /a\nce-type: t\nce-partitionkey: p\nce-correlationid: c\n"
                          "time: never\nkey: k\ncorrelation-id: c\n");
    ck_assert(read_lines(&kafka, "ce_specversion: 1.0\nce_id: 1\nce_source: /a\nce_type: t\nce_datacontenttype: x/y\n", &in, &m));
    assert_str(m.headers, "id: 1\nce-source: /a\nce-type: t\ncontent-type: x/y\n");
    /* without `specversion` unprefixed names are headers */
    ck_assert(read_lines(&mqtt, "ce-specversion: 1.0\nce-id: 1\nce-source: /a\nce-type: t\ntenant: a\n", &in, &m));
    assert_str(m.headers, "id: 1\nce-source: /a\nce-type: t\ntenant: a\n");
}
END_TEST

/* A long value stands once: the block has room for what msg_new() adds. */
START_TEST(test_long_twin)
{
    struct wire_message in = {.subject = STR("s")};
    struct message_parts m;
    struct buf lines = BUF_EMPTY;
    for (unsigned n = 512; n <= 513; n++) {
        buf_clear(&lines);
        buf_puts(&lines, "ce_specversion: 1.0\nce_id: 1\nce_source: /a\nce_type: t\nce_correlationid: ");
        for (unsigned i = 0; i < n; i++)
            buf_putc(&lines, 'c');
        buf_putc(&lines, '\n');
        ck_assert(read_lines(&kafka, buf_cstr(&lines), &in, &m));
        ck_assert_uint_eq(headers_get(m.headers, "ce-correlationid").n, n);
        ck_assert_int_eq(headers_get(m.headers, "correlation-id").n == n, n == 512);
    }
    buf_fini(&lines);
}
END_TEST

/* ---- structured ---- */

static void assert_json(const char *json, const char *headers, struct str body)
{
    struct wire_message in = {.subject = STR("s"), .content_type = JSON_TYPE, .body = str_of(json)};
    struct message_parts m;
    ck_assert_msg(read_lines(&kafka, "", &in, &m), "%s: %s", json, what);
    assert_str(m.headers, headers);
    ck_assert_msg(str_eq(m.body, body), "%s: body `" STR_FMT "`", json, STR_ARG(m.body));
}

START_TEST(test_structured_read)
{
    assert_json("{" FOUR "}", FOUR_READ, STR_NONE);
    assert_json(" {" FOUR ",\"data\": {\"a\" : 1} ,\"other\":5,\"yes\":true,\"none\":null,\"Upper\":1,\"a-b\":2}",
                FOUR_READ "ce-other: 5\nce-yes: true\ncontent-type: application/json\n", STR("{\"a\" : 1}"));
    assert_json("{\"data\":\"I'm just a string\"," FOUR "}", FOUR_READ "content-type: application/json\n", STR("\"I'm just a string\""));
    assert_json("{" FOUR ",\"datacontenttype\":\"application/xml\",\"data\":\"<much wow=\\\"xml\\\"/>\"}",
                FOUR_READ "content-type: application/xml\n", STR("<much wow=\"xml\"/>"));
    assert_json("{" FOUR ",\"datacontenttype\":\"application/x+json\",\"data\":null}",
                FOUR_READ "content-type: application/x+json\n", STR("null"));
    assert_json("{" FOUR ",\"datacontenttype\":\"a/b\",\"data\":null,\"data_base64\":\"AP8=\"}", FOUR_READ "content-type: a/b\n",
                str_make("\0\xff", 2));
    assert_json("{" FOUR ",\"subject\":null,\"time\":\"2018-04-05T17:31:00Z\",\"sub\\u006aect\":\"x\"}",
                FOUR_READ "time: 2018-04-05T17:31:00Z\n", STR_NONE); /* a name with escapes is no attribute name */
    assert_json("{" FOUR ",\"traceparent\":\"00-1\",\"bellhoperror\":\"no-route\"}",
                FOUR_READ "ce-traceparent: 00-1\nce-bellhoperror: no-route\ntraceparent: 00-1\nbellhop-error: no-route\n", STR_NONE);
}
END_TEST

START_TEST(test_structured_refused)
{
    static const char *const cases[] = {
        "", "[]", "5", "{", "{" FOUR ",}", "{" FOUR ",\"x\":{}}", "{" FOUR ",\"x\":[]}", "{" FOUR ",\"x\":\"a\\nb\"}",
        "{" FOUR ",\"id\":\"again\"}", "{" FOUR ",\"data\":1,\"data\":2}", "{" FOUR ",\"data\":1,\"data_base64\":\"AAAA\"}",
        "{" FOUR ",\"data_base64\":\"AP8\"}", "{" FOUR ",\"data_base64\":\"AP9=\"}", "{" FOUR ",\"data_base64\":5}",
        "{" FOUR ",\"datacontenttype\":\"text/plain\",\"data\":5}", "{\"specversion\":\"1.0\",\"type\":\"t\",\"id\":\"1\"}",
        "{\"specversion\":\"1.0\",\"type\":\"t\",\"id\":\"\",\"source\":\"/a\"}",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_message in = {.subject = STR("s"), .content_type = JSON_TYPE, .body = str_of(cases[i])};
        struct message_parts m;
        ck_assert_msg(!read_lines(&kafka, "", &in, &m), "taken: %s", cases[i]);
        ck_assert_ptr_ne(what, NULL);
    }
}
END_TEST

START_TEST(test_structured_many)
{
    struct buf json = BUF_EMPTY;
    struct message_parts m;
    buf_puts(&json, "{" FOUR);
    for (unsigned i = 0; i < 120; i++)
        buf_printf(&json, ",\"x%u\":\"a\"", i);
    buf_putc(&json, '}');
    struct wire_message in = {.subject = STR("s"), .content_type = JSON_TYPE, .body = buf_str(&json)};
    ck_assert(!read_lines(&kafka, "", &in, &m));
    ck_assert_ptr_ne(strstr(what, "112 lines"), NULL);
    buf_fini(&json);
}
END_TEST

/* ---- written ---- */

#define HEADERS "id: 1\nsource: billing\ncorrelation-id: c\ntraceparent: 00-2\ncontent-type: application/json\nx-app: y\n"

START_TEST(test_binary_written)
{
    struct message_parts m = {STR("order.created"), STR(HEADERS "ce-subject: 5 \xe2\x82\xac\"%\n"), STR("{}")};
    struct wire_message out;
    codec_encode(&http, &room, &m, &out);
    assert_str(out.headers, "ce-specversion: 1.0\nce-id: 1\nce-source: /billing\nce-type: order.created\n"
                            "ce-subject: 5%20%E2%82%AC%22%25\ncorrelation-id: c\ntraceparent: 00-2\nx-app: y\n");
    assert_str(out.content_type, "application/json");
    assert_str(out.subject, "order.created");
    assert_str(out.body, "{}");
    codec_encode(&amqp, &room, &m, &out);
    assert_str(out.headers, "cloudEvents_specversion: 1.0\ncloudEvents_id: 1\ncloudEvents_source: /billing\n"
                            "cloudEvents_type: order.created\ncloudEvents_subject: 5 \xe2\x82\xac\"%\ncorrelation-id: c\n"
                            "traceparent: 00-2\nx-app: y\n");
    codec_encode(&mqtt, &room, &m, &out);
    assert_str(out.headers, "specversion: 1.0\nid: 1\nsource: /billing\ntype: order.created\ncorrelationid: c\ntraceparent: 00-2\n"
                            "subject: 5 \xe2\x82\xac\"%\nx-app: y\n");
}
END_TEST

/* The application's own ce- headers are nearer than what is made of the rest. */
START_TEST(test_written_places)
{
    struct message_parts m = {STR("s"), STR("id: 1\nsource: billing\ntime: t\nce-id: 2\nce-source: /own\nce-type: u\nce-time: v\n"
                                            "ce-specversion: 9\nce-datacontenttype: x\nce-data: x\nce-a-b: x\nce-k: 1\nce-k: 2\nce-e: \n"),
                              STR_NONE};
    struct wire_message out;
    codec_encode(&kafka, &room, &m, &out);
    assert_str(out.headers, "ce_specversion: 1.0\nce_id: 2\nce_source: /own\nce_type: u\nce_time: v\nce_k: 1\n");
    ck_assert_ptr_eq(out.content_type.p, NULL);
}
END_TEST

static void assert_written(const char *headers, struct str body, const char *json)
{
    struct message_parts m = {STR("s"), str_of(headers), body};
    struct wire_message out;
    codec_encode(&redis, &room, &m, &out);
    assert_str(out.body, json);
    assert_str(out.content_type, "application/cloudevents+json");
    ck_assert_uint_eq(out.headers.n, 0);
    ck_assert(json_valid(out.body, NULL, NULL));
}

START_TEST(test_structured_written)
{
#define MADE "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/b\",\"type\":\"s\""
    assert_written("id: 1\nsource: b\n", STR_NONE, MADE "}");
    assert_written("id: 1\nsource: b\ncorrelation-id: c\nkey: k\nce-partitionkey: p\nx-app: y\nattempt: 1\nbellhop-error: failed\n", STR("{\"a\":1}"),
                   MADE ",\"correlationid\":\"c\",\"partitionkey\":\"p\",\"attempt\":\"1\",\"bellhoperror\":\"failed\",\"data\":{\"a\":1}}");
    assert_written("id: 1\nsource: b\n", STR("text"), MADE ",\"datacontenttype\":\"text/plain\",\"data\":\"text\"}");
    assert_written("id: 1\nsource: b\ncontent-type: a/b\n", STR("5"), MADE ",\"datacontenttype\":\"a/b\",\"data\":\"5\"}");
    assert_written("id: 1\nsource: b\ncontent-type: a/b\n", str_make("\xff\0", 2), MADE ",\"datacontenttype\":\"a/b\",\"data_base64\":\"/wA=\"}");
    assert_written("id: 1\nsource: b\n", str_make("\xff", 1), MADE ",\"data_base64\":\"/w==\"}");
    assert_written("id: 1\nsource: b\ncontent-type: application/json\n", STR("{} {}"),
                   MADE ",\"datacontenttype\":\"application/json\",\"data_base64\":\"e30ge30=\"}");
    assert_written("id: 1\nsource: b\n", STR("1,\"id\":\"2\""), MADE ",\"datacontenttype\":\"text/plain\",\"data\":\"1,\\\"id\\\":\\\"2\\\"\"}");
    assert_written("id: 1\nsource: b \"\xc5\xbc\n", STR_NONE,
                   "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/b%20%22%C5%BC\",\"type\":\"s\"}");
}
END_TEST

/* A body that is as deep as a reader takes goes in base64: one level more and it could not be read. */
START_TEST(test_structured_deep)
{
    struct buf deep = BUF_EMPTY;
    struct wire_message out;
    for (unsigned i = 0; i < JSON_DEPTH_MAX; i++)
        buf_putc(&deep, '[');
    for (unsigned i = 0; i < JSON_DEPTH_MAX; i++)
        buf_putc(&deep, ']');
    struct message_parts m = {STR("s"), STR("id: 1\nsource: b\n"), buf_str(&deep)}, back;
    codec_encode(&redis, &room, &m, &out);
    ck_assert_ptr_ne(memmem(out.body.p, out.body.n, "data_base64", 11), NULL);
    struct buf text = BUF_EMPTY;
    buf_str_put(&text, out.body);
    struct wire_message in = {.subject = STR("s"), .content_type = out.content_type, .body = buf_str(&text)};
    ck_assert(codec_decode(&redis, &room, &in, &back, &what));
    ck_assert(str_eq(back.body, m.body));
    buf_fini(&text);
    buf_fini(&deep);
}
END_TEST

/* Over each transport and back a message is what it was. */
START_TEST(test_round_trip)
{
    static const struct codec *const all[] = {&http, &kafka, &amqp, &mqtt, &redis};
    static const char message[] = "id: 1\nce-source: /a\nce-type: t\ntime: 2018-04-05T17:31:00Z\nce-correlationid: c\nce-subject: % \xe2\x82\xac\n";
    for (size_t i = 0; i < COUNT(all); i++) {
        struct buf lines = BUF_EMPTY, headers = BUF_EMPTY, body = BUF_EMPTY;
        buf_puts(&headers, message);
        buf_puts(&headers, "content-type: application/json\ncorrelation-id: c\n");
        struct message_parts m = {STR("s"), buf_str(&headers), STR("{\"a\": [1, 2.50]}")}, back;
        struct wire_message out, in;
        codec_encode(all[i], &room, &m, &out);
        buf_str_put(&lines, out.headers);
        buf_str_put(&body, out.body);
        in = (struct wire_message){.subject = out.subject, .content_type = out.content_type, .body = buf_str(&body)};
        ck_assert_msg(read_lines(all[i], buf_cstr(&lines), &in, &back), "%zu: %s", i, what);
        ck_assert(str_eq(back.body, m.body));
        struct str rest = m.headers;
        struct header h;
        size_t lines_back = 0, lines_out = 0;
        while (headers_next(&rest, &h)) {
            char *name = str_dup(h.name);
            ck_assert_msg(str_eq(headers_get(back.headers, name), h.value), "%zu: %s", i, name);
            mem_free(name);
            lines_out++;
        }
        for (rest = back.headers; headers_next(&rest, &h);)
            lines_back++;
        ck_assert_uint_eq(lines_back, lines_out);
        buf_fini(&lines);
        buf_fini(&headers);
        buf_fini(&body);
    }
}
END_TEST

START_TEST(test_base64)
{
    static const char *const texts[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy", "+/+/"};
    static const char *const wrong[] = {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 9v", "Zm9\xff", "Zm-_", "=Zm9"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct buf bytes = BUF_EMPTY, text = BUF_EMPTY;
        ck_assert(base64_parse(str_of(texts[i]), &bytes));
        base64_put(&text, buf_str(&bytes));
        assert_str(buf_str(&text), texts[i]);
        buf_fini(&bytes);
        buf_fini(&text);
    }
    struct buf bytes = BUF_EMPTY;
    buf_puts(&bytes, "before");
    for (size_t i = 0; i < COUNT(wrong); i++) {
        ck_assert_msg(!base64_parse(str_of(wrong[i]), &bytes), "taken: %s", wrong[i]);
        assert_str(buf_str(&bytes), "before");
    }
    buf_fini(&bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cloudevents");
    TCase *tc = tcase_create("cloudevents");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_binary_read);
    tcase_add_test(tc, test_escapes_read);
    tcase_add_test(tc, test_binary_refused);
    tcase_add_test(tc, test_places);
    tcase_add_test(tc, test_long_twin);
    tcase_add_test(tc, test_structured_read);
    tcase_add_test(tc, test_structured_refused);
    tcase_add_test(tc, test_structured_many);
    tcase_add_test(tc, test_binary_written);
    tcase_add_test(tc, test_written_places);
    tcase_add_test(tc, test_structured_written);
    tcase_add_test(tc, test_structured_deep);
    tcase_add_test(tc, test_round_trip);
    tcase_add_test(tc, test_base64);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
