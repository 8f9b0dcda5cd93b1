#include "app/internal.h"

static void release(void *generation)
{
    generation_unref(generation);
}

struct route_set *routes_make(struct generation *g)
{
    const struct config *c = g->conf;
    struct route_set *set = route_set_new(generation_ref(g), release);
    route_set_default(set, config_policy(c, "default"));
    for (size_t i = 0; i < c->route_count; i++)
        route_set_add(set, &c->routes[i], config_policy(c, c->routes[i].policy));
    return set;
}

/* Which services keep an order; those of before that do no more lose theirs. */
void routes_orders(struct app *a, const struct config *before, const struct config *after)
{
    for (size_t i = 0; before != NULL && i < before->service_count; i++) {
        const struct service_conf *s = &before->services[i], *now = config_service(after, s->name);
        if (s->order_by != NULL && (now == NULL || now->order_by == NULL))
            hub_set_order(hub_dest(a->hub, s->name, true), NULL, false);
    }
    for (size_t i = 0; i < after->service_count; i++) {
        const struct service_conf *s = &after->services[i];
        if (s->order_by != NULL)
            hub_set_order(hub_dest(a->hub, s->name, true), s->order_by, s->order == ORDER_STRICT);
    }
}
