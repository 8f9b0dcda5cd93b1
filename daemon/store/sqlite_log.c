#include "store/sqlite_log.h"

#include "base/crc32c.h"
#include "base/mem.h"

#define SEQ_MAX ((UINT64_C(1) << STORE_SEQ_BITS) - 1)

enum log_stmt { LOG_MAKE, LOG_WRITE, LOG_APPEND, LOG_LATEST, LOG_TIME, LOG_LOAD, LOG_LOAD_KEY, LOG_OLDEST, LOG_DELETE,
                LOG_STMTS };

#define ENTRY "id, time, version, meta_crc, crc, key, route, subject, headers, body"
enum column { ID, TIME, VERSION, META_CRC, CRC, KEY, ROUTE, SUBJECT, HEADERS, BODY };

static const char *const statements[LOG_STMTS] = {
    [LOG_MAKE] = "INSERT INTO log(id, name, first, last, bytes, first_time, last_time, crc) "
                 "VALUES(?, ?, 1, 0, 0, 0, 0, ?)",
    [LOG_WRITE] = "UPDATE log SET first = ?, last = ?, bytes = ?, first_time = ?, last_time = ?, crc = ? WHERE id = ?",
    [LOG_APPEND] = "INSERT INTO entry(" ENTRY ") VALUES(?,?,?,?,?,?,?,?,?,?)",
    [LOG_LATEST] = "SELECT id, time, version, meta_crc, crc, key FROM entry INDEXED BY entry_key "
                   "WHERE key = ? AND id > ? AND id <= ? ORDER BY id DESC",
    [LOG_TIME] = "SELECT time FROM entry WHERE id = ?",
    [LOG_LOAD] = "SELECT " ENTRY " FROM entry WHERE id > ? AND id <= ? ORDER BY id",
    [LOG_LOAD_KEY] = "SELECT " ENTRY " FROM entry INDEXED BY entry_key WHERE key = ?3 AND id > ?1 AND id <= ?2 "
                     "ORDER BY id",
    [LOG_OLDEST] = "SELECT id, time, version, meta_crc, crc, key, length(route), length(subject), length(headers), "
                   "length(body) FROM entry WHERE id > ? AND id <= ? ORDER BY id",
    [LOG_DELETE] = "DELETE FROM entry WHERE id > ? AND id <= ?",
};

struct log_state {
    struct store_log_row now, stored; /* in this transaction; as committed. The name is now's */
    bool dirty;
};

struct db_logs {
    sqlite3_stmt *stmts[LOG_STMTS];
    struct log_state *at; /* number 1 is at 0 */
    size_t count;
};

struct db_logs *logs_new(void)
{
    return mem_zalloc(sizeof(struct db_logs));
}

void logs_free(struct db_logs *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < LOG_STMTS; i++)
        sqlite3_finalize(l->stmts[i]);
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->at[i].now.name);
    mem_free(l->at);
    mem_free(l);
}

int logs_prepare(struct db *db)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; i < LOG_STMTS && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(db->sql, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &db->logs->stmts[i], NULL);
    return rc;
}

/* ---------------------------------------------------------------- checksums */

static uint32_t row_crc(uint64_t id, const struct store_log_row *row)
{
    const uint64_t words[] = {id, row->first, row->last, row->bytes, (uint64_t)row->first_ms, (uint64_t)row->last_ms};
    return crc32c(crc32c(0, words, sizeof(words)), row->name, row->name_len);
}

static uint32_t entry_meta_crc(uint64_t id, const struct store_entry *e)
{
    const uint64_t words[] = {id, (uint64_t)e->time_ms, e->version};
    return crc32c(crc32c(0, words, sizeof(words)), e->key.p, e->key.n);
}

/* Lengths go first, so that bytes cannot wander from one string to the next. */
static uint32_t entry_crc(uint64_t id, struct store_entry *e)
{
    const uint64_t words[] = {id, e->route.n, e->subject.n, e->headers.n, e->body.n};
    uint32_t crc = crc32c(0, words, sizeof(words));
    for (size_t i = 1; i < ENTRY_STRINGS; i++)
        crc = crc32c(crc, entry_string(e, i)->p, entry_string(e, i)->n);
    return crc;
}

