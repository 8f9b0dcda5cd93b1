/* `log.ls`, `log.show`, `log.rm`, `replay`: event logs. */
#include "admin/internal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "delivery/log.h"

/* A command that goes on. */
struct log_call {
    struct list_node link; /* in admin->log_calls */
    struct visitor *visitor;
    uint64_t id;
    struct log_reader *reader; /* of log.show, or NULL */
    struct replay *replay;     /* of replay, or NULL; both NULL: of log.rm */
    bool bodies, dry_run;
};

static void call_free(struct log_call *k)
{
    list_remove(&k->visitor->admin->log_calls, &k->link);
    mem_free(k);
}

void log_cancel_calls(struct visitor *v, uint64_t id)
{
    LIST_EACH(&v->admin->log_calls, n) {
        struct log_call *k = CONTAINER_OF(n, struct log_call, link);
        if (k->visitor != v || (id != 0 && k->id != id))
            continue;
        if (k->reader != NULL)
            log_reader_cancel(k->reader);
        else if (k->replay != NULL)
            replay_cancel(k->replay);
        else
            hub_log_remove_cancel(v->admin->env.hub, k);
        call_free(k);
    }
}

void log_drained(struct visitor *v)
{
    LIST_EACH(&v->admin->log_calls, n) {
        struct log_call *k = CONTAINER_OF(n, struct log_call, link);
        if (k->visitor == v && k->reader != NULL)
            log_reader_resume(k->reader);
    }
}

/* ---------------------------------------------------------------- ls */

static void add_row(void *arg, const struct store_log_view *v)
{
    char first[32], last[32];
    json_t *row = json_pack("{s:o,s:I,s:I,s:I,s:I}", "name", json_of(v->name), "entries",
                            (json_int_t)(v->last + 1 - v->first), "bytes", (json_int_t)v->bytes, "first",
                            (json_int_t)v->first, "last", (json_int_t)v->last);
    if (v->first <= v->last) {
        json_object_set_new(row, "first_time", json_string(clock_rfc3339(v->first_ms, first)));
        json_object_set_new(row, "last_time", json_string(clock_rfc3339(v->last_ms, last)));
    }
    json_array_append_new(arg, row);
}

static json_t *run_ls(struct admin *a, struct call *c)
{
    json_t *rows = json_array();
    (void)c;
    hub_each_log(a->env.hub, add_row, rows);
    return json_pack("{s:o}", "logs", rows);
}

/* ---------------------------------------------------------------- what both others are told */

static bool place_of(struct admin *a, struct call *c, const char *name, struct log_place *out)
{
    const char *text = arg_text(c, name);
    if (text == NULL || log_place_parse(a->env.hub, str_of(text), out))
        return true;
    command_fail(c, CODE_INVALID, "`%s` has to be " LOG_PLACES, name);
    return false;
}

static bool ask_of(struct admin *a, struct call *c, struct log_ask *ask)
{
    const char *why, *match = arg_text(c, "match"), *key = arg_text(c, "key");
    ask->name = str_of(arg_text(c, "name"));
    ask->match = match != NULL ? str_of(match) : STR_NONE;
    ask->key = key != NULL ? str_of(key) : STR_NONE;
    ask->limit = arg_count(c, "limit");
    if (ask->name.p == NULL)
        command_fail(c, CODE_INVALID, "`name` is needed");
    else if (match != NULL && !filter_valid(ask->match, &why))
        command_fail(c, CODE_INVALID, "`match`: %s", why);
    else
        return place_of(a, c, "from", &ask->from) && place_of(a, c, "to", &ask->to);
    return false;
}

static struct log_call *call_new(struct call *c)
{
    struct log_call *k = mem_zalloc(sizeof(*k));
    k->visitor = c->visitor;
    k->id = c->id;
    list_push(&c->visitor->admin->log_calls, &k->link);
    return k;
}

static void call_refuse(struct call *c, struct log_call *k)
{
    call_free(k);
    command_fail(c, CODE_INVALID, "there is no log named %s; see bellhop log ls", arg_text(c, "name"));
}

/* ---------------------------------------------------------------- show */

static void on_entry(void *arg, const struct store_entry *e)
{
    const struct log_call *k = arg;
    char when[32];
    json_t *row = json_pack("{s:I,s:s,s:I,s:o,s:o,s:o,s:o,s:I}", "offset", (json_int_t)e->offset, "time",
                            clock_rfc3339(e->time_ms, when), "version", (json_int_t)e->version, "key", json_of(e->key),
                            "subject", json_of(e->subject), "route", json_of(e->route), "headers",
                            json_of(e->headers), "size", (json_int_t)e->body.n);
    if (k->bodies)
        json_add_body(row, e->body);
    visitor_send(k->visitor, VERB_MORE, k->id, row);
    json_decref(row);
}

static bool on_ready(void *arg)
{
    return stream_pending(((const struct log_call *)arg)->visitor->stream) <= ADMIN_OUTPUT_MAX; /* its mark */
}

static void on_end(void *arg, const struct log_end *end)
{
    struct log_call *k = arg;
    json_t *reply = json_pack("{s:I,s:I}", "next", (json_int_t)end->next, "damaged", (json_int_t)end->damaged);
    if (end->failed)
        visitor_error(k->visitor, k->id, CODE_UNAVAILABLE, "the store could not be read; see the daemon's log");
    else
        visitor_send(k->visitor, VERB_REP, k->id, reply);
    json_decref(reply);
    call_free(k);
}

