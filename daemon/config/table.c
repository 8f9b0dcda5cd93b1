/* The parts of walk.h that go from structs to text: what a key takes, print, compare. */
#include <inttypes.h>

#include "config/walk.h"

static void format_bound(const struct key *key, double value, struct buf *out)
{
    char text[32];
    if (key->type == KEY_DURATION)
        buf_puts(out, str_format_duration((int64_t)value, text));
    else if (key->type == KEY_SIZE)
        buf_puts(out, str_format_size((uint64_t)value, text));
    else
        buf_printf(out, "%.15g", value);
}

static void expects_choices(const struct key *key, struct buf *out)
{
    const char *between = "one of ";
    for (size_t i = 0; key->choices[i] != NULL; i++) {
        if (*key->choices[i] == '\0')
            continue;
        buf_printf(out, "%s%s", between, key->choices[i]);
        between = ", ";
    }
}

void key_expects(const struct key *key, struct buf *out)
{
    static const char *const words[] = {
        [KEY_TEXT] = "text",
        [KEY_SECRET] = "text (a secret)",
        [KEY_BOOL] = "true or false",
        [KEY_COUNT] = "a whole number",
        [KEY_DURATION] = "a duration with its unit, such as 250ms, 5s or 1h30m",
        [KEY_SIZE] = "a size with its unit, such as 64KiB or 4MiB",
        [KEY_NUMBER] = "a number",
        [KEY_TEXTS] = "a list of texts",
        [KEY_MODE] = "an octal file mode such as \"0660\"",
        [KEY_TABLE] = "a mapping",
    };
    if (key->type == KEY_CHOICE) {
        expects_choices(key, out);
        return;
    }
    buf_puts(out, key->type == KEY_CUSTOM ? key->custom->expects : words[key->type]);
    if (key->type == KEY_TEXT && key->max > 0) {
        buf_printf(out, " of at most %.0f bytes", key->max);
    } else if (key->min != 0 || key->max != 0) {
        buf_puts(out, ", from ");
        format_bound(key, key->min, out);
        if (key->max != 0) {
            buf_puts(out, " to ");
            format_bound(key, key->max, out);
        } else {
            buf_puts(out, " on");
        }
    }
    if ((key->flags & KEY_UNLIMITED) != 0)
        buf_puts(out, ", or unlimited");
}

/* ---- print ---- */

void print_indent(struct printer *p)
{
    buf_printf(p->out, "%*s", (int)p->indent, "");
}

static bool needs_quotes(const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789._-/";
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/";
    return *text == '\0' || strchr(letters, *text) == NULL || strspn(text, safe) != strlen(text) ||
           strcmp(text, "null") == 0;
}

static void quoted_put(struct buf *out, const char *text)
{
    buf_putc(out, '"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '$')
            buf_puts(out, "$$");
        else if (c == '\n')
            buf_puts(out, "\\n");
        else if (c < 0x20 || c == 0x7F)
            buf_printf(out, "\\x%02X", c);
        else
            buf_putc(out, (char)c);
    }
    buf_putc(out, '"');
}

void print_text(struct printer *p, const char *text)
{
    if (needs_quotes(text))
        quoted_put(p->out, text);
    else
        buf_puts(p->out, text);
}

static bool print_optional(struct printer *p, const char *text, bool secret)
{
    if (text == NULL)
        return false;
    if (secret && !p->reveal)
        buf_puts(p->out, "\"********\"");
    else
        print_text(p, text);
    return true;
}

static bool print_texts(struct printer *p, const struct texts *list)
{
    if (list->items == NULL)
        return false;
    buf_putc(p->out, '[');
    for (size_t i = 0; i < list->count; i++) {
        buf_puts(p->out, i > 0 ? ", " : "");
        print_text(p, list->items[i]);
    }
    buf_putc(p->out, ']');
    return true;
}

static bool print_choice(struct printer *p, const struct key *key, unsigned choice)
{
    const char *word = key->choices[choice];
    if (*word == '\0')
        return false;
    print_optional(p, word, false);
    return true;
}

