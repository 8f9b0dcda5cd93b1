/* The pure half of the NATS transport. */
#include "rig.h"
#include "transport/nats/wire.h"

#define BODY_MAX 1024

static struct wire_in got;
static const char *what;

static enum wire_status parse(struct str in)
{
    what = NULL;
    enum wire_status status = nats_parse(in, BODY_MAX, &got, &what);
    ck_assert((status == WIRE_BAD) == (what != NULL));
    return status;
}

static void expect(enum wire_op op, struct str in)
{
    ck_assert_int_eq(parse(in), WIRE_WHOLE);
    ck_assert_int_eq(got.op, op);
    ck_assert_uint_eq(got.size, in.n);
    ck_assert_uint_eq(got.skip, 0);
}

START_TEST(words_of_the_server)
{
    expect(WIRE_INFO, STR("INFO {\"a\":1} \r\n"));
    ck_assert(str_is(got.text, "{\"a\":1}"));
    expect(WIRE_PING, STR("PING\r\n"));
    expect(WIRE_PONG, STR("pong\n"));
    expect(WIRE_OK, STR("+OK\r\n"));
    expect(WIRE_ERR, STR("-ERR 'Authorization Violation'\r\n"));
    ck_assert(str_is(got.text, "Authorization Violation"));
    expect(WIRE_ERR, STR("-ERR\r\n"));
    ck_assert_uint_eq(got.text.n, 0);
}
END_TEST

START_TEST(messages)
{
    expect(WIRE_MSG, STR("MSG a.b 12 5\r\nhe\r\no\r\n"));
    ck_assert(str_is(got.subject, "a.b") && got.sid == 12 && got.reply.p == NULL && got.headers.p == NULL);
    ck_assert(str_is(got.body, "he\r\no"));
    expect(WIRE_MSG, STR("MSG {\"cmd\":\"sum\"} 1 _INBOX.x 0\r\n\r\n"));
    ck_assert(str_is(got.subject, "{\"cmd\":\"sum\"}") && str_is(got.reply, "_INBOX.x") && got.body.n == 0);
    expect(WIRE_MSG, STR("HMSG\ta  9 20 22\r\nNATS/1.0\r\na: b\r\n\r\n\r\nhi\r\n"));
    ck_assert(str_is(got.headers, "NATS/1.0\r\na: b\r\n\r\n\r\n") && str_is(got.body, "hi"));
    expect(WIRE_MSG, STR("HMSG a 9 r 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"));
    ck_assert(str_is(got.reply, "r") && got.body.n == 0);
}
END_TEST

/* Whatever is cut off, the rest is waited for. */
START_TEST(split_at_every_byte)
{
    static const struct str whole[] = {{"HMSG a.b 1 r 18 23\r\nNATS/1.0\r\na: b\r\n\r\nhello\r\n", 45},
                                       {"INFO {\"max_payload\":1}\r\n", 24}};
    for (size_t i = 0; i < 2; i++) {
        for (size_t at = 0; at < whole[i].n; at++)
            ck_assert_int_eq(parse(str_make(whole[i].p, at)), WIRE_MORE);
        ck_assert_int_eq(parse(whole[i]), WIRE_WHOLE);
        ck_assert_uint_eq(got.size, whole[i].n);
    }
}
END_TEST

START_TEST(garbage_is_refused)
{
    static const char *const bad[] = {
        "HTTP/1.1 400 Bad Request\r\n", "\r\n", "MSG\r\n", "MSG a 1\r\n", "MSG a x 1\r\n", "MSG a 1 -1\r\n", "MSG a 1 r x 1\r\n",
        "MSG a 1 99999999999999999999\r\n", "MSG a 1 2000000000\r\n", "HMSG a 1 5\r\n", "HMSG a 1 6 5\r\n", "HMSG a 1 r q 1 5\r\n",
        "MSG a 1 2\r\nabc\r\n", "MSG a 1 2\r\nab\n\n", "MSGS a 1 0\r\n\r\n"};
    char text[WIRE_LINE_MAX + 8] = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(parse(str_of(bad[i])) == WIRE_BAD, "%s", bad[i]);
    memset(text, 'x', sizeof(text));
    ck_assert_int_eq(parse(str_make(text, WIRE_LINE_MAX - 1)), WIRE_MORE);
    ck_assert_int_eq(parse(str_make(text, WIRE_LINE_MAX)), WIRE_BAD);
}
END_TEST

