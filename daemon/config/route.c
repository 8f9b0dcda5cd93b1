/* Routes: where they come from, how copies are told, and the whole of each. `match` and `to` have files of their own. */
#include "base/map.h"
#include "base/mem.h"
#include "config/build.h"
#include "msg/headers.h"

/* ---- from ---- */

static const struct config_transport *from_transport(const struct walk *w,
                                                     const struct route_conf *r)
{
    const struct endpoint_conf *e = config_endpoint(w->config, r->from);
    return e != NULL ? e->transport : NULL;
}

static bool from_check(struct walk *w, const struct node *n, const char *name, bool *lenient)
{
    const struct endpoint_conf *e = config_endpoint(w->config, name);
    struct buf hint = BUF_EMPTY;
    bool ok = true;
    if (e == NULL) {
        suggest_name(name, &w->config->index->endpoints, NULL, &hint);
        ok = problem_add(w->errors, n->place, "there is no endpoint `%s`%s", name,
                         hint.len > 0 ? buf_cstr(&hint) : "; local services are `local`");
    } else if (e->transport != NULL && !e->listen && e->transport->source_keys == NULL) {
        ok = problem_add(w->errors, n->place,
                         "nothing comes from `%s`: it connects, and `%s` peers send only replies",
                         name, e->url.scheme);
    }
    *lenient = e == NULL || e->transport == NULL;
    buf_fini(&hint);
    return ok;
}

static bool from_map(struct walk *w, const struct node *n, struct route_conf *r)
{
    struct part parts[] = {{config_source_keys, r}, {NULL, NULL}};
    const struct node *endpoint = node_get(n, "endpoint");
    bool lenient = true, ok = false;
    if (endpoint == NULL)
        return problem_add(w->errors, n->place, "`from` needs the key `endpoint`");
    const char *name = walk_name(w, endpoint, "endpoint");
    if (name != NULL) {
        r->from = (char *)(uintptr_t)name;
        ok = from_check(w, endpoint, name, &lenient);
    }
    const struct config_transport *t = name != NULL ? from_transport(w, r) : NULL;
    r->from_transport = t;
    if (t != NULL && t->source_keys != NULL) {
        r->from_extra = arena_alloc(w->arena, t->source_size);
        parts[1] = (struct part){t->source_keys, r->from_extra};
    }
    ok &= walk_map(w, n, parts, 2, lenient);
    const struct side side = {r->from_codec, name != NULL ? config_endpoint(w->config, name) : NULL, r->from_extra,
                              t != NULL ? t->source_codecs : NULL};
    check_side_codec(w, n, &side);
    return ok;
}

/* `from: rabbit` where the broker's own keys have defaults, or lack what is required. */
static bool from_name(struct walk *w, const struct node *n, struct route_conf *r)
{
    bool lenient;
    const char *name = walk_name(w, n, "from");
    if (name == NULL)
        return false;
    r->from = (char *)(uintptr_t)name;
    if (strcmp(name, "local") == 0)
        return true;
    if (!from_check(w, n, name, &lenient))
        return false;
    const struct config_transport *t = from_transport(w, r);
    r->from_transport = t;
    if (t == NULL || t->source_keys == NULL)
        return true;
    const struct node nothing = {.kind = NODE_MAP, .place = n->place};
    r->from_extra = arena_alloc(w->arena, t->source_size);
    return walk_table(w, &nothing, t->source_keys, r->from_extra);
}

static void source_text(struct walk *w, struct route_conf *r)
{
    struct buf text = BUF_EMPTY;
    struct printer p = {.out = &text, .reveal = true};
    buf_puts(&text, r->from);
    print_codec(&p, r->from_codec);
    if (r->from_transport != NULL && r->from_extra != NULL)
        print_flow(&p, r->from_transport->source_keys, r->from_extra);
    r->source = arena_str(w->arena, buf_str(&text));
    buf_fini(&text);
}

static bool from_whole(struct walk *w, const struct node *n, struct route_conf *r)
{
    const struct config_transport *t = r->from_transport;
    const char *why = t != NULL && t->check_source != NULL ? t->check_source(r->from_extra) : NULL;
    if (why != NULL)
        return problem_add(w->errors, n->place, "`from`: %s", why);
    source_text(w, r);
    return true;
}

static bool from_read(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    bool map = n->kind == NODE_MAP;
    if (!map && (n->kind != NODE_SCALAR || node_empty(n)))
        return walk_wrong(w, n, key->name, key->custom->expects);
    return (map ? from_map(w, n, base) : from_name(w, n, base)) && from_whole(w, n, base);
}

static bool from_print(struct printer *p, const struct key *key, const void *base)
{
    const struct route_conf *r = base;
    (void)key;
    if (r->from_extra == NULL && r->from_codec == CODEC_UNSET) {
        print_text(p, r->from);
        return true;
    }
    buf_puts(p->out, "{ endpoint: ");
    print_text(p, r->from);
    print_codec(p, r->from_codec);
    if (r->from_extra != NULL)
        print_flow(p, r->from_transport->source_keys, r->from_extra);
    buf_puts(p->out, " }");
    return true;
}

static bool from_equal(const void *a, const void *b)
{
    const struct route_conf *l = a, *r = b;
    if (!text_equal(l->from, r->from) || l->from_codec != r->from_codec ||
        l->from_transport != r->from_transport || (l->from_extra == NULL) != (r->from_extra == NULL))
        return false;
    return l->from_extra == NULL ||
           table_equal(l->from_transport->source_keys, l->from_extra, r->from_extra);
}

