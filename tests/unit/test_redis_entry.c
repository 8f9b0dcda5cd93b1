/* Entries of Redis streams as messages. */
#include "msg/headers.h"
#include "msg/msg.h"
#include "rig.h"
#include "transport/redis/internal.h"

static struct codec_room codec;
static struct buf body;
static struct entry_names names;

static void end(void)
{
    codec_room_fini(&codec);
    buf_fini(&body);
    entry_names_fini(&names);
}

#define FIELDS_MAX 300

/* Names and values in turn, up to NULL. */
static struct entry entry_of(const char *const *words)
{
    static struct resp fields[FIELDS_MAX + 1];
    struct entry e = {.id = {7, 1}, .text = STR("7-1"), .fields = fields};
    for (; words[e.count] != NULL; e.count++)
        fields[e.count] = (struct resp){.type = RESP_STRING, .text = str_of(words[e.count])};
    return e;
}

static bool decode(const char *const *words, const struct entry_place *place, struct msg_input *out)
{
    const char *what = NULL;
    struct entry e = entry_of(words);
    struct entry_room room = {&codec, &body, &names};
    entry_names_init(&names, place->stream);
    bool ok = entry_decode(&e, place, &room, out, &what);
    ck_assert(ok || what != NULL);
    return ok;
}

static const struct entry_place orders = {.stream = {"orders", 6}, .codec = CODEC_RAW};

/* The first of that name, as msg_new() will have it. */
static struct str header(const struct msg_input *m, const char *name)
{
    struct str got = headers_get(m->lines, name);
    if (got.p == NULL)
        got = headers_get(m->headers, name);
    return got.p == NULL && strcmp(name, "id") == 0 && m->id.n > 0 ? m->id : got;
}

static void expect_header(const struct msg_input *m, const char *name, const char *value)
{
    struct str got = header(m, name);
    ck_assert_msg(value != NULL ? str_is(got, value) : got.p == NULL, "%s: " STR_FMT, name, STR_ARG(got));
}

START_TEST(fields)
{
    struct msg_input m;
    const char *const words[] = {"x-a", "1", "body", "hello", "subject", "order.made", "content-type", "a/b",
                                 "X-B", " 2 ", "bad name", "3", "x-c", "two\nlines", NULL};
    ck_assert(decode(words, &orders, &m));
    ck_assert(str_is(m.subject, "order.made") && str_is(m.body, "hello"));
    expect_header(&m, "content-type", "a/b");
    expect_header(&m, "x-a", "1");
    expect_header(&m, "x-b", "2");
    expect_header(&m, "x-c", NULL);
    expect_header(&m, "subject", NULL);
    expect_header(&m, "body", NULL);
    expect_header(&m, "redis-stream", "orders");
    expect_header(&m, "redis-entry", "7-1");
    expect_header(&m, "redis-deliveries", NULL);
    expect_header(&m, "id", "orders/7-1");
}
END_TEST

START_TEST(ids_and_places_are_not_forged)
{
    struct msg_input m;
    struct entry_place third = {.stream = STR("orders"), .codec = CODEC_RAW, .deliveries = 3};
    const char *const words[] = {"id", "m-1", "body", "", "redis-entry", "9-9", "redis-deliveries", "1", "Redis-Mine", "x",
                                 NULL};
    ck_assert(decode(words, &third, &m));
    ck_assert(str_is(m.subject, "orders") && m.body.n == 0);
    expect_header(&m, "id", "m-1");
    expect_header(&m, "redis-entry", "7-1");
    expect_header(&m, "redis-deliveries", "3");
    expect_header(&m, "redis-mine", NULL);
}
END_TEST

START_TEST(entries_of_others)
{
    struct msg_input m;
    const char *const words[] = {"a", "1", "b\"", "zw\\ei", "content-type", "x/y", NULL}, *const none[] = {NULL};
    ck_assert(decode(words, &orders, &m));
    ck_assert(str_is(m.body, "{\"a\":\"1\",\"b\\\"\":\"zw\\\\ei\",\"content-type\":\"x/y\"}"));
    expect_header(&m, "content-type", "application/json");
    ck_assert(decode(none, &orders, &m));
    ck_assert(str_is(m.body, "{}"));
    const char *const binary[] = {"a", "\xff", NULL};
    ck_assert(!decode(binary, &orders, &m));
}
END_TEST

START_TEST(streams_with_odd_names)
{
    struct msg_input m;
    char name[300];
    const char *const words[] = {"body", "1", "subject", "s", NULL};
    memset(name, 'n', sizeof(name));
    struct entry_place longest = {.stream = {name, MSG_ID_MAX - 4}, .codec = CODEC_RAW};
    ck_assert(decode(words, &longest, &m));
    ck_assert_uint_eq(header(&m, "id").n, MSG_ID_MAX);
    longest.stream.n++;
    ck_assert(decode(words, &longest, &m));
    expect_header(&m, "id", "7-1");
    struct entry_place binary = {.stream = STR("\xff"), .codec = CODEC_RAW};
    ck_assert(decode(words, &binary, &m));
    expect_header(&m, "id", "7-1");
    const char *const bare[] = {"body", "1", NULL};
    ck_assert(!decode(bare, &binary, &m)); /* no subject can be made of it */
}
END_TEST

START_TEST(cloudevents)
{
    struct msg_input m;
    struct entry_place place = {.stream = STR("orders"), .codec = CODEC_CLOUDEVENTS};
    const char *const words[] = {"ce-id", "e-1", "ce-source", "/x", "ce-type", "t", "ce-specversion", "1.0", "body", "1", NULL};
    ck_assert(decode(words, &place, &m));
    expect_header(&m, "id", "e-1");
    expect_header(&m, "ce-source", "/x");
    const char *const raw[] = {"body", "1", NULL};
    ck_assert(!decode(raw, &place, &m));
}
END_TEST

START_TEST(many_fields)
{
    struct msg_input m;
    static char texts[FIELDS_MAX][16];
    const char *words[FIELDS_MAX + 1] = {"body", "1"};
    for (size_t i = 2; i < FIELDS_MAX; i++) {
        snprintf(texts[i], sizeof(texts[i]), "n%zu", i);
        words[i] = texts[i];
    words[FIELDS_MAX] = NULL;
    }
    ck_assert(decode(words, &orders, &m));
    const char *what;
    size_t offset;
    ck_assert(headers_check(m.headers, &what, &offset));
    expect_header(&m, "n2", "n3");
    expect_header(&m, "id", "orders/7-1"); /* however many there are */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport/redis/entry");
    TCase *t = tcase_create("entry");
    const TTest *const tests[] = {fields, ids_and_places_are_not_forged, entries_of_others, streams_with_odd_names,
                                  cloudevents, many_fields};
    tcase_add_checked_fixture(t, NULL, end);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
