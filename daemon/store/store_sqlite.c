/*
 * The store in a file: the front on the loop, the database on a thread of its own.
 *
 *     loop     turn's end: batch --queue--> thread: all that wait, one commit, sync --post--> loop: callbacks
 *
 * The sync is the thread's too, or another's while that goes on (sqlite_sync.h).
 */
#include "store/store_sqlite.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/thread.h"
#include "loop/post.h"
#include "store/sqlite.h"
#include "store/sqlite_log.h"

#define IDLE_MS 100 /* of silence before work that can wait */
#define STEP_MS 10  /* between its steps while the silence lasts */
#define BUSY_MS 500 /* between them where it does not */

struct store_sqlite {
    struct store base;
    struct loop *loop;
    struct log *log;
    struct post *post;
    bool flush_due; /* loop_later() holds on to this */
    bool closing;
    struct db db;   /* the thread's while it runs */
    int64_t stepped_ms; /* the thread's: the last step of work that can wait */
    bool silent;        /* the thread's: its last turn brought no batch */
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct store_batch *first, *last;
    bool stop;
};

static struct store_sqlite *sqlite_of(struct store *st)
{
    return (struct store_sqlite *)st;
}

/* ---------------------------------------------------------------- the thread */

static int on_wal(void *arg, sqlite3 *sql, const char *name, int pages)
{
    struct db *db = arg;
    (void)sql;
    (void)name;
    db->wal_pages = (size_t)pages;
    return SQLITE_OK;
}

/* True: it is time for work that can wait, and nothing has come. A full disk is tried again at the slower pace. */
static bool wait_for_work(struct store_sqlite *s)
{
    struct timespec until;
    long pause_ms = s->silent && !s->db.disk_full ? STEP_MS : IDLE_MS;
    if (!db_wants_idle(&s->db)) {
        pthread_cond_wait(&s->wake, &s->lock);
        return false;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += pause_ms * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    return pthread_cond_timedwait(&s->wake, &s->lock, &until) != 0 && s->first == NULL;
}

/* What has come, or NULL when it is time for idle work, an audit goes on, or it is to stop. waited: nothing was there. */
static struct store_batch *take_work(struct store_sqlite *s, bool *stop, bool *waited)
{
    pthread_mutex_lock(&s->lock);
    *waited = s->first == NULL;
    bool idle = false;
    while (s->first == NULL && !s->stop && !idle && !s->db.audit.running)
        idle = wait_for_work(s);
    struct store_batch *first = s->first;
    s->first = s->last = NULL;
    *stop = s->stop && first == NULL;
    pthread_mutex_unlock(&s->lock);
    return first;
}

static void post_all(struct store_sqlite *s, struct store_batch *b)
{
    for (struct store_batch *next; b != NULL; b = next) {
        next = b->next;
        post_send(s->post, b);
    }
}

/* On either thread. */
static void on_synced(void *arg, struct store_batch *first)
{
    struct store_sqlite *s = arg;
    uint64_t mark = 0;
    for (struct store_batch *b = first; b != NULL; b = b->next)
        mark = b->faulted ? mark : b->mark;
    if (first->faulted)
        fault_mark(&s->db); /* whoever dies of it: the next start must know */
    post_all(s, first);
    fault_point("store.posted");
    if (mark > 0)
        mark_write(&s->db, mark);
}

static void audit(struct store_sqlite *s)
{
    struct store_batch *answer = s->db.audit.running ? audit_step(&s->db) : NULL;
    if (answer == NULL)
        return;
    syncer_drain(s->db.syncer);
    post_send(s->post, answer);
}

/* A bounded step of work that can wait. */
static void step(struct store_sqlite *s)
{
    db_idle(&s->db);
    s->stepped_ms = clock_mono_ms();
}

/* Without silence between two batches: a queue that is never still gives its room back too. (A full disk is tried again,
 * and pages are counted, with the batches.) */
static void step_between(struct store_sqlite *s)
{
    if (s->db.audit.running || !db_wants_vacuum(&s->db) || clock_mono_ms() - s->stepped_ms < BUSY_MS)
        return;
    syncer_drain(s->db.syncer);
    if (db_is_sound(&s->db))
        step(s);
}

/* What idle work and checkpoints came to is told by a batch without jobs. */
static void work(struct store_sqlite *s, struct store_batch *first, bool waited)
{
    bool faulted = s->db.faulted, full = s->db.disk_full;
    if (first != NULL) {
        db_run(&s->db, first);
        faulted = s->db.faulted;
        full = s->db.disk_full;
        syncer_put(s->db.syncer, first, waited);
        if (db_is_sound(&s->db))
            ahead_write(&s->db);
        db_checkpoint(&s->db);
        step_between(s);
    } else if (!s->db.audit.running && syncer_is_idle(s->db.syncer) && db_is_sound(&s->db)) {
        step(s);
    }
    s->silent = first == NULL;
    audit(s);
    if (faulted == s->db.faulted && full == s->db.disk_full)
        return;
    struct store_batch *news = batch_new();
    db_tell(&s->db, news);
    post_all(s, news);
}

static void *thread_main(void *arg)
{
    struct store_sqlite *s = arg;
    bool stop = false, waited = true;
    while (!stop) {
        struct store_batch *first = take_work(s, &stop, &waited);
        if (!stop)
            work(s, first, waited);
    }
    syncer_drain(s->db.syncer);
    db_is_sound(&s->db);
    syncer_free(s->db.syncer);
    s->db.syncer = NULL;
    db_end(&s->db);
    return NULL;
}

/* ---------------------------------------------------------------- the loop's side */

static void on_done(void *arg, void *job)
{
    struct store_sqlite *s = arg;
    struct store_batch *b = job;
    if (!s->closing) {
        if (b->faulted && !s->base.fault_told)
            log_write(s->log, LOG_ERROR, "store_faulted", "why", b->why, NULL);
        if (b->full != s->base.stats.full)
            log_write(s->log, b->full ? LOG_WARN : LOG_INFO, b->full ? "store_full" : "store_room", "bytes",
                      LOG_NUM(b->bytes), NULL);
        front_report(&s->base, b, batch_count(b));
    }
    batch_retire(&s->base, b);
}

static void hand_over(struct store_sqlite *s)
{
    struct store_batch *b = batch_take(&s->base);
    pthread_mutex_lock(&s->lock);
    if (s->first == NULL)
        s->first = b;
    else
        s->last->next = b;
    s->last = b;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->wake); /* not before: what it wakes would wait for the lock */
}

