/* Opening: whose file it is, which version, whether it is whole; and the statements. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "store/sqlite.h"
#include "store/sqlite_log.h"

#define APPLICATION_ID 1114401867 /* "BlhK" */
#define CHECK_BELOW_BYTES (64u << 20)
#define CACHE_KIB 16384

/* The message lies in the row: half the cost of a row for it and one for its delivery. What changes
 * stands before the long columns. */
#define RECORD                                                                                     \
    "due INTEGER, attempt INTEGER, target INTEGER, redrives INTEGER, accepted INTEGER, "           \
    "expires INTEGER, crc INTEGER, state_crc INTEGER, route BLOB, subject BLOB, sent_as BLOB, "    \
    "first_error BLOB, last_error BLOB, headers BLOB, body BLOB"
#define COLUMNS                                                                                    \
    "due, attempt, target, redrives, accepted, expires, crc, state_crc, route, subject, sent_as, " \
    "first_error, last_error, headers, body"

/* migrations[n] leads from version n to n + 1; the last one's is what this program writes. */
static const char *const migrations[] = {
    /* due: NULL = ready, above 0 = delayed until then (DUE_BY_WALL), 0 = was delayed and is in memory now. */
    "CREATE TABLE delivery(key INTEGER PRIMARY KEY, " RECORD ");"
    "CREATE INDEX delivery_due ON delivery(due) WHERE due IS NOT NULL;"
    "CREATE TABLE dead(number INTEGER PRIMARY KEY, key INTEGER, " RECORD ", died INTEGER, reason BLOB);"
    "CREATE TABLE quarantine(id INTEGER PRIMARY KEY, number INTEGER, key INTEGER, " RECORD ", "
    "died INTEGER, reason BLOB);"
    "CREATE TABLE queue(id INTEGER PRIMARY KEY, name TEXT NOT NULL, service INTEGER NOT NULL, crc INTEGER, "
    "UNIQUE(name, service));"
    "CREATE TABLE counter(id INTEGER PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER);",
    LOG_TABLES,
    "CREATE TABLE seen(a INTEGER, b INTEGER, until INTEGER NOT NULL, PRIMARY KEY(a, b)) WITHOUT ROWID;"
    "CREATE INDEX seen_until ON seen(until);",
    "CREATE TABLE history(number INTEGER PRIMARY KEY, crc INTEGER, filter BLOB, data BLOB);",
    "", /* from here on the upper half of `attempt` holds the crashes: earlier versions would take the row for damaged */
};
#define SCHEMA_VERSION ((int)(sizeof(migrations) / sizeof(migrations[0])))

