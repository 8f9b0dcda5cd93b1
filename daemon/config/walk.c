#include "config/walk.h"

#include <inttypes.h>
#include <stdlib.h>

#include "config/expand.h"

#define SHOWN_MAX 60

bool walk_name_valid(const char *name)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n <= 64 && strspn(name, legal) == n;
}

void suggest_try(struct suggest *s, const char *candidate)
{
    unsigned limit = s->word.n < 3 ? (unsigned)s->word.n / 2 : 2;
    unsigned d = str_distance(s->word, str_of(candidate), limit);
    if (d > limit || (s->best != NULL && d >= s->distance))
        return;
    s->best = candidate;
    s->distance = d;
}

void suggest_end(const struct suggest *s, struct buf *out)
{
    if (s->best != NULL)
        buf_printf(out, "; did you mean `%s`?", s->best);
}

static void found_put(const struct node *n, struct buf *out)
{
    size_t shown = n->text_size < SHOWN_MAX ? n->text_size : SHOWN_MAX;
    if (n->kind != NODE_SCALAR)
        buf_puts(out, n->kind == NODE_MAP ? "a mapping" : "a list");
    else if (node_empty(n))
        buf_puts(out, "nothing");
    else if (n->text_size == 0)
        buf_puts(out, "an empty text");
    else if (!str_printable(node_text(n)))
        buf_puts(out, "text with control characters");
    else /* cut between characters */
        for (; shown < n->text_size && shown > 0 && (n->text[shown] & 0xC0) == 0x80; shown--)
            ;
    if (out->len > 0)
        return;
    buf_printf(out, "`%.*s%s`", (int)shown, n->text, shown < n->text_size ? "..." : "");
}

bool walk_wrong(struct walk *w, const struct node *n, const char *key, const char *expects)
{
    struct buf found = BUF_EMPTY;
    found_put(n, &found);
    problem_add(w->errors, n->place, "`%s` must be %s; found %s", key, expects, buf_cstr(&found));
    buf_fini(&found);
    return false;
}

static const char *text_expand(struct walk *w, const struct node *n, const char *key, bool *secret)
{
    struct buf text = BUF_EMPTY, why = BUF_EMPTY;
    const char *copy = NULL;
    if (expand(node_text(n), false, &text, secret, &why))
        copy = arena_str(w->arena, buf_str(&text));
    else
        problem_add(w->errors, n->place, "`%s`: %s", key, buf_cstr(&why));
    buf_wipe(&text);
    buf_fini(&why);
    return copy;
}

static bool lines_printable(struct str text)
{
    while (text.p != NULL) {
        struct str line = str_cut(&text, '\n');
        while (line.p != NULL) {
            if (!str_printable(str_cut(&line, '\t')))
                return false;
        }
    }
    return true;
}

static const char *text_read(struct walk *w, const struct node *n, const char *key, bool *secret, bool lines)
{
    const char *text;
    bool from_file = false;
    if (n->kind != NODE_SCALAR || node_empty(n)) {
        walk_wrong(w, n, key, "text");
        return NULL;
    }
    text = memchr(n->text, '$', n->text_size) != NULL
               ? text_expand(w, n, key, &from_file)
               : arena_str(w->arena, node_text(n));
    if (text == NULL)
        return NULL;
    if (*text == '\0' || !(lines ? lines_printable(str_of(text)) : str_printable(str_of(text)))) {
        problem_add(w->errors, n->place, "`%s` must be text without control characters%s; found %s", key,
                    lines ? " other than line ends and tabs" : "", *text == '\0' ? "an empty text" : "some");
        return NULL;
    }
    *secret |= from_file;
    return text;
}

const char *walk_text(struct walk *w, const struct node *n, const char *key, bool *secret)
{
    return text_read(w, n, key, secret, false);
}

static const char *open_read(struct walk *w, const struct node *n, const char *key, bool lines)
{
    bool secret = false;
    const char *text = text_read(w, n, key, &secret, lines);
    if (!secret)
        return text;
    problem_add(w->errors, n->place, "`%s` cannot come from `${file:…}`: it is no secret", key);
    return NULL;
}

const char *walk_open_text(struct walk *w, const struct node *n, const char *key)
{
    return open_read(w, n, key, false);
}

const char *walk_lines(struct walk *w, const struct node *n, const char *key)
{
    return open_read(w, n, key, true);
}

const char *walk_name(struct walk *w, const struct node *n, const char *key)
{
    const char *text = walk_open_text(w, n, key);
    if (text == NULL || walk_name_valid(text))
        return text;
    walk_wrong(w, n, key, "a name (" WALK_NAME_RULE ")");
    return NULL;
}

