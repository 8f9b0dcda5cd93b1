/* The changes of a unit. */
#include "store/sqlite.h"
#include "store/sqlite_log.h"

/* Found: *d is the row, and its strings are the statement's until it is reset. A row that fails its
 * checksum is put aside and not found. */
static int live_get(struct db *db, uint64_t key, struct store_dead *d, bool *found)
{
    sqlite3_stmt *s = db_stmt(db, STMT_GET);
    sqlite3_bind_int64(s, 1, (int64_t)key);
    int rc = sqlite3_step(s);
    *found = rc == SQLITE_ROW && row_read(s, d);
    if (*found)
        return SQLITE_OK;
    int64_t due_ms = rc == SQLITE_ROW ? d->record.due_ms : 0;
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW ? db_quarantine(db, key, due_ms) : end;
}

static int dead_get(struct db *db, uint64_t number, struct store_dead *d, bool *found)
{
    sqlite3_stmt *s = db_stmt(db, STMT_DEAD_GET);
    sqlite3_bind_int64(s, 1, (int64_t)number);
    int rc = sqlite3_step(s);
    *found = rc == SQLITE_ROW && row_read_dead(s, d);
    if (*found)
        return SQLITE_OK;
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW ? db_quarantine_dead(db, number) : end;
}

static int live_put(struct db *db, struct store_dead *d)
{
    bool plain = row_is_plain(d);
    sqlite3_stmt *s = db_stmt(db, plain ? STMT_PUT_PLAIN : STMT_PUT);
    counter_live(db, d->record.key, d->record.due_ms, +1);
    if (plain) {
        row_bind_plain(s, d);
    } else {
        sqlite3_bind_int64(s, 1, (int64_t)d->record.key);
        row_bind(s, 2, d);
    }
    return db_step(s);
}

static int dead_put(struct db *db, struct store_dead *d)
{
    sqlite3_stmt *s = db_stmt(db, STMT_DEAD_PUT);
    sqlite3_bind_int64(s, 1, (int64_t)d->number);
    sqlite3_bind_int64(s, 2, (int64_t)d->record.key);
    row_bind(s, 3, d);
    return db_step(s);
}

static int remove_row(struct db *db, enum stmt id, uint64_t number)
{
    sqlite3_stmt *s = db_stmt(db, id);
    sqlite3_bind_int64(s, 1, (int64_t)number);
    return db_step(s);
}

static int do_put(struct db *db, struct store_op *op)
{
    counter_add(db, TOTAL_ACCEPTED, +1);
    return live_put(db, &op->d);
}

static int end_row(struct db *db, const struct store_op *op, int64_t due_ms)
{
    counter_live(db, op->d.record.key, due_ms, -1);
    counter_add(db, totals_of_end(op->how), +1);
    db->removed++;
    return SQLITE_OK;
}

/* Nearly all are ready and never were delayed: one statement does for them. */
static int do_end(struct db *db, struct store_op *op)
{
    uint64_t key = op->d.record.key;
    int rc = remove_row(db, STMT_END_READY, key);
    if (rc != SQLITE_OK || sqlite3_changes(db->sql) > 0)
        return rc == SQLITE_OK ? end_row(db, op, 0) : rc;
    sqlite3_stmt *s = db_stmt(db, STMT_DUE_OF);
    sqlite3_bind_int64(s, 1, (int64_t)key);
    rc = sqlite3_step(s);
    int64_t due_ms = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    int end = sqlite3_reset(s);
    if (rc != SQLITE_ROW)
        return end;
    end_row(db, op, due_ms);
    return remove_row(db, STMT_DELETE, key);
}

static void set_errors(struct store_record *r, const struct store_record *from)
{
    if (from->first_error.n > 0)
        r->first_error = from->first_error;
    if (from->last_error.n > 0)
        r->last_error = from->last_error;
}

static int do_update(struct db *db, struct store_op *op)
{
    const struct store_record *change = &op->d.record;
    sqlite3_stmt *s = db_stmt(db, STMT_UPDATE);
    struct store_dead d;
    bool found;
    int rc = live_get(db, change->key, &d, &found);
    if (!found)
        return rc;
    counter_live(db, change->key, d.record.due_ms, -1);
    counter_live(db, change->key, change->due_ms, +1);
    d.record.attempt = change->attempt;
    if (change->crashes > 0)
        d.record.crashes = change->crashes;
    set_errors(&d.record, change);
    sqlite3_bind_int64(s, 1, (int64_t)change->key);
    sqlite3_bind_int64(s, 2, change->due_ms);
    row_bind_state(s, 3, &d);
    rc = db_step(s);
    sqlite3_reset(db_stmt(db, STMT_GET));
    return rc;
}

static int bury_new(struct db *db, struct store_dead *d)
{
    counter_add(db, TOTAL_ACCEPTED, +1);
    return dead_put(db, d);
}

static int bury_stored(struct db *db, struct store_dead *d)
{
    struct store_dead row;
    bool found;
    int rc = live_get(db, d->record.key, &row, &found);
    if (!found) {
        counter_dead(db, d->number, -1);
        counter_add(db, COUNTER_BURIALS, -1);
        return rc;
    }
    counter_live(db, row.record.key, row.record.due_ms, -1);
    row.number = d->number;
    row.died_ms = d->died_ms;
    row.reason = d->reason;
    row.record.due_ms = 0;
    if (d->record.attempt > row.record.attempt)
        row.record.attempt = d->record.attempt;
    set_errors(&row.record, &d->record);
    rc = dead_put(db, &row);
    sqlite3_reset(db_stmt(db, STMT_GET));
    return rc == SQLITE_OK ? remove_row(db, STMT_DELETE, d->record.key) : rc;
}

