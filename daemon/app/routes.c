#include "app/internal.h"

static void release(void *generation)
{
    generation_unref(generation);
}

struct route_set *routes_make(struct app *a, struct generation *g)
{
    const struct config *c = g->conf;
    struct route_set *set = route_set_new(a->hub, generation_ref(g), release);
    route_set_default(set, config_policy(c, "default"));
    for (size_t i = 0; i < c->route_count; i++)
        route_set_add(set, &c->routes[i], config_policy(c, c->routes[i].policy));
    return set;
}