static const char *const statements[STMTS] = {
    [STMT_BEGIN] = "BEGIN",
    [STMT_COMMIT] = "COMMIT",
    [STMT_PUT] = "INSERT INTO delivery(key, " COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    /* Of row_is_plain(): half of the columns need not be bound. */
    [STMT_PUT_PLAIN] = "INSERT INTO delivery(key, " COLUMNS ") "
                       "VALUES(?,NULL,0,0,0,?,?,?,?,?,?,x'',x'',x'',?,?)",
    [STMT_END_READY] = "DELETE FROM delivery WHERE key = ? AND due IS NULL",
    [STMT_DUE_OF] = "SELECT due FROM delivery WHERE key = ?",
    [STMT_DELETE] = "DELETE FROM delivery WHERE key = ?",
    [STMT_GET] = "SELECT key, " COLUMNS " FROM delivery WHERE key = ?",
    [STMT_UPDATE] = "UPDATE delivery SET due = CASE WHEN ?2 > 0 THEN ?2 "
                    "WHEN due IS NULL THEN NULL ELSE 0 END, attempt = ?3, "
                    "first_error = ?4, last_error = ?5, state_crc = ?6 WHERE key = ?1",
    [STMT_TAKEN] = "UPDATE delivery SET due = 0 WHERE key = ?",
    [STMT_DEAD_PUT] = "REPLACE INTO dead(number, key, " COLUMNS ", died, reason) "
                      "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [STMT_DEAD_GET] = "SELECT number, key, " COLUMNS ", died, reason FROM dead WHERE number = ?",
    [STMT_DEAD_DELETE] = "DELETE FROM dead WHERE number = ?",
    [STMT_QUARANTINE] = "INSERT INTO quarantine(key, " COLUMNS ") "
                        "SELECT key, " COLUMNS " FROM delivery WHERE key = ?",
    [STMT_DEAD_QUARANTINE] = "INSERT INTO quarantine(number, key, " COLUMNS ", died, reason) "
                             "SELECT number, key, " COLUMNS ", died, reason FROM dead WHERE number = ?",
    [STMT_QUEUE] = "INSERT INTO queue(id, name, service, crc) VALUES(?, ?, ?, ?)",
    [STMT_COUNTER] = "REPLACE INTO counter(id, value, crc) VALUES(?, ?, ?)",
    [STMT_LOAD] = "SELECT key, " COLUMNS " FROM delivery WHERE key > ? AND key <= ? "
                  "AND due IS NULL ORDER BY key LIMIT ?",
    [STMT_LOAD_TAKEN] = "SELECT key, " COLUMNS " FROM delivery INDEXED BY delivery_due "
                        "WHERE key > ? AND key <= ? AND due = 0 ORDER BY key LIMIT ?",
    [STMT_TAKE_DUE] = "SELECT key, " COLUMNS " FROM delivery INDEXED BY delivery_due "
                      "WHERE due > ? AND due <= ? ORDER BY due, key LIMIT ?",
    [STMT_NEXT_DUE] = "SELECT due FROM delivery INDEXED BY delivery_due WHERE due > ? AND due <= ? "
                      "ORDER BY due LIMIT 1",
    [STMT_LOAD_DEAD] = "SELECT number, key, " COLUMNS ", died, reason FROM dead WHERE number > ? "
                       "ORDER BY number LIMIT ?",
    [STMT_AUDIT_LIVE] = "SELECT key, due IS NOT NULL AND due > 0 FROM delivery WHERE key > ? ORDER BY key LIMIT ?",
    [STMT_AUDIT_DEAD] = "SELECT number FROM dead WHERE number > ? ORDER BY number LIMIT ?",
    [STMT_AUDIT_QUARANTINE] = "SELECT id FROM quarantine WHERE id > ? ORDER BY id LIMIT ?",
    [STMT_PAGES] = "PRAGMA page_count",
    [STMT_FREE_PAGES] = "PRAGMA freelist_count",
    [STMT_HISTORY_PUT] = "REPLACE INTO history(number, crc, filter, data) VALUES(?, ?, ?, ?)",
    [STMT_HISTORY_TRIM] = "DELETE FROM history WHERE number IN (SELECT number FROM history WHERE number <= ? "
                          "ORDER BY number LIMIT ?)",
    [STMT_HISTORY_FILTERS] = "SELECT number, filter FROM history WHERE number >= ? ORDER BY number LIMIT ?",
    [STMT_HISTORY_GET] = "SELECT crc, data FROM history WHERE number = ?",
    [STMT_HISTORY_LAST] = "SELECT max(number) FROM history",
    [STMT_SEEN_COUNT] = "SELECT count(*) FROM seen",
    [STMT_SEEN] = "SELECT until FROM seen WHERE a = ? AND b = ?",
    [STMT_SEEN_PUT] = "REPLACE INTO seen(a, b, until) VALUES(?, ?, ?)",
    [STMT_SEEN_EXPIRE] = "DELETE FROM seen WHERE (a, b) IN (SELECT a, b FROM seen INDEXED BY seen_until "
                         "WHERE until <= ? ORDER BY until LIMIT ?)",
    [STMT_SEEN_AHEAD] = "DELETE FROM seen WHERE (a, b) IN (SELECT a, b FROM seen INDEXED BY seen_until "
                        "WHERE until > ? ORDER BY until DESC LIMIT ?)",
    [STMT_SEEN_EVICT] = "DELETE FROM seen WHERE (a, b) IN (SELECT a, b FROM seen INDEXED BY seen_until "
                        "ORDER BY until LIMIT ?)",
};

int db_prepare(struct db *db)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; i < STMTS && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(db->sql, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &db->stmts[i], NULL);
    return rc == SQLITE_OK ? logs_prepare(db) : rc;
}

