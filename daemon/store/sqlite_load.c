/* What is read. A row that fails its checksum is put aside once the reading is over, and never told. */
#include "store/sqlite.h"

struct bad {
    uint64_t number;
    int64_t due_ms;
};

static int take(struct db *db, uint64_t key)
{
    sqlite3_stmt *s = db_stmt(db, STMT_TAKEN);
    sqlite3_bind_int64(s, 1, (int64_t)key);
    return db_step(s);
}

/* All rows of the bound statement into the answer; the bad ones into `bad`. */
static int read_rows(sqlite3_stmt *s, struct store_answer *a, bool dead, struct buf *bad)
{
    struct store_dead d;
    int rc = SQLITE_ROW;
    while (!a->rows.cut && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        bool whole = dead ? row_read_dead(s, &d) : row_read(s, &d);
        if (!whole)
            buf_put(bad, &(struct bad){dead ? d.number : d.record.key, d.record.due_ms}, sizeof(struct bad));
        else if (dead)
            answer_dead(a, &d);
        else
            answer_record(a, &d.record);
    }
    int end = sqlite3_reset(s);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : end;
}

static int put_aside(struct db *db, struct store_answer *a, bool dead, struct buf *bad)
{
    const struct bad *rows = (const struct bad *)(const void *)buf_data(bad);
    size_t count = bad->len / sizeof(*rows);
    int rc = SQLITE_OK;
    for (size_t i = 0; i < count && rc == SQLITE_OK; i++) {
        assert(rows != NULL);
        rc = dead ? db_quarantine_dead(db, rows[i].number)
                  : db_quarantine(db, rows[i].number, rows[i].due_ms);
    }
    a->rows.quarantined = count;
    return rc;
}

static int load(struct db *db, sqlite3_stmt *s, struct store_answer *a, bool dead)
{
    struct buf bad = BUF_EMPTY;
    int rc = read_rows(s, a, dead, &bad);
    if (rc == SQLITE_OK)
        rc = put_aside(db, a, dead, &bad);
    buf_fini(&bad);
    answer_close(a, dead);
    return rc;
}

int db_load(struct db *db, struct store_job *job)
{
    sqlite3_stmt *s = db_stmt(db, job->taken ? STMT_LOAD_TAKEN : STMT_LOAD);
    uint64_t end = store_key(store_queue_of(job->from), 0) + (UINT64_C(1) << STORE_SEQ_BITS) - 1;
    sqlite3_bind_int64(s, 1, (int64_t)job->from);
    sqlite3_bind_int64(s, 2, (int64_t)end);
    sqlite3_bind_int64(s, 3, job->limit);
    return load(db, s, job->answer, false);
}

int db_load_dead(struct db *db, struct store_job *job)
{
    sqlite3_stmt *s = db_stmt(db, STMT_LOAD_DEAD);
    sqlite3_bind_int64(s, 1, (int64_t)job->from);
    sqlite3_bind_int64(s, 2, job->limit);
    return load(db, s, job->answer, true);
}

static int next_due(struct db *db, int64_t base, int64_t *due_ms)
{
    sqlite3_stmt *s = db_stmt(db, STMT_NEXT_DUE);
    sqlite3_bind_int64(s, 1, base);
    sqlite3_bind_int64(s, 2, base + STORE_DUE_MAX);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *due_ms = sqlite3_column_int64(s, 0) - base;
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : end;
}

/* Those due until `until`, of the range that begins at `base`. */
static int read_due(struct db *db, struct store_job *job, int64_t base, int64_t until, struct buf *bad)
{
    sqlite3_stmt *s = db_stmt(db, STMT_TAKE_DUE);
    struct store_answer *a = job->answer;
    sqlite3_bind_int64(s, 1, base);
    sqlite3_bind_int64(s, 2, base + (until < STORE_DUE_MAX ? until : STORE_DUE_MAX));
    sqlite3_bind_int64(s, 3, job->limit - (int64_t)a->rows.count);
    return until > 0 && a->rows.count < job->limit ? read_rows(s, a, false, bad) : SQLITE_OK;
}

static int take_rows(struct db *db, struct store_job *job, struct buf *bad)
{
    int rc = read_due(db, job, 0, job->now_ms, bad);
    if (rc == SQLITE_OK)
        rc = read_due(db, job, DUE_BY_WALL, job->wall_ms, bad);
    return rc == SQLITE_OK ? put_aside(db, job->answer, false, bad) : rc;
}

int db_take_due(struct db *db, struct store_job *job)
{
    struct store_rows *rows = &job->answer->rows;
    struct buf bad = BUF_EMPTY;
    int rc = take_rows(db, job, &bad);
    buf_fini(&bad);
    answer_close(job->answer, false);
    for (size_t i = 0; i < rows->count && rc == SQLITE_OK; i++) {
        uint64_t key = rows->records[i].key;
        counter_live(db, key, 1, -1);
        counter_live(db, key, 0, +1);
        rc = take(db, key);
    }
    if (rc == SQLITE_OK)
        rc = next_due(db, 0, &rows->next_due_ms);
    return rc == SQLITE_OK ? next_due(db, DUE_BY_WALL, &rows->next_wall_ms) : rc;
}
