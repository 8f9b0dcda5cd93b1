#pragma once
/*
 * What the two stores share: the front. It turns calls into jobs (units, loads) of the open batch and
 * answers them on the loop; an implementation does the jobs of a batch in order in between.
 *
 *     calls --> open batch --batch_take()--> jobs done --> front_report() --> callbacks
 */
#include <assert.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/spares.h"
#include "store/store.h"
#include "store/store_log.h"

/* Numbers are put aside in the store this many at a time: those that were given out and never
 * came to be on disk are not given out again. */
#define SEQ_BLOCK (UINT64_C(1) << 20)
#define TIME_STEP_MS 100

enum op_kind { OP_PUT, OP_END, OP_UPDATE, OP_BURY, OP_REDRIVE, OP_PURGE, OP_EDIT, OP_APPEND, OP_MOVE, OP_ONCE,
               OP_KINDS };

struct once { /* struct store_once, hashed */
    uint64_t id[2];
    int64_t now_ms, window_ms;
};

/* One change. Lies in the buffer of its batch with the bytes of its strings behind it. */
struct store_op {
    enum op_kind kind;
    enum store_end how;  /* of OP_END */
    struct store_dead d; /* number, died_ms and reason where the kind has them; record.key. OP_APPEND: its log's
                            store_key(), its time as accepted_ms, its key as `as`. OP_MOVE: number is from */
    uint64_t expected;              /* of OP_APPEND */
    struct store_appended appended; /* set by the implementation */
    struct once once;    /* of OP_ONCE */
    size_t guarded;      /* of OP_ONCE: bytes of the changes behind it that count for the first only */
    bool duplicate;      /* set by the implementation: it was not the first */
};

enum job_kind { JOB_UNIT, JOB_QUEUE, JOB_LOG, JOB_HISTORY_PUT,
                JOB_LATER /* an audit that is answered by a batch of its own */, JOB_LOAD, JOB_TAKE_DUE, JOB_LOAD_DEAD, JOB_AUDIT,
                JOB_LOAD_LOG, JOB_TRIM, JOB_HISTORY_FIND, JOB_KINDS };
#define HISTORY_STEP 64 /* chunks whose filters one find looks at */
#define HISTORY_TRIM 8  /* chunks that go with one that comes, at most */

static inline bool job_answers(enum job_kind kind)
{
    return kind >= JOB_LOAD;
}

/* What a load or an audit found; made by the implementation, freed by the front. */
struct store_answer {
    struct store_rows rows;
    struct store_history history;
    struct buf items; /* of struct store_record, store_dead for JOB_LOAD_DEAD, store_chunk */
    struct buf bytes; /* of their strings, in order */
    struct store_totals books;
    struct buf findings;
    struct store_log_page page; /* of JOB_LOAD_LOG; items are of struct store_entry. JOB_TRIM: at_end */
};

struct store_job {
    enum job_kind kind;
    enum store_result result; /* set by the implementation */
    size_t ops_at, ops_len;   /* in the batch's buffer: the changes of JOB_UNIT, or job_text() */
    size_t puts;              /* JOB_UNIT: rows it adds */
    bool checks;              /* JOB_UNIT: an append of it expects a version */
    size_t then_at, thens;    /* JOB_UNIT: its callbacks, in the batch's array */
    uint64_t from;            /* after_key, after; JOB_QUEUE, JOB_LOG, JOB_HISTORY_PUT: its number */
    uint32_t log;             /* JOB_LOAD_LOG, JOB_TRIM */
    uint64_t bytes;           /* JOB_TRIM: what may stay */
    uint64_t hash;            /* JOB_HISTORY_FIND; JOB_HISTORY_PUT: `keep` */
    int64_t now_ms;           /* JOB_LOAD_LOG: since_ms; JOB_TRIM: before_ms */
    int64_t wall_ms;          /* JOB_TAKE_DUE */
    uint32_t limit;
    bool service;             /* JOB_QUEUE */
    bool taken;               /* JOB_LOAD: store_load_taken() */
    store_rows_fn *on_rows;
    store_audit_fn *on_audit;
    store_history_fn *on_history;
    store_log_fn *on_page;
    void (*on_trimmed)(void *arg, bool more);
    void *arg;
    struct store_answer *answer;
};

