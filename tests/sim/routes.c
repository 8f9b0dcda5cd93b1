#include "base/mem.h"
#include "internal.h"

/* ---------------------------------------------------------------- routes */

/* Configuration as the structs that config/ would make; owned by the route set. */
struct plain_conf {
    struct policy_conf policies[2];
    struct route_conf routes[ROUTES];
    struct target_conf targets[ROUTES][3], grave;
};

static struct policy_conf some_policy(struct world *w)
{
    return (struct policy_conf){
        .name = "p", .timeout_ms = 10 + (int64_t)below(w, 2000),
        .ttl_ms = below(w, 3) == 0 ? 100 + (int64_t)below(w, 5000) : INT64_MAX / 2,
        .retry = {.attempts = 1 + below(w, 6), .delay_ms = 1 + (int64_t)below(w, 300), .factor = 2,
                  .max_delay_ms = 2000, .jitter = below(w, 2) == 0 ? JITTER_FULL : JITTER_NONE},
        .breaker = {.failures = 1 + below(w, 6), .open_for_ms = 50 + (int64_t)below(w, 3000), .probes = 1 + below(w, 2)},
        .dead_letter = below(w, 3) > 0, .idempotent = below(w, 2) == 0};
}

static void set_route(struct plain_conf *c, size_t i, char *from, char *match, const char *const names[3])
{
    struct route_conf *r = &c->routes[i];
    static const char *const route_names[] = {"r0", "r1", "r2", "r3", "r4", "r5"};
    *r = (struct route_conf){.name = (char *)(uintptr_t)route_names[i], .from = from, .source = from, .match = match,
                             .to = c->targets[i]};
    for (size_t k = 0; k < 3 && names[k] != NULL; k++) {
        c->targets[i][r->to_count] = (struct target_conf){.name = (char *)(uintptr_t)names[k],
                                                          .service = names[k][0] == 's'};
        r->to_count++;
    }
}

void use_routes(struct world *w)
{
    struct plain_conf *c = mem_zalloc(sizeof(*c));
    struct route_set *set = route_set_new(c, mem_free);
    c->grave = (struct target_conf){.name = (char *)(uintptr_t)"grave"};
    for (size_t i = 0; i < 2; i++) {
        c->policies[i] = some_policy(w);
        c->policies[i].dead_letter |= w->buries[i];
        c->policies[i].dead_letter_to = w->buries[i] ? &c->grave : NULL;
    }
    w->ttl_ms = c->policies[0].ttl_ms < c->policies[1].ttl_ms ? c->policies[0].ttl_ms : c->policies[1].ttl_ms;
    set_route(c, 0, "in0", "a.*", (const char *const[3]){"s0"});
    set_route(c, 1, "in1", "a.*", (const char *const[3]){"s1", "s2"});
    set_route(c, 2, "in0", "b.>", (const char *const[3]){"e3"});
    set_route(c, 3, "in1", "b.>", (const char *const[3]){"s0"});
    set_route(c, 4, "in0", "d.both", (const char *const[3]){"s0", "s1", "e3"});
    set_route(c, 5, "in1", "c", (const char *const[3]){"s2"});
    c->targets[3][0].subject = "x.{1}";
    for (size_t i = 0; i < ROUTES; i++) {
        c->routes[i].durable = w->disk != NULL && c->routes[i].from[2] == '0'; /* all of in0, none of in1 */
        w->dedupes[i] = c->routes[i].durable && below(w, 2) > 0;
        if (w->dedupes[i])
            c->routes[i].dedupe = (struct dedupe_conf){.by = (char *)(uintptr_t)"id", .window_ms = STORE_WINDOW_MAX};
        if (c->routes[i].durable && below(w, 2) > 0) /* what is accepted then waits for its append */
            c->routes[i].log = (struct event_log_conf){.name = (char *)(uintptr_t)"events", .keep_ms = 5000, .max_size = 9000};
    }
    for (size_t i = 0; i < ROUTES; i++)
        route_set_add(set, &c->routes[i], &c->policies[i % 2]);
    route_set_default(set, &c->policies[0]);
    hub_use(w->hub, set);
}

int route_of(unsigned subject, size_t source)
{
    static const int routes[SUBJECTS] = {0, 0, 2, -1, 4, -1};
    return source == 0 ? routes[subject] : -1;
}

bool goes_to_grave(const struct world *w, const char *route)
{
    return route[0] == 'r' && w->buries[(route[1] - '0') % 2];
}
