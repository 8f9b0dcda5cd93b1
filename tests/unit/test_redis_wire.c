/* The pure half of the Redis transport: replies and commands of RESP2. */
#include "rig.h"
#include "transport/redis/resp.h"

static struct resp_reader *reader;

static void begin_with(size_t element, size_t reply)
{
    reader = resp_reader_new(&(struct resp_limits){.element = element, .reply = reply});
}

static void begin(void)
{
    begin_with(1 << 20, 1 << 22);
}

static void end(void)
{
    resp_reader_free(reader);
    reader = NULL;
}

static const struct resp *one(struct str bytes)
{
    const struct resp *reply = NULL;
    const char *what = NULL;
    resp_feed(reader, bytes);
    ck_assert_int_eq(resp_read(reader, &reply, &what), RESP_REPLY);
    return reply;
}

static void expect(enum resp_read wanted, struct str bytes)
{
    const struct resp *reply;
    const char *what = NULL;
    resp_feed(reader, bytes);
    ck_assert_int_eq(resp_read(reader, &reply, &what), wanted);
    ck_assert((wanted == RESP_BAD) == (what != NULL));
}

START_TEST(simple_replies)
{
    ck_assert_int_eq(one(STR("+OK\r\n"))->type, RESP_STATUS);
    ck_assert_int_eq(one(STR(":-7\r\n"))->integer, -7);
    ck_assert_int_eq(one(STR("$-1\r\n"))->type, RESP_NIL);
    ck_assert_int_eq(one(STR("*-1\r\n"))->type, RESP_NIL);
    ck_assert_int_eq((int)one(STR("*0\r\n"))->count, 0);
    const struct resp *s = one(STR("$4\r\n\0\r\n\xff\r\n"));
    ck_assert_int_eq(s->type, RESP_STRING);
    ck_assert(str_eq(s->text, STR("\0\r\n\xff")));
    ck_assert(str_is(one(STR("-ERR x\r\n"))->text, "ERR x"));
    ck_assert(str_is(one(STR("-ERR \x1b[1m\xff\0.\r\n"))->text, "ERR ?[1m??."));
}
END_TEST

START_TEST(several_in_one_piece)
{
    const struct resp *r;
    const char *what;
    resp_feed(reader, STR("+a\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n+b\r"));
    ck_assert_int_eq(resp_read(reader, &r, &what), RESP_REPLY);
    ck_assert(str_is(r->text, "a"));
    ck_assert_int_eq(resp_read(reader, &r, &what), RESP_REPLY);
    ck_assert_int_eq((int)r->count, 2);
    ck_assert(str_is(r->items[1].items[0].text, "x"));
    ck_assert_int_eq(resp_read(reader, &r, &what), RESP_MORE);
    ck_assert(str_is(one(STR("\n"))->text, "b"));
}
END_TEST

/* A reply cut at every byte is the same reply. */
START_TEST(split_at_every_byte)
{
    struct str whole = STR("*3\r\n$8\r\npmessage\r\n*2\r\n:12\r\n$-1\r\n$5\r\nhello\r\n");
    for (size_t at = 1; at < whole.n; at++) {
        expect(RESP_MORE, str_make(whole.p, at));
        const struct resp *r = one(str_make(whole.p + at, whole.n - at));
        ck_assert_int_eq((int)r->count, 3);
        ck_assert(str_is(r->items[0].text, "pmessage"));
        ck_assert_int_eq(r->items[1].items[0].integer, 12);
        ck_assert(str_is(r->items[2].text, "hello"));
    }
    for (size_t at = 0; at + 1 < whole.n; at++)
        expect(RESP_MORE, str_make(whole.p + at, 1));
    ck_assert_int_eq((int)one(STR("\n"))->count, 3);
}
END_TEST

START_TEST(garbage_is_refused)
{
    static const struct str bad[] = {
        {"hello\r\n", 7}, {"%2\r\n", 4}, {">3\r\n", 4}, {"*99999999999999999999\r\n", 23},
        {"$-5\r\n", 5}, {"*-2\r\n", 5}, {"*2147483647\r\n", 13}, {":x\r\n", 4},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", 40}, {"HTTP/1.1 400 Bad Request\r\n", 26}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        end();
        begin();
        expect(RESP_BAD, bad[i]);
        expect(RESP_BAD, STR("+OK\r\n")); /* and stays so */
    }
}
END_TEST

