#pragma once
/*
 * The store: what was promised to survive. Deliveries of durable routes and dead letters, with the
 * totals that must add up. Two implementations, store_sqlite (a file) and store_mem (the oracle of
 * the tests and the simulator's disk), behind this one contract.
 *
 *     loop:   store_begin() store_put()… store_then() store_commit()         store_load() …
 *                 |  a unit: all of it or nothing                                |
 *     store:      +--> what has come meanwhile goes into one commit (group commit) --> callbacks
 *
 * Everything is asked for from the loop and answered on it, later, in the order it was asked:
 * a load sees every unit that was committed before it was asked for, and its answer comes after
 * theirs. Nothing calls back from inside a call. Strings are copied at the call.
 *
 * A stored delivery is one row under a key: its queue (one per destination) and a number that
 * rises with every put, so that a queue is read in the order of acceptance. Each row carries a
 * CRC32C over its content; one that fails it is counted as quarantined and never loaded. Books and queues
 * carry one too; a store that cannot trust them does not open.
 *
 * Conservation: in every committed state
 *     accepted = ready + delayed + done + expired + dropped + dead + quarantined
 * and the numbers are changed in the transaction that changes the rows.
 *
 * Times are the store's own, in ms since 1970: its user tells them (store_tell_time()), and keeps them going
 * where they stood when the store was last open, or further on by the wall clock. They never go back, and the
 * wall clock may be set while a process lives: what is to happen in ten seconds does, then or in the next
 * life. Where a time is of the wall clock, it says so.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define STORE_SEQ_BITS 46 /* 100,000 a second for 22 years */
#define STORE_QUEUES_MAX ((1u << 17) - 1)
#define STORE_NEVER INT64_MAX
#define STORE_DUE_MAX ((INT64_C(1) << 60) - 1)

struct store;

/* How a unit ended. */
enum store_result {
    STORE_OK,      /* all of it is on disk */
    STORE_FULL,    /* nothing of it was written: no room for what it puts */
    STORE_UNKNOWN, /* the commit failed: it may or may not be there after a restart (S4). Promise
                      nothing; the store is faulted from now on and every further unit ends so */
    STORE_CONFLICT, /* nothing of it was written: an append expected another version (store_log.h) */
    STORE_DUPLICATE, /* of what store_once_begin() guards: the first copy is on disk, nothing else was written */
};
typedef void store_fn(void *arg, enum store_result result);

/* A delivery as it stands in the store. */
struct store_record {
    uint64_t key;        /* store_key() */
    int64_t accepted_ms;
    int64_t expires_ms;  /* STORE_NEVER = does not */
    int64_t due_ms;      /* 0 = ready; else not before this time ("delayed"); at most STORE_DUE_MAX */
    bool by_wall;        /* that time is of the wall clock */
    uint32_t attempt;    /* hand-overs on record */
    uint32_t crashes;    /* processes that died of it, with nothing else in hand; below 2^31 */
    uint32_t target;     /* which of the route's targets, from 0 */
    uint32_t redrives;   /* how often it came back from the dead letters */
    struct str route, subject, headers, body;
    struct str as;       /* the subject its destination is to see, where that differs; else empty */
    struct str first_error, last_error; /* empty = none yet */
};

/* A dead letter: the record it was (key: only its queue counts), and how it died. */
struct store_dead {
    uint64_t number;     /* rises with every burial */
    int64_t died_ms;     /* wall clock */
    struct str reason;   /* an error code's name */
    struct store_record record;
};

struct store_rows { /* what a load found; valid during its callback only */
    enum store_result result; /* STORE_UNKNOWN: the file could not be read; count is 0 */
    size_t count;
    const struct store_record *records; /* of store_load() and store_take_due() */
    const struct store_dead *dead;      /* of store_load_dead() */
    int64_t next_due_ms;  /* of store_take_due(): when the next delayed one is due, STORE_NEVER = none */
    int64_t next_wall_ms; /* the same of those by_wall */
    uint64_t quarantined; /* rows met that fail their CRC; they are out of the books' live part now */
    bool cut;             /* it ends with the row that has brought it to STORE_ROWS_BYTES: there may be more behind it */
};
#define STORE_ROWS_BYTES (1u << 20)
typedef void store_rows_fn(void *arg, const struct store_rows *rows);

static inline uint64_t store_key(uint32_t queue, uint64_t seq)
{
    return (uint64_t)queue << STORE_SEQ_BITS | seq;
}

static inline uint32_t store_queue_of(uint64_t key)
{
    return (uint32_t)(key >> STORE_SEQ_BITS);
}

static inline uint64_t store_seq_of(uint64_t key)
{
    return key & ((UINT64_C(1) << STORE_SEQ_BITS) - 1);
}

/* ---------------------------------------------------------------- queues */

