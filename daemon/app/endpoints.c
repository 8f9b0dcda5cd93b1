#include <fcntl.h>

#include "app/internal.h"
#include "app/notify.h"
#include "app/transports.h"
#include "base/map.h"
#include "base/mem.h"

#define LEAVING_LOOK_MS 50

struct tls_context *endpoint_tls(const struct config *c, const struct endpoint_conf *conf, struct err *err)
{
    const struct tls_conf *t = config_tls(c, conf->tls);
    struct tls_settings settings = {
        .name = t->name, .ca = t->ca, .cert = t->cert, .key = t->key, .verify = t->verify,
        .min_version = t->min_version, .peers = t->peers.items, .peer_count = t->peers.count};
    return tls_context_new(&settings, conf->listen ? TLS_ACCEPT : TLS_CONNECT, err);
}

/* One for each different source among the routes. */
static void find_sources(struct app *a, struct open_endpoint *e, const struct config *c)
{
    struct map known = {0};
    for (size_t i = 0; i < c->route_count; i++) {
        struct route_conf *r = &c->routes[i];
        if (strcmp(r->from, e->conf->name) != 0 || map_set(&known, str_of(r->source), r) != NULL)
            continue;
        e->sources = mem_realloc(e->sources, known.count * sizeof(*e->sources));
        e->sources[e->source_count++] = (struct endpoint_source){
            .keys = r->from_extra, .codec = r->from_codec, .label = r->source,
            .intake = hub_intake(a->hub, r->source, e->conf->name)};
    }
    map_fini(&known);
}

static void sources_of(const struct config *c, const char *endpoint, struct map *out)
{
    for (size_t i = 0; i < c->route_count; i++) {
        if (strcmp(c->routes[i].from, endpoint) == 0)
            map_set(out, str_of(c->routes[i].source), &c->routes[i]);
    }
}

bool endpoint_sources_equal(const struct config *a, const struct config *b, const struct endpoint_conf *e)
{
    struct map before = {0}, after = {0};
    const struct map_entry *source;
    if (e->listen)
        return true;
    sources_of(a, e->name, &before);
    sources_of(b, e->name, &after);
    bool equal = before.count == after.count;
    for (size_t i = 0; equal && (source = map_next(&before, &i)) != NULL;)
        equal = map_get(&after, str_of(source->key)) != NULL;
    map_fini(&before);
    map_fini(&after);
    return equal;
}

static void endpoint_free(struct open_endpoint *e)
{
    tls_context_unref(e->tls);
    mem_free(e->sources);
    mem_free(e);
}

static void move_to(struct list *home, struct open_endpoint *e)
{
    if (e->home != NULL)
        list_remove(e->home, &e->link);
    e->home = home;
    list_push(home, &e->link);
}

static bool same_address(const struct endpoint_conf *a, const struct endpoint_conf *b)
{
    return a->listen && b->listen && strcmp(a->url.host, b->url.host) == 0 &&
           strcmp(a->url.port, b->url.port) == 0;
}

/* A socket that listens there already: systemd's at the start, a predecessor's at a reload. The
 * successor shares it, so that no caller is ever refused. */
static int inherited_fd(struct app *a, const struct endpoint_conf *conf)
{
    if (a->state == APP_STARTING)
        return notify_listen_fd(conf->name);
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        int fd = same_address(e->conf, conf) ? e->transport->listen_fd(e->endpoint) : -1;
        if (fd >= 0)
            return fcntl(fd, F_DUPFD_CLOEXEC, 3);
    }
    return -1;
}

struct open_endpoint *endpoint_open(struct app *a, struct generation *g, const struct endpoint_conf *conf,
                                    struct err *err)
{
    struct open_endpoint *e = mem_zalloc(sizeof(*e));
    e->transport = app_transport(conf->transport);
    e->conf = conf;
    e->tls = conf->tls != NULL ? endpoint_tls(g->conf, conf, err) : NULL;
    if (!conf->listen)
        find_sources(a, e, g->conf);
    if (conf->tls == NULL || e->tls != NULL) {
        struct endpoint_env env = {
            .loop = a->loop, .log = a->log, .node = g->conf->node, .body_max = g->conf->limits.body, .tls = e->tls,
            .listen_fd = inherited_fd(a, conf), .succeeds = !conf->listen && endpoint_named(a, conf->name) != NULL,
            .intake = conf->listen ? hub_intake(a->hub, conf->name, conf->name) : NULL,
            .sources = e->sources, .source_count = e->source_count};
        e->endpoint = e->transport->open(conf, &env, err);
    }
    if (e->endpoint == NULL) {
        endpoint_free(e);
        return NULL;
    }
    e->generation = generation_ref(g);
    move_to(&a->fresh, e);
    return e;
}