/* ---- one value by its type ---- */

static bool in_range(const struct key *key, double value)
{
    return (key->min == 0 && key->max == 0) ||
           (value >= key->min && (key->max == 0 || value <= key->max));
}

static bool to_text(struct walk *w, const struct key *key, const struct node *n, void *field)
{
    bool from_file = false;
    const char *text = key->type == KEY_SECRET ? walk_text(w, n, key->name, &from_file)
                                               : walk_open_text(w, n, key->name);
    if (text != NULL && key->max > 0 && (double)strlen(text) > key->max)
        return problem_add(w->errors, n->place, "`%s` must be text of at most %.0f bytes",
                           key->name,
                           key->max);
    *(char **)field = (char *)(uintptr_t)text;
    return text != NULL;
}

static bool to_bool(const char *text, const struct key *key, void *field)
{
    (void)key;
    *(bool *)field = strcmp(text, "true") == 0;
    return *(bool *)field || strcmp(text, "false") == 0;
}

static bool to_count(const char *text, const struct key *key, void *field)
{
    uint64_t value;
    if (!str_parse_u64(str_of(text), &value) || !in_range(key, (double)value))
        return false;
    *(uint64_t *)field = value;
    return true;
}

static bool is_unlimited(const char *text, const struct key *key)
{
    return (key->flags & KEY_UNLIMITED) != 0 && strcmp(text, "unlimited") == 0;
}

static bool to_duration(const char *text, const struct key *key, void *field)
{
    int64_t value = INT64_MAX;
    if (!is_unlimited(text, key) &&
        (!str_parse_duration(str_of(text), &value) || !in_range(key, (double)value)))
        return false;
    *(int64_t *)field = value;
    return true;
}

static bool to_size(const char *text, const struct key *key, void *field)
{
    uint64_t value = UINT64_MAX;
    if (!is_unlimited(text, key) &&
        (!str_parse_size(str_of(text), &value) || !in_range(key, (double)value)))
        return false;
    *(uint64_t *)field = value;
    return true;
}

static bool to_number(const char *text, const struct key *key, void *field)
{
    char *end;
    if (strspn(text, "0123456789.") != strlen(text) || *text == '.')
        return false;
    double value = strtod(text, &end);
    if (*end != '\0' || !in_range(key, value))
        return false;
    *(double *)field = value;
    return true;
}

static bool to_choice(const char *text, const struct key *key, void *field)
{
    for (unsigned i = 0; key->choices[i] != NULL; i++) {
        if (*text == '\0' || strcmp(key->choices[i], text) != 0)
            continue;
        *(unsigned *)field = i;
        return true;
    }
    return false;
}

static bool to_mode(const char *text, const struct key *key, void *field)
{
    (void)key;
    size_t n = strlen(text);
    if (n != strspn(text, "01234567") || n < 3 || n > 4 || (n == 4 && *text != '0'))
        return false;
    *(unsigned *)field = (unsigned)strtoul(text, NULL, 8);
    return true;
}

static bool to_texts(struct walk *w, const struct key *key, const struct node *n, void *field)
{
    struct texts *list = field;
    bool one = n->kind == NODE_SCALAR, ok = true;
    size_t count = one ? 1 : n->count;
    if (n->kind == NODE_MAP || node_empty(n))
        return walk_wrong(w, n, key->name, "a list of texts");
    if (count == 0 && (key->flags & KEY_FILLED) != 0)
        return problem_add(w->errors, n->place, "`%s` must be a list of texts; found an empty list: leave it out "
                           "where anyone may", key->name);
    list->items = arena_alloc(w->arena, (count + 1) * sizeof(*list->items));
    const struct node *item = one ? n : n->first;
    for (size_t i = 0; i < count; i++, item = item->next) {
        const char *text = walk_open_text(w, item, key->name);
        ok &= text != NULL;
        if (text != NULL)
            list->items[list->count++] = (char *)(uintptr_t)text;
    }
    return ok;
}

static bool (*const parsers[])(const char *, const struct key *, void *) = {
    [KEY_BOOL] = to_bool,     [KEY_COUNT] = to_count,   [KEY_DURATION] = to_duration,
    [KEY_SIZE] = to_size,     [KEY_NUMBER] = to_number, [KEY_CHOICE] = to_choice,
    [KEY_MODE] = to_mode,     [KEY_CUSTOM] = NULL,
};