START_TEST(a_long_info)
{
    struct buf in = BUF_EMPTY;
    buf_puts(&in, "INFO ");
    while (in.len < WIRE_INFO_MAX - 2)
        buf_putc(&in, ' ');
    ck_assert_int_eq(parse(buf_str(&in)), WIRE_MORE);
    buf_puts(&in, "\r\n");
    expect(WIRE_INFO, buf_str(&in));
    buf_clear(&in);
    buf_puts(&in, "INFO ");
    while (in.len < WIRE_INFO_MAX)
        buf_putc(&in, ' ');
    ck_assert_int_eq(parse(buf_str(&in)), WIRE_BAD);
    ck_assert_str_eq(what, "an INFO above 64 KiB");
    buf_fini(&in);
}
END_TEST

/* No error of the connection: everybody may publish too much. */
START_TEST(too_large_is_passed_over)
{
    ck_assert_int_eq(parse(STR("MSG a 1 r 1025\r\nxxx")), WIRE_WHOLE);
    ck_assert_uint_eq(got.size, 16);
    ck_assert_uint_eq(got.skip, 1027);
    ck_assert(str_is(got.reply, "r"));
    ck_assert_int_eq(parse(STR("MSG a 1 1024\r\nxxx")), WIRE_MORE);
    ck_assert_int_eq(parse(STR("HMSG a 1 69632 70656\r\n")), WIRE_MORE);
    ck_assert_int_eq(parse(STR("HMSG a 1 69633 69633\r\n")), WIRE_WHOLE);
    ck_assert_uint_eq(got.skip, 69635);
}
END_TEST

START_TEST(headers)
{
    struct str rest;
    struct header h;
    ck_assert_int_eq(nats_headers(STR("NATS/1.0\r\nA: b \r\nno colon\r\nc:d:e\r\nf:\r\n\r\n"), &rest), 0);
    ck_assert(nats_next(&rest, &h) && str_is(h.name, "A") && str_is(h.value, "b"));
    ck_assert(nats_next(&rest, &h) && str_is(h.name, "c") && str_is(h.value, "d:e"));
    ck_assert(nats_next(&rest, &h) && str_is(h.name, "f") && h.value.n == 0);
    ck_assert(!nats_next(&rest, &h));
    ck_assert_int_eq(nats_headers(STR("NATS/1.0 503\r\n\r\n"), &rest), 503);
    ck_assert_int_eq(nats_headers(STR("NATS/1.0 408 Request Timeout\r\n\r\n"), &rest), 408);
    ck_assert_int_eq(nats_headers(STR("NATS/1.0 x\r\n\r\n"), &rest), -1);
    ck_assert_int_eq(nats_headers(STR("HTTP/1.0\r\n\r\n"), &rest), -1);
    ck_assert_int_eq(nats_headers(STR(""), &rest), -1);
}
END_TEST

START_TEST(info)
{
    struct wire_info i;
    ck_assert(nats_info_parse(STR("{\"max_payload\":1048576,\"headers\":true,\"auth_required\":true,\"x\":[{}]}"), &i, &what));
    ck_assert(i.max_payload == 1048576 && i.headers && !i.tls_required && !i.tls_available && !i.lame_duck);
    ck_assert(nats_info_parse(STR("{\"max_payload\":1,\"tls_required\":true,\"tls_available\":false,\"ldm\":true}"), &i, &what));
    ck_assert(!i.headers && i.tls_required && !i.tls_available && i.lame_duck);
    ck_assert(!nats_info_parse(STR("{\"headers\":true}"), &i, &what));
    ck_assert(!nats_info_parse(STR("{\"max_payload\":-1}"), &i, &what));
    ck_assert(!nats_info_parse(STR("{\"max_payload\":\"1\"}"), &i, &what));
    ck_assert(!nats_info_parse(STR(""), &i, &what));
}
END_TEST

