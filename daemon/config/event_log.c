/* `log` of a route: the event log that it appends to. */
#include "base/map.h"
#include "config/build.h"

static bool log_read(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    struct event_log_conf *l = &((struct route_conf *)base)->log;
    if (n->kind != NODE_MAP)
        return walk_wrong(w, n, key->name, key->custom->expects);
    l->place = n->place;
    if (!walk_table(w, n, config_event_log_keys, l))
        return false;
    return walk_name_valid(l->name) || walk_wrong(w, node_get(n, "name"), "name", "a name (" WALK_NAME_RULE ")");
}

static bool log_print(struct printer *p, const struct key *key, const void *base)
{
    const struct event_log_conf *l = &((const struct route_conf *)base)->log;
    (void)key;
    if (l->name == NULL)
        return false;
    size_t at = p->out->len;
    print_flow(p, config_event_log_keys, l);
    buf_data(p->out)[at] = '{'; /* in place of its first comma */
    buf_puts(p->out, " }");
    return true;
}

static bool log_equal(const void *a, const void *b)
{
    return table_equal(config_event_log_keys, &((const struct route_conf *)a)->log,
                       &((const struct route_conf *)b)->log);
}

const struct key_custom custom_event_log = {
    .expects = "{ name: NAME, keep: DURATION, max_size: SIZE }",
    .read = log_read,
    .print = log_print,
    .equal = log_equal,
};

/* A log that is below its own size fills the store all the same. */
static void check_room(struct walk *w, const struct event_log_conf *l, uint64_t *sum)
{
    uint64_t room = w->config->store.max_size, before = *sum;
    if (l->max_size == UINT64_MAX || room == UINT64_MAX || __builtin_add_overflow(before, l->max_size, sum))
        return;
    if (before <= room && *sum > room)
        problem_add(w->warnings, l->place, "`log`: with `%s` the logs may grow larger than store.max_size: then nothing "
                    "durable is accepted any more", l->name);
}

void check_event_logs(struct walk *w)
{
    const struct config *c = w->config;
    struct map seen = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i < c->route_count; i++) {
        struct event_log_conf *l = &c->routes[i].log;
        const struct event_log_conf *first = l->name != NULL ? map_get(&seen, str_of(l->name)) : NULL;
        if (first != NULL && !table_equal(config_event_log_keys, first, l))
            problem_add(w->errors, l->place, "`log`: `%s` has another `keep` or `max_size` on line %u: one log has one "
                        "of each", l->name, first->place.line);
        if (l->name == NULL || first != NULL)
            continue;
        map_set(&seen, str_of(l->name), l);
        check_room(w, l, &sum);
    }
    map_fini(&seen);
}