void db_close(struct db *db)
{
    for (size_t i = 0; i < STMTS; i++)
        sqlite3_finalize(db->stmts[i]);
    logs_free(db->logs);
    /* After a fault not even the checkpoint of a close. */
    if (db->sql != NULL && db->faulted)
        sqlite3_db_config(db->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(db->sql);
    gather_free(db->gather);
    audit_fini(&db->audit);
    mark_close(db);
    mem_free(db->counters);
    mem_free(db->dirty);
    mem_free(db->dir);
    mem_free(db->path);
    *db = (struct db){0};
}

static int exec(struct db *db, const char *sql)
{
    return sqlite3_exec(db->sql, sql, NULL, NULL, NULL);
}

static int pragma_i64(struct db *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->sql, sql, -1, &s, NULL);
    if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        *out = sqlite3_column_int64(s, 0);
    int end = sqlite3_finalize(s);
    return rc == SQLITE_OK ? end : rc;
}

static bool refuse_damaged(const struct db *db, const char *said, struct err *err)
{
    return err_add(err, "store %s: damaged (%s); move the folder away and start anew, or restore a copy. "
                   "What can be read: sqlite3 %s .recover", db->path, said, db->path);
}

/* What to do about it, in the words of who runs the daemon. */
static bool refuse(struct db *db, int rc, struct err *err)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_add(err, "store %s: another process holds it; stop that one first, or give this one "
                       "another path", db->path);
    case SQLITE_NOTADB:
        return err_add(err, "store %s: not a store of bellhopd; move the file away, or give another path",
                       db->path);
    case SQLITE_CORRUPT:
        return refuse_damaged(db, sqlite3_errcode(db->sql) == SQLITE_CORRUPT ? sqlite3_errmsg(db->sql)
                                  : "the books or the queues fail their checksums", err);
    case SQLITE_ERROR: /* a statement that does not fit the tables: their definitions are damaged */
    case SQLITE_CONSTRAINT:
        return refuse_damaged(db, sqlite3_errmsg(db->sql), err);
    case SQLITE_READONLY:
        return err_add(err, "store %s: cannot be written; check the owner and mode of the file, or its "
                       "header is damaged", db->path);
    case SQLITE_CANTOPEN:
        return err_add(err, "store %s: it, or a file beside it, cannot be opened for writing (errno %d); check owners "
                       "and modes", db->path, sqlite3_system_errno(db->sql));
    case SQLITE_FULL:
        return err_add(err, "store %s: no room on the disk; free some and start again", db->path);
    default:
        return err_add(err, "store %s: %s (%d, errno %d)", db->path, sqlite3_errmsg(db->sql),
                       sqlite3_extended_errcode(db->sql), sqlite3_system_errno(db->sql));
    }
}

/* ---------------------------------------------------------------- the folder and the file */