START_TEST(limits)
{
    char text[2048];
    const struct resp *r;
    const char *what;
    memset(text, 'x', sizeof(text));
    end();
    begin_with(1000, 5000);
    resp_feed(reader, STR("$1000\r\n"));
    resp_feed(reader, str_make(text, 1000));
    ck_assert_int_eq((int)one(STR("\r\n"))->text.n, 1000);
    resp_feed(reader, STR("$1100000\r\n"));
    expect(RESP_BAD, str_make(text, 1200));
    end();
    begin_with(1000, 5000);
    expect(RESP_BAD, STR("*200\r\n")); /* the nodes alone are more */
    end();
    begin_with(1000, 5000);
    expect(RESP_MORE, STR("*10\r\n"));
    enum resp_read got = RESP_MORE;
    for (int i = 0; i < 6 && got == RESP_MORE; i++) {
        resp_feed(reader, STR("$900\r\n"));
        resp_feed(reader, str_make(text, 900));
        resp_feed(reader, STR("\r\n"));
        got = resp_read(reader, &r, &what);
    }
    ck_assert_int_eq(got, RESP_BAD);
    ck_assert_ptr_nonnull(strstr(what, "5000"));
}
END_TEST

START_TEST(long_lines_are_cut)
{
    char text[2048];
    memset(text, 'x', sizeof(text));
    resp_feed(reader, STR("-"));
    resp_feed(reader, str_make(text, sizeof(text)));
    const struct resp *r = one(STR("\r\n"));
    ck_assert_uint_eq(r->text.n, RESP_LINE_MAX);
    ck_assert_uint_eq(strlen(r->text.p), RESP_LINE_MAX);
}
END_TEST

START_TEST(commands)
{
    struct buf b = BUF_EMPTY;
    struct str args[] = {STR("PUBLISH"), STR("a b"), STR("\0\r\n"), STR("")};
    resp_begin(&b, 4);
    for (size_t i = 0; i < 4; i++)
        resp_arg(&b, args[i]);
    ck_assert(str_eq(buf_str(&b), STR("*4\r\n$7\r\nPUBLISH\r\n$3\r\na b\r\n$3\r\n\0\r\n\r\n$0\r\n\r\n")));
    const struct resp *r = one(buf_str(&b)); /* a command is a reply too */
    for (size_t i = 0; i < 4; i++)
        ck_assert(str_eq(r->items[i].text, args[i]));
    buf_clear(&b);
    resp_begin(&b, 1);
    resp_arg_u64(&b, UINT64_MAX);
    ck_assert(str_is(buf_str(&b), "*1\r\n$20\r\n18446744073709551615\r\n"));
    buf_fini(&b);
}
END_TEST

START_TEST(faults)
{
    static const struct { const char *text; enum resp_fault fault; } table[] = {
        {"-NOAUTH Authentication required.", FAULT_DENIED},
        {"-WRONGPASS invalid username-password pair or user is disabled.", FAULT_DENIED},
        {"-NOPERM this user has no permissions to run the 'xadd' command", FAULT_DENIED},
        {"-ERR invalid password", FAULT_DENIED},
        {"-ERR Client sent AUTH, but no password is set", FAULT_DENIED},
        {"-ERR AUTH <password> called without any password configured for the default user.", FAULT_DENIED},
        {"-ERR max number of clients reached", FAULT_NOT_NOW},
        {"-MOVED 3999 127.0.0.1:6381", FAULT_ELSEWHERE}, {"-CROSSSLOT Keys", FAULT_ELSEWHERE},
        {"-LOADING Redis is loading the dataset in memory", FAULT_NOT_NOW},
        {"-READONLY You can't write against a read only replica.", FAULT_READONLY},
        {"-OOM command not allowed when used memory > 'maxmemory'.", FAULT_FULL},
        {"-MISCONF Redis is configured to save RDB snapshots", FAULT_FULL},
        {"-BUSYGROUP Consumer Group name already exists", FAULT_EXISTS},
        {"-BUSY Redis is busy running a script.", FAULT_NOT_NOW},
        {"-NOGROUP No such key 'x' or consumer group", FAULT_NO_GROUP},
        {"-UNBLOCKED the stream key no longer exists", FAULT_NO_GROUP},
        {"-WRONGTYPE Operation against a key", FAULT_OTHER}, {"-ERR unknown command", FAULT_OTHER},
        {"-NOAUTHORITY", FAULT_OTHER}, {"-", FAULT_OTHER}, {"+NOAUTH", FAULT_NONE}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        resp_feed(reader, str_of(table[i].text));
        ck_assert_int_eq(resp_fault(one(STR("\r\n"))), table[i].fault);
    }
}
END_TEST

