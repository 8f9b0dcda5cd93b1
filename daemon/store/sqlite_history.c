/* Chunks of notes. The filter stands before the data, so that it is read without it. */
#include "base/crc32c.h"
#include "store/sqlite.h"

static int trim(struct db *db, uint64_t through)
{
    sqlite3_stmt *s = db_stmt(db, STMT_HISTORY_TRIM);
    sqlite3_bind_int64(s, 1, (int64_t)through);
    sqlite3_bind_int(s, 2, HISTORY_TRIM);
    return db_step(s);
}

int db_history_put(struct db *db, const struct store_batch *b, struct store_job *job)
{
    sqlite3_stmt *s = db_stmt(db, STMT_HISTORY_PUT);
    const uint8_t *filter = buf_data(&b->ops) + job->ops_at, *data = filter + STORE_FILTER_BYTES;
    size_t n = job->ops_len - STORE_FILTER_BYTES;
    if (!db_has_room(db, job->ops_len)) {
        job->result = STORE_FULL;
        return SQLITE_OK;
    }
    sqlite3_bind_int64(s, 1, (int64_t)job->from);
    sqlite3_bind_int64(s, 2, crc32c(0, data, n));
    sqlite3_bind_blob(s, 3, filter, STORE_FILTER_BYTES, SQLITE_STATIC);
    sqlite3_bind_blob(s, 4, data, (int)n, SQLITE_STATIC);
    db->adding += job->ops_len;
    int rc = db_step(s);
    return rc == SQLITE_OK && job->from > job->hash ? trim(db, job->from - job->hash) : rc;
}

static int get(struct db *db, struct store_answer *a, uint64_t number)
{
    sqlite3_stmt *s = db_stmt(db, STMT_HISTORY_GET);
    sqlite3_bind_int64(s, 1, (int64_t)number);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        const void *data = sqlite3_column_blob(s, 1);
        size_t n = (size_t)sqlite3_column_bytes(s, 1);
        if (data != NULL && sqlite3_column_int64(s, 0) == crc32c(0, data, n))
            answer_chunk(a, number, str_make(data, n));
    }
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : end;
}

/* The numbers whose filters have it, at most HISTORY_STEP. */
static int select_numbers(struct db *db, struct store_job *job, uint64_t *numbers, size_t *count)
{
    sqlite3_stmt *s = db_stmt(db, STMT_HISTORY_FILTERS);
    uint32_t seen = 0;
    int rc;
    sqlite3_bind_int64(s, 1, (int64_t)job->from);
    sqlite3_bind_int64(s, 2, job->limit);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        uint64_t number = (uint64_t)sqlite3_column_int64(s, 0);
        const uint8_t *filter = sqlite3_column_blob(s, 1);
        bool whole = filter != NULL && sqlite3_column_bytes(s, 1) == STORE_FILTER_BYTES;
        if (whole && store_filter_has(filter, job->hash))
            numbers[(*count)++] = number;
        if (++seen == job->limit)
            job->answer->history.next = number + 1;
    }
    int end = sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : end;
}

int db_history_find(struct db *db, struct store_job *job)
{
    uint64_t numbers[HISTORY_STEP];
    size_t count = 0;
    int rc = select_numbers(db, job, numbers, &count);
    for (size_t i = 0; i < count && rc == SQLITE_OK; i++)
        rc = get(db, job->answer, numbers[i]);
    answer_close_chunks(job->answer);
    return rc;
}

uint64_t db_history_next(struct db *db)
{
    sqlite3_stmt *s = db_stmt(db, STMT_HISTORY_LAST);
    uint64_t last = sqlite3_step(s) == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return last + 1;
}
