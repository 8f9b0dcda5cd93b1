/* What is legal and yet surely not meant. */
#include "base/map.h"
#include "base/mem.h"
#include "config/build.h"
#include "route/matcher.h"

/* ---- addresses ---- */

static void check_addresses(struct walk *w)
{
    const struct config *c = w->config;
    struct map seen = {0};
    struct buf key = BUF_EMPTY;
    for (size_t i = 0; i < c->endpoint_count; i++) {
        struct endpoint_conf *e = &c->endpoints[i];
        if (e->url.port != NULL && strcmp(e->url.port, "0") == 0)
            continue;
        buf_clear(&key);
        buf_printf(&key, "%d %s:%s", e->listen, e->url.host,
                   e->url.port != NULL ? e->url.port : "");
        if (!e->listen) /* one broker may well serve two users, one server TLS and plain */
            buf_printf(&key, " %s %s %s", e->url.scheme, e->url.user != NULL ? e->url.user : "",
                       e->url.path != NULL ? e->url.path : "");
        const struct endpoint_conf *first = map_get(&seen, buf_str(&key));
        if (first != NULL)
            problem_add(w->warnings, e->place, "endpoints `%s` and `%s` share an address: %s",
                        first->name, e->name, e->url.text);
        else
            map_set(&seen, buf_str(&key), e);
    }
    buf_fini(&key);
    map_fini(&seen);
}

/* ---- names that nothing uses ---- */

struct used {
    struct map names[3]; /* endpoints, services, policies */
};
enum { USED_ENDPOINT, USED_SERVICE, USED_POLICY };

static void used_target(struct used *u, struct target_conf *t)
{
    map_set(&u->names[t->service ? USED_SERVICE : USED_ENDPOINT], str_of(t->name), t);
}

static void used_routes(struct used *u, const struct config *c)
{
    for (size_t i = 0; i < c->route_count; i++) {
        struct route_conf *r = &c->routes[i];
        map_set(&u->names[USED_ENDPOINT], str_of(r->from), r);
        map_set(&u->names[USED_POLICY], str_of(r->policy), r);
        for (size_t j = 0; j < r->to_count; j++)
            used_target(u, &r->to[j]);
    }
    for (size_t i = 0; i < c->policy_count; i++) {
        if (c->policies[i].dead_letter_to != NULL)
            used_target(u, c->policies[i].dead_letter_to);
    }
}

static void unused(struct walk *w, struct place place, const char *what, const char *name)
{
    problem_add(w->warnings, place, "nothing uses the %s `%s`", what, name);
}

static void check_unused_tls(struct walk *w)
{
    const struct config *c = w->config;
    struct map seen = {0};
    for (size_t i = 0; i < c->endpoint_count; i++) {
        if (c->endpoints[i].tls != NULL)
            map_set(&seen, str_of(c->endpoints[i].tls), &c->endpoints[i]);
    }
    for (size_t i = 0; i < c->tls_count; i++) {
        if (map_get(&seen, str_of(c->tls[i].name)) == NULL)
            unused(w, c->tls[i].place, "tls profile", c->tls[i].name);
    }
    map_fini(&seen);
}

static bool is_used(const struct used *u, unsigned kind, const char *name)
{
    return map_get(&u->names[kind], str_of(name)) != NULL;
}

static void check_unused(struct walk *w)
{
    const struct config *c = w->config;
    struct used u = {0};
    used_routes(&u, c);
    for (size_t i = 0; i < c->endpoint_count; i++) {
        if (!is_used(&u, USED_ENDPOINT, c->endpoints[i].name))
            unused(w, c->endpoints[i].place, "endpoint", c->endpoints[i].name);
    }
    for (size_t i = 0; i < c->service_count; i++) {
        const struct service_conf *s = &c->services[i];
        /* One that may publish, request or subscribe has work without a route to it. */
        if (!is_used(&u, USED_SERVICE, s->name) && !is_used(&u, USED_ENDPOINT, "local") && !s->has_publish &&
            !s->has_subscribe)
            unused(w, s->place, "service", s->name);
    }
    for (size_t i = 0; i < c->policy_count; i++) {
        const struct policy_conf *p = &c->policies[i];
        if (strcmp(p->name, "default") != 0 && !is_used(&u, USED_POLICY, p->name))
            unused(w, p->place, "policy", p->name);
    }
    for (size_t i = 0; i < 3; i++)
        map_fini(&u.names[i]);
    check_unused_tls(w);
}

/* ---- routes that never match ---- */

struct cover { /* the route to look for an earlier one of */
    const struct config *config;
    struct str filter;
    uint32_t found;
};

static void cover_try(void *arg, uint32_t value)
{
    struct cover *c = arg;
    const char *match = c->config->routes[value].match;
    struct str wide = str_of(match != NULL ? match : ">");
    /* The matcher took the narrow filter for a subject; its own wildcards are looked at here. */
    if (value < c->found && filter_covers(wide, c->filter))
        c->found = value;
}

/* Routes compete when their sources are the same: the endpoint and the transport's own keys. */
static struct matcher *matcher_of(struct map *sources, const struct route_conf *r)
{
    struct matcher *m = map_get(sources, str_of(r->source));
    if (m == NULL) {
        m = matcher_new();
        map_set(sources, str_of(r->source), m);
    }
    return m;
}

static void check_cover(struct walk *w, struct matcher *m, uint32_t i)
{
    const struct config *c = w->config;
    const struct route_conf *r = &c->routes[i];
    struct cover cover = {c, str_of(r->match != NULL ? r->match : ">"), MATCH_NONE};
    matcher_all(m, cover.filter, cover_try, &cover);
    if (cover.found == MATCH_NONE) {
        matcher_add(m, cover.filter, i); /* one that is covered can cover nothing more */
        return;
    }
    problem_add(w->warnings, r->place,
                "route `%s` never matches: `%s` on line %u takes all that it could", r->name,
                c->routes[cover.found].name, c->routes[cover.found].place.line);
}

static void check_cover_all(struct walk *w)
{
    struct map sources = {0};
    struct map_entry *e;
    for (size_t i = 0; i < w->config->route_count; i++)
        check_cover(w, matcher_of(&sources, &w->config->routes[i]), (uint32_t)i);
    for (size_t at = 0; (e = map_next(&sources, &at)) != NULL;)
        matcher_free(e->value);
    map_fini(&sources);
}

void check_all(struct walk *w)
{
    check_addresses(w);
    check_unused(w);
    check_cover_all(w);
}
