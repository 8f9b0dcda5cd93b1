#include "wire/json.h"

#include "wire/swar.h"
#include "wire/utf8.h"

/* Every skip_… takes the byte where its thing begins and returns the byte behind it, or NULL after
 * fail(). */
struct scan {
    const uint8_t *end;
    const uint8_t *failed_at;
    const char *what;
};

#define KIND(type) ((uint8_t)((type) + 1))

static const uint8_t value_kind[256] = { /* by first byte; 0 = begins no value */
    ['n'] = KIND(JSON_NULL),   ['t'] = KIND(JSON_BOOL),   ['f'] = KIND(JSON_BOOL),
    ['"'] = KIND(JSON_STRING), ['['] = KIND(JSON_ARRAY),  ['{'] = KIND(JSON_OBJECT),
    ['-'] = KIND(JSON_NUMBER), ['0'] = KIND(JSON_NUMBER), ['1'] = KIND(JSON_NUMBER),
    ['2'] = KIND(JSON_NUMBER), ['3'] = KIND(JSON_NUMBER), ['4'] = KIND(JSON_NUMBER),
    ['5'] = KIND(JSON_NUMBER), ['6'] = KIND(JSON_NUMBER), ['7'] = KIND(JSON_NUMBER),
    ['8'] = KIND(JSON_NUMBER), ['9'] = KIND(JSON_NUMBER),
};

static const uint8_t escape_letter[256] = {
    ['"'] = 1, ['\\'] = 1, ['/'] = 1, ['b'] = 1, ['f'] = 1, ['n'] = 1, ['r'] = 1, ['t'] = 1,
};

__attribute__((cold, noinline)) static const uint8_t *fail(struct scan *s, const uint8_t *at,
                                                           const char *what)
{
    s->failed_at = at;
    s->what = what;
    return NULL;
}

