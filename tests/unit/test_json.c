/* daemon/wire/json.h: what is refused and where, members, walking, text; and against jansson. */
#include <check.h>

/* jansson's enumerators have the names of ours. */
#define JSON_NULL JANSSON_NULL
#define JSON_STRING JANSSON_STRING
#define JSON_ARRAY JANSSON_ARRAY
#define JSON_OBJECT JANSSON_OBJECT
#include <jansson.h>
#undef JSON_NULL
#undef JSON_STRING
#undef JSON_ARRAY
#undef JSON_OBJECT

#include "base/mem.h"
#include "base/rand.h"
#include "wire/json.h"

static bool valid(const char *text)
{
    return json_valid(str_of(text), NULL, NULL);
}

START_TEST(test_accepts)
{
    static const char *const texts[] = {
        "null", "true", "false", "0", "-0", "10", "-1.5", "1e5", "1E-5", "0.1e+05",
        "123456789012345678901234567890",
        "1e400", "\"\"", "\"a\"", "\"\\u00e9\\ud83d\\udc22\"", "\"\\ud800\"", "\"\\udc00\\ud800\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"za\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87 \xf0\x9f\x90\xa2\"", "\"\x7f\"", "[]", "{}", " [ ] ",
        "\t{\r\n}\n", "[1,[2],{\"a\":[]}]",
        "{\"a\":1,\"a\":2}", "{\"\":0}", "[[],[],{}]", "{\"a\":{\"b\":{\"c\":[{}]}}}", " \n42 ",
        "\"\\u0000\"",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ck_assert_msg(valid(texts[i]), "refused: %s", texts[i]);
}
END_TEST

START_TEST(test_refuses)
{
    static const struct {
        const char *text;
        size_t offset;
    } wrong[] = {
        {"", 0},          {"   ", 3},         {"nul", 0},       {"nulL", 0},       {"NaN", 0},
        {"Infinity", 0},
        {"-", 1},         {"+1", 0},          {"01", 1},        {"1.", 2},         {".5", 0},
        {"1e", 2},
        {"1e+", 3},       {"-a", 1},          {"0x10", 1},      {"1 2", 2},        {"{} x", 3},
        {"[1,]", 3},
        {"[,1]", 1},      {"[1 2]", 3},       {"[", 1},         {"]", 0},          {"[1", 2},
        {"[}", 1},
        {"{", 1},         {"{]", 1},          {"{\"a\"}", 4},   {"{\"a\":}", 5},   {"{\"a\":1,}", 7},
        {"{a:1}", 1},
        {"{\"a\" 1}", 4}, {"{1:2}", 1},       {"{\"a\":1]", 6}, {"[1}", 2},        {"'a'", 0},
        {"\"a", 2},
        {"\"\\x\"", 1},   {"\"\\u12g4\"", 1}, {"\"\\u12", 1},
        {"\"\\", 1},       {"\"a\nb\"", 2},  {"\"\x01\"", 1},
        {"\xef\xbb\xbf{}", 0}, {"\"\x80\"", 1}, {"\"\xc0\x80\"", 1}, {"\"\xed\xa0\x80\"", 1},
        {"\"\xf4\x90\x80\x80\"", 1},
        {"\"\xe2\x82\"", 1}, {"\"\xff\"", 1}, {"\"\xf8\x88\x80\x80\x80\"", 1}, {"/* */1", 0}, {"1//", 1},
        {"\v1", 0},
        {"{\"a\":1 \"b\":2}", 7}, {"{,}", 1}, {"[\"a\":1]", 4}, {"\"a\"b", 3}, {"truefalse", 4}, {"1,2", 1},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct json_error e = {999, NULL};
        ck_assert_msg(!json_valid(str_of(wrong[i].text), NULL, &e), "accepted: %s", wrong[i].text);
        ck_assert_ptr_nonnull(e.what);
        ck_assert_msg(e.offset == wrong[i].offset, "%s: offset %zu, not %zu (%s)", wrong[i].text, e.offset,
                      wrong[i].offset, e.what);
    }
    ck_assert(!json_valid(str_make("\"a\0b\"", 5), NULL, NULL));
    ck_assert(!json_valid(STR_NONE, NULL, NULL));
}
END_TEST

static bool valid_nested(size_t depth, const char *open, const char *close)
{
    struct buf b = BUF_EMPTY;
    for (size_t i = 0; i < depth; i++)
        buf_puts(&b, open);
    buf_puts(&b, "1");
    for (size_t i = 0; i < depth; i++)
        buf_puts(&b, close);
    bool ok = json_valid(buf_str(&b), NULL, NULL);
    buf_fini(&b);
    return ok;
}

START_TEST(test_depth)
{
    ck_assert(valid_nested(JSON_DEPTH_MAX, "[", "]"));
    ck_assert(!valid_nested(JSON_DEPTH_MAX + 1, "[", "]"));
    ck_assert(valid_nested(JSON_DEPTH_MAX, "{\"a\":", "}"));
    ck_assert(!valid_nested(JSON_DEPTH_MAX + 1, "{\"a\":", "}"));
    ck_assert(valid_nested(JSON_DEPTH_MAX / 2, "[{\"a\":", "}]"));
    ck_assert(!valid_nested(1000000, "[", "]"));
    struct json_member m = {.name = STR("a")};
    struct buf b = BUF_EMPTY;
    for (int extra = 0; extra < 2; extra++) {
        buf_clear(&b);
        buf_puts(&b, "{\"a\":");
        for (int i = 0; i < JSON_DEPTH_MAX - 1 + extra; i++)
            buf_putc(&b, '[');
        for (int i = 0; i < JSON_DEPTH_MAX - 1 + extra; i++)
            buf_putc(&b, ']');
        buf_putc(&b, '}');
        ck_assert_int_eq(json_members(buf_str(&b), &m, 1, NULL, NULL), extra == 0);
    }
    buf_fini(&b);
}
END_TEST

/* One odd byte at every place of a string, in a heap block of exactly the right size. */
START_TEST(test_every_byte_at_every_place)
{
    for (size_t n = 1; n <= 40; n++) {
        char *text = mem_alloc(n + 2);
        for (size_t at = 1; at <= n; at++) {
            for (int byte = 0; byte < 256; byte++) {
                memset(text, 'x', n + 2);
                text[0] = text[n + 1] = '"';
                text[at] = (char)byte;
                bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
                bool escape = byte == '\\' && at == n; /* escapes the closing quote: no end */
                if (json_valid(str_make(text, n + 2), NULL, NULL) != (plain && !escape))
                    ck_abort_msg("length %zu, place %zu, byte %d", n, at, byte);
            }
        }
        mem_free(text);
    }
}
END_TEST

START_TEST(test_members)
{
    struct json_member m[] = {{.name = STR("pattern")}, {.name = STR("data")}, {.name = STR("id")},
        {.name = STR("x")}};
    size_t others = 99;
    struct json_error e;
    ck_assert(json_members(STR(" {\"pattern\" : {\"cmd\":\"sum\"} , \"other\":[1], \"data\":[1, 2],\n \"i\\u0064\": \"7\", "
                               "\"data\": 5 ,\"x\\\\\":1} "),
                           m, 4, &others, &e));
    ck_assert(str_is(m[0].value, "{\"cmd\":\"sum\"}") && m[0].type == JSON_OBJECT);
    ck_assert(str_is(m[1].value, "5") && m[1].type == JSON_NUMBER);
    ck_assert(str_is(m[2].value, "\"7\"") && m[2].type == JSON_STRING);
    ck_assert_ptr_null(m[3].value.p);
    ck_assert_uint_eq(others, 2);
    ck_assert(json_members(STR("{}"), m, 4, &others, NULL));
    ck_assert(m[0].value.p == NULL && others == 0);
    ck_assert(!json_members(STR("[1]"), m, 4, NULL, &e) && e.offset == 0);
    ck_assert(!json_members(STR("null"), m, 4, NULL, NULL));
    ck_assert(!json_members(STR("{\"id\":1} {"), m, 4, NULL, &e) && e.offset == 9);
    ck_assert(!json_members(STR("{\"id\":1,\"z\":[1,]}"), m, 4, NULL, &e) && e.offset == 15);
}
END_TEST

START_TEST(test_walk)
{
    struct json_member m;
    struct str item;
    enum json_type type;
    size_t at = 0;
    struct str object = STR(" { \"a\" : [1,2] ,\"b\":null}");
    ck_assert(json_next_member(object, &at, &m) && str_is(m.name, "a") && str_is(m.value, "[1,2]"));
    ck_assert(json_next_member(object, &at, &m) && str_is(m.name, "b") && m.type == JSON_NULL);
    ck_assert(!json_next_member(object, &at, &m));
    at = 0;
    ck_assert(json_next_item(STR("[ {\"x\":1} , 2]"), &at, &item, &type) && str_is(item, "{\"x\":1}"));
    ck_assert(json_next_item(STR("[ {\"x\":1} , 2]"), &at, &item, &type) && str_is(item, "2"));
    ck_assert(!json_next_item(STR("[ {\"x\":1} , 2]"), &at, &item, &type));
    at = 0;
    ck_assert(!json_next_item(STR("[ ]"), &at, &item, &type));
    ck_assert(!json_next_member(STR("[1]"), &at, &m));
}
END_TEST

START_TEST(test_text)
{
    struct buf b = BUF_EMPTY;
    json_unquote(STR("\"a\\n\\u0041\\\\u0041\\ud83d\\udc22\\ud800x\\udc00\\/\xc5\xbc\""), &b);
    ck_assert_str_eq(buf_cstr(&b), "a\nA\\u0041\xf0\x9f\x90\xa2\xef\xbf\xbdx\xef\xbf\xbd/\xc5\xbc");
    buf_clear(&b);
    json_quote(STR("a\"\\/\b\f\n\r\t\x01\x1f\x7f\xc5\xbc"), &b);
    ck_assert_str_eq(buf_cstr(&b), "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc5\xbc\"");
    buf_clear(&b);
    json_quote(STR(""), &b);
    ck_assert_str_eq(buf_cstr(&b), "\"\"");
    buf_fini(&b);
}
END_TEST

/* ---- random texts against jansson ---- */

static void put_any(struct buf *b, struct rand *r, unsigned depth);

static void put_space(struct buf *b, struct rand *r)
{
    if (rand_below(r, 6) == 0)
        buf_putc(b, " \t\r\n"[rand_below(r, 4)]);
}

static void put_string(struct buf *b, struct rand *r)
{
    static const char *const pieces[] = {
        "a", "id", "some longer piece of text", "\\n", "\\\"",
        "\\\\", "\\u0041", "\\u00e9", "\\ud83d\\udc22", "\\ud83d",
        "\xc5\xbc", "\xe2\x82\xac", "\xf0\x9f\x90\xa2", " ", "{", "]", ":", ",", "\x7f", "\\u0000",
        "0123456", "x",
    };
    buf_putc(b, '"');
    for (uint64_t n = rand_below(r, 6); n > 0; n--)
        buf_puts(b, pieces[rand_below(r, sizeof(pieces) / sizeof(pieces[0]))]);
    buf_putc(b, '"');
}

static void put_list(struct buf *b, struct rand *r, unsigned depth, bool object)
{
    uint64_t n = depth > 0 ? rand_below(r, 5) : 0;
    buf_putc(b, object ? '{' : '[');
    put_space(b, r);
    for (uint64_t i = 0; i < n; i++) {
        if (i > 0)
            buf_putc(b, ',');
        put_space(b, r);
        if (object) {
            put_string(b, r);
            put_space(b, r);
            buf_putc(b, ':');
        }
        put_any(b, r, depth - 1);
    }
    buf_putc(b, object ? '}' : ']');
}

static void put_any(struct buf *b, struct rand *r, unsigned depth)
{
    static const char *const scalars[] = {"null", "true", "false", "0", "-0", "12", "-3.25", "1e5", "2E-2",
        "1e400",
                                          "99999999999999999999", "0.1"};
    put_space(b, r);
    uint64_t kind = rand_below(r, 6);
    if (kind < 2)
        put_list(b, r, depth, kind == 0);
    else if (kind < 4)
        put_string(b, r);
    else
        buf_puts(b, scalars[rand_below(r, sizeof(scalars) / sizeof(scalars[0]))]);
    put_space(b, r);
}

static void mutate(struct buf *b, struct rand *r)
{
    static const char bytes[] = "\"\\{}[]:,0123456789eE+-.utfn \n\x01\x7f\x80\xc5\xbf\xed\xf0\xff";
    for (uint64_t n = rand_below(r, 3); n > 0 && b->len > 1; n--) {
        size_t at = rand_below(r, b->len);
        if (rand_below(r, 3) == 0)
            b->len = at;
        else
            buf_data(b)[at] = (uint8_t)bytes[rand_below(r, sizeof(bytes) - 1)];
    }
}

/* Where we and jansson differ, and may: numbers beyond its range, NUL in names, lone surrogates; it goes
 * deeper than 64. */
static bool known_difference(const json_error_t *e)
{
    enum json_error_code code = json_error_code(e);
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
           code == json_error_null_character || strstr(e->text, "invalid Unicode") != NULL ||
           strstr(e->text, "too big") != NULL;
}

/* Our walk of a valid text must give jansson's tree, member by member. */
static json_t *tree(struct str text, enum json_type type)
{
    size_t at = 0;
    if (type == JSON_OBJECT) {
        json_t *object = json_object();
        struct json_member m;
        struct buf name = BUF_EMPTY;
        while (json_next_member(text, &at, &m)) {
            struct json_member quoted = m;
            quoted.name = str_make(m.name.p - 1, m.name.n + 2);
            buf_clear(&name);
            json_unquote(quoted.name, &name);
            json_object_setn_new(object, buf_cstr(&name), name.len, tree(m.value, m.type));
        }
        buf_fini(&name);
        return object;
    }
    if (type == JSON_ARRAY) {
        json_t *array = json_array();
        struct str item;
        while (json_next_item(text, &at, &item, &type))
            json_array_append_new(array, tree(item, type));
        return array;
    }
    if (type == JSON_STRING) {
        struct buf s = BUF_EMPTY;
        json_unquote(text, &s);
        json_t *string = json_stringn(buf_cstr(&s), s.len);
        buf_fini(&s);
        return string;
    }
    return json_loadb(text.p, text.n, JSON_DECODE_ANY, NULL);
}

static unsigned compare(struct str text)
{
    json_error_t theirs;
    struct json_error ours = {0, NULL};
    enum json_type type;
    bool we = json_valid(text, &type, &ours);
    json_t *value = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &theirs);
    if (we && value == NULL && !known_difference(&theirs))
        ck_abort_msg("jansson refuses (%s): %.*s", theirs.text, STR_ARG(text));
    if (!we && value != NULL)
        ck_abort_msg("we refuse (%s at %zu): %.*s", ours.what, ours.offset, STR_ARG(text));
    if (!we && ours.offset > text.n)
        ck_abort_msg("offset beyond the text");
    if (we && value != NULL) {
        struct str inner = str_make(text.p + strspn(text.p, " \t\r\n"), text.n - strspn(text.p, " \t\r\n"));
        while (strchr(" \t\r\n", inner.p[inner.n - 1]) != NULL)
            inner.n--;
        json_t *walked = tree(inner, type);
        if (!json_equal(walked, value))
            ck_abort_msg("walked to something else: %.*s", STR_ARG(text));
        json_decref(walked);
    }
    json_decref(value);
    return we;
}

