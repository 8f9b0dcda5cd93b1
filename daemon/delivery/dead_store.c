/* What operators ask of the store. Dead letters are looked through a few at a time, so that any number of them costs no memory. */
#include "base/fault.h"
#include "base/mem.h"
#include "delivery/dead_pace.h"
#include "delivery/history.h"
#include "delivery/internal.h"

#define STEP 16       /* dead letters in memory at once, bodies and all; fewer where they are large */
#define TEXTS 6
#define MOVED_MS 500  /* between two reports of progress */

/* on_start() -> step() -> on_rows() -> go_on(), when it is on disk -> advance() -> step() …; or it pauses
 * between these two. One that changes nothing comes from on_rows() to advance() at once. */
struct dead_walk {
    struct list_node link; /* in hub->walks */
    struct hub *hub;
    struct dead_ask ask;   /* its query's texts are owned */
    char *texts[TEXTS];
    uint64_t after, until; /* looked at up to this number, of those up to that one */
    struct dead_walked sum;
    struct pace pace;
    struct due due;
    int64_t moved_ms;      /* when progress was told last */
    bool pausing;          /* until `due`, or until something that was sent has ended */
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
    sched_clear(&w->hub->sched, &w->due);
    pace_fini(&w->pace);
    for (size_t i = 0; i < TEXTS; i++)
        mem_free(w->texts[i]);
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
    uint64_t key = store_key(d->dest->backlog.queue, store_next_seq(h->store));
    store_redrive(h->store, d->number, key);
    pace_sent(&w->pace, key, hub_now(h));
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
    if (w->sum.stopped) {
        w->sum.left++;
        return;
    }
    if (w->ask.action == DEAD_EDIT && !dead_edit(w->hub, d, &w->ask.edit, w->ask.dry_run)) {
        w->sum.skipped++;
        return;
    }
    w->sum.count++;
    if (w->ask.each != NULL)
        w->ask.each(w->ask.arg, d);
    static void (*const acts[])(struct dead_walk *w, const struct dead_letter *d) = {
        [DEAD_REDRIVE] = redrive, [DEAD_PURGE] = purge};
    if (changes(w) && w->ask.action != DEAD_EDIT)
        acts[w->ask.action](w, d);
}

