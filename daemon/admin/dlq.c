/* `dlq.ls`, `dlq.show`, `dlq.redrive`, `dlq.purge`: dead letters. */
#include "admin/internal.h"
#include "admin/row.h"
#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"
#include "msg/headers.h"

static struct dead_query query_of(const struct call *c)
{
    const char *id = arg_text(c, "id"), *route = arg_text(c, "route"), *match = arg_text(c, "match");
    return (struct dead_query){.id = id != NULL ? str_of(id) : STR_NONE,
                               .route = route != NULL ? str_of(route) : STR_NONE,
                               .match = match != NULL ? str_of(match) : STR_NONE,
                               .limit = arg_count(c, "limit")};
}

static bool query_legal(struct call *c, const struct dead_query *q)
{
    const char *why;
    if (q->match.p == NULL || filter_valid(q->match, &why))
        return true;
    command_fail(c, CODE_INVALID, "`match`: %s", why);
    return false;
}

static json_t *base64_of(struct str bytes)
{
    struct buf out = BUF_EMPTY;
    base64_put(&out, bytes);
    json_t *text = json_of(buf_str(&out));
    buf_fini(&out);
    return text;
}

static bool body_is_text(struct str body)
{
    return str_utf8(body) && (body.n == 0 || memchr(body.p, 0, body.n) == NULL);
}

void json_add_body(json_t *row, struct str body)
{
    if (body_is_text(body))
        json_object_set_new(row, "body", json_of(body));
    else
        json_object_set_new(row, "body_base64", base64_of(body));
}

static void put_fields(struct buf *out, const struct dead_letter *d)
{
    char when[32];
    row_str(out, "id", d->msg->id);
    row_text(out, "route", d->route_name);
    row_text(out, "destination", dest_name(d->dest));
    row_str(out, "subject", d->msg->subject);
    row_text(out, "kind", d->msg->kind == MSG_REQUEST ? "request" : "event");
    row_text(out, "reason", code_name(d->reason));
    row_u64(out, "attempts", d->attempts);
    row_u64(out, "redrives", d->redrives);
    row_str(out, "first_error", str_of(d->first_error));
    row_str(out, "last_error", str_of(d->last_error));
    row_text(out, "time", clock_rfc3339(d->time_wall_ms, when));
    row_str(out, "source", d->msg->source);
    row_u64(out, "size", d->msg->body.n);
}

/* When its sender made it, by its own account. */
static void put_sent(struct buf *out, const struct msg *m)
{
    struct str time = headers_get(m->headers, "time");
    if (time.n > 0)
        row_str(out, "sent", time);
    else
        row_text(out, "sent", NULL);
}

static void put_body(struct buf *out, struct str body)
{
    struct buf coded = BUF_EMPTY;
    if (body_is_text(body)) {
        row_str(out, "body", body);
        return;
    }
    base64_put(&coded, body);
    row_str(out, "body_base64", buf_str(&coded));
    buf_fini(&coded);
}

/* All of one; the last one of those that have the id. */
static void put_whole(void *arg, const struct dead_letter *d)
{
    struct buf *out = arg;
    char when[32];
    buf_clear(out);
    row_open(out, NULL, '{');
    put_fields(out, d);
    put_sent(out, d->msg);
    row_text(out, "accepted", clock_rfc3339(d->accepted_wall_ms, when));
    row_str(out, "headers", d->msg->headers);
    put_body(out, d->msg->body);
    row_close(out, '}');
}

static void list_begin(struct buf *out)
{
    row_open(out, NULL, '{');
    row_open(out, "items", '[');
}

static void list_put(void *arg, const struct dead_letter *d)
{
    struct buf *out = arg;
    row_open(out, NULL, '{');
    put_fields(out, d);
    row_close(out, '}');
}

static void list_end(struct buf *out, size_t total)
{
    row_close(out, ']');
    row_u64(out, "total", total);
    row_close(out, '}');
}

/* ---------------------------------------------------------------- in the store: answered later */

#define GROUPS_MAX 1000
#define LIST_MAX 100000 /* of one answer, which is in memory as a whole */

