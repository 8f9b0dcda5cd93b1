/*
 * idle --> reading, in a thread --> binding, some routes a turn --> in use, or refused --> idle
 *
 * Who asks while one is under way is served by the next: the file may have changed since it was read.
 */
#include <string.h>

#include "app/internal.h"
#include "app/loading.h"
#include "app/notify.h"
#include "base/mem.h"
#include "loop/work.h"

#define BIND_STEP 1000     /* routes a turn */
#define ASKS_MAX 1000      /* who may wait at once */
#define PATIENCE_MS 1000   /* at the end, for a file that cannot be read to its end */

struct reload_ask {
    struct list_node link;
    struct reload_request request;
};

struct reload {
    struct app *app;
    struct list asks, served;    /* struct reload_ask: not begun; answered by the one under way */
    bool wanted, certificates;   /* a signal, or the watch on certificates, asks: not begun */
    struct loading *loading;     /* the one under way, or NULL */
    struct work *work;           /* its thread, or NULL */
    struct timer *step;
    bool stopped;
};

static void begin(struct reload *r);

/* ---------------------------------------------------------------- into use */

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

static bool goes_on(const struct loading *l, const char *endpoint)
{
    const struct endpoint_conf *was = config_endpoint(l->before, endpoint);
    return was != NULL && l->unchanged[was - l->before->endpoints];
}

/* First half: opens what is new or different. What fails here has changed nothing. */
static bool open_fresh(struct app *a, struct loading *l)
{
    const struct config *after = l->generation->conf;
    for (size_t i = 0; i < after->endpoint_count; i++) {
        const struct endpoint_conf *conf = &after->endpoints[i];
        if (goes_on(l, conf->name) || endpoint_open(a, l->generation, conf, &l->err) != NULL)
            continue;
        while (!list_empty(&a->fresh))
            endpoint_close(a, CONTAINER_OF(list_first(&a->fresh), struct open_endpoint, link));
        return false;
    }
    return true;
}

/* Second half, which cannot fail: what has gone or was replaced leaves, its successors take over. */
static void swap_endpoints(struct app *a, const struct loading *l)
{
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        if (!goes_on(l, e->conf->name))
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
        log_write(a->log, LOG_ERROR, "certificate_error", "error", err.texts[i], "kept", "the old one", NULL);
        buf_printf(&line, "%s; the old one is kept", err.texts[i]);
        texts_add(lines, buf_steal(&line));
    }
    err_fini(&err);
    return good;
}

static void use(struct app *a, struct loading *l)
{
    struct generation *g = l->generation;
    const struct config *c = g->conf;
    struct hub_limits limits = hub_limits_of(c);
    swap_endpoints(a, l);
    routes_orders(a, l->before, c);
    hub_use(a->hub, l->routes);
    l->routes = NULL;
    hub_set_limits(a->hub, &limits);
    hub_set_sample(a->hub, c->tracing.sample);
    log_set(a->log, c->log.level, c->log.format);
    server_reload(a->server, c);
    schedules_use(a->schedules, c);
    generation_unref(a->current);
    a->current = generation_ref(g);
    a->generation++;
    app_warn(a);
    renew_certificates(a, &l->changes);
    endpoints_watch(a);
    if (certificates_print(c) != l->print)
        a->reload->certificates = true; /* while nobody watched them */
}

/* ---------------------------------------------------------------- its end */

static void log_reload(struct app *a, bool good, const struct loading *l)
{
    for (size_t i = 0; i < l->changes.count && i < LOG_BURST; i++) /* more of a kind it does not take at once */
        log_write(a->log, LOG_INFO, "config_change", "what", l->changes.items[i], NULL);
    for (size_t i = 0; i < l->err.count; i++)
        log_write(a->log, LOG_ERROR, "config_error", "error", l->err.texts[i], NULL);
    log_write(a->log, good ? LOG_INFO : LOG_ERROR, good ? "reloaded" : "reload_refused", "file",
              a->current->conf->file, "generation", LOG_NUM(a->generation), "changes", LOG_NUM(l->changes.count), NULL);
}

static void answer(struct reload *r, struct list *asks, const struct loading *l, bool good)
{
    struct reload_answer answer = {.good = good, .generation = r->app->generation, .changes = &l->changes, .err = &l->err};
    while (!list_empty(asks)) {
        struct reload_ask *ask = CONTAINER_OF(list_first(asks), struct reload_ask, link);
        list_remove(asks, &ask->link);
        ask->request.done(ask->request.arg, &answer);
        mem_free(ask);
    }
}

/* Everybody is told; systemd last of all: what it does next finds the whole in place. */
static void tell(struct reload *r, struct loading *l, bool good)
{
    struct app *a = r->app;
    if (l->what == LOADING_USE) {
        mem_free(a->reload_error);
        a->reload_error = l->err.total > 0 ? err_text(&l->err) : NULL;
        log_reload(a, good, l);
    }
    answer(r, &r->served, l, good);
    if (l->what == LOADING_USE && !r->stopped)
        notify_send("READY=1");
}

static void finish(struct reload *r)
{
    struct loading *l = r->loading;
    r->loading = NULL;
    loading_free(r->app, l);
    begin(r);
}

