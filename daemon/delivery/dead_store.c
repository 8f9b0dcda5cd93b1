/* What operators ask of the store. Dead letters are looked through a few at a time, so that any number of them costs no memory. */
#include "base/fault.h"
#include "base/mem.h"
#include "delivery/history.h"
#include "delivery/internal.h"

#define STEP 16 /* dead letters in memory at once, bodies and all */

struct dead_walk {
    struct list_node link; /* in hub->walks */
    struct hub *hub;
    struct dead_ask ask;   /* its query's texts are owned */
    char *texts[3], *body;
    uint64_t after;        /* looked at up to this number */
    struct dead_walked sum;
    bool at_end;           /* there are no more */
    bool cancelled;
};

static void step(struct dead_walk *w);

static bool changes(const struct dead_walk *w)
{
    return w->ask.action != DEAD_LIST && !w->ask.dry_run;
}

static void walk_free(struct dead_walk *w)
{
    if (changes(w))
        w->hub->dead_changing = false;
    list_remove(&w->hub->walks, &w->link);
    for (size_t i = 0; i < 3; i++)
        mem_free(w->texts[i]);
    mem_free(w->body);
    mem_free(w);
}

static bool matches(const struct dead_walk *w, const struct dead_letter *d)
{
    const struct dead_query *q = &w->ask.query;
    return (q->id.p == NULL || str_eq(q->id, d->msg->id)) && (q->route.p == NULL || str_is(q->route, d->route_name)) &&
           (q->match.p == NULL || filter_matches(q->match, d->msg->subject, NULL));
}

static void redrive(struct dead_walk *w, const struct dead_letter *d)
{
    struct hub *h = w->hub;
    store_redrive(h->store, d->number, store_key(d->dest->backlog.queue, store_next_seq(h->store)));
    fault_point("durable.redriving");
    history_note_dead(h, d, PAST_REDRIVEN, NULL);
    h->counts.state[DELIVERY_DEAD]--;
    h->counts.state[DELIVERY_STORED]++;
    d->dest->backlog.paged++;
}

static void purge(struct dead_walk *w, const struct dead_letter *d)
{
    store_purge(w->hub->store, d->number);
    history_note_dead(w->hub, d, PAST_PURGED, NULL);
    w->hub->counts.state[DELIVERY_DEAD]--;
    w->hub->counts.state[DELIVERY_DROPPED]++;
}

static void edit(struct dead_walk *w, const struct dead_letter *d)
{
    store_edit(w->hub->store, d->number, d->msg->subject, d->msg->headers, w->ask.body);
}

/* One named by its id comes back however often it has failed. */
static bool loops(const struct dead_walk *w, const struct dead_letter *d)
{
    return w->ask.action == DEAD_REDRIVE && w->ask.query.id.p == NULL && d->redrives >= DEAD_REDRIVES_MAX;
}

static void act(struct dead_walk *w, const struct dead_letter *d)
{
    if (!matches(w, d))
        return;
    if (loops(w, d)) {
        w->sum.skipped++;
        return;
    }
    w->sum.count++;
    if (w->ask.each != NULL)
        w->ask.each(w->ask.arg, d);
    static void (*const acts[])(struct dead_walk *w, const struct dead_letter *d) = {
        [DEAD_REDRIVE] = redrive, [DEAD_PURGE] = purge, [DEAD_EDIT] = edit};
    if (changes(w))
        acts[w->ask.action](w, d);
}

static void show(struct dead_walk *w, const struct store_dead *s)
{
    struct hub *h = w->hub;
    const struct store_record *r = &s->record;
    struct dead_letter d = {
        .number = s->number, .dest = idmap_get(&h->queues, store_queue_of(r->key)), .reason = code_parse(s->reason),
        .attempts = r->attempt, .redrives = r->redrives, .time_wall_ms = s->died_ms,
        .msg = msg_restore(&h->factory, r->subject, r->headers, r->body)};
    char *texts[] = {str_dup(r->route), str_dup(r->as.n > 0 ? r->as : r->subject), str_dup(r->first_error),
                     str_dup(r->last_error)};
    d.route_name = texts[0];
    d.subject = texts[1];
    d.first_error = texts[2];
    d.last_error = texts[3];
    if (d.msg != NULL && d.dest != NULL)
        act(w, &d);
    msg_unref(d.msg);
    for (size_t i = 0; i < 4; i++)
        mem_free(texts[i]);
}