/* A command that waits for the store. */
struct dead_call {
    struct list_node link; /* in admin->dead_calls */
    struct visitor *visitor;
    uint64_t id;
    struct dead_walk *walk;
    json_t *groups; /* fingerprint -> row, or NULL */
    bool lists;
    struct buf text; /* of `ls`, growing; or the row of `show` */
    char *wanted;  /* the id of `show` */
    bool follows;  /* a redrive at a rate or as a canary: how it goes is streamed */
};

static void call_free(struct dead_call *k)
{
    list_remove(&k->visitor->admin->dead_calls, &k->link);
    json_decref(k->groups);
    buf_fini(&k->text);
    mem_free(k->wanted);
    mem_free(k);
}

void dlq_cancel(struct visitor *v, uint64_t id)
{
    LIST_EACH(&v->admin->dead_calls, n) {
        struct dead_call *k = CONTAINER_OF(n, struct dead_call, link);
        if (k->visitor != v || (id != 0 && k->id != id))
            continue;
        hub_dead_walk_cancel(k->walk);
        call_free(k);
    }
}

static void on_listed(void *arg, const struct dead_letter *d)
{
    list_put(&((struct dead_call *)arg)->text, d);
}

/* What makes two failures alike: where, why, and the error with its numbers left out. */
static void put_fingerprint(struct buf *out, const struct dead_letter *d)
{
    buf_printf(out, "%s\n%s\n%s\n", d->route_name, dest_name(d->dest), code_name(d->reason));
    for (const char *p = d->last_error; p != NULL && *p != '\0'; p++) {
        bool digit = *p >= '0' && *p <= '9';
        if (!digit || out->len == 0 || buf_data(out)[out->len - 1] != '#')
            buf_putc(out, digit ? '#' : *p);
    }
}

static void on_grouped(void *arg, const struct dead_letter *d)
{
    struct dead_call *k = arg;
    struct buf key = BUF_EMPTY;
    char when[32];
    put_fingerprint(&key, d);
    json_t *group = json_object_get(k->groups, buf_cstr(&key));
    if (group == NULL && json_object_size(k->groups) < GROUPS_MAX) {
        group = json_pack("{s:s,s:s,s:s,s:o,s:o,s:s}", "route", d->route_name, "destination", dest_name(d->dest), "reason",
                          code_name(d->reason), "error", json_of(str_of(d->last_error)), "example",
                          json_of(d->msg->id), "first", clock_rfc3339(d->time_wall_ms, when));
        json_object_set_new(k->groups, buf_cstr(&key), group);
    }
    if (group != NULL) {
        json_int_t count = json_integer_value(json_object_get(group, "count"));
        json_object_set_new(group, "count", json_integer(count + 1));
        json_object_set_new(group, "last", json_string(clock_rfc3339(d->time_wall_ms, when)));
    }
    buf_fini(&key);
}

static json_t *list_of_groups(json_t *groups)
{
    json_t *list = json_array(), *group;
    const char *key;
    json_object_foreach(groups, key, group)
        json_array_append(list, group);
    return list;
}

static json_t *sum_of(const struct dead_call *k, const struct dead_walked *sum)
{
    json_t *row = json_pack("{s:I,s:I}", "count", (json_int_t)sum->count, "skipped", (json_int_t)sum->skipped);
    if (!k->follows)
        return row;
    json_t *more = json_pack("{s:I,s:I,s:I,s:b}", "done", (json_int_t)sum->done, "failed", (json_int_t)sum->bad, "left",
                             (json_int_t)sum->left, "stopped", sum->stopped);
    json_object_update(row, more);
    json_decref(more);
    return row;
}

static void on_moved(void *arg, const struct dead_walked *sum)
{
    struct dead_call *k = arg;
    json_t *row = sum_of(k, sum);
    visitor_send(k->visitor, VERB_MORE, k->id, row);
    json_decref(row);
}

static json_t *reply_of(const struct dead_call *k, const struct dead_walked *sum)
{
    if (k->groups != NULL)
        return json_pack("{s:I,s:o}", "total", (json_int_t)sum->count, "groups", list_of_groups(k->groups));
    return sum_of(k, sum);
}

static void send_sum(const struct dead_call *k, const struct dead_walked *sum)
{
    json_t *reply = reply_of(k, sum);
    if (k->follows)
        visitor_send(k->visitor, VERB_MORE, k->id, reply); /* who follows need not look at the end apart */
    visitor_send(k->visitor, VERB_REP, k->id, reply);
    json_decref(reply);
}

