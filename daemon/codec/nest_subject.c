/* Patterns and subjects; see nest.h. The rules are those of transformPatternToRoute() in
 * @nestjs/microservices 12, except that names are sorted by bytes and that what Nest replaces by
 * "[MAX_DEPTH_REACHED]" or "[TOO_MANY_KEYS]" is refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/nest.h"
#include "wire/json.h"
#include "wire/utf8.h"

#define SUBJECT_MAX 1024
#define OBJECTS_MAX 6 /* the outermost and 5 inside it */
#define MEMBERS_MAX 20
#define NUMBER_MAX 40 /* bytes of a number that is normalised; longer ones stay as written */

struct level { /* one object (or array) that is being written */
    struct json_member members[MEMBERS_MAX];
    size_t count, next;
    bool array;
};

static struct str inside(struct str string)
{
    return str_make(string.p + 1, string.n - 2);
}

static bool is_control(uint32_t c)
{
    return c < 0x20 || c == 0x7F;
}

/* Compares what two names stand for. */
static int name_cmp(struct str a, struct str b)
{
    while (a.n > 0 && b.n > 0) {
        uint32_t ca = json_char(&a), cb = json_char(&b);
        if (ca != cb)
            return ca < cb ? -1 : 1;
    }
    return a.n > 0 ? 1 : b.n > 0 ? -1 : 0;
}

/* Keeps the members sorted; a name that stands twice counts with its last value. */
static bool level_insert(struct level *l, const struct json_member *m)
{
    size_t at = l->count;
    int order = 1;
    while (at > 0 && (order = name_cmp(l->members[at - 1].name, m->name)) > 0)
        at--;
    if (at > 0 && order == 0) {
        l->members[at - 1] = *m;
        return true;
    }
    if (l->count == MEMBERS_MAX)
        return false;
    for (size_t i = l->count; i > at; i--)
        l->members[i] = l->members[i - 1];
    l->members[at] = *m;
    l->count++;
    return true;
}

/* Index names in byte order, for arrays of at most MEMBERS_MAX items. */
static const char *const index_names[MEMBERS_MAX] = {
    "0",  "1",  "2",  "3",  "4",  "5",  "6",  "7",  "8",  "9",
    "10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
};

static bool level_fill_array(struct level *l, struct str value)
{
    size_t at = 0, i = 0;
    struct json_member m;
    for (; json_next_item(value, &at, &m.value, &m.type); i++) {
        if (i == MEMBERS_MAX)
            return false;
        m.name = str_of(index_names[i]);
        level_insert(l, &m);
    }
    return true;
}

static bool level_fill(struct level *l, struct str value)
{
    l->count = l->next = 0;
    if (value.p[0] == '[')
        return level_fill_array(l, value);
    size_t at = 0;
    struct json_member m;
    while (json_next_member(value, &at, &m)) {
        if (!level_insert(l, &m))
            return false;
    }
    return true;
}

/* Text with what it stands for, `\` and `"` escaped and nothing else. */
static bool put_text(struct str text, struct buf *out)
{
    while (text.n > 0) {
        char utf8[4];
        uint32_t c = json_char(&text);
        if (is_control(c))
            return false;
        if (c == '"' || c == '\\')
            buf_putc(out, '\\');
        buf_put(out, utf8, utf8_encode(c, utf8));
    }
    return true;
}

static bool put_quoted(struct str text, struct buf *out)
{
    buf_putc(out, '"');
    if (!put_text(text, out))
        return false;
    buf_putc(out, '"');
    return true;
}

/* ECMA-262, Number::toString: `digits` are the shortest that read back as the same number, the
 * first of them worth 10^exponent. */
static void put_js_digits(struct buf *out, struct str digits, int exponent)
{
    int count = (int)digits.n;
    if (exponent < -6 || exponent > 20) {
        buf_put(out, digits.p, 1);
        if (count > 1)
            buf_printf(out, "." STR_FMT, count - 1, digits.p + 1);
        buf_printf(out, "e%+d", exponent);
    } else if (exponent < 0) {
        buf_puts(out, "0.");
        while (++exponent < 0)
            buf_putc(out, '0');
        buf_str_put(out, digits);
    } else if (count <= exponent + 1) {
        buf_str_put(out, digits);
        while (count++ < exponent + 1)
            buf_putc(out, '0');
    } else {
        buf_put(out, digits.p, (size_t)exponent + 1);
        buf_printf(out, "." STR_FMT, count - exponent - 1, digits.p + exponent + 1);
    }
}

