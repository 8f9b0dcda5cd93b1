#include <string.h>

#include "app/internal.h"
#include "app/notify.h"
#include "app/transports.h"
#include "base/mem.h"

/* Would this endpoint go on as it is? Only when neither it nor what its profile says has changed. */
static bool unchanged(const struct config *before, const struct config *after, const struct endpoint_conf *e)
{
    const struct endpoint_conf *now = config_endpoint(after, e->name);
    if (now == NULL || !endpoint_conf_equal(e, now) || before->limits.body != after->limits.body ||
        !endpoint_sources_equal(before, after, e))
        return false;
    return e->tls == NULL || tls_conf_equal(config_tls(before, e->tls), config_tls(after, e->tls));
}

/* A destination has one carrier: an endpoint cannot be called as a client that is there. */
static bool names_are_free(struct app *a, const struct config *conf, struct err *err)
{
    size_t before = err->total;
    for (size_t i = 0; i < conf->endpoint_count; i++) {
        const char *name = conf->endpoints[i].name;
        if (server_attached(a->server, name) > 0)
            err_add(err, "%s: endpoint %s: a client is attached as a service of this name; stop it first, or give the "
                    "endpoint another name", conf->file, name);
    }
    return err->total == before;
}

/* First half: opens what is new or different. What fails here has changed nothing. */
static bool open_fresh(struct app *a, struct generation *g, struct err *err)
{
    const struct config *before = a->current->conf, *after = g->conf;
    for (size_t i = 0; i < after->endpoint_count; i++) {
        const struct endpoint_conf *conf = &after->endpoints[i];
        const struct endpoint_conf *was = config_endpoint(before, conf->name);
        if (was != NULL && unchanged(before, after, was))
            continue;
        if (endpoint_open(a, g, conf, err) != NULL)
            continue;
        while (!list_empty(&a->fresh))
            endpoint_close(a, CONTAINER_OF(list_first(&a->fresh), struct open_endpoint, link));
        return false;
    }
    return true;
}

/* Second half, which cannot fail: what has gone or was replaced leaves, its successors take over. */
static void swap_endpoints(struct app *a, const struct config *before, const struct config *after)
{
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        if (!unchanged(before, after, config_endpoint(before, e->conf->name)))
            endpoint_leave(a, e);
    }
    while (!list_empty(&a->fresh))
        endpoint_use(a, CONTAINER_OF(list_first(&a->fresh), struct open_endpoint, link));
}

/* What cannot be read stays as it was: refusing the whole reload for it would bar every other change. */
static bool renew_certificates(struct app *a, struct texts *lines)
{
    struct err err = {0};
    bool good = endpoints_renew_tls(a, &err);
    for (size_t i = 0; i < err.count; i++) {
        struct buf line = BUF_EMPTY;
        if (i > 0 && strcmp(err.texts[i], err.texts[i - 1]) == 0)
            continue; /* a profile of several endpoints */
        log_write(a->log, LOG_ERROR, "certificate_error", "error", err.texts[i], "kept", "the old one", NULL);
        buf_printf(&line, "%s; the old one is kept", err.texts[i]);
        texts_add(lines, buf_steal(&line));
    }
    err_fini(&err);
    return good;
}

static void use(struct app *a, struct generation *g, struct texts *changes)
{
    const struct config *c = g->conf;
    struct hub_limits limits = hub_limits_of(c);
    swap_endpoints(a, a->current->conf, c);
    routes_orders(a, a->current->conf, c);
    hub_use(a->hub, routes_make(a, g));
    hub_set_limits(a->hub, &limits);
    hub_set_sample(a->hub, c->tracing.sample);
    log_set(a->log, c->log.level, c->log.format);
    server_reload(a->server, c);
    schedules_use(a->schedules, c);
    generation_unref(a->current);
    a->current = g;
    a->generation++;
    app_warn(a);
    renew_certificates(a, changes);
    endpoints_watch(a);
}

static void remember_error(struct app *a, const struct err *err)
{
    mem_free(a->reload_error);
    a->reload_error = err->total > 0 ? err_text(err) : NULL;
}

static bool reload(struct app *a, bool dry_run, struct texts *changes, struct err *err)
{
    struct config *conf = config_load(a->current->conf->file, app_config_transports, err);
    struct generation *g = conf != NULL ? generation_new(conf) : NULL;
    bool good = g != NULL;
    if (good && a->store == NULL && config_stores(conf))
        good = err_add(err, "%s: a store or a durable route is new: the store is opened at the start, so restart "
                            "bellhopd", conf->file);
    good = good && names_are_free(a, conf, err);
    if (good)
        config_diff(a->current->conf, conf, changes);
    if (good)
        config_keep(conf, a->current->conf);
    if (good && !dry_run)
        good = open_fresh(a, g, err);
    if (good && !dry_run)
        use(a, g, changes);
    else
        generation_unref(g);
    if (!dry_run)
        remember_error(a, err);
    return good;
}

static void log_reload(struct app *a, bool good, const struct texts *changes, const struct err *err)
{
    for (size_t i = 0; i < changes->count; i++)
        log_write(a->log, LOG_INFO, "config_change", "what", changes->items[i], NULL);
    for (size_t i = 0; i < err->count; i++)
        log_write(a->log, LOG_ERROR, "config_error", "error", err->texts[i], NULL);
    log_write(a->log, good ? LOG_INFO : LOG_ERROR, good ? "reloaded" : "reload_refused", "file",
              a->current->conf->file, "generation", LOG_NUM(a->generation), "changes",
              LOG_NUM(changes->count), NULL);
}

bool app_reload(struct app *a, bool dry_run, struct texts *changes, struct err *err)
{
    if (a->state == APP_DRAINING)
        return err_add(err, "the daemon is draining: nothing new is opened");
    if (dry_run)
        return reload(a, true, changes, err);
    notify_reloading();
    bool good = reload(a, false, changes, err);
    log_reload(a, good, changes, err);
    notify_send("READY=1");
    return good;
}

void app_on_hup(void *app)
{
    struct app *a = app;
    struct texts changes = {0};
    struct err err = {0};
    if (a->state != APP_RUNNING)
        return;
    app_reload(a, false, &changes, &err);
    texts_fini(&changes);
    err_fini(&err);
}

void app_on_certificates(void *app)
{
    struct app *a = app;
    struct texts said = {0};
    if (renew_certificates(a, &said))
        log_write(a->log, LOG_INFO, "certificates_renewed", NULL);
    texts_fini(&said);
}
