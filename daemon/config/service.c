/* Services and policies. */
#include "base/map.h"
#include "base/mem.h"
#include "msg/headers.h"
#include "config/build.h"
#include "route/matcher.h"

static void check_filters(struct walk *w, const struct node *map, const char *key,
                          const struct texts *list)
{
    const struct node *n = node_get(map, key);
    const char *why;
    for (size_t i = 0; i < list->count; i++) {
        if (!filter_valid(str_of(list->items[i]), &why))
            problem_add(w->errors, n->place, "`%s`: not a filter: `%s`: %s", key, list->items[i],
                        why);
    }
}

/* Members as they can be written without escapes, at most 8 deep. */
static bool member_valid(struct str path)
{
    for (unsigned depth = 0; path.p != NULL; depth++) {
        struct str name = str_cut(&path, '.');
        if (name.n == 0 || depth == 8)
            return false;
        for (size_t i = 0; i < name.n; i++) {
            if (name.p[i] < 0x20 || name.p[i] > 0x7e || name.p[i] == '"' || name.p[i] == '\\')
                return false;
        }
    }
    return true;
}

static bool order_valid(struct str by)
{
    struct str kind = str_cut(&by, ':');
    if (by.p == NULL)
        return false;
    return str_is(kind, "header") ? header_name_valid(by) : str_is(kind, "json") && member_valid(by);
}

static void build_service(struct walk *w, const struct node *n, struct service_conf *s)
{
    const struct node *order;
    s->place = n->key_place;
    s->name = (char *)(uintptr_t)build_name(w, &w->config->index->services, n, s);
    if (map_get(&w->config->index->endpoints, str_of(n->key)) != NULL ||
        strcmp(n->key, "local") == 0)
        problem_add(w->errors, n->key_place,
                    "`%s` is %s already: a route could not tell them apart",
                    n->key, strcmp(n->key, "local") == 0 ? "a word of routes" : "an endpoint");
    walk_table(w, n, config_service_keys, s);
    s->has_publish = s->publish.items != NULL;
    s->has_subscribe = s->subscribe.items != NULL;
    check_filters(w, n, "publish", &s->publish);
    check_filters(w, n, "subscribe", &s->subscribe);
    order = n->kind == NODE_MAP ? node_get(n, "order_by") : NULL;
    if (s->order_by != NULL && !order_valid(str_of(s->order_by)))
        walk_wrong(w, order, "order_by", "`header:` and the name of a header, or `json:` and a member of the body "
                   "(`json:order.customer`)");
}

static void read_open(struct walk *w, const struct node *n)
{
    static const struct key table[] = {
        {"open", KEY_BOOL, 0, "false", .help = "any name may attach"}, {.name = NULL}};
    struct node map = {.kind = NODE_MAP, .place = n->place, .count = 1}, copy = *n;
    copy.next = NULL;
    map.first = &copy;
    walk_table(w, &map, table, &w->config->services_open);
}

void build_services(struct walk *w, const struct node *n)
{
    struct config *c = w->config;
    c->services_open = n == NULL;
    if (n == NULL || !build_section(w, n, "services"))
        return;
    c->services = arena_alloc(w->arena, n->count * sizeof(*c->services));
    for (const struct node *item = n->first; item != NULL; item = item->next) {
        if (strcmp(item->key, "open") == 0 && item->kind == NODE_SCALAR)
            read_open(w, item);
        else
            build_service(w, item, &c->services[c->service_count++]);
    }
}

/* ---- policies ---- */

static bool dead_letter_to(struct walk *w, const struct node *n, struct policy_conf *p)
{
    const struct node *to = node_get(n, "to");
    if (to == NULL || n->count != 1)
        return walk_wrong(w, n, "dead_letter", custom_dead_letter.expects);
    p->dead_letter = true;
    p->dead_letter_to = arena_alloc(w->arena, sizeof(*p->dead_letter_to));
    return target_read(w, to, &(struct wildcards){0, "a dead letter has"}, p->dead_letter_to);
}

static bool dead_letter_read(struct walk *w, const struct key *key, const struct node *n,
                             void *base)
{
    struct policy_conf *p = base;
    if (n->kind == NODE_MAP)
        return dead_letter_to(w, n, p);
    bool scalar = n->kind == NODE_SCALAR && !node_empty(n);
    const char *text = scalar ? walk_open_text(w, n, key->name) : "";
    if (text == NULL)
        return false;
    p->dead_letter = strcmp(text, "true") == 0;
    return p->dead_letter || strcmp(text, "false") == 0 ||
           walk_wrong(w, n, key->name, key->custom->expects);
}

static bool dead_letter_print(struct printer *p, const struct key *key, const void *base)
{
    const struct policy_conf *policy = base;
    (void)key;
    if (policy->dead_letter_to == NULL) {
        buf_puts(p->out, policy->dead_letter ? "true" : "false");
        return true;
    }
    buf_puts(p->out, "{ to: ");
    target_print(p, policy->dead_letter_to);
    buf_puts(p->out, " }");
    return true;
}

static bool dead_letter_equal(const void *a, const void *b)
{
    const struct policy_conf *left = a, *right = b;
    const struct target_conf *l = left->dead_letter_to, *r = right->dead_letter_to;
    if (left->dead_letter != right->dead_letter || (l == NULL) != (r == NULL))
        return false;
    return l == NULL || target_equal(l, r);
}

const struct key_custom custom_dead_letter = {
    .expects = "true, false or {to: TARGET}",
    .read = dead_letter_read,
    .print = dead_letter_print,
    .equal = dead_letter_equal,
};

static void build_policy(struct walk *w, const struct node *n, struct policy_conf *p)
{
    p->place = n->key_place;
    p->name = (char *)(uintptr_t)build_name(w, &w->config->index->policies, n, p);
    if (walk_table(w, n, config_policy_keys, p) && p->retry.max_delay_ms < p->retry.delay_ms)
        problem_add(w->errors, n->key_place,
                    "policy `%s`: retry.max_delay is shorter than retry.delay",
                    n->key);
}

void build_policies(struct walk *w, const struct node *n)
{
    struct config *c = w->config;
    bool given = build_section(w, n, "policies");
    size_t room = (given ? n->count : 0) + 1;
    c->policies = arena_alloc(w->arena, room * sizeof(*c->policies));
    if (!given || node_get(n, "default") == NULL) {
        struct policy_conf *p = &c->policies[c->policy_count++];
        p->name = arena_str(w->arena, STR("default"));
        walk_defaults(w, config_policy_keys, p);
        map_set(&c->index->policies, STR("default"), p);
    }
    for (const struct node *item = given ? n->first : NULL; item != NULL; item = item->next)
        build_policy(w, item, &c->policies[c->policy_count++]);
}
