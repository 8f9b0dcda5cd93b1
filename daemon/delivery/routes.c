#include "base/mem.h"
#include "delivery/internal.h"
#include "delivery/policy.h"

struct route_set *route_set_new(void *owner, void (*owner_free)(void *owner))
{
    struct route_set *s = mem_zalloc(sizeof(*s));
    s->refs = 1;
    s->owner = owner;
    s->owner_free = owner_free;
    s->subscriptions.set = s;
    return s;
}

static struct source_routes *source_routes_for(struct route_set *s, const char *key)
{
    struct source_routes *r = map_get(&s->sources, str_of(key));
    if (r == NULL) {
        r = mem_zalloc(sizeof(*r));
        r->matcher = matcher_new();
        map_set(&s->sources, str_of(key), r);
    }
    return r;
}

void route_set_add(struct route_set *s, const struct route_conf *conf, const struct policy_conf *policy)
{
    struct route *r = mem_zalloc(sizeof(*r));
    r->set = s;
    r->conf = conf;
    r->policy = policy;
    r->targets = mem_calloc(conf->to_count, sizeof(*r->targets));
    if (s->count == s->cap) {
        s->cap = s->cap > 0 ? s->cap * 2 : 16;
        s->routes = mem_realloc(s->routes, s->cap * sizeof(struct route *));
    }
    s->routes[s->count] = r;
    matcher_add(source_routes_for(s, conf->source)->matcher, str_of(conf->match != NULL ? conf->match : ">"),
                (uint32_t)s->count++);
}

static struct route_target target_of(struct hub *h, const struct target_conf *to)
{
    struct dest *dest = hub_dest(h, to->name, to->service);
    dest->routed++;
    return (struct route_target){dest, to};
}

static void route_bind(struct route *r, struct hub *h)
{
    r->log = r->conf->log.name != NULL ? log_named(h, str_of(r->conf->log.name)) : NULL;
    for (size_t i = 0; i < r->conf->to_count; i++)
        r->targets[i] = target_of(h, &r->conf->to[i]);
    if (r->policy->dead_letter_to != NULL)
        r->dead_to = target_of(h, r->policy->dead_letter_to);
}

bool route_set_bind(struct route_set *s, struct hub *h, size_t most)
{
    s->hub = h;
    for (; most > 0 && s->bound < s->count; most--)
        route_bind(s->routes[s->bound++], h);
    return s->bound == s->count;
}

void route_set_default(struct route_set *s, const struct policy_conf *policy)
{
    s->subscriptions.policy = policy;
}

/* What is memory and nothing else: on any thread. */
static void route_set_destroy(void *arg)
{
    struct route_set *s = arg;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->sources, &i)) != NULL;) {
        struct source_routes *r = e->value;
        matcher_free(r->matcher);
        mem_free(r);
    }
    map_fini(&s->sources);
    map_fini(&s->by_name);
    for (size_t i = 0; i < s->count; i++) {
        mem_free(s->routes[i]->targets);
        mem_free(s->routes[i]);
    }
    mem_free(s->routes);
    mem_free(s);
}

static void route_unbind(struct route *r)
{
    for (size_t i = 0; i < r->conf->to_count; i++)
        r->targets[i].dest->routed--;
    if (r->dead_to.dest != NULL)
        r->dead_to.dest->routed--;
}

static void route_set_free(struct route_set *s)
{
    const struct hub_env *env = s->hub != NULL ? &s->hub->env : NULL;
    while (s->bound > 0)
        route_unbind(s->routes[--s->bound]);
    if (s->owner_free != NULL)
        s->owner_free(s->owner);
    if (env != NULL && env->dispose != NULL)
        env->dispose(env->arg, route_set_destroy, s);
    else
        route_set_destroy(s);
}

void route_set_unref(struct route_set *s)
{
    if (s != NULL && --s->refs == 0)
        route_set_free(s);
}

void hub_use(struct hub *h, struct route_set *set)
{
    struct route_set *before = h->routes;
    struct map_entry *e;
    route_set_bind(set, h, SIZE_MAX);
    h->routes = set;
    set->generation = ++h->generations;
    for (size_t i = 0; (e = map_next(&h->sources, &i)) != NULL;) {
        struct source *source = e->value;
        source->routes = map_get(&set->sources, str_of(source->key));
    }
    route_set_unref(before);
    struct idmap_entry *q;
    for (size_t i = 0; (q = idmap_next(&h->queues, &i)) != NULL;)
        dest_pump(q->value); /* what the store holds can be read now that there are routes */
    logs_use(h);
}

struct route *route_named(struct route_set *s, struct str name)
{
    if (s->by_name.count == 0) {
        for (size_t i = s->count; i > 0; i--)
            map_set(&s->by_name, str_of(s->routes[i - 1]->conf->name), s->routes[i - 1]);
    }
    return map_get(&s->by_name, name);
}

const char *route_name(const struct route *r)
{
    return r->conf != NULL ? r->conf->name : "(subscription)";
}

/* Without a `match` they are what the source's own wildcards stood for; none, where its subject is another. */
void route_captures(const struct route *r, struct str subject, struct captures *c)
{
    if (r->conf->filter != NULL)
        filter_matches(str_of(r->conf->filter), subject, c);
}

static struct route_view view_of(const struct route *r)
{
    return (struct route_view){
        .name = r->conf->name, .from = r->conf->from, .match = r->conf->match, .policy = r->policy,
        .to = r->conf->to, .to_count = r->conf->to_count, .durable = r->conf->durable,
        .log = r->conf->log.name, .matched = r->matched};
}

void hub_each_route(const struct hub *h, void (*fn)(void *arg, const struct route_view *r), void *arg)
{
    for (size_t i = 0; h->routes != NULL && i < h->routes->count; i++) {
        struct route_view view = view_of(h->routes->routes[i]);
        fn(arg, &view);
    }
}

/* The first one among the routes of all sources that `from` names. */
static uint32_t explain(const struct route_set *set, const char *from, struct str subject, struct captures *c)
{
    const struct source_routes *s = map_get(&set->sources, str_of(from));
    uint32_t found = MATCH_NONE;
    if (s != NULL)
        return matcher_first(s->matcher, subject, c);
    for (size_t i = 0; i < set->count; i++) {
        const struct route_conf *conf = set->routes[i]->conf;
        struct captures mine = {.count = 0};
        if (strcmp(conf->from, from) != 0)
            continue;
        uint32_t index = matcher_first(((struct source_routes *)map_get(&set->sources, str_of(conf->source)))->matcher,
                                       subject, &mine);
        if (index < found) {
            found = index;
            *c = mine;
        }
    }
    return found;
}

bool hub_explain(struct hub *h, const char *from, struct str subject, struct route_view *out,
                 struct captures *c)
{
    uint32_t index = h->routes != NULL ? explain(h->routes, from, subject, c) : MATCH_NONE;
    if (index == MATCH_NONE)
        return false;
    *out = view_of(h->routes->routes[index]);
    route_captures(h->routes->routes[index], subject, c);
    return true;
}