/* ---------------------------------------------------------------- the books */

static void state_add(struct db_logs *l, const struct store_log_row *row)
{
    l->at = mem_realloc(l->at, (l->count + 1) * sizeof(*l->at));
    struct store_log_row copy = *row;
    copy.name = mem_strndup(row->name, row->name_len);
    l->at[l->count++] = (struct log_state){.now = copy, .stored = copy};
}

static bool load_row(struct db *db, sqlite3_stmt *s)
{
    uint64_t id = db->logs->count + 1;
    const char *name = (const char *)sqlite3_column_text(s, 1);
    struct store_log_row row = {
        .name = (char *)(uintptr_t)(name != NULL ? name : ""),
        .name_len = name != NULL ? (size_t)sqlite3_column_bytes(s, 1) : 0,
        .first = (uint64_t)sqlite3_column_int64(s, 2), .last = (uint64_t)sqlite3_column_int64(s, 3),
        .bytes = (uint64_t)sqlite3_column_int64(s, 4), .first_ms = sqlite3_column_int64(s, 5),
        .last_ms = sqlite3_column_int64(s, 6)};
    if (sqlite3_column_int64(s, 0) != (int64_t)id || sqlite3_column_int64(s, 7) != row_crc(id, &row) ||
        id > STORE_LOGS_MAX)
        return false;
    state_add(db->logs, &row);
    return true;
}

int logs_load(struct db *db)
{
    sqlite3_stmt *s = NULL;
    static const char sql[] = "SELECT id, name, first, last, bytes, first_time, last_time, crc FROM log ORDER BY id";
    int rc = sqlite3_prepare_v2(db->sql, sql, -1, &s, NULL);
    bool bad = false;
    while (rc == SQLITE_OK && !bad && sqlite3_step(s) == SQLITE_ROW)
        bad = !load_row(db, s);
    int end = sqlite3_finalize(s);
    if (rc == SQLITE_OK && end == SQLITE_OK && bad)
        return SQLITE_CORRUPT;
    return rc == SQLITE_OK ? end : rc;
}

void logs_each(const struct db *db, void (*fn)(void *arg, const struct store_log_row *row), void *arg)
{
    for (size_t i = 0; i < db->logs->count; i++)
        fn(arg, &db->logs->at[i].now);
}

int log_make(struct db *db, const struct store_batch *b, const struct store_job *job)
{
    struct db_logs *l = db->logs;
    sqlite3_stmt *s = l->stmts[LOG_MAKE];
    struct str name = job_text(b, job);
    struct store_log_row row = {.name = (char *)(uintptr_t)name.p, .name_len = name.n, .first = 1};
    if (job->from > l->count) /* else it is there already from a transaction that was taken back */
        state_add(l, &row);
    sqlite3_bind_int64(s, 1, (int64_t)job->from);
    sqlite3_bind_text(s, 2, name.n > 0 ? name.p : "", (int)name.n, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, row_crc(job->from, &row));
    return db_step(s);
}

static int write_state(struct db_logs *l, size_t i)
{
    sqlite3_stmt *s = l->stmts[LOG_WRITE];
    const struct store_log_row *row = &l->at[i].now;
    sqlite3_bind_int64(s, 1, (int64_t)row->first);
    sqlite3_bind_int64(s, 2, (int64_t)row->last);
    sqlite3_bind_int64(s, 3, (int64_t)row->bytes);
    sqlite3_bind_int64(s, 4, row->first_ms);
    sqlite3_bind_int64(s, 5, row->last_ms);
    sqlite3_bind_int64(s, 6, row_crc(i + 1, row));
    sqlite3_bind_int64(s, 7, (int64_t)i + 1);
    return db_step(s);
}

int logs_write(struct db *db)
{
    struct db_logs *l = db->logs;
    int rc = SQLITE_OK;
    for (size_t i = 0; i < l->count && rc == SQLITE_OK; i++)
        rc = l->at[i].dirty ? write_state(l, i) : SQLITE_OK;
    return rc;
}

