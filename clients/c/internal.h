/*
 * The insides of a connection, shared by the .c files of libbellhop and nobody else.
 *
 *            connect                HELLO answered              bye
 *   CLOSED ----------> GREETING -----------------> READY ----------> LEAVING
 *     ^                  |  ^                        |                  |
 *     |     lost, and    v  | timer                  | lost             | all settled
 *     +---- no retry -- WAITING <--------------------+                  |
 *     +-----------------------------------------------------------------+
 */
#pragma once

#include "bellhop.h"
#include "frame.h"

/* ---- buf.c: a byte queue ------------------------------------------------------------------------------- */

/* Bytes between start and end are in use. Starts as {0}. */
struct bellhop_buf {
    char *data;
    size_t start;
    size_t end;
    size_t cap;
};

/* Makes room for `more` bytes behind end; moves what is there, so pointers into it end here. False: no memory. */
bool bellhop_buf_reserve(struct bellhop_buf *buf, size_t more);
/* Appends; the room was reserved. */
void bellhop_buf_put(struct bellhop_buf *buf, const void *p, size_t len);
/* Drops len bytes at the front; an empty buffer gives back what a large frame made it grow to. */
void bellhop_buf_consume(struct bellhop_buf *buf, size_t len);
void bellhop_buf_fini(struct bellhop_buf *buf);

static inline size_t bellhop_buf_len(const struct bellhop_buf *buf)
{
    return buf->end - buf->start;
}

/* ---- waiting.c: what we asked and have no answer to ---------------------------------------------------------- */

struct bellhop_waiting {
    uint64_t id;
    bellhop_answer_fn *fn; /* may be NULL */
    void *user;
    int64_t deadline_ms; /* monotonic; 0 = none */
    bool first_sub;      /* refused: the subscription is forgotten */
    struct bellhop_waiting *next;
};

/* Hash by id. Starts as {0}. */
struct bellhop_waiting_map {
    struct bellhop_waiting **buckets;
    size_t mask;
    size_t count;
    struct bellhop_waiting *spare;
    int64_t earliest_ms; /* no deadline is earlier; INT64_MAX when there is none */
    size_t sweep;        /* bucket where a sweep goes on; 0 = none is under way */
    int64_t sweep_earliest_ms;
};

/* Adds an entry; the id is not in the map. False: no memory. */
bool bellhop_waiting_add(struct bellhop_waiting_map *map, struct bellhop_waiting entry);
/* Looks up, and with `take` removes. Copies to *out. */
bool bellhop_waiting_get(struct bellhop_waiting_map *map, uint64_t id, bool take, struct bellhop_waiting *out);
/* Removes some entry with a deadline at or before now_ms; with INT64_MAX any entry at all. */
bool bellhop_waiting_pop(struct bellhop_waiting_map *map, int64_t now_ms, struct bellhop_waiting *out);
void bellhop_waiting_fini(struct bellhop_waiting_map *map);

/* ---- the connection -------------------------------------------------------------------------------------------- */

enum bellhop_state { BELLHOP_CLOSED, BELLHOP_WAITING, BELLHOP_GREETING, BELLHOP_READY, BELLHOP_LEAVING };

struct bellhop_subscription {
    uint64_t id;
    char *filter;
    char *group; /* NULL = none */
    struct bellhop_subscription *next;
};

/* What stands behind a struct bellhop_delivery, which is its first member. */
struct bellhop_job {
    struct bellhop_delivery pub;
    bool cancelled;
    struct bellhop_job *prev;
    struct bellhop_job *next;
};

struct bellhop {
    struct bellhop_handlers on;
    void *user;
    char *name;
    char *token;
    char *instance;
    char *path; /* NULL: attached */
    unsigned credit;

    enum bellhop_state state;
    int fd;
    bool in_turn;       /* bellhop_process() is running */
    bool free_wanted;
    bool told_full;     /* a call returned -EAGAIN: on.writable is owed */
    bool no_retry;      /* the end, when it comes, is for good */
    volatile bool stop;
    char reason[256];   /* why the connection is to end; empty = it is not */
    char ended[256];    /* why the last one did */

    struct bellhop_buf in;
    struct bellhop_buf out;
    size_t out_limit;
    uint64_t last_id;
    struct bellhop_waiting_map waiting;
    struct bellhop_subscription *subs;
    struct bellhop_job *jobs; /* given out and not answered */
    struct bellhop_job *spare_jobs;

    unsigned retry_min_ms;
    unsigned retry_max_ms;
    unsigned retry_count;
    int64_t retry_at_ms;
    uint64_t random;

    char node[256];
    char session[128];
    size_t limit_body;
};

/* client.c */
int64_t bellhop_now_ms(void);
/* Marks the connection to end at the next turn; the first reason stays. */
void bellhop_fail(struct bellhop *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* send.c */
/* Appends one frame: line, the caller's header block, `extra` (more header lines, "" = none), body. f->headers_len and f->body_len
 * count the caller's parts. 0 or -ENOMEM. */
int bellhop_put(struct bellhop *b, const struct bellhop_frame *f, const char *extra);
/* A header line that holds a number, such as "timeout: 5ms"; before and after have at most 24 bytes together. */
#define BELLHOP_LINE_ROOM 48
void bellhop_line_write(char out[static BELLHOP_LINE_ROOM], const char *before, uint64_t n, const char *after);
/* A frame with nothing but verb and id. */
int bellhop_put_plain(struct bellhop *b, enum bellhop_verb verb, uint64_t id);
int bellhop_put_hello(struct bellhop *b);
/* After a reconnect: every subscription again. A refusal ends the connection, so that it is not lost in silence. */
int bellhop_put_subscriptions(struct bellhop *b);
void bellhop_subscription_drop(struct bellhop *b, uint64_t id);
void bellhop_subscription_fini(struct bellhop *b);
/* Ask-type frame (PUB, REQ, SUB, UNSUB, PING) with the next id; fn waits for its answer. The id or a negative errno. */
int64_t bellhop_ask(struct bellhop *b, struct bellhop_frame *f, const char *extra, const struct bellhop_waiting *w);
/* Fills subject, headers and body of *f from msg after checking them against the protocol's limits. */
int bellhop_frame_from_msg(const struct bellhop *b, const struct bellhop_msg *msg, struct bellhop_frame *f);

/* delivery.c */
void bellhop_delivery_receive(struct bellhop *b, const struct bellhop_frame *f);
void bellhop_delivery_cancel(struct bellhop *b, uint64_t id);
/* The connection is gone: nothing in the caller's hands can be answered any more. */
void bellhop_delivery_orphan(struct bellhop *b);
void bellhop_delivery_fini(struct bellhop *b);

/* answer.c */
/* OK, MORE, REP, ERR and PONG. */
void bellhop_answer_receive(struct bellhop *b, const struct bellhop_frame *f);
/* Ends requests whose own time-out has passed. */
void bellhop_answer_expire(struct bellhop *b, int64_t now_ms);
/* Ends everything that waits with a local `unavailable`. */
void bellhop_answer_fail_all(struct bellhop *b, const char *reason);