/* ---------------------------------------------------------------- its steps */

static void on_step(void *reload)
{
    struct reload *r = reload;
    struct app *a = r->app;
    struct loading *l = r->loading;
    if (r->stopped) {
        finish(r);
        return;
    }
    if (!route_set_bind(l->routes, a->hub, BIND_STEP)) {
        timer_after(r->step, 1);
        return;
    }
    bool good = names_are_free(a, l->generation->conf, &l->err) && open_fresh(a, l);
    if (good)
        use(a, l);
    tell(r, l, good);
    finish(r);
}

static void use_certificates(struct app *a, struct loading *l)
{
    struct texts said = {0};
    struct certificate *before = a->current->certificates;
    a->current->certificates = l->certificates;
    l->certificates = before;
    if (renew_certificates(a, &said))
        log_write(a->log, LOG_INFO, "certificates_renewed", NULL);
    texts_fini(&said);
}

static void on_loaded(void *loading)
{
    struct loading *l = loading;
    struct reload *r = l->owner;
    struct app *a = r->app;
    r->work = NULL;
    if (l->generation != NULL)
        l->generation->app = a;
    if (l->what == LOADING_USE && l->generation != NULL) {
        on_step(r);
        return;
    }
    if (l->what == LOADING_CERTIFICATES)
        use_certificates(a, l);
    else if (!r->stopped)
        tell(r, l, l->generation != NULL && names_are_free(a, l->generation->conf, &l->err));
    finish(r);
}

static enum loading_what next_what(const struct reload *r)
{
    bool use = r->wanted;
    LIST_EACH(&r->asks, n)
        use |= !CONTAINER_OF(n, struct reload_ask, link)->request.dry_run;
    return use ? LOADING_USE : list_empty(&r->asks) ? LOADING_CERTIFICATES : LOADING_DIFF;
}

static void begin(struct reload *r)
{
    struct app *a = r->app;
    if (r->loading != NULL || r->stopped || (list_empty(&r->asks) && !r->wanted && !r->certificates))
        return;
    struct loading *l = mem_zalloc(sizeof(*l));
    *l = (struct loading){.what = next_what(r), .owner = r, .from = generation_ref(a->current),
                          .before = a->current->conf, .store_open = a->store != NULL};
    LIST_EACH(&r->asks, n) {
        list_remove(&r->asks, n);
        list_push(&r->served, n);
    }
    r->wanted = false;
    r->certificates &= l->what == LOADING_DIFF; /* a reload reads them too */
    if (l->what == LOADING_USE)
        notify_reloading();
    r->loading = l;
    r->work = work_start(a->loop, loading_run, on_loaded, l);
}

/* ---------------------------------------------------------------- who asks */

struct reload *reload_new(struct app *a)
{
    struct reload *r = mem_zalloc(sizeof(*r));
    r->app = a;
    list_init(&r->asks);
    list_init(&r->served);
    r->step = timer_new(a->loop, on_step, r);
    return r;
}

struct reload_ask *reload_ask(struct reload *r, const struct reload_request *request, const char **why)
{
    *why = r->stopped ? "the daemon is draining: nothing new is opened" :
           r->asks.count >= ASKS_MAX ? "too many ask for it at once" : NULL;
    if (*why != NULL)
        return NULL;
    struct reload_ask *ask = mem_zalloc(sizeof(*ask));
    ask->request = *request;
    list_push(&r->asks, &ask->link);
    begin(r);
    return ask;
}

static void ignore(void *arg, const struct reload_answer *answer)
{
    (void)arg;
    (void)answer;
}

void reload_cancel(struct reload *r, struct reload_ask *ask)
{
    (void)r;
    ask->request.done = ignore;
}

void reload_stop(struct reload *r)
{
    struct loading refusal = {0};
    r->stopped = true;
    r->wanted = r->certificates = false;
    err_add(&refusal.err, "the daemon is draining: nothing new is opened");
    if (r->loading != NULL)
        refusal.what = r->loading->what;
    tell(r, &refusal, false);
    answer(r, &r->asks, &refusal, false);
    err_fini(&refusal.err);
}

static void forget(struct list *asks)
{
    while (!list_empty(asks)) {
        struct list_node *n = list_first(asks);
        list_remove(asks, n);
        mem_free(CONTAINER_OF(n, struct reload_ask, link));
    }
}

void reload_free(struct reload *r)
{
    if (r == NULL)
        return;
    /* A thread that is still at it keeps what it was lent. */
    if (r->work != NULL && !work_stop(r->work, PATIENCE_MS))
        r->loading = NULL;
    if (r->loading != NULL)
        loading_free(r->app, r->loading);
    forget(&r->asks);
    forget(&r->served);
    timer_free(r->step);
    mem_free(r);
}

void app_on_hup(void *app)
{
    struct app *a = app;
    if (a->state != APP_RUNNING)
        return;
    a->reload->wanted = true;
    begin(a->reload);
}

void app_on_certificates(void *app)
{
    struct app *a = app;
    a->reload->certificates = true;
    begin(a->reload);
}