void logs_settle(struct db *db, bool committed)
{
    for (size_t i = 0; i < db->logs->count; i++) {
        struct log_state *state = &db->logs->at[i];
        if (state->dirty && committed)
            state->stored = state->now;
        else if (state->dirty)
            state->now = state->stored;
        state->dirty = false;
    }
}

void logs_tell(const struct db *db, struct store_batch *b)
{
    for (size_t i = 0; i < db->logs->count; i++)
        buf_put(&b->logs, &db->logs->at[i].now, sizeof(struct store_log_row));
}

/* ---------------------------------------------------------------- appends */

static void bind_str(sqlite3_stmt *s, int at, struct str text)
{
    sqlite3_bind_blob64(s, at, text.n > 0 ? text.p : "", text.n, SQLITE_STATIC);
}

static struct str column_str(sqlite3_stmt *s, int at)
{
    const void *p = sqlite3_column_blob(s, at);
    return str_make(p, p != NULL ? (size_t)sqlite3_column_bytes(s, at) : 0);
}

/* What finds an entry. False: it fails its checksum. */
static bool read_meta(sqlite3_stmt *s, struct store_entry *e)
{
    uint64_t id = (uint64_t)sqlite3_column_int64(s, ID);
    *e = (struct store_entry){.offset = store_seq_of(id), .time_ms = sqlite3_column_int64(s, TIME),
                              .version = (uint64_t)sqlite3_column_int64(s, VERSION), .key = column_str(s, KEY)};
    return sqlite3_column_int64(s, META_CRC) == entry_meta_crc(id, e);
}

static bool read_entry(sqlite3_stmt *s, struct store_entry *e)
{
    bool whole = read_meta(s, e);
    e->route = column_str(s, ROUTE);
    e->subject = column_str(s, SUBJECT);
    e->headers = column_str(s, HEADERS);
    e->body = column_str(s, BODY);
    return whole && sqlite3_column_int64(s, CRC) == entry_crc((uint64_t)sqlite3_column_int64(s, ID), e);
}

/* Versions rise by 1, so those of damaged entries are known from the last whole one. */
static int version_of(struct db *db, uint32_t log, struct str key, uint64_t *version)
{
    sqlite3_stmt *s = db->logs->stmts[LOG_LATEST];
    struct store_entry e;
    uint64_t damaged = 0;
    int rc;
    bind_str(s, 1, key);
    sqlite3_bind_int64(s, 2, (int64_t)store_key(log, 0));
    sqlite3_bind_int64(s, 3, (int64_t)store_key(log, SEQ_MAX));
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && !read_meta(s, &e))
        damaged++;
    *version = (rc == SQLITE_ROW ? e.version : 0) + damaged;
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : end;
}

int logs_check(struct db *db, const struct store_batch *b, const struct store_job *job, bool *ok)
{
    *ok = true;
    for (size_t at = job->ops_at; at < job->ops_at + job->ops_len;) {
        size_t here = at;
        uint64_t version = 0;
        struct store_op *op = batch_op(b, &at);
        int rc = op->kind == OP_ONCE ? db_copy(db, op) : SQLITE_OK;
        at += op_skips(op); /* what is a copy expects nothing any more */
        if (rc != SQLITE_OK)
            return rc;
        if (op->kind != OP_APPEND || op->expected == STORE_ANY_VERSION)
            continue;
        rc = version_of(db, store_queue_of(op->d.record.key), op->d.record.as, &version);
        if (rc != SQLITE_OK)
            return rc;
        version += appends_before(b, job, here);
        if (version == op->expected)
            continue;
        op->appended = (struct store_appended){.version = version, .mismatch = true};
        *ok = false;
        return SQLITE_OK;
    }
    return SQLITE_OK;
}

static int put_entry(sqlite3_stmt *s, uint64_t id, struct store_entry *e)
{
    sqlite3_bind_int64(s, 1 + ID, (int64_t)id);
    sqlite3_bind_int64(s, 1 + TIME, e->time_ms);
    sqlite3_bind_int64(s, 1 + VERSION, (int64_t)e->version);
    sqlite3_bind_int64(s, 1 + META_CRC, entry_meta_crc(id, e));
    sqlite3_bind_int64(s, 1 + CRC, entry_crc(id, e));
    if (e->key.n > 0)
        bind_str(s, 1 + KEY, e->key);
    else
        sqlite3_bind_null(s, 1 + KEY);
    for (size_t i = 1; i < ENTRY_STRINGS; i++)
        bind_str(s, 1 + KEY + (int)i, *entry_string(e, i));
    return db_step(s);
}

