#include <assert.h>

#include "base/map.h"
#include "base/mem.h"
#include "config/build.h"

struct differ {
    struct texts *lines;
    const struct config *before, *after;
};

static void line_add(struct differ *d, const char *what, const char *name, const char *how)
{
    struct buf line = BUF_EMPTY;
    buf_printf(&line, "%s %s: %s", what, name, how);
    texts_add(d->lines, buf_steal(&line));
}

/* ---- single values ---- */

static void value_put(struct buf *out, const struct key *key, const void *base)
{
    struct printer p = {.out = out};
    if (!print_value(&p, key, base))
        buf_puts(out, "(not set)");
}

static void value_diff(struct differ *d, const char *prefix, const struct key *key,
                       const void *const bases[2])
{
    struct buf line = BUF_EMPTY;
    buf_printf(&line, "%s%s: ", prefix, key->name);
    value_put(&line, key, bases[0]);
    buf_puts(&line, " -> ");
    value_put(&line, key, bases[1]);
    buf_puts(&line, (key->flags & KEY_RESTART) != 0 ? " (needs a restart)" : "");
    texts_add(d->lines, buf_steal(&line));
}

static void table_diff(struct differ *d, const char *prefix, const struct key *table,
                       const void *const bases[2])
{
    for (const struct key *k = table; k->name != NULL; k++) {
        if (key_equal(k, bases[0], bases[1]))
            continue;
        if (k->type != KEY_TABLE) {
            value_diff(d, prefix, k, bases);
            continue;
        }
        const void *inner[2] = {(const char *)bases[0] + k->offset,
                                (const char *)bases[1] + k->offset};
        struct buf deeper = BUF_EMPTY;
        buf_printf(&deeper, "%s%s.", prefix, k->name);
        table_diff(d, buf_cstr(&deeper), k->table, inner);
        buf_fini(&deeper);
    }
}

/* ---- named things ---- */

struct section { /* how to walk one: all its structs begin with `char *name` */
    const char *what;
    size_t size, items_at, count_at, index_at;
    bool (*equal)(const void *a, const void *b);
};

static bool tls_same(const void *a, const void *b)
{
    return tls_conf_equal(a, b);
}

static bool policy_same(const void *a, const void *b)
{
    return table_equal(config_policy_keys, a, b);
}

static bool service_same(const void *a, const void *b)
{
    return table_equal(config_service_keys, a, b);
}

static bool endpoint_same(const void *a, const void *b)
{
    return endpoint_conf_equal(a, b);
}

static bool route_same(const void *a, const void *b)
{
    return route_conf_equal(a, b);
}

static bool schedule_same(const void *a, const void *b)
{
    return schedule_conf_equal(a, b);
}

#define SECTION(word, type, items, count, same)                                                    \
    {word, sizeof(struct type), offsetof(struct config, items), offsetof(struct config, count),    \
     offsetof(struct config_index, items), same}

static const struct section sections[] = {
    SECTION("tls", tls_conf, tls, tls_count, tls_same),
    SECTION("policy", policy_conf, policies, policy_count, policy_same),
    SECTION("service", service_conf, services, service_count, service_same),
    SECTION("endpoint", endpoint_conf, endpoints, endpoint_count, endpoint_same),
    SECTION("route", route_conf, routes, route_count, route_same),
    SECTION("schedule", schedule_conf, schedules, schedule_count, schedule_same),
};

static const void *section_item(const struct config *c, const struct section *s, size_t i)
{
    const void *const *items = (const void *)((const char *)c + s->items_at);
    const size_t *count = (const void *)((const char *)c + s->count_at);
    return i < *count ? (const char *)*items + i * s->size : NULL;
}

static const void *section_find(const struct config *c, const struct section *s, const char *name)
{
    return map_get((const struct map *)(const void *)((const char *)c->index + s->index_at),
                   str_of(name));
}

static const char *item_name(const void *item)
{
    return *(char *const *)item;
}

static void section_diff(struct differ *d, const struct section *s)
{
    const void *item;
    for (size_t i = 0; (item = section_item(d->before, s, i)) != NULL; i++) {
        const void *twin = section_find(d->after, s, item_name(item));
        if (twin == NULL)
            line_add(d, s->what, item_name(item), "removed");
        else if (!s->equal(item, twin))
            line_add(d, s->what, item_name(item), "changed");
    }
    for (size_t i = 0; (item = section_item(d->after, s, i)) != NULL; i++) {
        if (section_find(d->before, s, item_name(item)) == NULL)
            line_add(d, s->what, item_name(item), "added");
    }
}

/* The order of routes means something: the same routes in another order are a change. */
static void order_diff(struct differ *d)
{
    const struct config *a = d->before, *b = d->after;
    size_t at = 0;
    for (size_t i = 0; i < a->route_count; i++) {
        const struct route_conf *twin = map_get(&b->index->routes, str_of(a->routes[i].name));
        if (twin == NULL)
            continue;
        if ((size_t)(twin - b->routes) < at) {
            texts_add(d->lines, mem_strdup("routes: in another order"));
            return;
        }
        at = (size_t)(twin - b->routes);
    }
}

void config_diff(const struct config *before, const struct config *after, struct texts *lines)
{
    struct differ d = {lines, before, after};
    const void *bases[2] = {before, after};
    table_diff(&d, "", config_root_keys, bases);
    if (before->services_open != after->services_open)
        line_add(&d, "services", "open", after->services_open ? "false -> true" : "true -> false");
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
        section_diff(&d, &sections[i]);
    order_diff(&d);
}

static void value_keep(struct arena *arena, const struct key *key, void *to, const void *from)
{
    switch (key->type) {
    case KEY_TEXT: {
        const char *text = *(char *const *)from;
        *(char **)to = text != NULL ? arena_str(arena, str_of(text)) : NULL;
        break;
    }
    case KEY_SIZE:
        *(uint64_t *)to = *(const uint64_t *)from;
        break;
    case KEY_MODE:
        *(unsigned *)to = *(const unsigned *)from;
        break;
    default:
        assert(!"a type that no key with KEY_RESTART has");
    }
}

static void table_keep(struct arena *arena, const struct key *table, void *to, const void *from)
{
    for (const struct key *k = table; k->name != NULL; k++) {
        void *mine = (char *)to + k->offset;
        const void *old = (const char *)from + k->offset;
        if (k->type == KEY_TABLE)
            table_keep(arena, k->table, mine, old);
        else if ((k->flags & KEY_RESTART) != 0)
            value_keep(arena, k, mine, old);
    }
}

void config_keep(struct config *after, const struct config *before)
{
    table_keep(after->arena, config_root_keys, after, before);
}
