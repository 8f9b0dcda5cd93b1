/* The end of an event log that no route names any more: it is trimmed to nothing, in steps. */
#include "base/mem.h"
#include "delivery/internal.h"
#include "delivery/log.h"

#define STEP_ROWS 1024

const struct route *log_route(const struct hub_log *l)
{
    const struct route_set *s = l->hub->routes;
    for (size_t i = 0; s != NULL && i < s->count; i++) {
        if (s->routes[i]->log == l)
            return s->routes[i];
    }
    return NULL;
}

static struct store_log_view view_of(const struct hub_log *l)
{
    struct store_log_view v = {.first = 1};
    store_log_view(l->hub->store, l->number, &v);
    return v;
}

bool log_is_there(const struct hub_log *l)
{
    struct store_log_view v = view_of(l);
    return !store_log_removed(&v) || log_route(l) != NULL;
}

void log_remove_fini(struct hub_log *l)
{
    mem_free(l->gone);
    l->gone = NULL;
}

static void finish(struct hub_log *l, const char *stopped)
{
    struct store_log_view v = view_of(l);
    struct log_removed sum = *l->gone;
    char *name = str_dup(v.name);
    sum.entries -= v.last + 1 - v.first < sum.entries ? v.last + 1 - v.first : sum.entries;
    sum.bytes -= v.bytes < sum.bytes ? v.bytes : sum.bytes;
    sum.stopped = stopped;
    log_remove_fini(l);
    l->removing = false;
    log_write(l->hub->env.log, LOG_WARN, "log_removed", "log", name, "entries", LOG_NUM(sum.entries), "bytes",
              LOG_NUM(sum.bytes), "stopped", stopped, NULL);
    mem_free(name);
    if (l->removed != NULL)
        l->removed(l->removed_arg, &sum);
    l->removed = NULL;
}

static void step(struct hub_log *l);

static void on_trimmed(void *arg, bool more)
{
    struct hub_log *l = arg;
    struct store_log_view v = view_of(l);
    if (more && log_route(l) != NULL)
        finish(l, "a route names the log again");
    else if (more)
        step(l);
    else
        finish(l, v.first <= v.last ? "the store did not take it" : NULL);
}

static void step(struct hub_log *l)
{
    store_trim(l->hub->store, &(struct store_trim){.log = l->number, .before_ms = STORE_LOG_REMOVED, .bytes = 0, .limit = STEP_ROWS},
               on_trimmed, l);
}

enum log_removal hub_log_remove(struct hub *h, const struct log_removal_ask *ask, const char **route, struct log_removed *out)
{
    struct hub_log *l = map_get(&h->logs, ask->name);
    if (l == NULL || h->store == NULL || !log_is_there(l))
        return LOG_UNKNOWN;
    const struct route *named = log_route(l);
    *route = named != NULL ? route_name(named) : NULL;
    if (named != NULL)
        return LOG_NAMED;
    if (!list_empty(&l->readers))
        return LOG_READ;
    if (l->removing)
        return LOG_BEING_REMOVED;
    struct store_log_view v = view_of(l);
    *out = (struct log_removed){.entries = v.last + 1 - v.first, .bytes = v.bytes};
    if (ask->dry_run)
        return LOG_REMOVING;
    l->removing = true;
    l->removed = ask->done;
    l->removed_arg = ask->arg;
    l->gone = mem_zalloc(sizeof(*l->gone));
    *l->gone = *out;
    step(l);
    return LOG_REMOVING;
}

void hub_log_remove_cancel(struct hub *h, void *arg)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&h->logs, &i)) != NULL;) {
        struct hub_log *l = e->value;
        if (l->removed_arg == arg)
            l->removed = NULL;
    }
}