static bool value_wrong(struct walk *w, const struct key *key, const struct node *n)
{
    struct buf expects = BUF_EMPTY;
    key_expects(key, &expects);
    walk_wrong(w, n, key->name, buf_cstr(&expects));
    buf_fini(&expects);
    return false;
}

static bool to_parsed(struct walk *w, const struct key *key, const struct node *n, void *field)
{
    if (n->kind != NODE_SCALAR || node_empty(n))
        return value_wrong(w, key, n);
    const char *text = walk_open_text(w, n, key->name);
    if (text == NULL)
        return false;
    return parsers[key->type](text, key, field) || value_wrong(w, key, n);
}

static bool walk_value(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    void *field = (char *)base + key->offset;
    switch (key->type) {
    case KEY_TEXT:
    case KEY_SECRET:
        return to_text(w, key, n, field);
    case KEY_TEXTS:
        return to_texts(w, key, n, field);
    case KEY_TABLE:
        return walk_table(w, n, key->table, field);
    case KEY_CUSTOM:
        return key->custom->read(w, key, n, base);
    default:
        return to_parsed(w, key, n, field);
    }
}

/* ---- mappings ---- */

static const struct key *parts_find(const struct part *parts, size_t count, const char *name,
                                    void **base)
{
    for (size_t i = 0; i < count; i++) {
        for (const struct key *k = parts[i].table; k != NULL && k->name != NULL; k++) {
            *base = parts[i].base;
            if (strcmp(k->name, name) == 0)
                return k;
        }
    }
    return NULL;
}

static void unknown_key(struct walk *w, const struct node *n, const struct part *parts,
                        size_t count)
{
    struct suggest s = {.word = str_make(n->key, n->key_size)};
    struct buf text = BUF_EMPTY;
    for (size_t i = 0; i < count; i++) {
        for (const struct key *k = parts[i].table; k != NULL && k->name != NULL; k++)
            suggest_try(&s, k->name);
    }
    suggest_end(&s, &text);
    buf_puts(&text, s.best != NULL ? " Allowed:" : "; allowed:");
    for (size_t i = 0; i < count; i++) {
        for (const struct key *k = parts[i].table; k != NULL && k->name != NULL; k++)
            buf_printf(&text, " %s", k->name);
    }
    bool shown = n->key_size <= SHOWN_MAX && str_printable(s.word);
    problem_add(w->errors, n->key_place, "unknown key `%s`%s", shown ? n->key : "...",
                buf_cstr(&text));
    buf_fini(&text);
}

static void default_set(struct walk *w, const struct key *key, void *base)
{
    struct node n = {.text = key->standard, .place = {0, 0}, .total = 1};
    if (key->type == KEY_TABLE) {
        walk_defaults(w, key->table, (char *)base + key->offset);
    } else if (key->standard != NULL) {
        n.text_size = (uint32_t)strlen(key->standard);
        walk_value(w, key, &n, base);
    }
}

void walk_defaults(struct walk *w, const struct key *table, void *base)
{
    for (const struct key *k = table; k != NULL && k->name != NULL; k++)
        default_set(w, k, base);
}

static bool part_complete(struct walk *w, const struct node *n, const struct part *part)
{
    bool ok = true;
    for (const struct key *k = part->table; k != NULL && k->name != NULL; k++) {
        if (node_get(n, k->name) != NULL)
            continue;
        if ((k->flags & KEY_REQUIRED) != 0)
            ok = problem_add(w->errors, n->place, "the key `%s` is missing", k->name);
        default_set(w, k, part->base);
    }
    return ok;
}

bool walk_map(struct walk *w, const struct node *n, const struct part *parts, size_t count,
              bool lenient)
{
    struct node nothing = {.kind = NODE_MAP, .place = n->place};
    bool ok = true;
    if (node_empty(n))
        n = &nothing;
    if (n->kind != NODE_MAP)
        return walk_wrong(w, n, n->key != NULL ? n->key : "it", "a mapping (`key: value`)");
    for (const struct node *child = n->first; child != NULL; child = child->next) {
        void *base;
        const struct key *key = parts_find(parts, count, child->key, &base);
        if (key != NULL)
            ok &= walk_value(w, key, child, base);
        else if (!lenient)
            unknown_key(w, child, parts, count);
        ok &= key != NULL || lenient;
    }
    for (size_t i = 0; i < count; i++)
        ok &= part_complete(w, n, &parts[i]);
    return ok;
}

bool walk_table(struct walk *w, const struct node *n, const struct key *table, void *base)
{
    struct part part = {table, base};
    return walk_map(w, n, &part, 1, false);
}
