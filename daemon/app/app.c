#include "app/app.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/internal.h"
#include "app/notify.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/store_sqlite.h"

#define STORE_FAULT_MS 5000 /* to finish what is in flight, once the store has failed */

struct generation *generation_new(struct config *conf)
{
    struct generation *g = mem_zalloc(sizeof(*g));
    g->refs = 1;
    g->conf = conf;
    return g;
}

struct generation *generation_ref(struct generation *g)
{
    g->refs++;
    return g;
}

static void free_config(void *conf)
{
    config_free(conf);
}

void generation_unref(struct generation *g)
{
    if (g == NULL || --g->refs > 0)
        return;
    certificates_free(g->certificates, g->conf);
    if (g->app != NULL)
        app_dispose(g->app, free_config, g->conf);
    else
        config_free(g->conf);
    mem_free(g);
}

/* ---------------------------------------------------------------- the hub's environment */

static int64_t env_now(void *arg)
{
    return loop_now(((struct app *)arg)->loop);
}

static int64_t env_wall(void *arg)
{
    (void)arg;
    return clock_wall_ms();
}

static void env_arm(void *arg, int64_t when_ms)
{
    timer_at(((struct app *)arg)->tick, when_ms);
}

static void on_tick(void *app)
{
    hub_tick(((struct app *)app)->hub);
}

static void on_watchdog(void *app)
{
    struct app *a = app;
    notify_send("WATCHDOG=1");
    timer_after(a->watchdog, a->watchdog_ms);
}

static void on_usr1(void *app)
{
    struct app *a = app;
    bool good = log_reopen(a->log);
    log_write(a->log, good ? LOG_INFO : LOG_ERROR, "log_reopened", "error", good ? NULL : strerror(errno), NULL);
}

/* ---------------------------------------------------------------- start */

/* Connections need descriptors: as many as the system lets us have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static bool open_log(struct app *a, struct err *err)
{
    const struct log_conf *l = &a->current->conf->log;
    a->log = log_new(l->level, l->format, l->file);
    if (a->log == NULL)
        return err_add(err, "log.file %s: %s", l->file, strerror(errno));
    return true;
}

struct hub_limits hub_limits_of(const struct config *c)
{
    return (struct hub_limits){.memory = c->limits.memory, .queue = c->limits.queue, .dead = c->limits.dead,
                               .history = c->limits.history,
                               .store_blocks = c->store.when_full == FULL_BLOCK,
                               .store_drops = c->store.when_full == FULL_DROP_OLDEST};
}

/* The store has failed: nothing durable is promised any more, what is in hand is finished, and the next
 * start checks the file. */
static void on_store_fault(void *arg, const char *why)
{
    struct app *a = arg;
    (void)why; /* the store has logged it */
    a->aborted = true;
    app_drain(a, STORE_FAULT_MS);
}

static bool open_store(struct app *a, struct err *err)
{
    const struct store_conf *c = &a->current->conf->store;
    struct store_options o = {.path = c->path, .max_size = c->max_size};
    if (!config_stores(a->current->conf))
        return true;
    a->store = store_sqlite_open(a->loop, a->log, &o, err);
    if (a->store == NULL)
        return false;
    store_on_fault(a->store, on_store_fault, a);
    return true;
}

/* What the last life has left. */
static void log_store(struct app *a)
{
    struct store_stats s;
    if (a->store == NULL)
        return;
    store_stats(a->store, &s);
    log_write(a->log, s.unclean ? LOG_WARN : LOG_INFO, "store_opened", "path", a->current->conf->store.path, "ready",
              LOG_NUM(s.totals.ready), "delayed", LOG_NUM(s.totals.delayed), "dead", LOG_NUM(s.totals.dead),
              "last_process", s.unclean ? "ended without closing it" : "closed it", NULL);
    if (s.lost_commits > 0)
        log_write(a->log, LOG_ERROR, "store_journal_cut", "lost_commits", LOG_NUM(s.lost_commits), "why",
                  "the journal is damaged, or the file is an older copy: what these commits held is lost",
                  "kept", "bellhop.db-wal.cut", NULL);
}

static bool make_core(struct app *a, struct err *err)
{
    const struct config *c = a->current->conf;
    struct hub_limits limits = hub_limits_of(c);
    a->loop = loop_new(a->log);
    a->tick = timer_new(a->loop, on_tick, a);
    a->leaving = timer_new(a->loop, endpoints_on_leaving, a);
    a->drain = timer_new(a->loop, app_on_drain, a);
    struct hub_env env = {.arg = a, .now = env_now, .wall = env_wall, .arm = env_arm, .dispose = app_dispose, .log = a->log};
    a->hub = hub_new(&env, &limits);
    hub_set_sample(a->hub, c->tracing.sample);
    a->schedules = schedules_new(a->loop, a->hub, a->log);
    a->reload = reload_new(a);
    if (!open_store(a, err))
        return false;
    a->started_ms = loop_now(a->loop); /* read now, for the store's time goes by it too */
    if (a->store != NULL)
        hub_use_store(a->hub, a->store);
    routes_orders(a, NULL, c);
    hub_use(a->hub, routes_make(a->current));
    log_store(a);
    return true;
}

