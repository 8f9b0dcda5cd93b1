#pragma once
/*
 * Event logs of the store: append-only sequences by name, beside the deliveries and outside their books. An
 * append belongs to a unit like any other change; what is read and what is trimmed are jobs in their turn.
 *
 *     first ... last        offsets rise by 1 and are never given twice; trimming takes from the front
 *
 * Each entry carries checksums; one that fails them is left out of what is read, and counted.
 */
#include "store/store.h"

#define STORE_LOGS_MAX 1000
#define STORE_ANY_VERSION UINT64_MAX
#define STORE_ENTRY_BYTES 64 /* what an entry counts beside its strings */

struct store_entry {
    uint64_t offset;
    uint64_t version; /* how many entries of its key stand in the log up to this one, since the key was last
                         trimmed away altogether; 0 = it has no key */
    int64_t time_ms;  /* of the append by the wall clock, but never below that of the entry before */
    struct str key, route, subject, headers, body;
};

/* The log of this name, made at first use as store_queue() makes queues. 0 when there are too many. */
uint32_t store_log(struct store *st, struct str name);

/* ---------------------------------------------------------------- appends */

struct store_append {
    uint32_t log;
    uint64_t expected; /* the version of `key` before it, or STORE_ANY_VERSION */
    int64_t now_ms;
    struct str key;    /* empty = none; then `expected` is not read */
    struct str route, subject, headers, body;
};

/* What became of an append. */
struct store_appended {
    enum store_result result; /* of its unit; STORE_CONFLICT: a version was not the one expected */
    uint64_t offset, version; /* with STORE_OK */
    bool mismatch;            /* it was this one's, and `version` is the key's present one */
};
typedef void store_appended_fn(void *arg, const struct store_appended *a);

/* Needs an open unit; counts as a put. fn is called among the callbacks of the unit, in order. */
void store_append(struct store *st, const struct store_append *a, store_appended_fn *fn, void *arg);

/* ---------------------------------------------------------------- reading */

struct store_log_query {
    uint32_t log;
    uint64_t after;   /* entries behind this offset … */
    int64_t since_ms; /* … and not before this time (0 = any) */
    struct str key;   /* of this key only; empty = all. Copied */
    uint32_t limit;   /* rows; fewer where they are large */
};

struct store_log_page { /* valid during its callback only */
    enum store_result result; /* STORE_UNKNOWN: the file could not be read; count is 0 */
    size_t count;
    const struct store_entry *entries;
    uint64_t through; /* looked at up to this offset: ask for what is behind it next */
    bool at_end;      /* nothing was behind it at that moment */
    uint64_t damaged; /* entries left out because they fail their checksums */
};
typedef void store_log_fn(void *arg, const struct store_log_page *page);
void store_load_log(struct store *st, const struct store_log_query *q, store_log_fn *fn, void *arg);

/* ---------------------------------------------------------------- retention */

#define STORE_LOG_REMOVED INT64_MAX
struct store_trim {
    uint32_t log;
    int64_t before_ms; /* entries of an earlier time go; STORE_LOG_REMOVED: all, and the log is marked as removed … */
    uint64_t bytes;    /* … and the oldest ones while all are more than this */
    uint32_t limit;    /* at most so many in this step */
};
/* fn(arg, more): one step is done; is there more to trim? false after a failure. */
void store_trim(struct store *st, const struct store_trim *t, void (*fn)(void *arg, bool more), void *arg);

/* ---------------------------------------------------------------- state */

struct store_log_view { /* as of the last commit reported */
    uint32_t log;
    struct str name;
    uint64_t first, last; /* offsets; first = last + 1 when it is empty */
    uint64_t bytes;       /* of its entries, strings and STORE_ENTRY_BYTES each */
    int64_t first_ms, last_ms;
};
/* Nothing was appended since it was removed. */
static inline bool store_log_removed(const struct store_log_view *v)
{
    return v->first > v->last && v->last > 0 && v->last_ms == 0;
}
bool store_log_view(const struct store *st, uint32_t log, struct store_log_view *out); /* false: no such log */
uint32_t store_log_count(const struct store *st); /* their numbers are 1 … count */