struct store_then {
    store_fn *fn;
    store_appended_fn *appended; /* instead of fn: of the append at op_at, counted from the unit's start */
    size_t op_at;
    void *arg;
    size_t guard; /* 0, or 1 + where in its unit the OP_ONCE lies that it depends on */
};

struct store_time { /* 0, 0 = not known */
    int64_t now_ms, ahead_ms; /* of the wall clock */
};

/* What a commit keeps of it: the two clocks tick at different moments, which is no step of one of them. */
static inline struct store_time time_kept(struct store_time kept, struct store_time now)
{
    int64_t by = now.ahead_ms - kept.ahead_ms;
    bool stepped = by >= TIME_STEP_MS || by <= -TIME_STEP_MS;
    return (struct store_time){now.now_ms, stepped ? now.ahead_ms : kept.ahead_ms};
}

struct store_batch {
    struct store_batch *next; /* the implementation's */
    struct buf ops;
    struct buf jobs;  /* of struct store_job */
    struct buf thens; /* of struct store_then */
    size_t reported;  /* jobs whose callbacks have run */
    uint64_t next_seq; /* given out before the batch was taken */
    struct store_time time; /* as it was then */
    /* After the jobs are done, for the front: */
    struct store_totals totals;
    uint64_t bytes, burials, room;
    uint64_t seen, evicted; /* ids on record; given up in this life */
    uint64_t commits; /* made for it */
    int64_t began_ms, took_ms; /* monotonic; until it was answered */
    bool owes;        /* a sync, before it is answered */
    struct buf logs;  /* of struct store_log_row without names: all of them, or nothing has changed */
    bool full, faulted, low, disk_full;
    uint64_t mark;    /* what the mark is to say then */
    char why[160];    /* of faulted */
};

struct store_ops {
    void (*on_job)(struct store *st); /* the open batch has one job more */
    bool (*close)(struct store *st);  /* as store_close(); ends with front_fini() and its own free */
};

struct store_queue_row { /* as in struct store_queue_view; name is the owner's */
    char *name;
    size_t name_len;
    bool service;
    uint64_t ready, delayed;
};

struct store_log_row { /* as in struct store_log_view; name is the owner's */
    char *name;
    size_t name_len;
    uint64_t first, last, bytes;
    int64_t first_ms, last_ms;
};

struct store {
    const struct store_ops *ops;
    struct store_batch *batch; /* the open one */
    struct spares spares;      /* of batches that were answered */
    unsigned depth;            /* of store_begin() */
    struct store_job unit;     /* the open unit */
    uint64_t key[2];           /* of the hash of names; the implementation's to set and to keep */
    size_t guard;              /* as in struct store_then, while one is open */
    uint64_t next_seq;
    struct store_time time;
    struct map queues;         /* 's' or 'p' and the name -> number */
    struct store_queue_row *opened; /* number 1 is at 0 */
    size_t opened_count, queue_count;
    struct map logs;           /* name -> number */
    struct store_log_row *log_rows; /* number 1 is at 0 */
    size_t log_count;
    struct store_stats stats;
    void (*on_fault)(void *arg, const char *why);
    void *fault_arg;
    void (*on_report)(void *arg);
    void *report_arg;
    bool fault_told;
};

void front_init(struct store *st, const struct store_ops *ops);
void front_fini(struct store *st);
void job_add(struct store *st, const struct store_job *job);
/* A job of its own before the open unit, with these bytes (both together; offset and length are set). */
void job_add_with(struct store *st, struct store_job *job, struct str first, struct str second);
/* At opening: the next queue that is there already (their numbers are 1, 2, …; name is copied). */
void front_add_queue(struct store *st, const struct store_queue_row *row);

void front_add_log(struct store *st, const struct store_log_row *row); /* the same for logs */

