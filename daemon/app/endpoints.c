#include <fcntl.h>
#include <unistd.h>

#include "app/internal.h"
#include "app/notify.h"
#include "app/transports.h"
#include "base/mem.h"

#define LEAVING_LOOK_MS 50

static void find_sources(struct app *a, struct open_endpoint *e)
{
    for (const struct route_conf *r = e->conf->sources; r != NULL; r = r->next_source)
        e->source_count++;
    e->sources = mem_calloc(e->source_count, sizeof(*e->sources));
    struct endpoint_source *s = e->sources;
    for (const struct route_conf *r = e->conf->sources; r != NULL; r = r->next_source)
        *s++ = (struct endpoint_source){.keys = r->from_extra, .codec = r->from_codec, .label = r->source,
                                        .intake = hub_intake(a->hub, r->source, e->conf->name)};
}

/* NULL with err: it has a profile, whose files are not in order. */
static struct tls_context *find_tls(const struct generation *g, const struct endpoint_conf *conf, struct err *err)
{
    const struct certificate *c = certificate_of(g, conf);
    if (c->context != NULL)
        return tls_context_ref(c->context);
    err_add(err, "%s", c->why);
    return NULL;
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
    e->tls = conf->tls != NULL ? find_tls(g, conf, err) : NULL;
    if (!conf->listen)
        find_sources(a, e);
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

/* Two endpoints may share a profile. */
static void report(const char *why, struct err *err)
{
    for (size_t i = 0; i < err->count; i++) {
        if (strcmp(err->texts[i], why) == 0)
            return;
    }
    err_add(err, "%s", why);
}

static bool all_in_order(struct app *a, struct err *err)
{
    size_t before = err->total;
    LIST_EACH(&a->endpoints, n) {
        const struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        const struct certificate *c = e->tls != NULL ? certificate_of(a->current, e->conf) : NULL;
        if (c != NULL && c->context == NULL)
            report(c->why, err);
    }
    return err->total == before;
}

bool endpoints_renew_tls(struct app *a, struct err *err)
{
    if (!all_in_order(a, err))
        return false;
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        struct tls_context *now = e->tls != NULL ? certificate_of(a->current, e->conf)->context : NULL;
        if (now == e->tls)
            continue;
        e->transport->set_tls(e->endpoint, now);
        tls_context_unref(e->tls);
        e->tls = tls_context_ref(now);
    }
    return true;
}

static void close_descriptor(void *fd)
{
    close((int)(intptr_t)fd);
}

/* The same files are watched on: a change that was seen and not yet told of stays seen. */
void endpoints_watch(struct app *a)
{
    const char **paths;
    size_t count = certificates_paths(a->current->conf, &paths);
    bool same = a->watch != NULL && watch_is_of(a->watch, paths, count);
    int old = a->watch != NULL && !same ? watch_end(a->watch) : -1;
    if (old >= 0)
        app_dispose(a, close_descriptor, (void *)(intptr_t)old);
    if (!same)
        a->watch = count > 0 ? watch_new(a->loop, paths, count, app_on_certificates, a) : NULL;
    mem_free(paths);
}