static bool print_number(struct printer *p, const struct key *key, const void *field)
{
    char text[32];
    int64_t duration = key->type == KEY_DURATION ? *(const int64_t *)field : 0;
    uint64_t size = key->type == KEY_SIZE ? *(const uint64_t *)field : 0;
    bool unlimited = (key->flags & KEY_UNLIMITED) != 0;
    if (unlimited && (duration == INT64_MAX || size == UINT64_MAX))
        buf_puts(p->out, "unlimited");
    else if (key->type == KEY_DURATION)
        buf_puts(p->out, str_format_duration(duration, text));
    else if (key->type == KEY_SIZE)
        buf_puts(p->out, str_format_size(size, text));
    else if (key->type == KEY_COUNT)
        buf_u64(p->out, *(const uint64_t *)field);
    else
        buf_printf(p->out, "%.15g", *(const double *)field);
    return true;
}

/* A duration without a default has to be given to be one. */
static bool print_duration(struct printer *p, const struct key *key, const void *field)
{
    return (key->standard != NULL || *(const int64_t *)field != 0) && print_number(p, key, field);
}

bool print_value(struct printer *p, const struct key *key, const void *base)
{
    const void *field = (const char *)base + key->offset;
    switch (key->type) {
    case KEY_TEXT:
    case KEY_SECRET:
        return print_optional(p, *(char *const *)field, key->type == KEY_SECRET);
    case KEY_TEXTS:
        return print_texts(p, field);
    case KEY_BOOL:
        buf_puts(p->out, *(const bool *)field ? "true" : "false");
        return true;
    case KEY_CHOICE:
        return print_choice(p, key, *(const unsigned *)field);
    case KEY_MODE:
        buf_printf(p->out, "\"%04o\"", *(const unsigned *)field);
        return true;
    case KEY_CUSTOM:
        return key->custom->print != NULL && key->custom->print(p, key, base);
    case KEY_TABLE:
        return false;
    case KEY_DURATION:
        return print_duration(p, key, field);
    default:
        return print_number(p, key, field);
    }
}

static void print_key(struct printer *p, const struct key *key, const void *base)
{
    struct buf value = BUF_EMPTY, *out = p->out;
    if (key->type == KEY_TABLE) {
        print_indent(p);
        buf_printf(out, "%s:\n", key->name);
        p->indent += 2;
        print_table(p, key->table, (const char *)base + key->offset);
        p->indent -= 2;
        return;
    }
    p->out = &value;
    bool set = print_value(p, key, base);
    p->out = out;
    print_indent(p);
    buf_printf(out, "%s%s:", set ? "" : "# ", key->name);
    if (set) {
        buf_puts(out, value.len > 0 && buf_data(&value)[0] == '\n' ? "" : " ");
        buf_str_put(out, buf_str(&value));
    }
    buf_putc(out, '\n');
    buf_fini(&value);
}

void print_table(struct printer *p, const struct key *table, const void *base)
{
    for (const struct key *k = table; k != NULL && k->name != NULL; k++)
        print_key(p, k, base);
}

/* ---- compare ---- */

bool text_equal(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static bool texts_equal(const struct texts *a, const struct texts *b)
{
    if (a->count != b->count || (a->items == NULL) != (b->items == NULL))
        return false;
    for (size_t i = 0; a->items != NULL && i < a->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    }
    return true;
}

bool key_equal(const struct key *key, const void *a, const void *b)
{
    static const size_t sizes[] = {
        [KEY_BOOL] = sizeof(bool),       [KEY_COUNT] = sizeof(uint64_t),
        [KEY_DURATION] = sizeof(int64_t), [KEY_SIZE] = sizeof(uint64_t),
        [KEY_NUMBER] = sizeof(double),   [KEY_CHOICE] = sizeof(unsigned),
        [KEY_MODE] = sizeof(unsigned),   [KEY_CUSTOM] = 0,
    };
    const char *left = (const char *)a + key->offset, *right = (const char *)b + key->offset;
    switch (key->type) {
    case KEY_TEXT:
    case KEY_SECRET:
        return text_equal(*(char *const *)(const void *)left, *(char *const *)(const void *)right);
    case KEY_TEXTS:
        return texts_equal((const void *)left, (const void *)right);
    case KEY_TABLE:
        return table_equal(key->table, left, right);
    case KEY_CUSTOM:
        return key->custom->equal == NULL || key->custom->equal(a, b);
    default:
        return memcmp(left, right, sizes[key->type]) == 0;
    }
}

bool table_equal(const struct key *table, const void *a, const void *b)
{
    for (const struct key *k = table; k != NULL && k->name != NULL; k++) {
        if (!key_equal(k, a, b))
            return false;
    }
    return true;
}