int log_append(struct db *db, struct store_op *op)
{
    uint32_t log = store_queue_of(op->d.record.key);
    struct log_state *state = &db->logs->at[log - 1];
    struct store_log_row *row = &state->now;
    struct str key = op->d.record.as;
    uint64_t version = 0;
    int rc = key.n > 0 ? version_of(db, log, key, &version) : SQLITE_OK;
    if (rc != SQLITE_OK)
        return rc;
    op->appended = (struct store_appended){.offset = row->last + 1, .version = key.n > 0 ? version + 1 : 0};
    if (op->d.record.accepted_ms < row->last_ms)
        op->d.record.accepted_ms = row->last_ms;
    struct store_entry e = entry_of(op);
    if (row->first > row->last)
        row->first_ms = e.time_ms;
    row->last++;
    row->last_ms = e.time_ms;
    row->bytes += entry_bytes(&e);
    state->dirty = true;
    return put_entry(db->logs->stmts[LOG_APPEND], store_key(log, row->last), &e);
}

/* ---------------------------------------------------------------- reading */

static int time_at(struct db *db, uint64_t id, int64_t *time_ms)
{
    sqlite3_stmt *s = db->logs->stmts[LOG_TIME];
    sqlite3_bind_int64(s, 1, (int64_t)id);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *time_ms = sqlite3_column_int64(s, 0);
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW ? SQLITE_OK : end;
}

/* Times rise with offsets: the last offset behind which all are of `since_ms` or later. */
static int seek(struct db *db, uint32_t log, int64_t since_ms, uint64_t *after)
{
    const struct store_log_row *row = &db->logs->at[log - 1].now;
    uint64_t low = row->first, high = row->last + 1;
    int rc = SQLITE_OK;
    while (low < high && rc == SQLITE_OK) {
        uint64_t middle = low + (high - low) / 2;
        int64_t time_ms = 0;
        rc = time_at(db, store_key(log, middle), &time_ms);
        if (time_ms < since_ms)
            low = middle + 1;
        else
            high = middle;
    }
    *after = low - 1 > *after ? low - 1 : *after;
    return rc;
}

static int read_page(sqlite3_stmt *s, struct store_job *job, bool *more)
{
    struct store_log_page *page = &job->answer->page;
    struct store_entry e;
    int rc = SQLITE_DONE;
    *more = true;
    while (*more && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        if (page->count + page->damaged == job->limit)
            break;
        bool whole = read_entry(s, &e);
        page->through = e.offset;
        page->damaged += !whole;
        *more = !whole || answer_entry(job->answer, &e);
    }
    *more = rc == SQLITE_ROW;
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : end;
}

int log_load(struct db *db, const struct store_batch *b, struct store_job *job)
{
    struct str key = job_text(b, job);
    sqlite3_stmt *s = db->logs->stmts[key.n > 0 ? LOG_LOAD_KEY : LOG_LOAD];
    const struct store_log_row *row = &db->logs->at[job->log - 1].now;
    struct store_log_page *page = &job->answer->page;
    uint64_t after = job->from;
    bool more;
    int rc = job->now_ms > 0 ? seek(db, job->log, job->now_ms, &after) : SQLITE_OK;
    if (rc != SQLITE_OK)
        return rc;
    page->through = after;
    if (after < row->last) {
        sqlite3_bind_int64(s, 1, (int64_t)store_key(job->log, after));
        sqlite3_bind_int64(s, 2, (int64_t)store_key(job->log, row->last));
        if (key.n > 0)
            bind_str(s, 3, key);
        rc = read_page(s, job, &more);
        page->at_end = !more;
    } else {
        page->at_end = true;
    }
    if (page->at_end && row->last > page->through)
        page->through = row->last;
    answer_close_log(job->answer);
    return rc;
}

/* ---------------------------------------------------------------- retention */

