#pragma once
/*
 * The parts of store_sqlite. Everything here runs on the store's thread (or, at opening and closing,
 * while there is none). Functions return an SQLite result code; what is not SQLITE_OK ends the transaction.
 */
#include <sqlite3.h>

#include "base/err.h"
#include "store/internal.h"
#include "store/sqlite_gather.h"
#include "store/sqlite_sync.h"

#define DB_PAGE 8192
#define BALLAST_BYTES (4u << 20) /* given up where the disk is full, so that ends can be recorded */
#define RESERVE_MIN (4u << 20)
#define DUE_BY_WALL (INT64_C(1) << 60) /* this bit of `due`: in its index these are a range of their own */

enum stmt {
    STMT_BEGIN, STMT_COMMIT, STMT_PUT, STMT_PUT_PLAIN, STMT_END_READY, STMT_DUE_OF, STMT_DELETE, STMT_GET, STMT_UPDATE,
    STMT_TAKEN, STMT_DEAD_PUT, STMT_DEAD_GET, STMT_DEAD_DELETE, STMT_QUARANTINE, STMT_DEAD_QUARANTINE,
    STMT_QUEUE, STMT_COUNTER, STMT_LOAD, STMT_LOAD_TAKEN, STMT_TAKE_DUE, STMT_NEXT_DUE, STMT_LOAD_DEAD, STMT_PAGES,
    STMT_FREE_PAGES, STMT_AUDIT_LIVE, STMT_AUDIT_DEAD, STMT_AUDIT_QUARANTINE, STMT_SEEN, STMT_SEEN_PUT,
    STMT_SEEN_EXPIRE, STMT_SEEN_AHEAD, STMT_SEEN_EVICT, STMT_SEEN_COUNT, STMT_HISTORY_PUT, STMT_HISTORY_TRIM,
    STMT_HISTORY_FILTERS, STMT_HISTORY_GET, STMT_HISTORY_LAST, STMTS
};

/* The rows of table counter by id: the totals, these, and two for each queue. */
enum { COUNTER_BURIALS = TOTALS, COUNTER_RESERVED, COUNTER_CLEAN, COUNTER_SUSPECT, COUNTER_COMMITS, COUNTER_SEEN,
       COUNTER_KEY, COUNTER_KEY_END = COUNTER_KEY + 1, COUNTER_QUEUES = 16,
       COUNTER_TIME = COUNTER_QUEUES, COUNTER_AHEAD /* there is no queue 0 */ };

struct counter {
    uint64_t now, stored; /* in this transaction; as committed */
    bool dirty;
};

struct db_logs; /* sqlite_log.h */

struct audit_queue {
    uint64_t live[2]; /* ready, delayed */
};

struct audit_log { /* of one event log, as far as it was walked */
    uint32_t log;     /* from 1 */
    uint64_t through; /* offset */
    uint64_t entries, bytes, damaged;
};

struct audit { /* zeroed: none runs */
    bool running;
    struct buf jobs;  /* of struct store_job: the one that runs, and those that wait */
    int table;        /* which one is walked */
    int64_t through;  /* up to this number of it */
    uint64_t live[2], dead, quarantined, seen;
    struct audit_queue *queues; /* by number */
    size_t queue_count;
    struct audit_log log;
    struct buf findings; /* of the logs walked */
};

struct db {
    sqlite3 *sql;
    struct gather *gather;
    struct syncer *syncer; /* NULL at opening and closing: then each commit is synced at once */
    sqlite3_stmt *stmts[STMTS];
    char *dir, *path;
    struct counter *counters;
    size_t counter_count;
    size_t *dirty; /* ids, in the order of their first change */
    size_t dirty_count;
    struct db_logs *logs;
    uint64_t used, put_limit, max_bytes; /* bytes of pages in use; where puts end */
    uint64_t adding;                     /* bytes put since pages were counted */
    uint64_t removed;                    /* rows removed since then */
    uint64_t uncounted;                  /* commits since then */
    uint64_t wanted;                     /* by the last put that was refused */
    uint64_t next_seq;                   /* of the batches of this transaction */
    struct store_time time;              /* of them, too */
    int64_t changes;                     /* of rows, before this transaction */
    int mark_fd;
    uint64_t marked;                     /* what it says */
    int64_t ahead;                       /* the journal's size as last seen */
    size_t wal_pages, wal_most, free_pages; /* wal_most: a checkpoint is due above it */
    uint64_t seen_max, evicted;          /* ids on record at most; given up in this life */
    uint64_t seen_new;                   /* recorded by this transaction */
    int64_t seen_now_ms;                 /* when it did so */
    bool disk_full; /* the ballast is given up; puts wait until it is there again */
    int64_t ballast_tried_ms;
    bool faulted;
    char why[160];
    struct audit audit;
};

/* What a start finds besides the file's content. */
struct db_state {
    bool unclean;
    uint64_t lost_commits;          /* were acknowledged, and are not there any more */
    struct store_queue_row *queues; /* the caller's, with their names */
    size_t queue_count;
};

/* sqlite_schema.c */
bool db_open(struct db *db, const char *vfs, struct db_state *state, struct err *err);
void db_close(struct db *db);
int db_prepare(struct db *db);

