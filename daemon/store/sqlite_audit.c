/*
 * Counts every row and holds the books against it: in slices between the commits, so that none waits for long. The
 * slices walk table after table by rising number. Changes to what has been counted are counted as they are made
 * (counter_live() and its kin tell), those behind are met by the walk; at its end the count is that of the last
 * commit, as the books are. Where a transaction is taken back it starts anew.
 */
#include <assert.h>
#include <stdio.h>

#include "base/mem.h"
#include "store/sqlite.h"
#include "store/sqlite_log.h"

#define SLICE_ROWS 256 /* less than a millisecond */

enum { WALK_LIVE, WALK_DEAD, WALK_QUARANTINE, WALK_LOGS, WALK_OVER };

static const enum stmt walks[] = {STMT_AUDIT_LIVE, STMT_AUDIT_DEAD, STMT_AUDIT_QUARANTINE};

/* Bit 17 and above of the queue would be a damaged key: such rows show as a difference of the totals. */
static void count_live(struct audit *a, uint64_t key, bool delayed, int by)
{
    size_t queue = (size_t)(key >> STORE_SEQ_BITS);
    a->live[delayed] += (uint64_t)(int64_t)by;
    if (queue > STORE_QUEUES_MAX)
        return;
    if (queue >= a->queue_count) {
        size_t count = queue + queue / 2 + 16;
        a->queues = mem_realloc(a->queues, count * sizeof(*a->queues));
        for (; a->queue_count < count; a->queue_count++)
            a->queues[a->queue_count] = (struct audit_queue){{0, 0}};
    }
    a->queues[queue].live[delayed] += (uint64_t)(int64_t)by;
}

static bool walked(const struct audit *a, int table, uint64_t number)
{
    return a->running && (a->table > table || (a->table == table && (int64_t)number <= a->through));
}

void audit_live(struct audit *a, uint64_t key, bool delayed, int by)
{
    if (walked(a, WALK_LIVE, key))
        count_live(a, key, delayed, by);
}

void audit_dead(struct audit *a, uint64_t number, int by)
{
    if (walked(a, WALK_DEAD, number))
        a->dead += (uint64_t)(int64_t)by;
}

/* Behind all that are there. */
void audit_quarantined(struct audit *a)
{
    if (walked(a, WALK_QUARANTINE, INT64_MAX))
        a->quarantined++;
}

/* Its oldest have gone, and they were walked first; where more have gone than that, it is walked anew. */
void audit_trimmed(struct audit *a, uint32_t log, const struct store_log_row *before, const struct store_log_row *after)
{
    struct audit_log *w = &a->log;
    uint64_t gone = after->first - before->first, bytes = before->bytes - after->bytes;
    if (!a->running || a->table != WALK_LOGS || w->log != log)
        return;
    if (w->through + 1 < after->first) {
        *w = (struct audit_log){.log = log};
        return;
    }
    w->entries -= gone;
    w->bytes -= bytes;
}

void audit_anew(struct audit *a)
{
    buf_clear(&a->findings);
    a->log = (struct audit_log){.log = 1};
    a->live[0] = a->live[1] = a->dead = a->quarantined = 0;
    a->queue_count = 0; /* zeroed as it grows */
    a->table = WALK_LIVE;
    a->through = INT64_MIN;
}

static void differ(struct buf *out, const char *what, uint64_t books, uint64_t found)
{
    if (books != found)
        buf_printf(out, "%s: the books say %llu, the file holds %llu\n", what, (unsigned long long)books,
                   (unsigned long long)found);
}

static void compare_queues(struct db *db, struct buf *out)
{
    const struct audit *a = &db->audit;
    size_t books = db->counter_count > COUNTER_QUEUES ? (db->counter_count - COUNTER_QUEUES) / 2 : 0;
    char what[64];
    for (size_t q = 1; q < books || q < a->queue_count; q++) {
        for (size_t delayed = 0; delayed < 2; delayed++) {
            snprintf(what, sizeof(what), "queue %zu, %s", q, delayed ? "delayed" : "ready");
            differ(out, what, counter_get(db, COUNTER_QUEUES + q * 2 + delayed),
                   q < a->queue_count ? a->queues[q].live[delayed] : 0);
        }
    }
}

