/* daemon/wire/json.h: one verdict from all entry points, slices inside the text, texts round-trip; and
 * jansson's verdict but for the differences listed. */
#define JSON_NULL JANSSON_NULL /* jansson's enumerators have the names of ours */
#define JSON_STRING JANSSON_STRING
#define JSON_ARRAY JANSSON_ARRAY
#define JSON_OBJECT JANSSON_OBJECT
#include <jansson.h>
#undef JSON_NULL
#undef JSON_STRING
#undef JSON_ARRAY
#undef JSON_OBJECT

#include "fuzz.h"
#include "wire/json.h"

#define NAMES 4

/* Ours takes more than jansson: numbers beyond a double or 64 bits, NUL in names, lone surrogates. */
static bool ours_is_wider(const json_error_t *e)
{
    enum json_error_code code = json_error_code(e);
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
           code == json_error_null_character || strstr(e->text, "invalid Unicode") != NULL ||
           strstr(e->text, "too big") != NULL;
}

static void compare_jansson(struct str text, bool ours, const struct json_error *e)
{
    json_error_t theirs;
    json_t *value = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &theirs);
    if (ours)
        HOLDS(value != NULL || ours_is_wider(&theirs));
    else /* jansson goes deeper, and loses a NUL behind a number */
        HOLDS(value == NULL || strstr(e->what, "deeper") != NULL || memchr(text.p, '\0', text.n) != NULL);
    json_decref(value);
}

static void check_string(struct str string)
{
    struct buf plain = BUF_EMPTY, quoted = BUF_EMPTY, again = BUF_EMPTY;
    enum json_type type;
    json_unquote(string, &plain);
    HOLDS(str_utf8(buf_str(&plain)));
    HOLDS(plain.len <= string.n - 2);
    json_quote(buf_str(&plain), &quoted);
    HOLDS(json_valid(buf_str(&quoted), &type, NULL) && type == JSON_STRING);
    json_unquote(buf_str(&quoted), &again);
    HOLDS(str_eq(buf_str(&plain), buf_str(&again)));
    buf_fini(&plain);
    buf_fini(&quoted);
    buf_fini(&again);
}

static void check_value(struct str value, enum json_type type, struct str parent)
{
    enum json_type again;
    HOLDS(fuzz_inside(value, parent) && value.n > 0);
    HOLDS(json_valid(value, &again, NULL) && again == type);
    if (type == JSON_STRING)
        check_string(value);
}

static size_t walk_object(struct str object, struct json_member *last)
{
    struct json_member m;
    size_t at = 0, members = 0;
    while (json_next_member(object, &at, &m)) {
        HOLDS(at <= object.n && fuzz_inside(m.name, object));
        check_value(m.value, m.type, object);
        check_string(str_make(m.name.p - 1, m.name.n + 2));
        *last = m;
        members++;
    }
    return members;
}

static void walk_array(struct str array)
{
    struct str item;
    enum json_type type;
    size_t at = 0;
    while (json_next_item(array, &at, &item, &type)) {
        HOLDS(at <= array.n);
        check_value(item, type, array);
    }
}

static void check_members(struct str text, bool is_object)
{
    struct json_member m[NAMES] = {{.name = STR("pattern")}, {.name = STR("data")}, {.name = STR("id")},
        {.name = STR("a")}};
    struct json_member last = {.name = STR_NONE};
    size_t others = 0, asked = 0;
    HOLDS(json_members(text, m, NAMES, &others, NULL) == is_object);
    if (!is_object)
        return;
    size_t members = walk_object(text, &last);
    HOLDS(others <= members);
    for (size_t i = 0; i < NAMES; i++) {
        if (m[i].value.p == NULL)
            continue;
        asked++;
        check_value(m[i].value, m[i].type, text);
        if (str_eq(last.name, m[i].name))
            HOLDS(last.value.p == m[i].value.p && last.value.n == m[i].value.n);
    }
    HOLDS(others + asked <= members && (asked > 0 || others == members));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make(data, size);
    struct json_error e = {0, NULL};
    enum json_type type = JSON_NULL;
    bool ok = json_valid(text, &type, &e);
    HOLDS(ok || (e.what != NULL && e.offset <= size));
    compare_jansson(text, ok, &e);
    check_members(text, ok && type == JSON_OBJECT);
    if (ok && type == JSON_ARRAY)
        walk_array(text);
    return 0;
}