START_TEST(hellos)
{
    static const struct { const char *text; enum server_kind kind; } table[] = {
        {"*4\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n", SERVER_PRIMARY},
        {"*4\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$7\r\nreplica\r\n", SERVER_REPLICA},
        {"*4\r\n$2\r\nid\r\n:7\r\n$4\r\nrole\r\n$5\r\nslave\r\n", SERVER_REPLICA},
        {"*2\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n", SERVER_SENTINEL},
        {"*3\r\n:1\r\n$4\r\nrole\r\n$7\r\nreplica\r\n", SERVER_PRIMARY},
        {"*2\r\n$4\r\nrole\r\n*0\r\n", SERVER_PRIMARY},
        {"-ERR unknown command\r\n", SERVER_PRIMARY},
        {"$-1\r\n", SERVER_PRIMARY},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        ck_assert_int_eq(hello_parse(one(str_of(table[i].text))), table[i].kind);
}
END_TEST

START_TEST(pushes)
{
    struct push p;
    ck_assert(push_parse(one(STR("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n")), &p));
    ck_assert(p.kind == PUSH_MESSAGE && p.pattern.p == NULL && str_is(p.channel, "c") && str_is(p.payload, "hi"));
    ck_assert(push_parse(one(STR("*4\r\n$8\r\npmessage\r\n$2\r\no*\r\n$2\r\nok\r\n$0\r\n\r\n")), &p));
    ck_assert(p.kind == PUSH_MESSAGE && str_is(p.pattern, "o*") && str_is(p.channel, "ok") && p.payload.n == 0);
    ck_assert(push_parse(one(STR("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")), &p));
    ck_assert(p.kind == PUSH_SUBSCRIBED && str_is(p.channel, "c") && p.pattern.p == NULL);
    ck_assert(push_parse(one(STR("*3\r\n$10\r\npsubscribe\r\n$2\r\nc*\r\n:1\r\n")), &p));
    ck_assert(p.kind == PUSH_SUBSCRIBED && str_is(p.pattern, "c*"));
    ck_assert(push_parse(one(STR("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n")), &p));
    ck_assert_int_eq(p.kind, PUSH_UNSUBSCRIBED);
    ck_assert(push_parse(one(STR("*2\r\n$4\r\npong\r\n$0\r\n\r\n")), &p));
    ck_assert_int_eq(p.kind, PUSH_PONG);
}
END_TEST

START_TEST(no_pushes)
{
    static const char *const bad[] = {
        "*0\r\n", "+OK\r\n", "*1\r\n$7\r\nmessage\r\n", "*2\r\n$7\r\nmessage\r\n$1\r\nc\r\n",
        "*4\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nc\r\n$1\r\nc\r\n", "*3\r\n$8\r\npmessage\r\n$1\r\nc\r\n$1\r\nc\r\n",
        "*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nc\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$-1\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n$1\r\nc\r\n", "*3\r\n$5\r\nother\r\n$1\r\nc\r\n$1\r\nc\r\n",
        "*3\r\n:7\r\n$1\r\nc\r\n$1\r\nc\r\n"};
    struct push p;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!push_parse(one(str_of(bad[i])), &p), "%s", bad[i]);
}
END_TEST