static int do_bury(struct db *db, struct store_op *op)
{
    counter_add(db, COUNTER_BURIALS, +1);
    op->d.number = counter_get(db, COUNTER_BURIALS);
    counter_dead(db, op->d.number, +1);
    op->d.record.due_ms = 0;
    return store_seq_of(op->d.record.key) == 0 ? bury_new(db, &op->d) : bury_stored(db, &op->d);
}

static int do_redrive(struct db *db, struct store_op *op)
{
    struct store_dead d;
    bool found;
    int rc = dead_get(db, op->d.number, &d, &found);
    if (!found)
        return rc;
    d.number = 0;
    d.died_ms = 0;
    d.reason = STR_NONE;
    d.record.key = op->d.record.key;
    d.record.attempt = d.record.crashes = 0;
    d.record.redrives++;
    d.record.expires_ms = STORE_NEVER;
    rc = live_put(db, &d);
    sqlite3_reset(db_stmt(db, STMT_DEAD_GET));
    counter_dead(db, op->d.number, -1);
    return rc == SQLITE_OK ? remove_row(db, STMT_DEAD_DELETE, op->d.number) : rc;
}

static int do_purge(struct db *db, struct store_op *op)
{
    int rc = remove_row(db, STMT_DEAD_DELETE, op->d.number);
    if (rc != SQLITE_OK || sqlite3_changes(db->sql) == 0)
        return rc;
    counter_dead(db, op->d.number, -1);
    counter_add(db, TOTAL_DROPPED, +1);
    return SQLITE_OK;
}

static int do_edit(struct db *db, struct store_op *op)
{
    struct store_dead d;
    bool found;
    int rc = dead_get(db, op->d.number, &d, &found);
    if (!found)
        return rc;
    d.record.subject = op->d.record.subject;
    d.record.headers = op->d.record.headers;
    d.record.body = op->d.record.body;
    rc = dead_put(db, &d); /* replaces it */
    sqlite3_reset(db_stmt(db, STMT_DEAD_GET));
    return rc;
}

static int remove_moved(struct db *db, uint64_t key, bool *found)
{
    struct store_dead d;
    int rc = live_get(db, key, &d, found);
    if (!*found)
        return rc;
    counter_live(db, key, d.record.due_ms, -1);
    sqlite3_reset(db_stmt(db, STMT_GET));
    return remove_row(db, STMT_DELETE, key);
}

static int do_move(struct db *db, struct store_op *op)
{
    struct store_dead d = op->d; /* the change itself may be done again */
    uint64_t from = d.number;
    bool found = true;
    int rc = from != 0 ? remove_moved(db, from, &found) : SQLITE_OK;
    if (!found || rc != SQLITE_OK)
        return rc;
    counter_add(db, TOTAL_ACCEPTED, from == 0);
    d.number = 0;
    return live_put(db, &d);
}

int db_unit(struct db *db, const struct store_batch *b, struct store_job *job)
{
    static int (*const ops[OP_KINDS])(struct db *db, struct store_op *op) = {
        do_put, do_end, do_update, do_bury, do_redrive, do_purge, do_edit, log_append, do_move, db_once,
    };
    bool agreed = true;
    int rc = SQLITE_OK;
    if (job->puts > 0 && !db_has_room(db, job->ops_len)) {
        job->result = STORE_FULL;
        db->wanted = job->ops_len;
        return SQLITE_OK;
    }
    if (job->checks)
        rc = logs_check(db, b, job, &agreed);
    if (!agreed)
        job->result = STORE_CONFLICT;
    if (rc != SQLITE_OK || !agreed)
        return rc;
    for (size_t at = job->ops_at; at < job->ops_at + job->ops_len && rc == SQLITE_OK;) {
        struct store_op *op = batch_op(b, &at);
        rc = ops[op->kind](db, op);
        at += op_skips(op);
    }
    db->adding += job->puts > 0 ? job->ops_len : 0;
    return rc;
}

int db_queue(struct db *db, const struct store_batch *b, struct store_job *job)
{
    sqlite3_stmt *s = db_stmt(db, STMT_QUEUE);
    struct str name = job_text(b, job);
    sqlite3_bind_int64(s, 1, (int64_t)job->from);
    sqlite3_bind_text(s, 2, name.n > 0 ? name.p : "", (int)name.n, SQLITE_STATIC);
    sqlite3_bind_int(s, 3, job->service);
    sqlite3_bind_int64(s, 4, book_crc(job->from, job->service, name));
    return db_step(s);
}

int db_quarantine(struct db *db, uint64_t key, int64_t due_ms)
{
    int rc = remove_row(db, STMT_QUARANTINE, key);
    counter_live(db, key, due_ms, -1);
    counter_quarantined(db);
    return rc == SQLITE_OK ? remove_row(db, STMT_DELETE, key) : rc;
}

int db_quarantine_dead(struct db *db, uint64_t number)
{
    int rc = remove_row(db, STMT_DEAD_QUARANTINE, number);
    counter_dead(db, number, -1);
    counter_quarantined(db);
    return rc == SQLITE_OK ? remove_row(db, STMT_DEAD_DELETE, number) : rc;
}