START_TEST(test_against_jansson)
{
    struct rand r;
    unsigned accepted = 0;
    struct buf b = BUF_EMPTY;
    rand_seed(&r, 1);
    for (int round = 0; round < 30000; round++) {
        buf_clear(&b);
        put_any(&b, &r, 4);
        if (round % 3 != 0)
            mutate(&b, &r);
        char *exact = mem_alloc(b.len + 1); /* a NUL for strspn above; scanners get the length */
        *bytes_str(exact, buf_str(&b)) = '\0';
        accepted += compare(str_make(exact, b.len));
        mem_free(exact);
    }
    buf_fini(&b);
    ck_assert_msg(accepted > 5000 && accepted < 29000, "%u of 30000 accepted: the mix is off", accepted);
}
END_TEST

START_TEST(test_prefixes)
{
    static const char text[] = "{\"a\":[1,-2.5e3,\"x\\u0041\xc5\xbc\",{\"b\":null}],\"c\":true}";
    ck_assert(valid(text));
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        char *exact = mem_strndup(text, n);
        ck_assert_msg(!json_valid(str_make(exact, n), NULL, NULL), "a prefix of %zu bytes", n);
        mem_free(exact);
    }
}
END_TEST

START_TEST(test_quote_round_trip)
{
    struct rand r;
    struct buf text = BUF_EMPTY, quoted = BUF_EMPTY, back = BUF_EMPTY;
    rand_seed(&r, 2);
    for (int round = 0; round < 5000; round++) {
        buf_clear(&text);
        buf_clear(&quoted);
        buf_clear(&back);
        for (uint64_t n = rand_below(&r, 30); n > 0; n--) {
            if (rand_below(&r, 4) == 0)
                buf_puts(&text, rand_below(&r, 2) ? "\xf0\x9f\x90\xa2" : "\xc5\xbc");
            else
                buf_putc(&text, (char)rand_below(&r, 0x80));
        }
        json_quote(buf_str(&text), &quoted);
        enum json_type type;
        ck_assert(json_valid(buf_str(&quoted), &type, NULL) && type == JSON_STRING);
        json_unquote(buf_str(&quoted), &back);
        ck_assert(str_eq(buf_str(&back), buf_str(&text)));
    }
    buf_fini(&text);
    buf_fini(&quoted);
    buf_fini(&back);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tc = tcase_create("json");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_accepts);
    tcase_add_test(tc, test_refuses);
    tcase_add_test(tc, test_depth);
    tcase_add_test(tc, test_every_byte_at_every_place);
    tcase_add_test(tc, test_members);
    tcase_add_test(tc, test_walk);
    tcase_add_test(tc, test_text);
    tcase_add_test(tc, test_against_jansson);
    tcase_add_test(tc, test_prefixes);
    tcase_add_test(tc, test_quote_round_trip);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