/* At the end of the turn, so that its units travel together. */
static void flush(void *arg)
{
    struct store_sqlite *s = arg;
    s->flush_due = false;
    if (s->closing)
        mem_free(s);
    else
        hand_over(s);
}

static void sqlite_on_job(struct store *st)
{
    struct store_sqlite *s = sqlite_of(st);
    if (s->flush_due)
        return;
    s->flush_due = true;
    loop_later(s->loop, flush, s);
}

static void sqlite_free(struct store_sqlite *s)
{
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    db_close(&s->db);
    front_fini(&s->base);
    if (!s->flush_due)
        mem_free(s);
}

static bool sqlite_close(struct store *st)
{
    struct store_sqlite *s = sqlite_of(st);
    s->closing = true;
    hand_over(s);
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    post_free(s->post);
    bool whole = !s->db.faulted;
    if (!whole && !s->base.fault_told)
        log_write(s->log, LOG_ERROR, "store_faulted", "why", s->db.why, NULL);
    sqlite_free(s);
    return whole;
}

static struct store_sqlite *sqlite_new(struct loop *l, struct log *log, const struct store_options *o)
{
    static const struct store_ops ops = {.on_job = sqlite_on_job, .close = sqlite_close};
    struct store_sqlite *s = mem_zalloc(sizeof(*s));
    struct buf path = BUF_EMPTY;
    pthread_condattr_t monotonic;
    front_init(&s->base, &ops);
    s->loop = l;
    s->log = log;
    s->db.dir = mem_strdup(o->path);
    s->base.stats.path = s->db.dir;
    buf_printf(&path, "%s/bellhop.db", o->path);
    s->db.path = buf_steal(&path);
    s->db.max_bytes = o->max_size;
    s->db.logs = logs_new();
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return s;
}

static void take_log(void *arg, const struct store_log_row *row)
{
    front_add_log(arg, row);
}

static void take_state(struct store_sqlite *s, struct db_state *state)
{
    struct store_stats *stats = &s->base.stats;
    for (size_t i = 0; i < state->queue_count; i++)
        front_add_queue(&s->base, &state->queues[i]);
    logs_each(&s->db, take_log, &s->base);
    s->base.next_seq = s->db.next_seq;
    counters_totals(&s->db, &stats->totals);
    stats->unclean = state->unclean;
    stats->lost_commits = state->lost_commits;
    stats->suspect_below = counter_get(&s->db, COUNTER_SUSPECT);
    s->base.key[0] = counter_get(&s->db, COUNTER_KEY);
    s->base.key[1] = counter_get(&s->db, COUNTER_KEY_END);
    stats->history_next = db_history_next(&s->db);
    s->base.time = counters_time(&s->db);
    stats->time_ms = s->base.time.now_ms;
    stats->ahead_ms = s->base.time.ahead_ms;
    stats->seen = counter_get(&s->db, COUNTER_SEEN);
    stats->bytes = s->db.used;
    stats->max_bytes = s->db.max_bytes;
    stats->full = db_is_full(&s->db);
    stats->room = db_room(&s->db);
    stats->low = db_is_low(&s->db);
    stats->disk_full = s->db.disk_full;
    if (stats->full)
        log_write(s->log, LOG_WARN, "store_full", "bytes", LOG_NUM(s->db.used), NULL);
}

static void state_fini(struct db_state *state)
{
    for (size_t i = 0; i < state->queue_count; i++)
        mem_free(state->queues[i].name);
    mem_free(state->queues);
}

struct store *store_sqlite_open(struct loop *l, struct log *log, const struct store_options *o,
                                struct err *err)
{
    struct store_sqlite *s = sqlite_new(l, log, o);
    struct db_state state = {0};
    bool open = db_open(&s->db, o->vfs, &state, err) && db_limit(&s->db, err);
    if (open) {
        sqlite3_wal_hook(s->db.sql, on_wal, &s->db);
        take_state(s, &state);
        s->post = post_new(l, on_done, s);
        s->db.syncer = syncer_new(s->db.gather, on_synced, s);
    }
    state_fini(&state);
    if (open && (s->db.syncer == NULL || !thread_start(&s->thread, thread_main, s))) {
        open = err_add(err, "store %s: no thread can be started", o->path);
        syncer_free(s->db.syncer);
        post_free(s->post);
    }
    if (open)
        return &s->base;
    sqlite_free(s);
    return NULL;
}