static bool check_folder(struct db *db, struct err *err)
{
    struct stat st;
    if (mkdir(db->dir, 0700) != 0 && errno != EEXIST)
        return err_add(err, "store %s: cannot make the folder: %s", db->dir, strerror(errno));
    if (stat(db->dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_add(err, "store %s: not a folder", db->dir);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return err_add(err, "store %s: others may write to it; run chmod 700 on it", db->dir);
    if (access(db->dir, R_OK | W_OK | X_OK) != 0)
        return err_add(err, "store %s: cannot be written: %s; check its owner and mode", db->dir,
                       strerror(errno));
    return true;
}

/* SQLite would make it for others to read; its journal takes this mode over. */
static bool check_file(struct db *db, struct err *err)
{
    struct stat st;
    int fd = open(db->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_add(err, "store %s: cannot be opened: %s", db->path, strerror(errno));
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    close(fd);
    return regular || err_add(err, "store %s: not a file", db->path);
}

/* ---------------------------------------------------------------- the version */

/* The answer tells what the mode is now; it is no error when it stayed another. */
static int configure_journal(struct db *db)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->sql, "PRAGMA journal_mode=WAL", -1, &s, NULL);
    const char *mode = NULL;
    if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        mode = (const char *)sqlite3_column_text(s, 0);
    bool wal = mode != NULL && strcmp(mode, "wal") == 0;
    int end = sqlite3_finalize(s);
    if (rc == SQLITE_OK && end == SQLITE_OK && !wal)
        return SQLITE_CANTOPEN;
    return rc == SQLITE_OK ? end : rc;
}

static int configure(struct db *db)
{
    char sql[64];
    /* The first two take effect in a file that is empty yet. */
    int rc = exec(db, "PRAGMA page_size=8192; PRAGMA auto_vacuum=INCREMENTAL");
    static const char *const pragmas[] = {
        "PRAGMA synchronous=FULL",     "PRAGMA mmap_size=0",       "PRAGMA temp_store=MEMORY",
        "PRAGMA wal_autocheckpoint=0", "PRAGMA cell_size_check=ON", "PRAGMA trusted_schema=OFF",
        "PRAGMA secure_delete=OFF",
    };
    if (rc == SQLITE_OK)
        rc = configure_journal(db);
    for (size_t i = 0; i < sizeof(pragmas) / sizeof(pragmas[0]) && rc == SQLITE_OK; i++)
        rc = exec(db, pragmas[i]);
    snprintf(sql, sizeof(sql), "PRAGMA cache_size=-%d", CACHE_KIB);
    return rc == SQLITE_OK ? exec(db, sql) : rc;
}

/* Whose it is must be known before anything is written to it, journal mode included. */
static bool check_version(struct db *db, int64_t *version, struct err *err)
{
    int64_t id = 0, tables = 0;
    int rc = pragma_i64(db, "PRAGMA application_id", &id);
    if (rc == SQLITE_OK)
        rc = pragma_i64(db, "PRAGMA user_version", version);
    if (rc == SQLITE_OK)
        rc = pragma_i64(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (rc != SQLITE_OK)
        return refuse(db, rc, err);
    bool fresh = id == 0 && *version == 0 && tables == 0;
    if (!fresh && id != APPLICATION_ID)
        return refuse(db, SQLITE_NOTADB, err);
    if (*version > SCHEMA_VERSION)
        return err_add(err, "store %s: written by a newer bellhopd (version %lld, this one knows up to %d); "
                       "upgrade, or give another path", db->path, (long long)*version, SCHEMA_VERSION);
    return true;
}

static int migrate(struct db *db, int64_t version)
{
    char sql[96];
    int rc = version < SCHEMA_VERSION ? exec(db, "BEGIN IMMEDIATE") : SQLITE_OK;
    if (version == SCHEMA_VERSION)
        return SQLITE_OK;
    for (; version < SCHEMA_VERSION && rc == SQLITE_OK; version++)
        rc = exec(db, migrations[version]);
    snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d", APPLICATION_ID,
             SCHEMA_VERSION);
    if (rc == SQLITE_OK)
        rc = exec(db, sql);
    fault_point("store.migrating");
    return rc == SQLITE_OK ? exec(db, "COMMIT") : rc;
}

/* ---------------------------------------------------------------- is it whole */

/* A journal that was cut may lie over a file that is newer already (a checkpoint had been made): that is looked at
 * whatever the size. */
static bool check_whole(struct db *db, const struct db_state *state, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int64_t pages = 0;
    bool marked = fault_marked(db) || state->lost_commits > 0, unclean = state->unclean;
    int rc = pragma_i64(db, "PRAGMA page_count", &pages);
    if (rc == SQLITE_OK && !marked && (!unclean || pages * DB_PAGE >= CHECK_BELOW_BYTES))
        return true;
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db->sql, "PRAGMA quick_check(1)", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    const char *said = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    said = said != NULL ? said : "";
    bool whole = strcmp(said, "ok") == 0;
    if (!whole && rc == SQLITE_ROW)
        refuse_damaged(db, said, err);
    else if (!whole)
        refuse(db, rc, err);
    sqlite3_finalize(s);
    if (whole && marked)
        fault_unmark(db);
    return whole;
}

/* ---------------------------------------------------------------- the books */

static int load_counters(struct db *db)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->sql, "SELECT id, value, crc FROM counter", -1, &s, NULL);
    bool bad = false;
    while (rc == SQLITE_OK && !bad && sqlite3_step(s) == SQLITE_ROW) {
        uint64_t id = (uint64_t)sqlite3_column_int64(s, 0), value = (uint64_t)sqlite3_column_int64(s, 1);
        bad = sqlite3_column_int64(s, 2) != book_crc(id, value, STR_NONE);
        if (!bad)
            counters_load(db, id, value);
    }
    int end = sqlite3_finalize(s);
    if (rc == SQLITE_OK && end == SQLITE_OK && bad)
        return SQLITE_CORRUPT;
    return rc == SQLITE_OK ? end : rc;
}