START_TEST(faults)
{
    struct buf subject = BUF_EMPTY;
    ck_assert_int_eq(nats_fault(STR("Authorization Violation"), &subject), FAULT_REFUSED);
    ck_assert_int_eq(nats_fault(STR("User Authentication Expired"), &subject), FAULT_REFUSED);
    ck_assert_int_eq(nats_fault(STR("Slow Consumer"), &subject), FAULT_LOST);
    ck_assert_int_eq(nats_fault(STR("Permissions Violation for Subscription to \"a\""), &subject), FAULT_SUBSCRIBE);
    ck_assert_uint_eq(subject.len, 0);
    ck_assert_int_eq(nats_fault(STR("permissions violation for publish to \"{\\\"cmd\\\":\\\"s\\\"}\""), &subject), FAULT_PUBLISH);
    ck_assert_str_eq(buf_cstr(&subject), "{\"cmd\":\"s\"}");
    buf_clear(&subject);
    ck_assert_int_eq(nats_fault(STR("Permissions Violation for Publish to \"a"), &subject), FAULT_PUBLISH);
    ck_assert_int_eq(nats_fault(STR("Permissions Violation for Publish to \"\\x00\""), &subject), FAULT_PUBLISH);
    ck_assert_uint_eq(subject.len, 0);
    buf_fini(&subject);
}
END_TEST

static void written(struct buf *out, const char *expected)
{
    ck_assert_str_eq(buf_cstr(out), expected);
    buf_fini(out);
}

START_TEST(what_we_say)
{
    struct buf out = BUF_EMPTY;
    nats_put_connect(&out, &(struct wire_hello){.name = "n", .user = "u\"", .password = "\xc5\xbc"});
    written(&out, "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"headers\":true,\"no_responders\":true,\"echo\":false,\"lang\":\"c\","
                  "\"version\":\"1\",\"name\":\"n\",\"user\":\"u\\\"\",\"pass\":\"\xc5\xbc\"}\r\n");
    nats_put_sub(&out, STR("a.>"), NULL, 1);
    nats_put_sub(&out, STR("b"), "q", 2);
    nats_put_unsub(&out, 2);
    written(&out, "SUB a.> 1\r\nSUB b q 2\r\nUNSUB 2\r\n");
    struct wire_pub p = {.subject = STR("a"), .body = STR("hello")};
    ck_assert_uint_eq(nats_payload(&p), 5);
    nats_put_pub(&out, &p);
    p.reply = STR("r");
    nats_put_pub(&out, &p);
    written(&out, "PUB a 5\r\nhello\r\nPUB a r 5\r\nhello\r\n");
    p.headers = STR("a: b\nc: d\n");
    ck_assert_uint_eq(nats_payload(&p), 29);
    nats_put_pub(&out, &p);
    p = (struct wire_pub){.subject = STR("s"), .headers = STR("a: b\n")};
    nats_put_pub(&out, &p);
    written(&out, "HPUB a r 24 29\r\nNATS/1.0\r\na: b\r\nc: d\r\n\r\nhello\r\nHPUB s 18 18\r\nNATS/1.0\r\na: b\r\n\r\n\r\n");
}
END_TEST

START_TEST(subjects)
{
    static const char *const good[] = {"a", "a.b", "{\"cmd\":\"sum\"}", "a/b", "za\xc5\xbc", "a*.>b", "*a"};
    static const char *const bad[] = {"", ".", ".a", "a.", "a..b", "a b", "a\tb", "a\r\nPUB x 0", "*", "a.*", ">", "a.>", "\177"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(nats_subject_fault(str_of(good[i])) == NULL, "%s", good[i]);
        ck_assert_msg(nats_filter_fault(str_of(good[i])) == NULL, "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(nats_subject_fault(str_of(bad[i])) != NULL, "%s", bad[i]);
    ck_assert_ptr_null(nats_filter_fault(STR("a.*.b.>")));
    ck_assert_ptr_null(nats_filter_fault(STR(">")));
    ck_assert_ptr_nonnull(nats_filter_fault(STR(">.a")));
    ck_assert_ptr_nonnull(nats_filter_fault(STR("a..>")));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport/nats/wire");
    TCase *t = tcase_create("wire");
    const TTest *const tests[] = {words_of_the_server, messages, split_at_every_byte, garbage_is_refused, a_long_info,
                                  too_large_is_passed_over, headers, info, faults, what_we_say, subjects};
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