static void show(struct dead_walk *w, const struct store_dead *s)
{
    struct hub *h = w->hub;
    const struct store_record *r = &s->record;
    struct dead_letter d = {
        .number = s->number, .dest = idmap_get(&h->queues, store_queue_of(r->key)), .reason = code_parse(s->reason),
        .attempts = r->attempt, .redrives = r->redrives, .accepted_wall_ms = durable_wall(h, r->accepted_ms),
        .time_wall_ms = s->died_ms,
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
    return (q->limit > 0 && w->sum.count + w->sum.left >= q->limit) || w->cancelled;
}

static void pump_queues(struct hub *h)
{
    struct idmap_entry *e;
    for (size_t i = 0; (e = idmap_next(&h->queues, &i)) != NULL;)
        durable_refill(e->value);
}

static void finish(struct dead_walk *w, bool failed)
{
    w->sum.failed = failed;
    if (!w->cancelled)
        w->ask.done(w->ask.arg, &w->sum);
    walk_free(w);
}

static void tell_progress(struct dead_walk *w, bool pausing)
{
    int64_t now = hub_now(w->hub);
    if (w->ask.moved == NULL || (!pausing && now - w->moved_ms < MOVED_MS))
        return;
    w->moved_ms = now;
    w->ask.moved(w->ask.arg, &w->sum);
}

/* Dry runs, lists and what only counts on go as fast as they can. */
static bool paced(const struct dead_walk *w)
{
    return changes(w) && !w->sum.stopped;
}

static void pause_for(struct dead_walk *w, int64_t span_ms)
{
    w->pausing = true;
    tell_progress(w, span_ms < 0);
    if (span_ms > 0)
        hub_schedule(w->hub, &w->due, span_ms, false);
}

static void read_on(struct dead_walk *w)
{
    tell_progress(w, false);
    step(w);
}

/* Nothing of it is under way in the store. */
static void advance(struct dead_walk *w)
{
    bool over = w->at_end || enough(w);
    int64_t wait = 0;
    w->sum.done = w->pace.done;
    w->sum.bad = w->pace.failed;
    if (pace_stops(&w->pace))
        w->sum.stopped = true;
    if (over)
        wait = w->pace.pending.count > 0 ? -1 : 0;
    else if (paced(w))
        wait = pace_wait_ms(&w->pace, hub_now(w->hub));
    if (wait != 0 && !w->cancelled)
        pause_for(w, wait);
    else if (over)
        finish(w, false);
    else
        read_on(w);
}

static void go_on(void *arg, enum store_result result)
{
    struct dead_walk *w = arg;
    if (result != STORE_OK) {
        finish(w, true);
        return;
    }
    if (changes(w))
        pump_queues(w->hub);
    advance(w);
}

void dead_walk_due(struct due *due)
{
    struct dead_walk *w = CONTAINER_OF(due, struct dead_walk, due);
    w->pausing = false;
    advance(w);
}

/* Whoever ends it is in the middle of something: the walk goes on with the next tick. */
void dead_ended(struct hub *h, uint64_t key, enum delivery_state how)
{
    if (!h->dead_changing)
        return;
    LIST_EACH(&h->walks, n) {
        struct dead_walk *w = CONTAINER_OF(n, struct dead_walk, link);
        if (pace_ended(&w->pace, key, how == DELIVERY_DONE) && w->pausing)
            hub_schedule(h, &w->due, 0, false);
    }
}

/* False: not now. */
static bool show_next(struct dead_walk *w, const struct store_dead *row)
{
    if (enough(w) || (paced(w) && pace_allows(&w->pace, hub_now(w->hub)) == 0))
        return false;
    w->at_end = row->number > w->until;
    if (w->at_end)
        return false;
    w->after = row->number;
    show(w, row);
    return true;
}

/* What is told has to be on disk: a change goes on when its unit has been committed. */
static void on_rows(void *arg, const struct store_rows *rows)
{
    struct dead_walk *w = arg;
    struct store *st = w->hub->store;
    size_t shown = 0;
    store_begin(st);
    while (shown < rows->count && show_next(w, &rows->dead[shown]))
        shown++;
    w->at_end |= shown == rows->count && !rows->cut && rows->count + rows->quarantined < STEP;
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

/* Later burials are none of this walk's: what it sends again may come back. */
static void on_start(void *arg, enum store_result result)
{
    struct dead_walk *w = arg;
    struct store_stats s;
    store_stats(w->hub->store, &s);
    w->until = s.burials;
    if (result != STORE_OK || w->cancelled)
        finish(w, true);
    else
        step(w);
}

static void walk_start(struct dead_walk *w)
{
    struct store *st = w->hub->store;
    list_push(&w->hub->walks, &w->link);
    store_begin(st);
    store_then(st, on_start, w);
    store_commit(st);
}

struct dead_walk *hub_dead_walk(struct hub *h, const struct dead_ask *ask)
{
    bool change = ask->action != DEAD_LIST && !ask->dry_run;
    if (change && h->dead_changing)
        return NULL;
    struct dead_walk *w = mem_zalloc(sizeof(*w));
    struct str *texts[TEXTS] = {&w->ask.query.id, &w->ask.query.route, &w->ask.query.match,
                                &w->ask.edit.subject, &w->ask.edit.headers, &w->ask.edit.body};
    w->hub = h;
    w->ask = *ask;
    for (size_t i = 0; i < TEXTS; i++) {
        w->texts[i] = texts[i]->p != NULL ? str_dup(*texts[i]) : NULL;
        *texts[i] = w->texts[i] != NULL ? str_make(w->texts[i], texts[i]->n) : STR_NONE;
    }
    w->pace = (struct pace){.pause_us = ask->pause_us, .canary = ask->canary};
    w->due.kind = DUE_WALK;
    h->dead_changing |= change;
    walk_start(w);
    return w;
}

void hub_dead_walk_cancel(struct dead_walk *w)
{
    w->cancelled = true;
    if (w->pausing)
        walk_free(w);
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
