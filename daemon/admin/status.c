/* `status` and `version`: the whole at a glance. */
#include <unistd.h>

#include "admin/internal.h"
#include "base/clock.h"

static json_t *text_or_null(const char *s)
{
    return s != NULL ? json_of(str_of(s)) : json_null();
}

static json_t *messages(struct hub *h)
{
    struct hub_counts c;
    hub_counts(h, &c);
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "accepted", (json_int_t)c.accepted, "stored",
                     (json_int_t)c.state[DELIVERY_STORED], "ready",
                     (json_int_t)c.state[DELIVERY_READY], "parked", (json_int_t)c.state[DELIVERY_PARKED], "waiting", (json_int_t)c.state[DELIVERY_WAITING],
                     "inflight", (json_int_t)c.state[DELIVERY_INFLIGHT], "done",
                     (json_int_t)c.state[DELIVERY_DONE], "dead", (json_int_t)c.state[DELIVERY_DEAD], "expired",
                     (json_int_t)c.state[DELIVERY_EXPIRED], "dropped", (json_int_t)c.state[DELIVERY_DROPPED],
                     "duplicates", (json_int_t)c.duplicates, "unaccounted", (json_int_t)hub_unaccounted(h));
}

struct service_list {
    json_t *rows; /* name -> row */
};

static void add_dest(void *arg, const struct dest_status *d)
{
    struct service_list *l = arg;
    if (!d->service)
        return;
    json_object_set_new(l->rows, d->name,
                        json_pack("{s:s,s:i,s:i,s:I,s:I,s:I,s:I,s:I,s:s}", "name", d->name, "instances", 0, "credit", 0,
                                  "inflight", (json_int_t)d->inflight, "queued",
                                  (json_int_t)d->ready + (json_int_t)d->parked + (json_int_t)d->waiting, "stored", (json_int_t)d->stored, "done", (json_int_t)d->done, "failed",
                                  (json_int_t)d->failed, "breaker", d->breaker));
}

static void add_service(void *arg, const struct service_status *s)
{
    struct service_list *l = arg;
    json_t *row = json_object_get(l->rows, s->name);
    json_object_set_new(row, "instances", json_integer((json_int_t)s->instances));
    json_object_set_new(row, "credit", json_integer((json_int_t)s->credit));
}

static json_t *services(struct admin *a)
{
    struct service_list l = {.rows = json_object()};
    json_t *list = json_array(), *row;
    const char *name;
    hub_each_dest(a->env.hub, add_dest, &l);
    server_each_service(a->env.server, add_service, &l);
    json_object_foreach(l.rows, name, row)
        json_array_append(list, row);
    json_decref(l.rows);
    return list;
}

static void add_endpoint(void *arg, const struct endpoint_conf *conf, const struct endpoint_status *s,
                         int64_t expires)
{
    json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I}", "name", conf->name, "url", conf->url.text,
                            "role", conf->listen ? "listen" : "connect", "state", s->state, "connections",
                            (json_int_t)s->connections, "received", (json_int_t)s->received, "sent",
                            (json_int_t)s->sent, "bad", (json_int_t)s->bad);
    json_object_set_new(row, "error", text_or_null(s->error));
    if (expires > 0)
        json_object_set_new(row, "certificate_expires_ms", json_integer(expires));
    json_array_append_new(arg, row);
}

static json_t *time_or_null(int64_t wall_ms)
{
    char when[32];
    return wall_ms >= 0 ? json_string(clock_rfc3339(wall_ms, when)) : json_null();
}

static void add_schedule(void *arg, const struct schedule_status *s)
{
    json_array_append_new(arg, json_pack("{s:s,s:s,s:o,s:o,s:o,s:I,s:I,s:I,s:s}", "name", s->name, "subject", s->subject,
                                         "next", time_or_null(s->next_wall_ms), "last", time_or_null(s->last_wall_ms),
                                         "drift_ms", s->last_wall_ms >= 0 ? json_integer(s->late_ms) : json_null(),
                                         "published", (json_int_t)s->published, "refused", (json_int_t)s->refused, "lost",
                                         (json_int_t)s->lost, "state", s->retrying ? "refused" : "good"));
}

static json_t *schedules(struct admin *a)
{
    json_t *list = json_array();
    a->env.ops->each_schedule(a->env.app, add_schedule, list);
    return list;
}

static json_t *store(struct admin *a)
{
    struct store *st = hub_store(a->env.hub);
    struct store_stats s;
    if (st == NULL)
        return json_null();
    store_stats(st, &s);
    return json_pack("{s:s?,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "path", s.path, "state",
                     s.faulted ? "faulted" : s.full ? "full" : "good", "bytes", (json_int_t)s.bytes, "max_bytes",
                     (json_int_t)s.max_bytes, "commits", (json_int_t)s.commits, "slowest_commit_ms",
                     (json_int_t)s.slowest_commit_ms, "quarantined", (json_int_t)s.totals.quarantined,
                     "lost_commits", (json_int_t)s.lost_commits, "unclean_start", s.unclean);
}

static json_t *run_status(struct admin *a, struct call *c)
{
    const struct admin_app *app = a->env.ops;
    void *self = a->env.app;
    const struct config *conf = app->config(self);
    json_t *endpoints = json_array();
    (void)c;
    app->each_endpoint(self, add_endpoint, endpoints);
    json_t *config = json_pack("{s:s,s:I}", "file", conf->file, "generation", (json_int_t)app->generation(self));
    json_object_set_new(config, "error", text_or_null(app->reload_error(self)));
    return json_pack("{s:s,s:s,s:i,s:I,s:s,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:o,s:o}", "version", BELLHOP_VERSION, "node",
                     conf->node, "pid", (int)getpid(), "uptime_ms", (json_int_t)app->uptime_ms(self), "state",
                     app->state(self), "config", config, "messages", messages(a->env.hub), "services",
                     services(a), "endpoints", endpoints, "memory_bytes", (json_int_t)hub_memory(a->env.hub),
                     "clients", (json_int_t)server_clients(a->env.server), "dead_letters",
                     (json_int_t)hub_dead_count(a->env.hub), "store", store(a),
                     "schedules", schedules(a));
}

static json_t *run_version(struct admin *a, struct call *c)
{
    (void)a;
    (void)c;
    return json_pack("{s:s}", "version", BELLHOP_VERSION);
}

const struct command command_status = {.name = "status", .run = run_status};
const struct command command_version = {.name = "version", .run = run_version};