static void on_done(void *arg, const struct dead_walked *sum)
{
    struct dead_call *k = arg;
    struct visitor *v = k->visitor;
    if (k->lists)
        list_end(&k->text, hub_dead_count(v->admin->env.hub));
    if (sum->failed)
        visitor_error(v, k->id, CODE_UNAVAILABLE, "the store could not be read; see the daemon's log");
    else if (k->wanted != NULL && k->text.len == 0)
        visitor_error(v, k->id, CODE_INVALID, "no dead letter has this id");
    else if (k->lists || k->wanted != NULL)
        visitor_send_text(v, VERB_REP, k->id, buf_str(&k->text));
    else
        send_sum(k, sum);
    call_free(k);
}

static struct dead_call *walk_start(struct call *c, const struct dead_query *q, struct dead_ask ask)
{
    struct admin *a = c->visitor->admin;
    struct dead_call *k = mem_zalloc(sizeof(*k));
    k->visitor = c->visitor;
    k->id = c->id;
    list_push(&a->dead_calls, &k->link);
    ask.query = *q;
    ask.arg = k;
    ask.done = on_done;
    k->walk = hub_dead_walk(a->env.hub, &ask);
    if (k->walk != NULL)
        return k;
    call_free(k);
    command_fail(c, CODE_UNAVAILABLE, "another redrive, purge or edit is under way; try again when it has ended");
    return NULL;
}

static void ls_stored(struct call *c, const struct dead_query *q)
{
    bool group = arg_true(c, "group");
    struct dead_call *k = walk_start(c, q, (struct dead_ask){.each = group ? on_grouped : on_listed});
    if (k == NULL)
        return;
    k->lists = !group;
    k->groups = group ? json_object() : NULL;
    if (k->lists)
        list_begin(&k->text);
}

static json_t *run_ls(struct admin *a, struct call *c)
{
    struct dead_query q = query_of(c);
    struct buf text = BUF_EMPTY;
    if (!query_legal(c, &q))
        return NULL;
    if (q.limit == 0 || q.limit > LIST_MAX)
        q.limit = arg_true(c, "group") ? q.limit : LIST_MAX;
    if (hub_store(a->env.hub) != NULL) {
        ls_stored(c, &q);
        return NULL;
    }
    list_begin(&text);
    hub_each_dead(a->env.hub, &q, list_put, &text);
    list_end(&text, hub_dead_count(a->env.hub));
    visitor_send_text(c->visitor, VERB_REP, c->id, buf_str(&text));
    buf_fini(&text);
    return NULL;
}

static void on_shown(void *arg, const struct dead_letter *d)
{
    put_whole(&((struct dead_call *)arg)->text, d);
}

static json_t *run_show(struct admin *a, struct call *c)
{
    struct dead_query q = {.id = str_of(arg_text(c, "id"))};
    struct buf text = BUF_EMPTY;
    if (q.id.p == NULL)
        return command_fail(c, CODE_INVALID, "`id` is needed");
    if (hub_store(a->env.hub) != NULL) {
        struct dead_call *k = walk_start(c, &q, (struct dead_ask){.each = on_shown});
        if (k != NULL)
            k->wanted = str_dup(q.id);
        return NULL;
    }
    hub_each_dead(a->env.hub, &q, put_whole, &text);
    if (text.len == 0)
        return command_fail(c, CODE_INVALID, "no dead letter has the id %s", q.id.p);
    visitor_send_text(c->visitor, VERB_REP, c->id, buf_str(&text));
    buf_fini(&text);
    return NULL;
}

static json_t *act(struct admin *a, struct call *c, enum dead_action action,
                   size_t (*fn)(struct hub *h, const struct dead_query *q, bool dry_run))
{
    struct dead_query q = query_of(c);
    if (!query_legal(c, &q))
        return NULL;
    if (hub_store(a->env.hub) != NULL) {
        walk_start(c, &q, (struct dead_ask){.action = action, .dry_run = arg_true(c, "dry_run")});
        return NULL;
    }
    return json_pack("{s:I}", "count", (json_int_t)fn(a->env.hub, &q, arg_true(c, "dry_run")));
}

