/* daemon/codec/codec.h: native headers, and the codec `raw`. */
#include <check.h>

#include "base/mem.h"
#include "codec/codec.h"
#include "msg/headers.h"
#include "msg/msg.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct codec raw = {.format = CODEC_FORMAT_RAW, .prefix = "ce-"};
static const struct codec events = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "ce-"};

static void assert_str(struct str got, const char *text)
{
    ck_assert_msg(str_is(got, text), "`" STR_FMT "`, expected `%s`", STR_ARG(got), text);
}

START_TEST(test_native_headers)
{
    static const struct {
        const char *name, *value, *line; /* line NULL: left out */
    } cases[] = {
        {"X-Tenant", "a", "x-tenant: a\n"},
        {"x", " \t a b \t", "x: a b\n"},
        {"x", "", "x: \n"},
        {"za\xc5\xbc", "a", NULL},
        {"a b", "a", NULL},
        {"a:b", "a", NULL},
        {"", "a", NULL},
        {"x", "za\xc5\xbc", "x: za\xc5\xbc\n"},
        {"x", "za\xc5", NULL},
        {"x", "a\nb: c", NULL},
        {"x", "a\x7f", NULL},
        {"id", "42", "id: 42\n"},
        {"Id", "", NULL},
        {"timeout", "1500ms", "timeout: 1500ms\n"},
        {"timeout", "30", NULL},
        {"ttl", "soon", NULL},
        {"delay", "-1s", NULL},
        {"Deliver-At", "tomorrow", NULL},
        {"deliver-at", "2026-01-31T08:00:00Z", "deliver-at: 2026-01-31T08:00:00Z\n"},
        {"cloudEvents:id", "1", NULL},
        {"cloudEvents_id", "1", "cloudevents_id: 1\n"},
    };
    struct codec_room room = {0};
    for (size_t i = 0; i < COUNT(cases); i++) {
        codec_begin(&room);
        bool put = codec_header(&raw, &room, str_of(cases[i].name), str_of(cases[i].value));
        ck_assert_msg(put == (cases[i].line != NULL), "%s: %s", cases[i].name, cases[i].value);
        assert_str(codec_room_headers(&room), cases[i].line != NULL ? cases[i].line : "");
    }
    codec_room_fini(&room);
}
END_TEST

START_TEST(test_long_id)
{
    char id[MSG_ID_MAX + 1];
    struct codec_room room = {0};
    memset(id, '1', sizeof(id));
    ck_assert(!codec_header(&raw, &room, STR("id"), str_make(id, MSG_ID_MAX + 1)));
    ck_assert(codec_header(&raw, &room, STR("id"), str_make(id, MSG_ID_MAX)));
    codec_room_fini(&room);
}
END_TEST

START_TEST(test_prefixes)
{
    static const char *const names[] = {"ce-id", "ce_id", "CE-Id", "cloudEvents:id", "cloudEvents_id", "CLOUDEVENTS_ID"};
    struct codec_room room = {0};
    for (size_t i = 0; i < COUNT(names); i++) {
        codec_begin(&room);
        ck_assert(codec_header(&events, &room, str_of(names[i]), STR("1")));
        assert_str(codec_room_headers(&room), "ce-id: 1\n");
    }
    codec_room_fini(&room);
}
END_TEST

/* Whatever arrives, the block is one that msg_new() takes, with what it adds. */
START_TEST(test_room)
{
    struct codec_room room = {0};
    const char *what;
    size_t offset, put = 0;
    codec_begin(&room);
    for (unsigned i = 0; i < 300; i++)
        put += codec_header(&raw, &room, STR("x"), STR("a"));
    ck_assert_uint_eq(put, CODEC_HEADERS_LINES);
    ck_assert(headers_check(codec_room_headers(&room), &what, &offset));

    char *big = mem_zalloc(CODEC_HEADERS_BYTES + 2);
    memset(big, 'a', CODEC_HEADERS_BYTES + 1);
    struct str value = str_make(big, CODEC_HEADERS_BYTES);
    codec_begin(&room);
    ck_assert(!codec_header(&raw, &room, STR("x"), value));
    ck_assert(!codec_header(&raw, &room, value, STR("x")));
    value.n -= 3;
    ck_assert(!codec_header(&raw, &room, STR("x"), value));
    value.n--;
    ck_assert(codec_header(&raw, &room, STR("x"), value));
    ck_assert_uint_eq(codec_room_headers(&room).n, CODEC_HEADERS_BYTES);
    ck_assert(!codec_header(&raw, &room, STR("x"), STR("")));
    mem_free(big);
    codec_room_fini(&room);
}
END_TEST