/* sqlite_row.c: a row as a dead letter; a live one has number, died_ms 0 and no reason. */
/* The columns behind the key, with their checksums. */
void row_bind(sqlite3_stmt *s, int at, struct store_dead *d);
bool row_is_plain(const struct store_dead *d);
void row_bind_plain(sqlite3_stmt *s, const struct store_dead *d); /* of STMT_PUT_PLAIN, the key too */
void row_bind_state(sqlite3_stmt *s, int at, struct store_dead *d); /* attempt, both errors, their checksum */
/* Strings are the statement's until it is reset. False: the checksum is wrong. */
bool row_read(sqlite3_stmt *s, struct store_dead *d);
bool row_read_dead(sqlite3_stmt *s, struct store_dead *d);

uint32_t book_crc(uint64_t id, uint64_t value, struct str name); /* of a counter, or of a queue */

/* sqlite_counter.c */
uint64_t counter_get(const struct db *db, size_t id);
struct store_time counters_time(const struct db *db);
void counters_set_time(struct db *db, struct store_time time);
void counter_set(struct db *db, size_t id, uint64_t value);
void counter_add(struct db *db, size_t id, int by);
int counters_write(struct db *db);
void counters_settle(struct db *db, bool committed);
void counters_load(struct db *db, size_t id, uint64_t value);
size_t counter_of_queue(uint64_t key, bool delayed);
void counter_live(struct db *db, uint64_t key, int64_t due_ms, int by); /* the total and its queue's */
void counter_dead(struct db *db, uint64_t number, int by);
void counter_quarantined(struct db *db);
void counters_totals(const struct db *db, struct store_totals *out);

/* sqlite_apply.c */
/* May set the job's result to STORE_FULL. */
int db_unit(struct db *db, const struct store_batch *b, struct store_job *job);
int db_queue(struct db *db, const struct store_batch *b, struct store_job *job);
int db_quarantine(struct db *db, uint64_t key, int64_t due_ms);
int db_quarantine_dead(struct db *db, uint64_t number);

/* sqlite_seen.c: the ids of what came. */
int db_once(struct db *db, struct store_op *op);
int db_copy(struct db *db, struct store_op *op); /* only looks whether it is one */
void seen_draw_key(struct db *db); /* of the hash of names; at the first start */
int seen_trim(struct db *db); /* before a commit: some of those whose time is over, and those above the limit */

/* sqlite_history.c */
int db_history_put(struct db *db, const struct store_batch *b, struct store_job *job);
int db_history_find(struct db *db, struct store_job *job);
uint64_t db_history_next(struct db *db); /* 1 above the last number */

/* sqlite_load.c: into the job's answer */
int db_load(struct db *db, struct store_job *job);
int db_take_due(struct db *db, struct store_job *job);
int db_load_dead(struct db *db, struct store_job *job);

/* sqlite_audit.c */
void audit_ask(struct audit *a, const struct store_job *job); /* copied */
/* Some more rows; not in a transaction. The batch that holds the answer, once it is over, else NULL. */
struct store_batch *audit_step(struct db *db);
/* A row was added or removed (by: 1, -1), in the transaction that is open; and: that was taken back. */
void audit_live(struct audit *a, uint64_t key, bool delayed, int by);
void audit_dead(struct audit *a, uint64_t number, int by);
void audit_quarantined(struct audit *a);
void audit_trimmed(struct audit *a, uint32_t log, const struct store_log_row *before, const struct store_log_row *after);
void audit_anew(struct audit *a);
void audit_fini(struct audit *a);

/* sqlite_commit.c */
/* All jobs of the list; never fails, may be faulted after. The first batch may owe a sync. */
void db_run(struct db *db, struct store_batch *first);
void db_tell(const struct db *db, struct store_batch *b); /* its state, into a batch */
bool db_is_full(const struct db *db);
uint64_t db_room(const struct db *db);
bool db_has_room(struct db *db, size_t bytes); /* for a put of this transaction */
bool db_is_low(const struct db *db);
bool db_limit(struct db *db, struct err *err); /* at opening: where puts end; makes the ballast */
void db_end(struct db *db);                 /* writes that all is well, if it is */
void db_checkpoint(struct db *db);          /* when there is enough for one */
void db_idle(struct db *db);                /* bounded work of little hurry */
bool db_wants_idle(const struct db *db);
bool db_wants_vacuum(const struct db *db);  /* of that work, the part that steady traffic may not put off for ever */
void db_fault(struct db *db, const char *what);
bool db_is_sound(struct db *db); /* neither faulted nor has a sync failed: that is a fault now */

/* sqlite_mark.c */
void mark_open(struct db *db);
void mark_close(struct db *db);
uint64_t mark_read(const struct db *db); /* commits that were synced at least; 0 = unknown */
void mark_write(struct db *db, uint64_t commits); /* when they are synced; nothing where it says so already */
void mark_keep_journal(const struct db *db);

/* sqlite_ahead.c */
void ahead_write(struct db *db); /* after a commit: some of the journal's next bytes, where it has grown */

/* sqlite_ballast.c */
bool is_lack_of_room(int error); /* an errno: the disk, the quota, the size that a file may have */
int open_beside(const struct db *db, const char *name, int flags); /* a file in the store's folder, or -1 */
bool ballast_make(struct db *db);
void ballast_release(struct db *db);
void fault_mark(const struct db *db); /* a file that makes the next start check */
bool fault_marked(const struct db *db);
void fault_unmark(const struct db *db);

static inline sqlite3_stmt *db_stmt(struct db *db, enum stmt id)
{
    return db->stmts[id];
}

/* Steps a statement that has no rows to tell, and resets it. */
static inline int db_step(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);
    int end = sqlite3_reset(s);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : end;
}