static void compare(struct db *db, struct store_answer *answer)
{
    const struct audit *a = &db->audit;
    struct store_totals *books = &answer->books;
    struct buf *out = &answer->findings;
    counters_totals(db, books);
    differ(out, "ready", books->ready, a->live[0]);
    differ(out, "delayed", books->delayed, a->live[1]);
    differ(out, "dead", books->dead, a->dead);
    differ(out, "quarantined", books->quarantined, a->quarantined);
    differ(out, "accepted", books->accepted, books->ready + books->delayed + books->done + books->expired +
                                                 books->dropped + books->dead + books->quarantined);
    differ(out, "ids on record", counter_get(db, COUNTER_SEEN), a->seen);
    compare_queues(db, out);
    buf_str_put(out, buf_str(&a->findings));
}

static void count_row(struct audit *a, sqlite3_stmt *s)
{
    a->through = sqlite3_column_int64(s, 0);
    if (a->table == WALK_LIVE)
        count_live(a, (uint64_t)a->through, sqlite3_column_int(s, 1) != 0, +1);
    else
        ++*(a->table == WALK_DEAD ? &a->dead : &a->quarantined);
}

/* All at once and last, so that no commit comes between: an index of small rows, counted in milliseconds. */
static int count_seen(struct db *db)
{
    sqlite3_stmt *s = db_stmt(db, STMT_SEEN_COUNT);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        db->audit.seen = (uint64_t)sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int slice_of_logs(struct db *db)
{
    struct audit *a = &db->audit;
    bool over = false;
    int rc = logs_audit(db, &a->log, &a->findings, &over);
    if (rc != SQLITE_OK || !over)
        return rc;
    a->table = WALK_OVER;
    return count_seen(db);
}

static int slice(struct db *db)
{
    struct audit *a = &db->audit;
    if (a->table == WALK_LOGS)
        return slice_of_logs(db);
    sqlite3_stmt *s = db_stmt(db, walks[a->table]);
    int rows = 0, rc;
    sqlite3_bind_int64(s, 1, a->through);
    sqlite3_bind_int64(s, 2, SLICE_ROWS);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        count_row(a, s);
        rows++;
    }
    sqlite3_reset(s);
    if (rc != SQLITE_DONE)
        return rc;
    if (rows < SLICE_ROWS) {
        a->table++;
        a->through = INT64_MIN;
    }
    return SQLITE_OK;
}

/* ---------------------------------------------------------------- one after the other */

void audit_ask(struct audit *a, const struct store_job *job)
{
    buf_put(&a->jobs, job, sizeof(*job));
    if (!a->running)
        audit_anew(a);
    a->running = true;
}

static struct store_batch *answer(struct db *db, const char *trouble)
{
    struct audit *a = &db->audit;
    struct store_batch *b = batch_new();
    const struct store_job *first = (const struct store_job *)(const void *)buf_data(&a->jobs);
    assert(first != NULL);
    struct store_job job = *first;
    buf_consume(&a->jobs, sizeof(job));
    job.answer = answer_new();
    job.result = trouble == NULL ? STORE_OK : STORE_UNKNOWN;
    if (trouble == NULL)
        compare(db, job.answer);
    else
        buf_puts(&job.answer->findings, trouble);
    buf_put(&b->jobs, &job, sizeof(job));
    a->running = a->jobs.len > 0;
    audit_anew(a);
    db_tell(db, b);
    return b;
}

struct store_batch *audit_step(struct db *db)
{
    if (!db->faulted && slice(db) != SQLITE_OK)
        db_fault(db, "an audit could not read");
    if (db->faulted)
        return answer(db, "the store is faulted\n");
    return db->audit.table == WALK_OVER ? answer(db, NULL) : NULL;
}

void audit_fini(struct audit *a)
{
    buf_fini(&a->jobs);
    buf_fini(&a->findings);
    mem_free(a->queues);
}
