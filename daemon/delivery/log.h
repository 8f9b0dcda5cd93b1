#pragma once
/*
 * Event logs: what a route with a log has accepted, in order. Appending is part of the acceptance
 * (durable.c); here they are kept to their size and age, read, followed, and sent again.
 *
 *     hub_log_read:  entry() … entry() end()       ready() false: rests until log_reader_resume()
 *     hub_replay:    each entry goes through its route again, marked `replayed: yes` and
 *                    `replayed-from: LOG@OFFSET`, and is not appended
 */
#include "delivery/hub.h"
#include "store/store_log.h"

/* Where in a log: an offset; a time (RFC 3339), or how long ago (`2h`); `first`; `last`, the newest entry;
 * `next`, the one after it. */
enum log_place_kind { LOG_FIRST, LOG_LAST, LOG_NEXT, LOG_OFFSET, LOG_TIME };
struct log_place {
    enum log_place_kind kind;
    uint64_t offset;
    int64_t time_ms; /* wall clock */
};
bool log_place_parse(struct hub *h, struct str text, struct log_place *out);
#define LOG_PLACES "an offset, a time such as 2026-01-31T08:00:00Z, an age such as 2h, first, last or next"

void hub_each_log(const struct hub *h, void (*fn)(void *arg, const struct store_log_view *v), void *arg);

/* ---------------------------------------------------------------- reading */

struct log_end {
    uint64_t next;    /* offset to go on from */
    uint64_t damaged; /* entries left out: they fail their checksums */
    bool failed;      /* the store could not be read */
};

struct log_ask {
    struct str name;
    struct log_place from;
    struct log_place to; /* the last offset, or the time before which to stop; any other kind = to the end */
    struct str key;      /* of this key only; empty = all. Copied, as match */
    struct str match;    /* a valid filter of subjects; empty = all */
    uint64_t limit;      /* entries; 0 = no limit */
    bool follow;         /* at the end wait for more */
    void (*entry)(void *arg, const struct store_entry *e);
    bool (*ready)(void *arg); /* is there room for a page (256 KiB and an entry)? NULL = always */
    void (*end)(void *arg, const struct log_end *end); /* once, unless it was cancelled; the reader is gone */
    void *arg;
};

struct log_reader;
/* NULL: there is no such log. No callback before it returns. */
struct log_reader *hub_log_read(struct hub *h, const struct log_ask *ask);
void log_reader_resume(struct log_reader *r); /* there is room again; may call back */
void log_reader_cancel(struct log_reader *r); /* no callback any more; legal from inside one but end() */

/* ---------------------------------------------------------------- removing */

/* All entries of a log that no route names and nobody reads. Its offsets are not given again: where a route names it once
 * more, they go on. Until then it is not listed, and cannot be read. */
enum log_removal { LOG_REMOVING, LOG_UNKNOWN, LOG_NAMED /* by *route */, LOG_READ, LOG_BEING_REMOVED };
struct log_removed {
    uint64_t entries, bytes;
    const char *stopped; /* a route names it meanwhile, or the store has failed: the rest is there. NULL = all are gone */
};
struct log_removal_ask {
    struct str name;
    bool dry_run; /* only what it would be; done() is not called */
    void (*done)(void *arg, const struct log_removed *r); /* later, once, with LOG_REMOVING */
    void *arg;
};
/* out: with LOG_REMOVING what there is. */
enum log_removal hub_log_remove(struct hub *h, const struct log_removal_ask *ask, const char **route, struct log_removed *out);
void hub_log_remove_cancel(struct hub *h, void *arg); /* done() with this arg is not called any more; it goes on */

/* ---------------------------------------------------------------- replay */

struct replay_sum {
    uint64_t count;   /* sent again, or would be */
    uint64_t skipped; /* their route is gone or names another log, or does not go to `service` */
    const char *skipped_route; /* that of the first of them, as the log has it; NULL = none. Valid during the call */
    uint64_t refused; /* not accepted: too old for a template, no store, … */
    uint64_t damaged;
    uint64_t offset;  /* reached */
    const char *stopped; /* why it ended early, or NULL */
};

struct replay_ask {
    struct log_ask log; /* name, from, to, key, match, limit */
    int64_t pause_us;   /* between two of them, on average; 0 = as fast as they are taken */
    struct str service; /* to this target of the routes only; empty = to all. Copied */
    bool dry_run;
    void (*progress)(void *arg, const struct replay_sum *sum); /* now and then */
    void (*done)(void *arg, const struct replay_sum *sum);     /* once; the replay is gone */
    void *arg;
};

struct replay;
struct replay *hub_replay(struct hub *h, const struct replay_ask *ask); /* as hub_log_read() */
void replay_cancel(struct replay *r); /* no callback any more; what was sent stays */