const struct key_custom custom_from = {
    .expects = "`local`, the name of an endpoint, or { endpoint: NAME }",
    .read = from_read,
    .print = from_print,
    .equal = from_equal,
};

/* ---- dedupe ---- */

static bool dedupe_read(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    struct route_conf *r = base;
    (void)key;
    if (!walk_table(w, n, config_dedupe_keys, &r->dedupe))
        return false;
    const char *header = dedupe_header(&r->dedupe);
    return (header != NULL ? header_name_valid(str_of(header)) : strcmp(r->dedupe.by, "id") == 0) ||
           walk_wrong(w, node_get(n, "by"), "by", "id, or `header:` and the name of a header");
}

static bool dedupe_print(struct printer *p, const struct key *key, const void *base)
{
    const struct route_conf *r = base;
    char window[32];
    (void)key;
    if (r->dedupe.by == NULL)
        return false;
    buf_puts(p->out, "{ by: ");
    print_text(p, r->dedupe.by);
    buf_printf(p->out, ", window: %s }", str_format_duration(r->dedupe.window_ms, window));
    return true;
}

static bool dedupe_equal(const void *a, const void *b)
{
    const struct route_conf *l = a, *r = b;
    return text_equal(l->dedupe.by, r->dedupe.by) && l->dedupe.window_ms == r->dedupe.window_ms;
}

const struct key_custom custom_dedupe = {
    .expects = "a mapping",
    .read = dedupe_read,
    .print = dedupe_print,
    .equal = dedupe_equal,
};

/* ---- routes ---- */

static void route_name(struct walk *w, const struct node *n, struct route_conf *r, size_t number)
{
    const struct node *given = node_get(n, "name");
    struct map *index = &w->config->index->routes;
    if (given == NULL) {
        struct buf text = BUF_EMPTY;
        buf_printf(&text, "%s#%zu", r->from != NULL ? r->from : "", number);
        r->name = arena_str(w->arena, buf_str(&text));
        buf_fini(&text);
    } else if (r->name == NULL) {
        return;
    } else if (!walk_name_valid(r->name)) {
        walk_wrong(w, given, "name", "a name (" WALK_NAME_RULE ")");
    } else if (map_get(index, str_of(r->name)) != NULL) {
        const struct route_conf *first = map_get(index, str_of(r->name));
        problem_add(w->errors, given->place, "a route named `%s` stands on line %u already",
                    r->name,
                    first->place.line);
        return;
    }
    map_set(index, str_of(r->name), r);
}

static void route_policy(struct walk *w, const struct node *n, const struct route_conf *r)
{
    const struct node *at = node_get(n, "policy");
    struct buf hint = BUF_EMPTY;
    if (at == NULL || r->policy == NULL || config_policy(w->config, r->policy) != NULL)
        return;
    suggest_name(r->policy, &w->config->index->policies, NULL, &hint);
    problem_add(w->errors, at->place, "there is no policy `%s`%s", r->policy, buf_cstr(&hint));
    buf_fini(&hint);
}

static void build_route(struct walk *w, const struct node *n, struct route_conf *r)
{
    r->place = n->place;
    if (n->kind != NODE_MAP) {
        walk_wrong(w, n, "routes", "a list of mappings with `from` and `to`");
        return;
    }
    walk_table(w, n, config_route_keys, r);
    route_name(w, n, r, (size_t)(r - w->config->routes) + 1);
    route_policy(w, n, r);
    if (r->dedupe.by != NULL && !r->durable)
        problem_add(w->errors, node_get(n, "dedupe")->place,
                    "`dedupe` needs `durable: true`: what came is recorded with the message");
    if (node_get(n, "to") != NULL)
        build_targets(w, n, r);
    else if (node_get(n, "log") == NULL)
        problem_add(w->errors, n->place, "the key `to` is missing");
}

/* Backwards, for each is put in front. */
static void list_sources(struct config *c)
{
    struct map first = {0};
    for (size_t i = 0; i < c->route_count; i++) {
        struct route_conf *r = &c->routes[i];
        if (r->source != NULL && map_get(&first, str_of(r->source)) == NULL)
            map_set(&first, str_of(r->source), r);
    }
    for (size_t i = c->route_count; i > 0; i--) {
        struct route_conf *r = &c->routes[i - 1];
        struct endpoint_conf *e = r->source != NULL ? map_get(&c->index->endpoints, str_of(r->from)) : NULL;
        if (e == NULL || map_get(&first, str_of(r->source)) != r)
            continue;
        r->next_source = e->sources;
        e->sources = r;
    }
    map_fini(&first);
}

void build_routes(struct walk *w, const struct node *n)
{
    struct config *c = w->config;
    if (n == NULL || node_empty(n))
        return;
    if (n->kind != NODE_LIST) {
        walk_wrong(w, n, "routes", "a list of routes (`- from: …`)");
        return;
    }
    c->routes = arena_alloc(w->arena, n->count * sizeof(*c->routes));
    for (const struct node *item = n->first; item != NULL; item = item->next)
        build_route(w, item, &c->routes[c->route_count++]);
    list_sources(c);
}

bool route_conf_equal(const struct route_conf *a, const struct route_conf *b)
{
    return table_equal(config_route_keys, a, b);
}
