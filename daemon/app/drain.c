#include "app/internal.h"
#include "app/notify.h"

#define LOOK_MS 10
#define QUIET_MS 50 /* nothing left to do for so long: done */

/*
 * running --SIGTERM--> intake stopped --(nothing left to hand over)--> clients told BYE
 *         --(nothing in flight, answers written)--> exit 0;   drain_timeout or SIGTERM: exit now
 */
void app_drain(struct app *a, int64_t budget)
{
    if (a->state == APP_DRAINING)
        return;
    a->state = APP_DRAINING;
    a->drain_until_ms = loop_now(a->loop) + budget;
    notify_send("STOPPING=1");
    log_write(a->log, LOG_INFO, "draining", "deliveries", LOG_NUM(hub_live(a->hub)), "timeout_ms",
              LOG_NUM(budget), NULL);
    reload_stop(a->reload);
    hub_drain(a->hub, true);
    schedules_stop(a->schedules);
    server_stop(a->server);
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        e->transport->stop_intake(e->endpoint);
    }
    timer_after(a->drain, 1);
}

void app_on_term(void *app)
{
    struct app *a = app;
    if (a->state != APP_DRAINING) {
        app_drain(a, a->current->conf->limits.drain_timeout_ms);
        return;
    }
    log_write(a->log, LOG_WARN, "exit_now", "reason", "a second signal", "deliveries",
              LOG_NUM(hub_live(a->hub)), NULL);
    a->aborted = true;
    loop_stop(a->loop);
}

static size_t still_busy(struct app *a)
{
    size_t busy = hub_deliverable(a->hub) + server_busy(a->server);
    LIST_EACH(&a->endpoints, n) {
        struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        busy += e->transport->busy(e->endpoint);
    }
    LIST_EACH(&a->leavers, n) {
        const struct open_endpoint *e = CONTAINER_OF(n, struct open_endpoint, link);
        busy += e->transport->busy(e->endpoint) + endpoint_held(e);
    }
    return busy;
}

static void finish(struct app *a)
{
    size_t left = hub_live(a->hub);
    log_write(a->log, left > 0 ? LOG_WARN : LOG_INFO, "drained", "undelivered", LOG_NUM(left), NULL);
    loop_stop(a->loop);
}

void app_on_drain(void *app)
{
    struct app *a = app;
    int64_t now = loop_now(a->loop);
    struct hub_counts counts;
    hub_counts(a->hub, &counts);
    if (!a->bye_sent && hub_deliverable(a->hub) <= counts.state[DELIVERY_INFLIGHT]) {
        a->bye_sent = true;
        server_bye(a->server);
    }
    if (still_busy(a) > 0 || a->quiet_since_ms == 0)
        a->quiet_since_ms = now;
    if (now >= a->drain_until_ms || (a->bye_sent && now - a->quiet_since_ms >= QUIET_MS))
        finish(a);
    else
        timer_after(a->drain, LOOK_MS);
}