static bool enough(const struct dead_walk *w)
{
    const struct dead_query *q = &w->ask.query;
    return (q->limit > 0 && w->sum.count >= q->limit) || w->cancelled;
}

static void pump_queues(struct hub *h)
{
    struct idmap_entry *e;
    for (size_t i = 0; (e = idmap_next(&h->queues, &i)) != NULL;)
        durable_refill(e->value);
}

static void finish(struct dead_walk *w, bool failed)
{
    struct hub *h = w->hub;
    bool changed = changes(w) && w->sum.count > 0;
    w->sum.failed = failed;
    if (!w->cancelled)
        w->ask.done(w->ask.arg, &w->sum);
    walk_free(w);
    if (changed)
        pump_queues(h);
}

static void go_on(void *arg, enum store_result result)
{
    struct dead_walk *w = arg;
    if (result != STORE_OK || w->at_end || enough(w))
        finish(w, result != STORE_OK);
    else
        step(w);
}

/* What is told has to be on disk: a change goes on when its unit has been committed. */
static void on_rows(void *arg, const struct store_rows *rows)
{
    struct dead_walk *w = arg;
    struct store *st = w->hub->store;
    w->at_end = rows->count < STEP;
    store_begin(st);
    for (size_t i = 0; i < rows->count && !enough(w); i++) {
        w->after = rows->dead[i].number;
        show(w, &rows->dead[i]);
    }
    if (changes(w) && rows->result == STORE_OK)
        store_then(st, go_on, w);
    store_commit(st);
    if (!changes(w) || rows->result != STORE_OK)
        go_on(w, rows->result);
}

static void step(struct dead_walk *w)
{
    store_load_dead(w->hub->store, w->after, STEP, on_rows, w);
}

struct dead_walk *hub_dead_walk(struct hub *h, const struct dead_ask *ask)
{
    bool change = ask->action != DEAD_LIST && !ask->dry_run;
    if (change && h->dead_changing)
        return NULL;
    struct dead_walk *w = mem_zalloc(sizeof(*w));
    struct str *query[] = {&w->ask.query.id, &w->ask.query.route, &w->ask.query.match};
    w->hub = h;
    w->ask = *ask;
    for (size_t i = 0; i < 3; i++) {
        w->texts[i] = query[i]->p != NULL ? str_dup(*query[i]) : NULL;
        *query[i] = w->texts[i] != NULL ? str_make(w->texts[i], query[i]->n) : STR_NONE;
    }
    w->body = str_dup(ask->body.p != NULL ? ask->body : STR(""));
    w->ask.body = str_make(w->body, ask->body.n);
    h->dead_changing |= change;
    list_push(&h->walks, &w->link);
    step(w);
    return w;
}

void hub_dead_walk_cancel(struct dead_walk *w)
{
    w->cancelled = true;
}

/* ---------------------------------------------------------------- audit */

static void on_audited(void *arg, const struct store_totals *books, struct str findings)
{
    struct hub *h = arg;
    h->auditing = false;
    if (h->audit_done != NULL)
        h->audit_done(h->audit_arg, books, findings);
}

bool hub_audit(struct hub *h, store_audit_fn *done, void *arg)
{
    if (h->store == NULL || h->auditing)
        return false;
    h->auditing = true;
    h->audit_done = done;
    h->audit_arg = arg;
    store_audit(h->store, on_audited, h);
    return true;
}

void hub_audit_cancel(struct hub *h)
{
    h->audit_done = NULL;
}

void dead_walks_clear(struct hub *h)
{
    LIST_EACH(&h->walks, n)
        walk_free(CONTAINER_OF(n, struct dead_walk, link));
}
