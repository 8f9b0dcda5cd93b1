/* `to` of a route: its list of targets. */
#include "base/map.h"
#include "config/build.h"
#include "route/matcher.h"

#define CAPTURES_MAX 9
#define TARGETS_MAX 1000

/* Of a route without `match`: what its source selects by. */
static struct wildcards source_wildcards(struct walk *w, struct route_conf *r)
{
    const struct config_transport *t = r->from_transport;
    struct wildcards may = {1, "without a `match` the source has"}; /* all of the subject */
    struct buf filter = BUF_EMPTY;
    if (r->from_extra == NULL || t->source_filter == NULL)
        return may;
    bool told = t->source_filter(r->from_extra, &filter) && (filter.len == 0 || filter_valid(buf_str(&filter), NULL));
    size_t count = told && filter.len > 0 ? filter_wildcards(buf_str(&filter)) : 0;
    if (!told)
        may = (struct wildcards){0, 
            "its source's own wildcards cannot be told apart, a `match` could name them; so there are"};
    else if (count > 0)
        may.count = count;
    if (count > 0)
        r->filter = arena_str(w->arena, buf_str(&filter));
    buf_fini(&filter);
    return may;
}

static struct wildcards route_wildcards(struct walk *w, const struct node *n, struct route_conf *r)
{
    if (r->match == NULL && node_get(n, "match") != NULL)
        return (struct wildcards){CAPTURES_MAX, ""}; /* reported already */
    if (r->match == NULL)
        return source_wildcards(w, r);
    return (struct wildcards){*r->match == '{' ? 0 : filter_wildcards(str_of(r->match)), "`match` has"};
}

static bool to_read(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    (void)w;
    (void)key;
    (void)n;
    (void)base;
    return true; /* build_targets() does it: the wildcards of `match` must be known */
}

/* ---- the same one twice ---- */

/* The template that comes to the message's own subject. */
static void own_template(const struct route_conf *r, struct buf *out)
{
    const char *match = r->match != NULL ? r->match : ">";
    int wildcards = 0;
    if (r->filter != NULL) { /* {1} is of the source's own wildcards, which need not be in the subject */
        buf_putc(out, '\n');
        return;
    }
    for (const char *p = match; *p != '\0'; p++) {
        if (*match != '{' && (*p == '*' || *p == '>'))
            buf_printf(out, "{%d}", ++wildcards);
        else
            buf_putc(out, *p);
    }
}

/* What is the same of two targets that are the same. */
static void target_text(const struct walk *w, const struct route_conf *r, const struct target_conf *t, struct buf *out)
{
    struct printer p = {.out = out, .reveal = true};
    const struct endpoint_conf *e = t->service ? NULL : config_endpoint(w->config, t->name);
    buf_puts(out, t->name);
    print_codec(&p, t->codec == CODEC_UNSET && e != NULL ? e->codec : t->codec);
    if (t->extra != NULL)
        print_flow(&p, t->transport->target_keys, t->extra);
    buf_putc(out, '\n');
    if (t->subject != NULL)
        buf_puts(out, t->subject);
    else
        own_template(r, out);
}

/* `a/b` matches `a.*` too, and differs from `a.{1}`: then the two are not the same after all. */
static bool same_always(const struct route_conf *r, const struct target_conf *a, const struct target_conf *b)
{
    return (a->subject == NULL) == (b->subject == NULL) || r->match == NULL || *r->match == '{' ||
           strpbrk(r->match, "./") == NULL;
}

static void check_twice(struct walk *w, const struct route_conf *r)
{
    struct map seen = {0};
    struct buf text = BUF_EMPTY;
    for (size_t i = 0; i < r->to_count; i++) {
        struct target_conf *t = &r->to[i];
        buf_clear(&text);
        target_text(w, r, t, &text);
        const struct target_conf *first = map_get(&seen, buf_str(&text));
        if (first == NULL)
            map_set(&seen, buf_str(&text), t);
        else if (same_always(r, first, t))
            problem_add(w->errors, t->place, "`%s` is the same target as on line %u, column %u: each message would go there "
                        "twice", t->name, first->place.line, first->place.column);
        else
            problem_add(w->warnings, t->place, "`%s` is the same target as on line %u, column %u, unless a subject has other "
                        "separators than `match`: each message goes there twice", t->name, first->place.line,
                        first->place.column);
    }
    buf_fini(&text);
    map_fini(&seen);
}

bool build_targets(struct walk *w, const struct node *route, struct route_conf *r)
{
    const struct node *n = node_get(route, "to");
    bool list = n->kind == NODE_LIST, ok = true;
    size_t count = list ? n->count : 1;
    struct wildcards may = route_wildcards(w, route, r);
    const struct node *item = list ? n->first : n;
    if (count == 0 && r->log.name != NULL)
        return true; /* for the log alone */
    if (count == 0 || count > TARGETS_MAX)
        return problem_add(w->errors, n->place, "`to` must name 1 to %d targets; found %zu",
                           TARGETS_MAX, count);
    r->to = arena_alloc(w->arena, count * sizeof(*r->to));
    for (; r->to_count < count; item = item->next)
        ok &= target_read(w, item, &may, &r->to[r->to_count++]);
    if (ok && count > 1)
        check_twice(w, r);
    return ok;
}

static bool to_print(struct printer *p, const struct key *key, const void *base)
{
    const struct route_conf *r = base;
    (void)key;
    buf_puts(p->out, r->to_count != 1 ? "[" : "");
    for (size_t i = 0; i < r->to_count; i++) {
        buf_puts(p->out, i > 0 ? ", " : "");
        target_print(p, &r->to[i]);
    }
    buf_puts(p->out, r->to_count != 1 ? "]" : "");
    return true;
}

static bool to_equal(const void *a, const void *b)
{
    const struct route_conf *l = a, *r = b;
    if (l->to_count != r->to_count)
        return false;
    for (size_t i = 0; i < l->to_count; i++) {
        if (!target_equal(&l->to[i], &r->to[i]))
            return false;
    }
    return true;
}

const struct key_custom custom_to = {
    .expects = "the name of a service or endpoint, { endpoint: NAME, subject: TEXT }, or a list of them",
    .read = to_read,
    .print = to_print,
    .equal = to_equal,
};
