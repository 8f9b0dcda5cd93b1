/* `status` and `version`: the whole at a glance. */
#include <unistd.h>

#include "admin/internal.h"
#include "admin/row.h"
#include "base/clock.h"
#include "base/mem.h"

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

struct rows { /* of a list of the answer */
    struct admin *admin;
    struct buf *out;
};

static void add_service(void *arg, const struct dest_status *d)
{
    const struct rows *r = arg;
    if (!d->service)
        return;
    struct service_status s = server_service(r->admin->env.server, d->name);
    row_open(r->out, NULL, '{');
    row_text(r->out, "name", d->name);
    row_u64(r->out, "instances", s.instances);
    row_u64(r->out, "credit", s.credit);
    row_u64(r->out, "inflight", d->inflight);
    row_u64(r->out, "queued", d->ready + d->parked + d->waiting);
    row_u64(r->out, "stored", d->stored);
    row_u64(r->out, "done", d->done);
    row_u64(r->out, "failed", d->failed);
    row_text(r->out, "breaker", d->breaker);
    row_close(r->out, '}');
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

static void put_time(struct buf *out, const char *key, int64_t wall_ms)
{
    char when[32];
    row_text(out, key, wall_ms >= 0 ? clock_rfc3339(wall_ms, when) : NULL);
}

static void add_schedule(void *arg, const struct schedule_status *s)
{
    struct buf *out = ((const struct rows *)arg)->out;
    row_open(out, NULL, '{');
    row_text(out, "name", s->name);
    row_text(out, "subject", s->subject);
    put_time(out, "next", s->next_wall_ms);
    put_time(out, "last", s->last_wall_ms);
    if (s->last_wall_ms >= 0)
        row_i64(out, "drift_ms", s->late_ms);
    else
        row_text(out, "drift_ms", NULL);
    row_u64(out, "published", s->published);
    row_u64(out, "refused", s->refused);
    row_u64(out, "lost", s->lost);
    row_text(out, "state", s->retrying ? "refused" : "good");
    row_close(out, '}');
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

static json_t *status(struct admin *a)
{
    const struct admin_app *app = a->env.ops;
    void *self = a->env.app;
    const struct config *conf = app->config(self);
    json_t *endpoints = json_array();
    app->each_endpoint(self, add_endpoint, endpoints);
    json_t *config = json_pack("{s:s,s:I}", "file", conf->file, "generation", (json_int_t)app->generation(self));
    json_object_set_new(config, "error", text_or_null(app->reload_error(self)));
    return json_pack("{s:s,s:s,s:i,s:I,s:s,s:o,s:o,s:o,s:I,s:I,s:I,s:o}", "version", BELLHOP_VERSION, "node",
                     conf->node, "pid", (int)getpid(), "uptime_ms", (json_int_t)app->uptime_ms(self), "state",
                     app->state(self), "config", config, "messages", messages(a->env.hub), "endpoints", endpoints,
                     "memory_bytes", (json_int_t)hub_memory(a->env.hub), "clients",
                     (json_int_t)server_clients(a->env.server), "dead_letters", (json_int_t)hub_dead_count(a->env.hub),
                     "store", store(a));
}

/* The two lists that may be long are added by hand. */
static json_t *run_status(struct admin *a, struct call *c)
{
    struct buf out = BUF_EMPTY;
    struct rows rows = {a, &out};
    json_t *whole = status(a);
    char *text = json_dumps(whole, JSON_COMPACT);
    buf_put(&out, text, strlen(text) - 1); /* without its brace */
    row_open(&out, "services", '[');
    hub_each_dest(a->env.hub, add_service, &rows);
    row_close(&out, ']');
    row_open(&out, "schedules", '[');
    a->env.ops->each_schedule(a->env.app, add_schedule, &rows);
    row_close(&out, ']');
    row_close(&out, '}');
    visitor_send_text(c->visitor, VERB_REP, c->id, buf_str(&out));
    buf_fini(&out);
    mem_free(text);
    json_decref(whole);
    return NULL;
}

static json_t *run_version(struct admin *a, struct call *c)
{
    (void)a;
    (void)c;
    return json_pack("{s:s}", "version", BELLHOP_VERSION);
}

const struct command command_status = {.name = "status", .run = run_status, .streams = true};
const struct command command_version = {.name = "version", .run = run_version};