static inline const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* To the first byte that is not plain ASCII text. */
static inline const uint8_t *skip_plain(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *from = p;
    while (end - p >= 64 && swar_plain(p, 4))
        p += 64;
    while (end - p >= 16 && swar_plain(p, 1))
        p += 16;
    while (end - p >= 8) {
        uint64_t stop = swar_not_plain(swar_load(p));
        if (stop != 0)
            return p + swar_first(stop);
        p += 8;
    }
    if (end - from >= 8) { /* the last eight, of which the first are known to be plain */
        uint64_t stop = swar_not_plain(swar_load(end - 8));
        return stop != 0 ? end - 8 + swar_first(stop) : end;
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static const uint8_t *skip_escape(struct scan *s, const uint8_t *p)
{
    size_t left = (size_t)(s->end - p);
    if (left >= 2 && escape_letter[p[1]])
        return p + 2;
    if (left >= 6 && p[1] == 'u' && is_hex(p[2]) && is_hex(p[3]) && is_hex(p[4]) && is_hex(p[5]))
        return p + 6;
    return fail(s, p, "wrong escape in a string");
}

static const uint8_t *skip_wide(struct scan *s, const uint8_t *p)
{
    while (p < s->end && *p >= 0x80) {
        size_t length = utf8_length(p, (size_t)(s->end - p));
        if (length == 0)
            return fail(s, p, "invalid UTF-8");
        p += length;
    }
    return p;
}

static const uint8_t *skip_odd(struct scan *s, const uint8_t *p)
{
    if (p == s->end)
        return fail(s, p, "string without an end");
    if (*p == '\\')
        return skip_escape(s, p);
    return *p >= 0x80 ? skip_wide(s, p) : fail(s, p, "control character in a string");
}

__attribute__((noinline)) static const uint8_t *skip_long_string(struct scan *s, const uint8_t *p)
{
    for (;;) {
        p = skip_plain(p, s->end);
        if (p < s->end && *p == '"')
            return p + 1;
        p = skip_odd(s, p);
        if (p == NULL)
            return NULL;
    }
}

/* p is behind the opening quote. Most strings are short: the first eight bytes are looked at
 * here. */
static inline const uint8_t *skip_string(struct scan *s, const uint8_t *p)
{
    if (s->end - p >= 8) {
        uint64_t stop = swar_not_plain(swar_load(p));
        p += stop != 0 ? swar_first(stop) : 8;
        if (stop != 0 && *p == '"')
            return p + 1;
    }
    return skip_long_string(s, p);
}

static inline bool is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') <= 9;
}

static const uint8_t *skip_digits(struct scan *s, const uint8_t *p)
{
    const uint8_t *from = p;
    while (p < s->end && is_digit(*p))
        p++;
    return p > from ? p : fail(s, p, "expected a digit");
}

__attribute__((noinline)) static const uint8_t *skip_odd_number(struct scan *s, const uint8_t *p)
{
    if (*p == '-')
        p++;
    if (p < s->end && *p == '0')
        p++;
    else if ((p = skip_digits(s, p)) == NULL)
        return NULL;
    if (p < s->end && *p == '.' && (p = skip_digits(s, p + 1)) == NULL)
        return NULL;
    if (p == s->end || (*p | 0x20) != 'e')
        return p;
    p++;
    if (p < s->end && (*p == '+' || *p == '-'))
        p++;
    return skip_digits(s, p);
}

static inline const uint8_t *skip_number(struct scan *s, const uint8_t *p)
{
    const uint8_t *from = p;
    if (*p == '0' || *p == '-')
        return skip_odd_number(s, from);
    while (p < s->end && is_digit(*p))
        p++;
    if (p < s->end && (*p == '.' || (*p | 0x20) == 'e'))
        return skip_odd_number(s, from);
    return p;
}

static const uint8_t *skip_word(struct scan *s, const uint8_t *p)
{
    struct str word = *p == 'n' ? STR("null") : *p == 't' ? STR("true") : STR("false");
    if ((size_t)(s->end - p) < word.n || !str_eq(str_make(p, word.n), word))
        return fail(s, p, "expected a value");
    return p + word.n;
}

static inline const uint8_t *skip_scalar(struct scan *s, const uint8_t *p)
{
    uint8_t kind = value_kind[*p];
    if (kind == KIND(JSON_STRING))
        return skip_string(s, p + 1);
    if (kind == KIND(JSON_NUMBER))
        return skip_number(s, p);
    return kind != 0 ? skip_word(s, p) : fail(s, p, "expected a value");
}

/* The byte at p is c, or is c behind white space: p behind it; otherwise NULL without fail(). */
static inline const uint8_t *skip_byte(const uint8_t *p, const uint8_t *end, uint8_t c)
{
    if (p < end && *p == c)
        return p + 1;
    p = skip_space(p, end);
    return p < end && *p == c ? p + 1 : NULL;
}

/* From before a member's name to the first byte of its value; *name between its quotes. */
static inline const uint8_t *skip_name(struct scan *s, const uint8_t *p, struct str *name)
{
    const uint8_t *from = skip_byte(p, s->end, '"'), *end;
    if (from == NULL)
        return fail(s, skip_space(p, s->end), "expected a member name in quotes");
    end = skip_string(s, from);
    if (end == NULL)
        return NULL;
    *name = str_make(from, (size_t)(end - 1 - from));
    p = skip_byte(end, s->end, ':');
    return p != NULL ? skip_space(p, s->end) : fail(s, end, "expected ':' behind a member name");
}

/* The containers that are open: a stack of bits, 1 for an object, 0 for an array. That is why the
 * depth ends at 64. */
struct open {
    uint64_t objects;
    unsigned depth;
};

static inline uint8_t closer(const struct open *o)
{
    return (uint8_t)(']' + ((o->objects & 1) << 5)); /* `}` is 32 above `]` */
}

/* Closes what ends at p. */
static inline const uint8_t *skip_ends(const uint8_t *p, const uint8_t *end, struct open *o)
{
    const uint8_t *next;
    while (o->depth > 0 && (next = skip_byte(p, end, closer(o))) != NULL) {
        o->objects >>= 1;
        o->depth--;
        p = next;
    }
    return p;
}

/* One value of any depth; no white space before it. */
static const uint8_t *skip_value(struct scan *s, const uint8_t *p, unsigned depth_max)
{
    struct open o = {0, 0};
    struct str name;
    for (;;) {
        const uint8_t *inner = NULL;
        if (p == s->end)
            return fail(s, p, "expected a value");
        if (*p == '{' || *p == '[') {
            if (o.depth++ == depth_max)
                return fail(s, p, "nested deeper than 64");
            o.objects = o.objects << 1 | (*p == '{');
            inner = ++p;
        } else if ((p = skip_scalar(s, p)) == NULL) {
            return NULL;
        }
        p = skip_ends(p, s->end, &o);
        if (o.depth == 0)
            return p;
        if (p != inner) {
            const uint8_t *next = skip_byte(p, s->end, ',');
            if (next == NULL)
                return fail(s, skip_space(p, s->end), "expected ',' or the end of the container");
            p = next;
        }
        p = (o.objects & 1) != 0 ? skip_name(s, p, &name) : skip_space(p, s->end);
        if (p == NULL)
            return NULL;
    }
}

static bool report(const struct scan *s, struct str text, struct json_error *e)
{
    if (e != NULL)
        *e = (struct json_error){(size_t)(s->failed_at - (const uint8_t *)text.p), s->what};
    return false;
}

static bool whole(struct scan *s, const uint8_t *p)
{
    if (p == NULL)
        return false;
    p = skip_space(p, s->end);
    return p == s->end || fail(s, p, "something behind the value") != NULL;
}

static struct str never_null(struct str text)
{
    return text.p != NULL ? text : STR("");
}

bool json_valid(struct str text, enum json_type *type, struct json_error *e)
{
    text = never_null(text);
    const uint8_t *from = (const uint8_t *)text.p;
    struct scan s = {.end = from + text.n};
    from = skip_space(from, s.end);
    if (!whole(&s, skip_value(&s, from, JSON_DEPTH_MAX)))
        return report(&s, text, e);
    if (type != NULL)
        *type = (enum json_type)(value_kind[*from] - 1);
    return true;
}

/* Does a name that is written with escapes stand for this plain text? */
static bool decodes_to(struct str written, struct str plain)
{
    for (size_t i = 0; i < plain.n; i++) {
        if (written.n == 0 || json_char(&written) != (uint8_t)plain.p[i])
            return false;
    }
    return written.n == 0;
}

static size_t find_member(const struct json_member *members, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(members[i].name, name))
            return i;
    }
    if (name.n == 0 || memchr(name.p, '\\', name.n) == NULL)
        return count;
    size_t i = 0;
    while (i < count && !decodes_to(name, members[i].name))
        i++;
    return i;
}