/* At a rate, or as a canary. */
static json_t *redrive_slowly(struct admin *a, struct call *c, const char *rate)
{
    struct dead_query q = query_of(c);
    struct dead_ask ask = {.action = DEAD_REDRIVE, .dry_run = arg_true(c, "dry_run"), .canary = arg_true(c, "canary"),
                           .moved = on_moved};
    if (rate != NULL && !str_parse_rate(str_of(rate), &ask.pause_us))
        return command_fail(c, CODE_INVALID, "`rate` is not a rate such as 50/s, 30/m or 100/h: %s", rate);
    if (hub_store(a->env.hub) == NULL)
        return command_fail(c, CODE_INVALID, "`rate` and `canary` need a store (configuration: store)");
    struct dead_call *k = query_legal(c, &q) ? walk_start(c, &q, ask) : NULL;
    if (k != NULL)
        k->follows = true;
    return NULL;
}

static json_t *run_redrive(struct admin *a, struct call *c)
{
    const char *rate = arg_text(c, "rate");
    if (rate != NULL || arg_true(c, "canary"))
        return redrive_slowly(a, c, rate);
    return act(a, c, DEAD_REDRIVE, hub_redrive);
}

/* What the daemon makes or reads at acceptance would be a lie, or do nothing. */
static bool header_may_change(struct str name)
{
    static const char *const fixed[] = {"id", "source", "attempt", "redelivered", "with", "timeout", "ttl", "delay", "deliver-at"};
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (str_is(name, fixed[i]))
            return false;
    }
    return true;
}

static bool edit_legal(struct call *c, const struct dead_content *edit)
{
    struct header h;
    const char *what;
    size_t offset;
    if (edit->subject.p != NULL && (edit->subject.n == 0 || edit->subject.n > MSG_SUBJECT_MAX || !str_printable(edit->subject))) {
        command_fail(c, CODE_INVALID, "`subject` has to be 1 to 1,024 bytes of UTF-8 without control characters");
        return false;
    }
    if (edit->headers.p != NULL && !headers_check(edit->headers, &what, &offset)) {
        command_fail(c, CODE_INVALID, "`headers`, at byte %zu: %s", offset, what);
        return false;
    }
    for (struct str left = edit->headers; headers_next(&left, &h);) {
        if (header_may_change(h.name))
            continue;
        command_fail(c, CODE_INVALID, "the header `" STR_FMT "` is the daemon's own, or was used up when it was accepted",
                     STR_ARG(h.name));
        return false;
    }
    return true;
}

static struct str arg_str(const struct call *c, const char *name)
{
    const json_t *text = json_object_get(c->args, name);
    return json_is_string(text) ? str_make(json_string_value(text), json_string_length(text)) : STR_NONE;
}

static json_t *run_edit(struct admin *a, struct call *c)
{
    struct dead_query q = query_of(c);
    struct dead_content edit = {arg_str(c, "subject"), arg_str(c, "body"), arg_str(c, "headers")};
    if (hub_store(a->env.hub) == NULL)
        return command_fail(c, CODE_INVALID, "dead letters can be edited in a store only (configuration: store)");
    if (q.id.p == NULL || (edit.subject.p == NULL && edit.body.p == NULL && edit.headers.p == NULL))
        return command_fail(c, CODE_INVALID, "`id` and one of `body`, `subject` and `headers` (texts) are needed");
    if (edit_legal(c, &edit))
        walk_start(c, &q, (struct dead_ask){.action = DEAD_EDIT, .dry_run = arg_true(c, "dry_run"), .edit = edit});
    return NULL;
}

static json_t *run_purge(struct admin *a, struct call *c)
{
    return act(a, c, DEAD_PURGE, hub_purge);
}

const struct command command_dlq_ls = {.name = "dlq.ls", .run = run_ls, .streams = true};
const struct command command_dlq_show = {.name = "dlq.show", .run = run_show, .streams = true};
const struct command command_dlq_edit = {.name = "dlq.edit", .run = run_edit, .changes = true, .streams = true};
const struct command command_dlq_redrive = {.name = "dlq.redrive", .run = run_redrive, .changes = true, .streams = true};
const struct command command_dlq_purge = {.name = "dlq.purge", .run = run_purge, .changes = true, .streams = true};