static json_t *run_show(struct admin *a, struct call *c)
{
    struct log_ask ask = {.follow = arg_true(c, "follow"), .entry = on_entry, .ready = on_ready, .end = on_end};
    if (!ask_of(a, c, &ask))
        return NULL;
    struct log_call *k = ask.arg = call_new(c);
    k->bodies = arg_true(c, "bodies");
    k->reader = hub_log_read(a->env.hub, &ask);
    if (k->reader == NULL)
        call_refuse(c, k);
    return NULL;
}

/* ---------------------------------------------------------------- rm */

static json_t *removed_of(const struct log_removed *r)
{
    return json_pack("{s:I,s:I}", "entries", (json_int_t)r->entries, "bytes", (json_int_t)r->bytes);
}

static void on_removed(void *arg, const struct log_removed *r)
{
    struct log_call *k = arg;
    json_t *reply = removed_of(r);
    if (r->stopped != NULL)
        json_object_set_new(reply, "stopped", json_string(r->stopped));
    visitor_send(k->visitor, VERB_REP, k->id, reply);
    json_decref(reply);
    call_free(k);
}

static json_t *run_rm(struct admin *a, struct call *c)
{
    static const char *const refusals[] = {[LOG_UNKNOWN] = "there is no such log", [LOG_NAMED] = "a route appends to it",
                                           [LOG_READ] = "somebody reads or replays it", [LOG_BEING_REMOVED] = "it is being removed"};
    const char *name = arg_text(c, "name"), *route = NULL;
    struct log_removed there;
    if (name == NULL)
        return command_fail(c, CODE_INVALID, "`name` is needed");
    struct log_call *k = call_new(c);
    struct log_removal_ask ask = {.name = str_of(name), .dry_run = arg_true(c, "dry_run"), .done = on_removed, .arg = k};
    enum log_removal what = hub_log_remove(a->env.hub, &ask, &route, &there);
    if (what == LOG_REMOVING && !ask.dry_run)
        return NULL;
    call_free(k);
    if (what != LOG_REMOVING)
        return command_fail(c, CODE_INVALID, "log %s: %s%s%s", name, refusals[what], route != NULL ? ": " : "",
                            route != NULL ? route : "");
    json_t *reply = removed_of(&there);
    visitor_send(c->visitor, VERB_REP, c->id, reply);
    json_decref(reply);
    return NULL;
}

/* ---------------------------------------------------------------- replay */

static json_t *sum_of(const struct replay_sum *s)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I}", "count", (json_int_t)s->count, "skipped", (json_int_t)s->skipped,
                     "refused", (json_int_t)s->refused, "damaged", (json_int_t)s->damaged, "offset",
                     (json_int_t)s->offset);
}

static json_t *replayed_of(const struct replay_sum *s)
{
    json_t *row = sum_of(s);
    if (s->skipped_route != NULL)
        json_object_set_new(row, "skipped_route", json_of(str_of(s->skipped_route)));
    return row;
}

static void on_progress(void *arg, const struct replay_sum *s)
{
    const struct log_call *k = arg;
    json_t *row = sum_of(s);
    visitor_send(k->visitor, VERB_MORE, k->id, row);
    json_decref(row);
}

static void on_replayed(void *arg, const struct replay_sum *s)
{
    struct log_call *k = arg;
    json_t *row = replayed_of(s);
    if (s->stopped != NULL)
        json_object_set_new(row, "stopped", json_string(s->stopped));
    log_write(k->visitor->admin->env.log, LOG_INFO, "replayed", "count", LOG_NUM(s->count), "skipped",
              LOG_NUM(s->skipped), "offset", LOG_NUM(s->offset), "dry_run", k->dry_run ? "yes" : "no", NULL);
    json_object_set_new(row, "done", json_true());
    visitor_send(k->visitor, VERB_MORE, k->id, row); /* the tool shows items; a program may do with the reply */
    visitor_send(k->visitor, VERB_REP, k->id, row);
    json_decref(row);
    call_free(k);
}

static json_t *run_replay(struct admin *a, struct call *c)
{
    const char *service = arg_text(c, "service");
    const char *rate = arg_text(c, "rate");
    struct replay_ask ask = {.dry_run = arg_true(c, "dry_run"),
                             .service = service != NULL ? str_of(service) : STR_NONE, .progress = on_progress,
                             .done = on_replayed};
    if (rate != NULL && !str_parse_rate(str_of(rate), &ask.pause_us))
        return command_fail(c, CODE_INVALID, "`rate` is not a rate such as 50/s, 30/m or 100/h: %s", rate);
    if (!ask_of(a, c, &ask.log))
        return NULL;
    struct log_call *k = ask.arg = call_new(c);
    k->dry_run = ask.dry_run;
    k->replay = hub_replay(a->env.hub, &ask);
    if (k->replay == NULL)
        call_refuse(c, k);
    return NULL;
}

const struct command command_log_ls = {.name = "log.ls", .run = run_ls};
const struct command command_log_show = {.name = "log.show", .run = run_show, .streams = true};
const struct command command_log_rm = {.name = "log.rm", .run = run_rm, .changes = true, .streams = true};
const struct command command_replay = {.name = "replay", .run = run_replay, .changes = true, .streams = true};
