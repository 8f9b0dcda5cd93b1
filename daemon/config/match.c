/* `match` of a route: a filter, or an object pattern in its canonical form. */
#include "codec/nest.h"
#include "config/build.h"
#include "route/matcher.h"
#include "wire/json.h"

#define SUBJECT_MAX 1024  /* bytes */
#define PATTERN_NODES 512 /* of an object pattern, before it becomes text */
#define PATTERN_DEPTH 5

static void pattern_put(struct walk *w, const struct node *n, struct buf *out);

static void pattern_scalar(struct walk *w, const struct node *n, struct buf *out)
{
    enum json_type type;
    const char *text = n->text_size == 0 ? "" : walk_open_text(w, n, "match");
    if (text == NULL)
        return;
    /* Plain YAML 42, true and null are what they are in JSON; in quotes they are text. */
    if (n->plain && json_valid(str_of(text), &type, NULL) &&
        (type == JSON_NULL || type == JSON_BOOL || type == JSON_NUMBER))
        buf_puts(out, text);
    else
        json_quote(str_of(text), out);
}

static void pattern_items(struct walk *w, const struct node *n, struct buf *out)
{
    bool map = n->kind == NODE_MAP;
    buf_putc(out, map ? '{' : '[');
    for (const struct node *item = n->first; item != NULL; item = item->next) {
        if (map) {
            json_quote(str_make(item->key, item->key_size), out);
            buf_putc(out, ':');
        }
        pattern_put(w, item, out);
        buf_puts(out, item->next != NULL ? "," : "");
    }
    buf_putc(out, map ? '}' : ']');
}

static void pattern_put(struct walk *w, const struct node *n, struct buf *out)
{
    if (n->kind != NODE_SCALAR)
        pattern_items(w, n, out); /* bounded: PATTERN_DEPTH */
    else if (node_empty(n))
        buf_puts(out, "null");
    else
        pattern_scalar(w, n, out);
}

static bool match_wrong(struct walk *w, const struct node *n, const char *why)
{
    return problem_add(w->errors, n->place, "`match` is not a subject filter or object pattern: %s",
                       why);
}

static bool match_text(struct walk *w, const struct node *n, struct str text)
{
    enum json_type type;
    struct json_error e = {0};
    const char *why = NULL;
    if (text.n > SUBJECT_MAX)
        return match_wrong(w, n, "longer than 1,024 bytes");
    if (!str_starts(text, STR("{")))
        return filter_valid(text, &why) || match_wrong(w, n, why);
    if (!json_valid(text, &type, &e))
        return match_wrong(w, n, e.what != NULL ? e.what : "not JSON");
    return type == JSON_OBJECT || match_wrong(w, n, "not a JSON object");
}

static bool match_object(struct walk *w, const struct node *n, struct buf *text)
{
    size_t errors = w->errors->total;
    if (n->height > PATTERN_DEPTH || n->total > PATTERN_NODES)
        return match_wrong(w, n, "at most 5 levels deep, 20 members an object");
    pattern_put(w, n, text);
    return w->errors->total == errors;
}

static bool match_read(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    struct route_conf *r = base;
    struct buf text = BUF_EMPTY, subject = BUF_EMPTY;
    const char *plain = NULL;
    bool ok = false;
    if (n->kind == NODE_LIST || node_empty(n))
        walk_wrong(w, n, key->name, key->custom->expects);
    else if (n->kind == NODE_MAP)
        ok = match_object(w, n, &text);
    else if ((plain = walk_open_text(w, n, key->name)) != NULL)
        buf_puts(&text, plain);
    ok = (ok || plain != NULL) && match_text(w, n, buf_str(&text));
    if (ok && !nest_subject_text(buf_str(&text), &subject))
        ok = match_wrong(w, n, "at most 1,024 bytes, 5 levels deep, 20 members an object");
    if (ok)
        r->match = arena_str(w->arena, buf_str(&subject));
    buf_fini(&text);
    buf_fini(&subject);
    return ok;
}

static bool match_print(struct printer *p, const struct key *key, const void *base)
{
    const struct route_conf *r = base;
    (void)key;
    if (r->match != NULL)
        print_text(p, r->match);
    return r->match != NULL;
}

static bool match_equal(const void *a, const void *b)
{
    return text_equal(((const struct route_conf *)a)->match, ((const struct route_conf *)b)->match);
}

const struct key_custom custom_match = {
    .expects = "a subject filter such as \"order.*\", or an object pattern such as { cmd: sum }",
    .read = match_read,
    .print = match_print,
    .equal = match_equal,
};