START_TEST(test_decode)
{
    struct codec_room room = {0};
    struct message_parts m;
    const char *what = NULL;
    codec_begin(&room);
    codec_header(&raw, &room, STR("Tenant"), STR("a"));
    struct wire_message in = {STR("order.created"), codec_room_headers(&room), STR_NONE, STR("\0\xff")};
    ck_assert(codec_decode(&raw, &room, &in, &m, &what));
    ck_assert_ptr_eq(m.headers.p, in.headers.p); /* nothing is copied */
    ck_assert_ptr_eq(m.body.p, in.body.p);
    assert_str(m.subject, "order.created");
    in.content_type = STR("text/plain");
    ck_assert(codec_decode(&raw, &room, &in, &m, &what));
    assert_str(m.headers, "content-type: text/plain\ntenant: a\n");
    in.content_type = STR("text\nx: y"); /* not legal: left out */
    ck_assert(codec_decode(&raw, &room, &in, &m, &what));
    assert_str(m.headers, "tenant: a\n");
    codec_begin(&room);
    codec_header(&raw, &room, STR("Content-Type"), STR("a/b"));
    in.headers = codec_room_headers(&room);
    in.content_type = STR("text/plain");
    ck_assert(codec_decode(&raw, &room, &in, &m, &what));
    assert_str(m.headers, "content-type: a/b\n");
    codec_room_fini(&room);
}
END_TEST

START_TEST(test_subjects)
{
    static const struct {
        struct str subject;
        bool legal;
    } cases[] = {{{"a", 1}, true}, {{"", 0}, false}, {{"a\nb", 3}, false}, {{"\xff", 1}, false}, {{"\xc5\xbc \xe2\x82\xac", 6}, true}};
    char longest[MSG_SUBJECT_MAX + 1];
    struct codec_room room = {0};
    struct message_parts m;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *what = NULL;
        struct wire_message in = {.subject = cases[i].subject};
        ck_assert_int_eq(codec_decode(&raw, &room, &in, &m, &what), cases[i].legal);
        ck_assert_ptr_ne(what, NULL);
    }
    memset(longest, 'a', sizeof(longest));
    const char *what;
    struct wire_message in = {.subject = str_make(longest, sizeof(longest))};
    ck_assert(!codec_decode(&raw, &room, &in, &m, &what));
    in.subject.n--;
    ck_assert(codec_decode(&raw, &room, &in, &m, &what));
    codec_room_fini(&room);
}
END_TEST

START_TEST(test_encode)
{
    struct codec_room room = {0};
    struct wire_message out;
    struct message_parts m = {STR("s"), STR("id: 1\nx: a\n"), STR("b")};
    codec_encode(&raw, &room, &m, &out);
    ck_assert_ptr_eq(out.headers.p, m.headers.p);
    ck_assert_ptr_eq(out.content_type.p, NULL);
    m.headers = STR("id: 1\ncontent-type: text/plain\nx: a\n");
    codec_encode(&raw, &room, &m, &out);
    assert_str(out.headers, "id: 1\nx: a\n");
    assert_str(out.content_type, "text/plain");
    assert_str(out.subject, "s");
    assert_str(out.body, "b");
    codec_room_fini(&room);
}
END_TEST

START_TEST(test_reply_code)
{
    ck_assert_int_eq(codec_reply_code(STR("x: a\n")), CODE_OK);
    ck_assert_int_eq(codec_reply_code(STR("x: a\nbellhop-error: no-route\n")), CODE_NO_ROUTE);
    ck_assert_int_eq(codec_reply_code(STR("bellhop-error: whatever\n")), CODE_FAILED);
}
END_TEST

/* A reply to a CloudEvent may be one, or plain. */
START_TEST(test_decode_reply)
{
    struct codec_room room = {0};
    struct message_parts parts;
    struct wire_message in = {.subject = STR("s"), .headers = STR("x: a\n"), .content_type = STR("text/plain"), .body = STR("b")};
    ck_assert_int_eq(codec_decode_reply(&events, &room, &in, &parts), CODE_OK);
    assert_str(parts.headers, "content-type: text/plain\nx: a\n");
    assert_str(parts.body, "b");
    in.headers = STR("bellhop-error: no-route\n");
    ck_assert_int_eq(codec_decode_reply(&events, &room, &in, &parts), CODE_NO_ROUTE);
    in.headers = STR("ce-specversion: 1.0\nce-id: 7\nce-source: /x\nce-type: t\n");
    ck_assert_int_eq(codec_decode_reply(&events, &room, &in, &parts), CODE_OK);
    ck_assert(str_is(headers_get(parts.headers, "id"), "7"));
    codec_room_fini(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_raw");
    TCase *tc = tcase_create("codec_raw");
    tcase_add_test(tc, test_native_headers);
    tcase_add_test(tc, test_long_id);
    tcase_add_test(tc, test_prefixes);
    tcase_add_test(tc, test_room);
    tcase_add_test(tc, test_decode);
    tcase_add_test(tc, test_subjects);
    tcase_add_test(tc, test_encode);
    tcase_add_test(tc, test_reply_code);
    tcase_add_test(tc, test_decode_reply);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
