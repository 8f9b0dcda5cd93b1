/*
 * Group commit: all jobs of all batches that wait, in one transaction. Where the disk is full they
 * are done again one by one, so that only those which put are refused. Any other failure is final.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/fault.h"
#include "store/sqlite.h"
#include "store/sqlite_log.h"

#define WAL_PAGES_MAX 4000 /* 32 MiB: what is settled soon never reaches the file itself */
#define SEEN_SHARE 512     /* an id takes about 80 bytes: at most a sixth of the file is theirs */
#define COUNT_BYTES (64u << 10) /* pages are counted anew after so many bytes put, … */
#define COUNT_ROWS 16           /* … rows removed, … */
#define COUNT_COMMITS 32        /* … or commits: each time SQLite has to parse what it is asked */
#define VACUUM_PAGES 256   /* a step */
#define VACUUM_ABOVE 1024  /* free pages are kept for what comes next up to so many … */
#define VACUUM_SHARE 4     /* … and a quarter of the file */

enum outcome { DONE, NO_ROOM, FAILED };

/* SQLite does not keep it where a COMMIT fails; begin() clears the other. */
static int last_error(const struct db *db)
{
    int error = sqlite3_system_errno(db->sql);
    return error != 0 ? error : errno;
}

static void db_fault_as(struct db *db, const char *why)
{
    db->faulted = true;
    bytes_copy(db->why, why, sizeof(db->why));
    fault_mark(db);
}

void db_fault(struct db *db, const char *what)
{
    char why[sizeof(db->why)];
    snprintf(why, sizeof(why), "%s: %s (%d, errno %d)", what, sqlite3_errmsg(db->sql),
             sqlite3_extended_errcode(db->sql), last_error(db));
    if (!db->faulted)
        db_fault_as(db, why);
}

bool db_is_sound(struct db *db)
{
    const char *why = db->syncer != NULL ? syncer_failed(db->syncer) : NULL;
    if (why != NULL && !db->faulted)
        db_fault_as(db, why);
    return !db->faulted;
}

/* A write that found no room left nothing; a sync that failed is never this. */
static bool is_full(const struct db *db, int rc)
{
    int error = last_error(db);
    return (rc & 0xff) == SQLITE_FULL ||
           (sqlite3_extended_errcode(db->sql) == SQLITE_IOERR_WRITE && is_lack_of_room(error));
}

static int do_answer(struct db *db, const struct store_batch *b, struct store_job *job)
{
    static int (*const loads[JOB_KINDS])(struct db *db, struct store_job *job) = {
        [JOB_LOAD] = db_load, [JOB_TAKE_DUE] = db_take_due, [JOB_LOAD_DEAD] = db_load_dead,
        [JOB_HISTORY_FIND] = db_history_find,
    };
    answer_free(job->answer); /* of a try before */
    job->answer = answer_new();
    if (job->kind == JOB_LOAD_LOG)
        return log_load(db, b, job);
    if (job->kind == JOB_TRIM)
        return log_trim(db, job);
    return loads[job->kind](db, job);
}

static int do_job(struct db *db, const struct store_batch *b, struct store_job *job)
{
    job->result = STORE_OK;
    if (job->kind == JOB_UNIT)
        return db_unit(db, b, job);
    if (job->kind == JOB_QUEUE)
        return db_queue(db, b, job);
    if (job->kind == JOB_LOG)
        return log_make(db, b, job);
    if (job->kind == JOB_AUDIT)
        return SQLITE_OK; /* begins when this transaction has ended */
    if (job->kind == JOB_HISTORY_PUT)
        return db_history_put(db, b, job);
    return do_answer(db, b, job);
}

static int stmt_u64(sqlite3_stmt *s, uint64_t *out)
{
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *out = (uint64_t)sqlite3_column_int64(s, 0);
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW ? SQLITE_OK : end;
}