static void put_double(struct buf *out, double value)
{
    char text[40], digits[20];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    size_t n = 0;
    const char *p = text;
    for (; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
        else if (*p == '-')
            buf_putc(out, '-');
    }
    put_js_digits(out, str_make(digits, n), (int)strtol(p + 1, NULL, 10));
}

/* Plain digits that a double holds exactly are already what JavaScript prints. */
static bool plain_integer(struct str number)
{
    if (number.n > 15 || (number.n > 1 && number.p[0] == '0'))
        return false;
    for (size_t i = 0; i < number.n; i++) {
        if (number.p[i] < '0' || number.p[i] > '9')
            return false;
    }
    return true;
}

/* A number as JavaScript would print it. */
static void put_number(struct str number, struct buf *out)
{
    char text[NUMBER_MAX + 1];
    if (plain_integer(number) || number.n > NUMBER_MAX) {
        buf_str_put(out, number);
        return;
    }
    *bytes_str(text, number) = '\0';
    double value = strtod(text, NULL);
    if (value == 0)
        buf_putc(out, '0');
    else if (isfinite(value))
        put_double(out, value);
    else
        buf_str_put(out, number);
}

static bool put_scalar(const struct json_member *m, struct buf *out)
{
    if (m->type == JSON_STRING)
        return put_quoted(inside(m->value), out);
    if (m->type == JSON_NUMBER)
        put_number(m->value, out);
    else
        buf_str_put(out, m->value);
    return true;
}

/* Writes a checked JSON object or array in canonical form. */
static bool put_canonical(struct str value, struct buf *out, size_t end_max)
{
    struct level levels[OBJECTS_MAX];
    size_t depth = 1;
    if (!level_fill(&levels[0], value))
        return false;
    buf_putc(out, '{');
    while (depth > 0) {
        struct level *l = &levels[depth - 1];
        if (out->len > end_max)
            return false;
        if (l->next == l->count) {
            buf_putc(out, '}');
            depth--;
            continue;
        }
        const struct json_member *m = &l->members[l->next++];
        if (l->next > 1)
            buf_putc(out, ',');
        if (!put_quoted(m->name, out))
            return false;
        buf_putc(out, ':');
        if (m->type != JSON_OBJECT && m->type != JSON_ARRAY) {
            if (!put_scalar(m, out))
                return false;
        } else if (depth == OBJECTS_MAX || !level_fill(&levels[depth++], m->value)) {
            return false;
        } else {
            buf_putc(out, '{');
        }
    }
    return true;
}

/* The object that text holds, in canonical form, or text itself. */
static bool put_subject_text(struct str text, struct buf *out, size_t end_max)
{
    enum json_type type;
    size_t blank = 0;
    while (blank < text.n && memchr(" \t\r\n", text.p[blank], 4) != NULL)
        blank++;
    if (blank < text.n && text.p[blank] == '{' && json_valid(text, &type, NULL))
        return put_canonical(str_make(text.p + blank, text.n - blank), out, end_max);
    if (text.n == 0 || text.n > SUBJECT_MAX || !str_printable(text))
        return false;
    buf_str_put(out, text);
    return true;
}

static bool put_string_pattern(struct str string, struct buf *out, size_t end_max)
{
    struct buf decoded = BUF_EMPTY;
    if (memchr(string.p, '\\', string.n) == NULL)
        return put_subject_text(inside(string), out, end_max);
    json_unquote(string, &decoded);
    bool ok = put_subject_text(buf_str(&decoded), out, end_max);
    buf_fini(&decoded);
    return ok;
}

/* Keeps what was appended when it is a subject, takes it back when it is none. */
static bool finish(struct buf *out, size_t before, bool ok)
{
    ok = ok && out->len - before <= SUBJECT_MAX;
    if (!ok)
        out->len = before;
    return ok;
}

bool nest_subject(struct str pattern_json, struct buf *out)
{
    size_t before = out->len, end_max = before + SUBJECT_MAX;
    bool ok = false;
    if (pattern_json.n == 0)
        return false;
    switch (pattern_json.p[0]) {
    case '"':
        ok = put_string_pattern(pattern_json, out, end_max);
        break;
    case '{':
    case '[':
        ok = put_canonical(pattern_json, out, end_max);
        break;
    case 'n':
    case 't':
    case 'f':
        break;
    default:
        put_number(pattern_json, out);
        ok = true;
    }
    return finish(out, before, ok);
}

bool nest_subject_text(struct str text, struct buf *out)
{
    size_t before = out->len;
    return finish(out, before, put_subject_text(text, out, before + SUBJECT_MAX));
}