START_TEST(entry_ids)
{
    struct entry_id id = {1526919030474, 55};
    char text[ENTRY_ID_MAX];
    ck_assert(str_is(entry_id_text(id, text), "1526919030474-55"));
    ck_assert(entry_id_parse(STR("18446744073709551615-18446744073709551615"), &id));
    ck_assert(str_is(entry_id_text(id, text), "18446744073709551615-18446744073709551615"));
    ck_assert(!entry_id_parse(STR("1"), &id) && !entry_id_parse(STR("-1"), &id) && !entry_id_parse(STR("1-"), &id));
    ck_assert(!entry_id_parse(STR("1-2-3"), &id) && !entry_id_parse(STR(""), &id));
    ck_assert_int_lt(entry_id_cmp((struct entry_id){1, 9}, (struct entry_id){2, 0}), 0);
    ck_assert_int_gt(entry_id_cmp((struct entry_id){2, 1}, (struct entry_id){2, 0}), 0);
    ck_assert_int_eq(entry_id_cmp((struct entry_id){2, 1}, (struct entry_id){2, 1}), 0);
}
END_TEST

START_TEST(reads_of_a_stream)
{
    const struct resp *items;
    size_t count;
    struct entry e;
    ck_assert(xread_parse(one(STR("*-1\r\n")), &items, &count) && count == 0);
    ck_assert(xread_parse(one(STR("*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n7-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
                                  "*2\r\n$3\r\n7-2\r\n*-1\r\n")), &items, &count));
    ck_assert_int_eq((int)count, 2);
    ck_assert(entry_parse(&items[0], &e) && !e.deleted && e.count == 2 && e.id.ms == 7 && e.id.seq == 1);
    ck_assert(str_is(e.fields[0].text, "a") && str_is(e.fields[1].text, "b"));
    ck_assert(entry_parse(&items[1], &e) && e.deleted && e.count == 0);
    ck_assert(!xread_parse(one(STR(":1\r\n")), &items, &count));
    ck_assert(!xread_parse(one(STR("*2\r\n:1\r\n:1\r\n")), &items, &count));
    ck_assert(!entry_parse(one(STR("*2\r\n$1\r\nx\r\n*0\r\n")), &e));
    ck_assert(!entry_parse(one(STR("*2\r\n$3\r\n1-1\r\n*1\r\n$1\r\na\r\n")), &e));
    ck_assert(!entry_parse(one(STR("*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n:1\r\n")), &e));
    ck_assert(!entry_parse(one(STR("*-1\r\n")), &e));
}
END_TEST

START_TEST(claims)
{
    struct xclaim c;
    struct xpending p;
    ck_assert(xautoclaim_parse(one(STR("*3\r\n$3\r\n0-0\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*0\r\n*1\r\n$3\r\n1-2\r\n")), &c));
    ck_assert(c.next.ms == 0 && c.count == 1 && c.gone_count == 1);
    ck_assert(xautoclaim_parse(one(STR("*2\r\n$3\r\n9-3\r\n*1\r\n*-1\r\n")), &c)); /* Redis 6.2 */
    ck_assert(c.next.ms == 9 && c.next.seq == 3 && c.count == 1 && c.gone_count == 0);
    ck_assert(!xautoclaim_parse(one(STR("*2\r\n$3\r\n9-3\r\n:1\r\n")), &c));
    ck_assert(!xautoclaim_parse(one(STR("-NOGROUP x\r\n")), &c));
    ck_assert(xpending_parse(one(STR("*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:1000\r\n:3\r\n")), &p));
    ck_assert(p.id.ms == 1 && p.deliveries == 3);
    ck_assert(!xpending_parse(one(STR("*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:1000\r\n:-3\r\n")), &p));
    ck_assert(!xpending_parse(one(STR("*3\r\n$3\r\n1-1\r\n$1\r\nc\r\n:1000\r\n")), &p));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport/redis/resp");
    TCase *t = tcase_create("resp");
    tcase_add_checked_fixture(t, begin, end);
    const TTest *const tests[] = {simple_replies, several_in_one_piece, split_at_every_byte, garbage_is_refused, limits,
                                  long_lines_are_cut, commands, faults, hellos, pushes, no_pushes, entry_ids, reads_of_a_stream, claims};
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