void endpoint_use(struct app *a, struct open_endpoint *e)
{
    move_to(&a->endpoints, e);
    server_give_up(a->server, e->conf->name); /* a service was called so before */
    if (e->transport->sink(e->endpoint) != NULL)
        hub_adopt(a->hub, e->transport->sink(e->endpoint));
}

static struct sink *sink_of(const struct open_endpoint *e)
{
    struct sink *sink = e->transport->sink(e->endpoint);
    return sink != NULL && sink->dest != NULL ? sink : NULL;
}

void endpoint_close(struct app *a, struct open_endpoint *e)
{
    if (sink_of(e) != NULL)
        hub_disown(a->hub, sink_of(e));
    list_remove(e->home, &e->link);
    e->transport->close(e->endpoint);
    generation_unref(e->generation);
    endpoint_free(e);
}

/* Is there one of its name that takes deliveries? */
static bool is_replaced(struct app *a, const char *name)
{
    LIST_EACH(&a->fresh, n) {
        const struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        if (strcmp(e->conf->name, name) == 0)
            return e->transport->sink(e->endpoint) != NULL;
    }
    return false;
}

/* What it has in hand both ways it may end beside its successor, which gets what is new. */
void endpoint_leave(struct app *a, struct open_endpoint *e)
{
    if (sink_of(e) != NULL)
        hub_part(a->hub, sink_of(e), is_replaced(a, e->conf->name));
    e->transport->stop_intake(e->endpoint);
    move_to(&a->leavers, e);
    e->leaving_until_ms = loop_now(a->loop) + a->current->conf->limits.drain_timeout_ms;
    timer_after(a->leaving, 1);
}

size_t endpoint_held(const struct open_endpoint *e)
{
    return sink_of(e) != NULL ? hub_held(sink_of(e)) : 0;
}

static size_t unfinished_of(const struct open_endpoint *e)
{
    size_t unsettled = e->transport->unsettled != NULL ? e->transport->unsettled(e->endpoint) : 0;
    return unsettled + e->transport->busy(e->endpoint) + endpoint_held(e);
}

void endpoints_on_leaving(void *app)
{
    struct app *a = app;
    LIST_EACH(&a->leavers, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        size_t unfinished = unfinished_of(e);
        if (unfinished > 0 && loop_now(a->loop) < e->leaving_until_ms)
            continue;
        log_write(a->log, unfinished > 0 ? LOG_WARN : LOG_INFO, "endpoint_closed", "endpoint", e->conf->name, "unfinished",
                  LOG_NUM(unfinished), NULL);
        endpoint_close(a, e);
    }
    if (!list_empty(&a->leavers))
        timer_after(a->leaving, LEAVING_LOOK_MS);
}

struct open_endpoint *endpoint_named(struct app *a, const char *name)
{
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        if (strcmp(e->conf->name, name) == 0)
            return e;
    }
    return NULL;
}

/* All new contexts are made before the first is used: a half-written file changes nothing. */
bool endpoints_renew_tls(struct app *a, struct err *err)
{
    size_t before = err->total, count = 0;
    struct tls_context **fresh = mem_calloc(a->endpoints.count, sizeof(struct tls_context *));
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        fresh[count++] = e->tls != NULL ? endpoint_tls(a->current->conf, e->conf, err) : NULL;
    }
    bool good = err->total == before;
    count = 0;
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        struct tls_context *c = fresh[count++];
        if (c == NULL)
            continue;
        if (good) {
            e->transport->set_tls(e->endpoint, c);
            tls_context_unref(e->tls);
            e->tls = c;
        } else {
            tls_context_unref(c);
        }
    }
    mem_free(fresh);
    return good;
}

void endpoints_watch(struct app *a)
{
    const struct config *c = a->current->conf;
    const char **paths = mem_calloc(c->tls_count * 3, sizeof(char *));
    size_t count = 0;
    for (size_t i = 0; i < c->tls_count; i++) {
        const char *files[] = {c->tls[i].ca, c->tls[i].cert, c->tls[i].key};
        for (size_t k = 0; k < 3; k++) {
            if (files[k] != NULL)
                paths[count++] = files[k];
        }
    }
    watch_free(a->watch);
    a->watch = count > 0 ? watch_new(a->loop, paths, count, app_on_certificates, a) : NULL;
    mem_free(paths);
}