/* Their numbers are 1, 2, … */
static bool add_queue(struct db *db, struct db_state *state, sqlite3_stmt *s)
{
    uint64_t id = state->queue_count + 1, key = store_key((uint32_t)id, 0);
    const char *name = (const char *)sqlite3_column_text(s, 1);
    size_t n = name != NULL ? (size_t)sqlite3_column_bytes(s, 1) : 0;
    bool service = sqlite3_column_int64(s, 2) != 0;
    if (sqlite3_column_int64(s, 0) != (int64_t)id ||
        sqlite3_column_int64(s, 3) != book_crc(id, service, str_make(name, n)))
        return false;
    state->queues = mem_realloc(state->queues, (state->queue_count + 1) * sizeof(*state->queues));
    state->queues[state->queue_count++] = (struct store_queue_row){
        .name = mem_strndup(name != NULL ? name : "", n), .name_len = n, .service = service,
        .ready = counter_get(db, counter_of_queue(key, false)),
        .delayed = counter_get(db, counter_of_queue(key, true))};
    return true;
}

static int load_queues(struct db *db, struct db_state *state)
{
    sqlite3_stmt *s = NULL;
    static const char sql[] = "SELECT id, name, service, crc FROM queue ORDER BY id";
    int rc = sqlite3_prepare_v2(db->sql, sql, -1, &s, NULL);
    bool bad = false;
    while (rc == SQLITE_OK && !bad && sqlite3_step(s) == SQLITE_ROW)
        bad = !add_queue(db, state, s);
    int end = sqlite3_finalize(s);
    if (rc == SQLITE_OK && end == SQLITE_OK && bad)
        return SQLITE_CORRUPT;
    return rc == SQLITE_OK ? end : rc;
}

/* A new life: what was in memory is ready again, numbers are put aside, and until it is closed the
 * file says so. */
static int start_life(struct db *db, bool unclean)
{
    uint64_t next = counter_get(db, COUNTER_RESERVED);
    db->next_seq = next > 0 ? next : 1;
    counter_set(db, COUNTER_RESERVED, seq_reserved(db->next_seq, next));
    counter_set(db, COUNTER_CLEAN, 0);
    db->time = counters_time(db);
    if (counter_get(db, COUNTER_KEY) == 0)
        seen_draw_key(db);
    if (unclean)
        counter_set(db, COUNTER_SUSPECT, db->next_seq);
    int rc = exec(db, "BEGIN IMMEDIATE; UPDATE delivery SET due = NULL WHERE due = 0");
    if (rc == SQLITE_OK)
        rc = counters_write(db);
    if (rc == SQLITE_OK)
        rc = exec(db, "COMMIT");
    counters_settle(db, rc == SQLITE_OK);
    return rc;
}

/* An older copy that was put in its place looks the same. */
static void check_mark(struct db *db, struct db_state *state)
{
    mark_open(db);
    uint64_t marked = mark_read(db), found = counter_get(db, COUNTER_COMMITS);
    state->lost_commits = marked > found ? marked - found : 0;
    if (state->lost_commits > 0)
        mark_keep_journal(db);
}

static bool start(struct db *db, struct db_state *state, int64_t version, struct err *err)
{
    int rc = configure(db);
    if (rc == SQLITE_OK)
        rc = migrate(db, version);
    if (rc == SQLITE_OK)
        rc = load_counters(db);
    if (rc != SQLITE_OK)
        return refuse(db, rc, err);
    state->unclean = version > 0 && counter_get(db, COUNTER_CLEAN) == 0;
    check_mark(db, state);
    if (!check_whole(db, state, err))
        return false;
    rc = db_prepare(db);
    if (rc == SQLITE_OK)
        rc = load_queues(db, state);
    if (rc == SQLITE_OK)
        rc = logs_load(db);
    if (rc == SQLITE_OK)
        rc = start_life(db, state->unclean);
    fault_point("store.opened");
    return rc == SQLITE_OK || refuse(db, rc, err);
}

bool db_open(struct db *db, const char *vfs, struct db_state *state, struct err *err)
{
    int64_t version = 0;
    db->mark_fd = -1;
    /* Its count of the memory in use costs a lock at each allocation. Refused where SQLite is in use already. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (!check_folder(db, err) || !check_file(db, err))
        return false;
    db->gather = gather_new(vfs);
    if (db->gather == NULL)
        return err_add(err, "store %s: SQLite has no way to files here", db->path);
    int rc = sqlite3_open_v2(db->path, &db->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, gather_name(db->gather));
    if (rc == SQLITE_OK)
        rc = exec(db, "PRAGMA locking_mode=EXCLUSIVE"); /* before the journal is touched: no shared memory */
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (rc != SQLITE_OK)
        return refuse(db, rc, err);
    return check_version(db, &version, err) && start(db, state, version, err);
}