static int count_pages(struct db *db)
{
    uint64_t pages = 0, unused = 0;
    int rc = stmt_u64(db_stmt(db, STMT_PAGES), &pages);
    if (rc == SQLITE_OK)
        rc = stmt_u64(db_stmt(db, STMT_FREE_PAGES), &unused);
    if (rc != SQLITE_OK)
        return rc;
    db->free_pages = unused * VACUUM_SHARE > pages ? unused : 0;
    db->used = (pages - unused) * DB_PAGE;
    db->adding = db->removed = db->uncounted = 0;
    if (db->used + db->wanted <= db->put_limit)
        db->wanted = 0;
    return SQLITE_OK;
}

static bool count_is_due(const struct db *db)
{
    return db->adding > COUNT_BYTES || db->removed > COUNT_ROWS || db->uncounted > COUNT_COMMITS || db->wanted > 0 ||
           db->used + db->adding > db->put_limit - db->put_limit / 8;
}

static int begin(struct db *db)
{
    db->seen_new = 0;
    db->changes = sqlite3_total_changes64(db->sql);
    errno = 0;
    return db_step(db_stmt(db, STMT_BEGIN));
}

static int commit(struct db *db, int rc)
{
    uint64_t reserved = counter_get(db, COUNTER_RESERVED), wanted = seq_reserved(db->next_seq, reserved);
    if (wanted != reserved)
        counter_set(db, COUNTER_RESERVED, wanted);
    if (db->dirty_count > 0 || sqlite3_total_changes64(db->sql) != db->changes) {
        counter_add(db, COUNTER_COMMITS, 1);
        counters_set_time(db, time_kept(counters_time(db), db->time));
    }
    if (rc == SQLITE_OK)
        rc = seen_trim(db);
    if (rc == SQLITE_OK)
        rc = counters_write(db);
    if (rc == SQLITE_OK)
        rc = logs_write(db);
    db->uncounted++;
    if (rc == SQLITE_OK && count_is_due(db))
        rc = count_pages(db);
    fault_point("store.commit");
    if (rc == SQLITE_OK && !db_is_sound(db))
        rc = SQLITE_IOERR_FSYNC;
    if (rc == SQLITE_OK)
        rc = db_step(db_stmt(db, STMT_COMMIT));
    fault_point("store.committed");
    return rc;
}

/* What the transaction came to. After a fault it is left as it is: nothing is written any more. */
static enum outcome settle(struct db *db, int rc)
{
    bool full = is_full(db, rc);
    counters_settle(db, rc == SQLITE_OK);
    logs_settle(db, rc == SQLITE_OK);
    if (rc == SQLITE_OK)
        return DONE;
    if (!full) {
        db_fault(db, "a commit failed");
        return FAILED;
    }
    if (sqlite3_get_autocommit(db->sql) == 0 &&
        sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK) {
        db_fault(db, "a rollback failed");
        return FAILED;
    }
    return NO_ROOM;
}

static enum outcome run_together(struct db *db, struct store_batch *first)
{
    int rc = begin(db);
    for (struct store_batch *b = first; b != NULL && rc == SQLITE_OK; b = b->next) {
        db->next_seq = b->next_seq;
        db->time = b->time;
        for (size_t i = 0; i < batch_count(b) && rc == SQLITE_OK; i++)
            rc = do_job(db, b, batch_job(b, i));
    }
    gather_defer(db->gather, db->syncer != NULL);
    rc = commit(db, rc);
    gather_defer(db->gather, false);
    first->commits = rc == SQLITE_OK;
    first->owes = gather_owes(db->gather);
    return settle(db, rc);
}

static enum outcome run_alone(struct db *db, struct store_batch *b, struct store_job *job)
{
    int rc = begin(db);
    if (rc == SQLITE_OK)
        rc = do_job(db, b, job);
    rc = commit(db, rc);
    b->commits += rc == SQLITE_OK;
    return settle(db, rc);
}