/* The queue of a destination (a service and a peer of one name are two), made at first use, before the
 * open or next unit and whether that succeeds or not. 1 … STORE_QUEUES_MAX; 0 when there are too many. */
uint32_t store_queue(struct store *st, struct str name, bool service);
uint64_t store_next_seq(struct store *st); /* a new number, higher than any before, across restarts */

struct store_queue_view {
    uint32_t queue;
    struct str name;
    bool service;
    uint64_t ready, delayed; /* rows when the store was opened */
};
/* The queues that were there when the store was opened; for the start. */
void store_each_queue(struct store *st, void (*fn)(void *arg, const struct store_queue_view *q), void *arg);

/* ---------------------------------------------------------------- units */

/* Opens a unit; pairs nest, and the inner ones belong to the outermost. The outermost commit hands
 * the unit over; it becomes durable with the next group commit. Changes and callbacks need an open unit;
 * one with callbacks and no changes is answered in its turn. */
void store_begin(struct store *st);
void store_commit(struct store *st);
/* fn(arg, result) once this unit has ended; several per unit are called in order. */
void store_then(struct store *st, store_fn *fn, void *arg);
bool store_unit_puts(const struct store *st); /* has the open unit put anything so far? */

/* What stands for a message when another copy of it comes. */
struct store_once {
    struct str name;   /* any bytes: all that two copies have in common */
    int64_t now_ms;
    int64_t window_ms; /* how long it is remembered */
};
/* Changes and callbacks between these two (one pair at a time, inside a unit) count for the first of this
 * name only: it is recorded in the same transaction, until now + window. While it is on record there,
 * changes are left out and callbacks get STORE_DUPLICATE. Copies in one unit, or in one group commit, count as
 * well; a first one that was refused does not. What is recorded is a hash of 128 bits under a key of the
 * store's own, of at most STORE_SEEN_MAX names, less in a small store: the earliest to expire goes first. A record that ends later than now + window (the clock was set
 * back, or the file is damaged) does not count: rather twice than never. */
#define STORE_SEEN_MAX 1000000
#define STORE_WINDOW_MAX (INT64_C(7) * 86400000) /* of window_ms */
void store_once_begin(struct store *st, const struct store_once *o);
void store_once_end(struct store *st);

struct store_change {
    uint64_t key;
    uint32_t attempt;
    int64_t due_ms;
    struct str first_error, last_error;
    uint32_t crashes; /* 0 = as they were */
};

enum store_end { STORE_DONE, STORE_EXPIRED, STORE_DROPPED };

void store_put(struct store *st, const struct store_record *r); /* accepted + 1 */
/* Ends a delivery. One that is not there (ended already) is left alone: idempotent, as the next three. */
void store_end(struct store *st, uint64_t key, enum store_end how);
/* Its attempts and crashes, its next time (not by_wall) and its errors (empty = as they were). due_ms > 0 hands it to
 * store_take_due(); 0 = ready: loads that have not passed it bring it, unless it was ever delayed in this
 * life. */
void store_update(struct store *st, const struct store_change *c);
/* Moves a delivery to the dead letters in one step. d->record.key is its key; of the record only the
 * attempts (the higher ones count) and the errors (empty = as they were) are read besides. Or it is
 * store_key(queue, 0) for one that was never stored (accepted + 1, dead + 1); then the whole record is
 * given. d->number is not read. Never refused for want of room while the reserve lasts. */
void store_bury(struct store *st, const struct store_dead *d);
/* Puts r in the place of a delivery, in one step: what has died goes to another queue. accepted stays as it is,
 * but where `from` is 0 (it was never stored: accepted + 1). One that is not there is left alone, and r with it. Never
 * refused for want of room while the reserve lasts. */
void store_move(struct store *st, uint64_t from, const struct store_record *r);
/* A dead letter comes back under a new key (of its own queue), attempts and crashes anew, redrives + 1; no expiry. */
void store_redrive(struct store *st, uint64_t number, uint64_t key);
void store_purge(struct store *st, uint64_t number); /* dead - 1, dropped + 1 */
/* New content of a dead letter's message (bellhop dlq edit). */
void store_edit(struct store *st, uint64_t number, struct str subject, struct str headers, struct str body);

/* ---------------------------------------------------------------- loads */

/* Ready rows of after_key's queue behind that key, in order; those whose due_ms was ever above 0 in this
 * life are not among them. */
void store_load(struct store *st, uint64_t after_key, uint32_t limit, store_rows_fn *fn, void *arg);
/* The same of rows that store_take_due() has handed out and that are still there: those whose due_ms was above 0 in this
 * life and is not any more. */