/* One `"name": value`. */
static inline const uint8_t *skip_member(struct scan *s, const uint8_t *p, struct json_member *out)
{
    const uint8_t *from = skip_name(s, p, &out->name);
    if (from != NULL && from < s->end && *from == '"')
        p = skip_string(s, from + 1);
    else
        p = from != NULL ? skip_value(s, from, JSON_DEPTH_MAX - 1) : NULL;
    if (p == NULL)
        return NULL;
    out->value = str_make(from, (size_t)(p - from));
    out->type = (enum json_type)(value_kind[*from] - 1);
    return p;
}

static const uint8_t *skip_object(struct scan *s, const uint8_t *p, struct json_member *members,
                                  size_t count, size_t *others)
{
    const uint8_t *next = skip_byte(p, s->end, '{');
    if (next == NULL)
        return fail(s, skip_space(p, s->end), "expected an object");
    p = skip_byte(next, s->end, '}');
    if (p != NULL)
        return p;
    for (;;) {
        struct json_member found = {.value = STR_NONE};
        p = skip_member(s, next, &found);
        if (p == NULL)
            return NULL;
        size_t i = find_member(members, count, found.name);
        if (i < count) {
            members[i].value = found.value;
            members[i].type = found.type;
        } else {
            ++*others;
        }
        next = skip_byte(p, s->end, ',');
        if (next != NULL)
            continue;
        next = skip_byte(p, s->end, '}');
        if (next != NULL)
            return next;
        return fail(s, skip_space(p, s->end), "expected ',' or the end of the object");
    }
}

bool json_members(struct str text, struct json_member *members, size_t count, size_t *others,
                  struct json_error *e)
{
    text = never_null(text);
    const uint8_t *from = (const uint8_t *)text.p;
    struct scan s = {.end = from + text.n};
    size_t extra = 0;
    for (size_t i = 0; i < count; i++)
        members[i].value = STR_NONE;
    if (!whole(&s, skip_object(&s, from, members, count, &extra)))
        return report(&s, text, e);
    if (others != NULL)
        *others = extra;
    return true;
}

/* Where the next member or item begins, or NULL at the end of the container. */
static const uint8_t *next_start(const struct scan *s, const uint8_t *from, size_t at, char open)
{
    const uint8_t *p = skip_space(from + at, s->end);
    if (p == s->end || *p != (at == 0 ? open : ','))
        return NULL;
    p = skip_space(p + 1, s->end);
    return p < s->end && *p != '}' && *p != ']' ? p : NULL;
}

bool json_next_member(struct str object, size_t *at, struct json_member *out)
{
    const uint8_t *from = (const uint8_t *)never_null(object).p;
    struct scan s = {.end = from + object.n};
    const uint8_t *p = next_start(&s, from, *at, '{');
    if (p == NULL || (p = skip_member(&s, p, out)) == NULL)
        return false;
    *at = (size_t)(p - from);
    return true;
}

bool json_next_item(struct str array, size_t *at, struct str *item, enum json_type *type)
{
    const uint8_t *from = (const uint8_t *)never_null(array).p;
    struct scan s = {.end = from + array.n};
    const uint8_t *p = next_start(&s, from, *at, '['), *end;
    if (p == NULL || (end = skip_value(&s, p, JSON_DEPTH_MAX - 1)) == NULL)
        return false;
    *item = str_make(p, (size_t)(end - p));
    *type = (enum json_type)(value_kind[*p] - 1);
    *at = (size_t)(end - from);
    return true;
}