static uint64_t row_bytes(sqlite3_stmt *s)
{
    uint64_t sum = STORE_ENTRY_BYTES + (uint64_t)sqlite3_column_bytes(s, KEY);
    for (int i = ROUTE; i <= BODY; i++)
        sum += (uint64_t)sqlite3_column_int64(s, i);
    return sum;
}

/* Which of the oldest have to go: counted out of *row. One that is damaged goes with its time unknown. */
static int choose(sqlite3_stmt *s, struct store_job *job, struct store_log_row *row)
{
    struct store_entry e;
    uint32_t n = 0;
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        bool whole = read_meta(s, &e);
        bool stays = row->bytes <= job->bytes && whole && e.time_ms >= job->now_ms;
        if (whole)
            row->first_ms = e.time_ms;
        job->answer->page.at_end = stays;
        if (stays || n++ == job->limit)
            break;
        uint64_t bytes = row_bytes(s);
        row->bytes -= bytes < row->bytes ? bytes : row->bytes;
        row->first = e.offset + 1;
    }
    job->answer->page.at_end |= rc == SQLITE_DONE;
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : end;
}

int log_trim(struct db *db, struct store_job *job)
{
    struct log_state *state = &db->logs->at[job->log - 1];
    struct store_log_row row = state->now;
    sqlite3_stmt *s = db->logs->stmts[LOG_OLDEST], *gone = db->logs->stmts[LOG_DELETE];
    sqlite3_bind_int64(s, 1, (int64_t)store_key(job->log, row.first - 1));
    sqlite3_bind_int64(s, 2, (int64_t)store_key(job->log, row.last));
    int rc = choose(s, job, &row);
    if (rc != SQLITE_OK || (row.first == state->now.first && job->now_ms != STORE_LOG_REMOVED))
        return rc;
    if (job->now_ms == STORE_LOG_REMOVED && row.first > row.last)
        row.last_ms = 0;
    audit_trimmed(&db->audit, job->log, &state->now, &row);
    state->now = row;
    state->dirty = true;
    sqlite3_bind_int64(gone, 1, (int64_t)store_key(job->log, 0));
    sqlite3_bind_int64(gone, 2, (int64_t)store_key(job->log, row.first - 1));
    return db_step(gone);
}

/* ---------------------------------------------------------------- audit */

static void log_differs(struct buf *findings, const struct store_log_row *row, const char *what, uint64_t books,
                        uint64_t found)
{
    if (books != found)
        buf_printf(findings, "log %.*s, %s: the books say %llu, the file holds %llu\n", (int)row->name_len, row->name,
                   what, (unsigned long long)books, (unsigned long long)found);
}

#define SLICE_ENTRIES 64 /* with their bodies */

/* *end: there are no more of this log. */
static int count_some(struct db *db, struct audit_log *w, bool *end)
{
    sqlite3_stmt *s = db->logs->stmts[LOG_LOAD];
    struct store_entry e;
    int rc = SQLITE_DONE;
    sqlite3_bind_int64(s, 1, (int64_t)store_key(w->log, w->through));
    sqlite3_bind_int64(s, 2, (int64_t)store_key(w->log, SEQ_MAX));
    for (int n = 0; n < SLICE_ENTRIES && (rc = sqlite3_step(s)) == SQLITE_ROW; n++) {
        w->damaged += !read_entry(s, &e);
        w->entries++;
        w->bytes += entry_bytes(&e);
        w->through = e.offset;
    }
    *end = rc == SQLITE_DONE;
    int reset = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset;
}

int logs_audit(struct db *db, struct audit_log *w, struct buf *findings, bool *over)
{
    bool end = false;
    *over = w->log > db->logs->count;
    int rc = *over ? SQLITE_OK : count_some(db, w, &end);
    if (!end)
        return rc;
    const struct store_log_row *row = &db->logs->at[w->log - 1].now;
    log_differs(findings, row, "entries", row->last + 1 - row->first, w->entries);
    log_differs(findings, row, "bytes", row->bytes, w->bytes);
    log_differs(findings, row, "damaged entries", 0, w->damaged);
    *w = (struct audit_log){.log = w->log + 1};
    return rc;
}