struct store_batch *batch_new(void);
void batch_free(struct store_batch *b);             /* calls nobody back; NULL is legal */
void batch_retire(struct store *st, struct store_batch *b); /* the same, on the loop; the next ones get its memory */
void batch_fail_from(struct store_batch *b, size_t from); /* its jobs from that one on are unknown */
void batch_fail(struct store_batch *b, const char *why); /* faulted: all that it holds is unknown */
struct store_batch *batch_take(struct store *st);   /* the open batch, the caller's, and opens another */

static inline struct store_job *batch_job(const struct store_batch *b, size_t i)
{
    assert(b->jobs.base != NULL);
    return (struct store_job *)(void *)buf_data(&b->jobs) + i;
}

static inline size_t batch_count(const struct store_batch *b)
{
    return b->jobs.len / sizeof(struct store_job);
}

/* A job of its own before the open unit, with a text in the batch's buffer. */
static inline void job_add_named(struct store *st, struct store_job *job, struct str name)
{
    job_add_with(st, job, name, STR_NONE);
}
void op_add(struct store *st, struct store_op *op);

static inline struct str job_text(const struct store_batch *b, const struct store_job *job)
{
    return str_make(buf_data(&b->ops) + job->ops_at, job->ops_len);
}

/* store_log.c */
void logs_fini(struct store *st);
void logs_report(struct store *st, const struct store_batch *b); /* takes over b->logs */
void log_report(const struct store_job *job);                   /* JOB_LOAD_LOG, JOB_TRIM */

/* Calls back for the jobs up to `end` that have not been reported, and takes over what the batch tells. */
void front_report(struct store *st, struct store_batch *b, size_t end);

/* The change at *at of the batch's buffer, its strings in place; moves *at behind it. */
struct store_op *batch_op(const struct store_batch *b, size_t *at);
/* How much of what comes behind it is to be passed over. */
static inline size_t op_skips(const struct store_op *op)
{
    return op->duplicate ? op->guarded : 0;
}
/* Does this record of an id, until then, still count? */
static inline bool seen_counts(const struct once *o, int64_t until_ms)
{
    return until_ms > o->now_ms && until_ms - o->now_ms <= o->window_ms;
}
int64_t seen_until(const struct once *o);

/* The strings of a dead letter, its record's first. */
#define DEAD_STRINGS 8
#define RECORD_STRINGS 7
struct str *dead_string(struct store_dead *d, size_t i);
struct str *record_string(struct store_record *r, size_t i);

struct store_answer *answer_new(void);
void answer_free(struct store_answer *a); /* NULL is legal */
void answer_record(struct store_answer *a, const struct store_record *r); /* adds a copy; no more once rows.cut is set */
void answer_dead(struct store_answer *a, const struct store_dead *d);
void answer_chunk(struct store_answer *a, uint64_t number, struct str data);
void answer_close_chunks(struct store_answer *a);
void answer_close(struct store_answer *a, bool dead); /* sets rows.records or rows.dead */
#define ENTRY_STRINGS 5
struct str *entry_string(struct store_entry *e, size_t i);
bool answer_entry(struct store_answer *a, const struct store_entry *e); /* adds a copy; false: that is enough */
void answer_close_log(struct store_answer *a);
struct store_entry entry_of(const struct store_op *op); /* offset and version as appended */
uint64_t entry_bytes(const struct store_entry *e);
/* How many appends of the unit before the one at `op_at` are to the same key of the same log. */
uint64_t appends_before(const struct store_batch *b, const struct store_job *unit, size_t op_at);

/* How far numbers have to be put aside when `next` is to be given out. */
uint64_t seq_reserved(uint64_t next, uint64_t reserved);

/* Totals by number, for tables of them. */
enum { TOTAL_ACCEPTED, TOTAL_READY, TOTAL_DELAYED, TOTAL_DONE, TOTAL_EXPIRED, TOTAL_DROPPED, TOTAL_DEAD,
       TOTAL_QUARANTINED, TOTALS };
uint64_t *totals_at(struct store_totals *t, size_t i);
const char *totals_name(size_t i);
bool totals_add_up(const struct store_totals *t);
size_t totals_of_end(enum store_end how); /* TOTAL_DONE, … */