void store_load_taken(struct store *st, uint64_t after_key, uint32_t limit, store_rows_fn *fn, void *arg);
/* Delayed rows of any queue that are due, earliest first, those by_wall behind the others (their due_ms is what
 * it was). They are handed out once: from now on they count as ready but store_load() leaves them out until the
 * next start. */
struct store_when {
    int64_t now_ms, wall_ms; /* by its own time, and by the wall clock */
};
void store_take_due(struct store *st, struct store_when when, uint32_t limit, store_rows_fn *fn, void *arg);
/* Dead letters from number `after` + 1 on, oldest first. */
void store_load_dead(struct store *st, uint64_t after, uint32_t limit, store_rows_fn *fn, void *arg);

struct store_totals {
    uint64_t accepted, ready, delayed, done, expired, dropped, dead, quarantined;
};
/* Counts every row and names what does not add up: one line per difference, "" when all does. It sees what was
 * asked for before it and maybe more; it is answered later than its turn, since commits go on meanwhile. */
typedef void store_audit_fn(void *arg, const struct store_totals *books, struct str findings);
void store_audit(struct store *st, store_audit_fn *fn, void *arg);

/* ---------------------------------------------------------------- history */

/* Chunks of bytes under rising numbers: notes of what happened, in no books. They are what gives way: where
 * the store is full none is written, and the oldest go. */
struct store_chunk {
    uint64_t number;
    struct str filter; /* STORE_FILTER_BYTES: what may be in it. Empty when found */
    struct str data;
};
#define STORE_FILTER_BYTES 2048
void store_filter_add(uint8_t *filter, uint64_t hash);
bool store_filter_has(const uint8_t *filter, uint64_t hash); /* true for one in a few hundred that is not */

/* Written with the next commit; the one that has its number already is replaced. Chunks `keep` and more
 * numbers below it go, a few at a time. Not while it waits for a unit: it is none. */
void store_history_put(struct store *st, const struct store_chunk *c, uint64_t keep);

struct store_history { /* valid during its callback only */
    enum store_result result;
    size_t count;
    const struct store_chunk *chunks; /* in order; a damaged one is left out */
    uint64_t next;                    /* where to go on; 0 = there are no more */
};
typedef void store_history_fn(void *arg, const struct store_history *found);
/* Those that may hold the hash among the first few from that number on. */
void store_history_find(struct store *st, uint64_t from, uint64_t hash, store_history_fn *fn, void *arg);

/* ---------------------------------------------------------------- time */

/* What time it is, before what is put then: kept with the next commit, and when it is closed. */
void store_tell_time(struct store *st, struct store_when when);

/* ---------------------------------------------------------------- state */

struct store_stats {
    const char *path;              /* its folder, borrowed; NULL where it is in memory */
    struct store_totals totals;    /* as of the last commit reported */
    uint64_t bytes, max_bytes;     /* of pages in use; the limit */
    uint64_t commits, units;
    uint64_t burials;              /* the number of the newest dead letter that ever was, as of the last commit reported */
    uint64_t seen, seen_evicted;   /* names on record; those that had to go before their time, in this life */
    uint64_t history_next;         /* above the numbers of all chunks when the store was opened */
    int64_t time_ms, ahead_ms;     /* the time kept when the store was opened, and how far before the wall clock it
                                      was then; 0, 0 = none was */
    uint64_t pending_bytes;        /* handed over, not yet committed: what a source should wait for */
    int64_t slowest_commit_ms;
    uint64_t room;                 /* bytes that it still takes of puts, roughly; as of the last commit reported */
    bool low;                      /* an eighth of what it takes, or less, is left */
    bool full;                     /* a put like the last one refused would be refused again */
    bool disk_full;                /* it is the disk that has no room: what is ended here makes none */
    bool faulted;
    bool unclean;                  /* the last process did not close the store: what was in flight is unknown */
    uint64_t lost_commits;         /* found missing at the start: they had been acknowledged, and the journal ends before
                                      them (damaged, or the file is an older copy); none of what is there is altered */
    uint64_t suspect_below;        /* numbers below it were there when a process ended so, the last or an earlier one */
};
void store_stats(const struct store *st, struct store_stats *out);

/* on_fault(arg, why): a commit failed; once, on the loop, before the callbacks of what it was to hold.
 * Loads fail from now on too. */
void store_on_fault(struct store *st, void (*on_fault)(void *arg, const char *why), void *arg);

/* on_report(arg) after the callbacks of each commit, and where the state changes without one (a disk that has room again). */
void store_on_report(struct store *st, void (*on_report)(void *arg), void *arg);

/* Commits what is pending (waits for it; a unit still open is forgotten), ends the books cleanly, frees.
 * No callback any more. Not from inside one of its callbacks. NULL is legal. False: a commit has failed, this
 * one or an earlier one; what was pending may or may not be there after a restart. */
bool store_close(struct store *st);