static bool open_doors(struct app *a, struct err *err)
{
    const struct config *c = a->current->conf;
    struct server_env env = {.loop = a->loop, .log = a->log, .hub = a->hub, .conf = c,
                             .listen_fd = notify_listen_fd("local")};
    a->server = server_open(&env, err);
    if (a->server == NULL)
        return false;
    for (size_t i = 0; i < c->endpoint_count; i++) {
        struct open_endpoint *e = endpoint_open(a, a->current, &c->endpoints[i], err);
        if (e == NULL)
            return false;
        endpoint_use(a, e);
    }
    struct admin_env admin = {.loop = a->loop, .log = a->log, .hub = a->hub, .server = a->server,
                              .listen_fd = notify_listen_fd("admin"), .ops = &app_admin_ops, .app = a};
    a->admin = admin_open(&admin, err);
    return a->admin != NULL;
}

static void wire_signals(struct app *a)
{
    loop_signal(a->loop, SIGTERM, app_on_term, a);
    loop_signal(a->loop, SIGINT, app_on_term, a);
    loop_signal(a->loop, SIGHUP, app_on_hup, a);
    loop_signal(a->loop, SIGUSR1, on_usr1, a);
    a->watchdog_ms = notify_watchdog_ms();
    if (a->watchdog_ms > 0) {
        a->watchdog = timer_new(a->loop, on_watchdog, a);
        timer_after(a->watchdog, a->watchdog_ms);
    }
}

void app_warn(struct app *a)
{
    const struct texts *warnings = &a->current->conf->warnings;
    for (size_t i = 0; i < warnings->count; i++)
        log_write(a->log, LOG_WARN, "config_warning", "warning", warnings->items[i], NULL);
}

static void say_ready(struct app *a)
{
    const struct config *c = a->current->conf;
    app_warn(a);
    log_write(a->log, LOG_INFO, "ready", "version", BELLHOP_VERSION, "node", c->node, "pid", LOG_NUM(getpid()),
              "socket", c->local.socket, "endpoints", LOG_NUM(c->endpoint_count), "routes",
              LOG_NUM(c->route_count), NULL);
    notify_send("READY=1\nSTATUS=running");
}

struct app *app_new(struct config *conf, struct err *err)
{
    struct app *a = mem_zalloc(sizeof(*a));
    a->current = generation_new(conf);
    a->current->app = a;
    a->current->certificates = certificates_read(conf);
    a->generation = 1;
    list_init(&a->endpoints);
    list_init(&a->fresh);
    list_init(&a->leavers);
    raise_descriptor_limit();
    if (!open_log(a, err)) {
        app_free(a);
        return NULL;
    }
    if (!make_core(a, err)) {
        app_free(a);
        return NULL;
    }
    wire_signals(a);
    if (!open_doors(a, err)) {
        app_free(a);
        return NULL;
    }
    endpoints_watch(a);
    schedules_use(a->schedules, conf);
    a->state = APP_RUNNING;
    say_ready(a);
    return a;
}

int app_run(struct app *a)
{
    loop_run(a->loop);
    return a->aborted ? 1 : 0;
}

static void close_all(struct app *a, struct list *l)
{
    while (!list_empty(l))
        endpoint_close(a, CONTAINER_OF(list_first(l), struct open_endpoint, link));
}

bool app_free(struct app *a)
{
    bool kept = true;
    a->closing = true;
    if (a->loop != NULL) {
        admin_close(a->admin);
        reload_free(a->reload);
        app_end_disposals(a);
        close_all(a, &a->endpoints);
        close_all(a, &a->leavers);
        server_close(a->server);
        loop_turn(a->loop, false); /* last words leave, what was put off is freed */
        schedules_free(a->schedules);
        hub_flush(a->hub);
        kept = store_close(a->store);
        hub_free(a->hub);
        watch_free(a->watch);
        timer_free(a->tick);
        timer_free(a->watchdog);
        timer_free(a->leaving);
        timer_free(a->drain);
        loop_free(a->loop);
    }
    generation_unref(a->current);
    log_free(a->log);
    mem_free(a->reload_error);
    mem_free(a);
    return kept;
}