/* Where it is the journal that may not grow (EFBIG), the ballast is of no use. */
static bool journal_begins_anew(struct db *db)
{
    int left = 0, moved = 0;
    return sqlite3_wal_checkpoint_v2(db->sql, NULL, SQLITE_CHECKPOINT_RESTART, &left, &moved) == SQLITE_OK;
}

/* What puts is refused; what does not has the ballast's room. */
static void run_job(struct db *db, struct store_batch *b, struct store_job *job)
{
    enum outcome outcome = run_alone(db, b, job);
    if (outcome != NO_ROOM)
        return;
    ballast_release(db);
    if (job->puts > 0)
        job->result = STORE_FULL;
    else if (run_alone(db, b, job) == NO_ROOM && !(journal_begins_anew(db) && run_alone(db, b, job) != NO_ROOM))
        db_fault(db, "no room even for what ends");
}

static void run_one_by_one(struct db *db, struct store_batch *first)
{
    syncer_drain(db->syncer); /* each of these is synced at once */
    for (struct store_batch *b = first; b != NULL; b = b->next) {
        size_t i = 0;
        for (; i < batch_count(b) && !db->faulted; i++)
            run_job(db, b, batch_job(b, i));
        if (db->faulted)
            batch_fail_from(b, i > 0 ? i - 1 : 0); /* what was done before the fault stands */
    }
}

bool db_is_full(const struct db *db)
{
    return db->disk_full || db->used + db->wanted > db->put_limit;
}

uint64_t db_room(const struct db *db)
{
    return db->put_limit > db->used ? db->put_limit - db->used : 0;
}

bool db_is_low(const struct db *db)
{
    return db_room(db) <= db->put_limit / 8;
}

static bool fits(const struct db *db, size_t bytes)
{
    return !db->disk_full && db->used + db->adding + bytes <= db->put_limit;
}

/* What has changed since pages were counted may have made room: they are counted anew then. */
bool db_has_room(struct db *db, size_t bytes)
{
    if (fits(db, bytes) || (db->removed == 0 && db->uncounted == 0) || db->disk_full)
        return fits(db, bytes);
    return count_pages(db) == SQLITE_OK && fits(db, bytes);
}

void db_tell(const struct db *db, struct store_batch *b)
{
    counters_totals(db, &b->totals);
    b->bytes = db->used;
    b->burials = counter_get(db, COUNTER_BURIALS);
    b->seen = counter_get(db, COUNTER_SEEN);
    b->evicted = db->evicted;
    buf_clear(&b->logs);
    logs_tell(db, b);
    b->full = db_is_full(db);
    b->room = db_room(db);
    b->low = db_is_low(db);
    b->disk_full = db->disk_full;
    b->faulted = db->faulted;
    bytes_copy(b->why, db->why, sizeof(b->why));
}

/* They begin behind what was asked for before them, and are answered later. */
static void begin_audits(struct db *db, struct store_batch *b)
{
    for (size_t i = 0; i < batch_count(b); i++) {
        struct store_job *job = batch_job(b, i);
        if (job->kind != JOB_AUDIT || job->result != STORE_OK)
            continue;
        audit_ask(&db->audit, job);
        job->kind = JOB_LATER;
    }
}

void db_run(struct db *db, struct store_batch *first)
{
    int64_t start = clock_mono_ms();
    enum outcome outcome = FAILED;
    assert(first != NULL);
    fault_point("store.run");
    if (db_is_sound(db) && db->disk_full)
        ballast_make(db);
    if (!db->faulted)
        outcome = run_together(db, first);
    if (outcome == NO_ROOM)
        run_one_by_one(db, first);
    for (struct store_batch *b = outcome == FAILED ? first : NULL; b != NULL; b = b->next)
        batch_fail_from(b, 0);
    for (struct store_batch *b = first; b != NULL; b = b->next) {
        b->began_ms = start;
        b->mark = counter_get(db, COUNTER_COMMITS);
        begin_audits(db, b);
        db_tell(db, b);
    }
}

