/* What the admin side sees of the whole. */
#include "app/internal.h"

static const struct config *view_config(void *app)
{
    return ((struct app *)app)->current->conf;
}

static uint64_t view_generation(void *app)
{
    return ((struct app *)app)->generation;
}

static const char *view_reload_error(void *app)
{
    return ((struct app *)app)->reload_error;
}

static const char *view_state(void *app)
{
    static const char *const names[] = {"starting", "running", "draining"};
    return names[((struct app *)app)->state];
}

static int64_t view_uptime_ms(void *app)
{
    struct app *a = app;
    return loop_now(a->loop) - a->started_ms;
}

static void view_each_endpoint(void *app,
                               void (*fn)(void *arg, const struct endpoint_conf *conf,
                                          const struct endpoint_status *status, int64_t cert_expires_wall_ms),
                               void *arg)
{
    struct app *a = app;
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        struct endpoint_status status;
        e->transport->status(e->endpoint, &status);
        fn(arg, e->conf, &status, e->tls != NULL ? tls_context_expires(e->tls) : 0);
    }
}

static void view_examine(void *app, struct doctor *(*ask)(void *arg, const char *endpoint), void *arg)
{
    struct app *a = app;
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        struct endpoint_status status;
        e->transport->status(e->endpoint, &status);
        bool asks = e->transport->doctor != NULL && strcmp(status.state, "up") == 0;
        struct doctor *d = asks ? ask(arg, e->conf->name) : NULL;
        if (d != NULL)
            e->transport->doctor(e->endpoint, d);
    }
}

static void view_each_schedule(void *app, void (*fn)(void *arg, const struct schedule_status *status), void *arg)
{
    schedules_each(((struct app *)app)->schedules, fn, arg);
}

static struct reload_ask *view_reload(void *app, const struct reload_request *request, const char **why)
{
    return reload_ask(((struct app *)app)->reload, request, why);
}

static void view_reload_cancel(void *app, struct reload_ask *ask)
{
    reload_cancel(((struct app *)app)->reload, ask);
}

static void view_drain(void *app)
{
    struct app *a = app;
    app_drain(a, a->current->conf->limits.drain_timeout_ms);
}

const struct admin_app app_admin_ops = {
    .config = view_config, .generation = view_generation, .reload_error = view_reload_error,
    .state = view_state, .uptime_ms = view_uptime_ms, .each_endpoint = view_each_endpoint,
    .examine = view_examine, .each_schedule = view_each_schedule, .reload = view_reload, .reload_cancel = view_reload_cancel,
    .drain = view_drain};