/* A sync that fails here is as final as any: what it should have written cannot be trusted. */
static void after_maintenance(struct db *db, int rc, const char *what)
{
    bool full = is_full(db, rc);
    if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY)
        return;
    if (full)
        ballast_release(db);
    else
        db_fault(db, what);
}

static void checkpoint(struct db *db)
{
    int left = 0, moved = 0;
    int rc = sqlite3_wal_checkpoint_v2(db->sql, NULL, SQLITE_CHECKPOINT_PASSIVE, &left, &moved);
    db->wal_pages = 0;
    fault_point("store.checkpointed");
    after_maintenance(db, rc, "a checkpoint failed");
}

void db_checkpoint(struct db *db)
{
    if (db->faulted || db->wal_pages <= db->wal_most)
        return;
    syncer_drain(db->syncer);
    if (db_is_sound(db))
        checkpoint(db);
}

bool db_wants_vacuum(const struct db *db)
{
    return !db->faulted && !db->disk_full && db->free_pages > VACUUM_ABOVE;
}

bool db_wants_idle(const struct db *db)
{
    return !db->faulted && (db->disk_full || db->uncounted > 0 || db_wants_vacuum(db));
}

/* The file shrinks with the checkpoint. */
void db_idle(struct db *db)
{
    char sql[64];
    if (db->disk_full) {
        ballast_make(db);
        return;
    }
    if (db->uncounted > 0)
        after_maintenance(db, count_pages(db), "counting pages failed");
    if (!db_wants_vacuum(db))
        return;
    snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%d)", VACUUM_PAGES);
    int rc = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);
    after_maintenance(db, rc, "an incremental vacuum failed");
    if (rc == SQLITE_OK)
        after_maintenance(db, count_pages(db), "counting pages failed");
    if (!db->faulted && (db->wal_pages > db->wal_most || !db_wants_vacuum(db)))
        checkpoint(db);
}

/* No file of this process may be larger (ulimit -f): the database fills up as at max_size, and the journal stays below it. */
static uint64_t file_limit(void)
{
    struct rlimit r;
    return getrlimit(RLIMIT_FSIZE, &r) == 0 && r.rlim_cur != RLIM_INFINITY ? r.rlim_cur : UINT64_MAX;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Pages beyond the limit are for what must not be refused: the reserve, and what is there already. */
bool db_limit(struct db *db, struct err *err)
{
    char sql[64];
    uint64_t file = file_limit();
    db->max_bytes = least(db->max_bytes, file);
    db->wal_most = (size_t)least(WAL_PAGES_MAX, file / 2 / DB_PAGE);
    uint64_t reserve = db->max_bytes / 50 > RESERVE_MIN ? db->max_bytes / 50 : RESERVE_MIN;
    int rc = count_pages(db);
    db->put_limit = db->max_bytes > reserve ? db->max_bytes - reserve : 0;
    uint64_t most = db->max_bytes > db->used + reserve ? db->max_bytes : db->used + reserve;
    most = least(most, file);
    db->seen_max = db->max_bytes / SEEN_SHARE < STORE_SEEN_MAX ? db->max_bytes / SEEN_SHARE : STORE_SEEN_MAX;
    snprintf(sql, sizeof(sql), "PRAGMA max_page_count=%llu", (unsigned long long)(most / DB_PAGE));
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return err_add(err, "store %s: %s", db->path, sqlite3_errmsg(db->sql));
    ballast_make(db);
    return true;
}

void db_end(struct db *db)
{
    if (db->faulted)
        return;
    counter_set(db, COUNTER_RESERVED, db->next_seq);
    counter_set(db, COUNTER_CLEAN, 1);
    counters_set_time(db, time_kept(counters_time(db), db->time));
    int rc = begin(db);
    if (rc == SQLITE_OK)
        rc = counters_write(db);
    if (rc == SQLITE_OK)
        rc = db_step(db_stmt(db, STMT_COMMIT));
    counters_settle(db, rc == SQLITE_OK);
    if (rc != SQLITE_OK && !is_full(db, rc))
        db_fault(db, "the end could not be written");
}
