#pragma once
/*
 * A message: immutable, made once, reference-counted (plain counter: one loop). Subject, headers and body live in
 * one allocation, the body right behind the headers. Its header block is what every destination gets: the application's own headers,
 * and `id`, `correlation-id`, `traceparent`, `source`, made where absent. What differs per destination (attempt,
 * remaining time-out) is added when it is handed over.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/rand.h"
#include "base/str.h"
#include "msg/code.h"
#include "msg/pool.h"

#define MSG_SUBJECT_MAX 1024
#define MSG_ID_MAX 256
#define MSG_ANY_VERSION UINT64_MAX

enum msg_kind { MSG_EVENT, MSG_REQUEST };

#define MSG_REPLAYED_FROM "replayed-from" /* the header */

struct msg {
    unsigned refs;
    enum msg_kind kind;
    struct str subject, headers, body;
    struct str id, correlation_id, traceparent, source; /* slices of headers */
    size_t made;         /* bytes of these four at the beginning of headers; 0 = they do not stand there like that */
    int64_t accepted_ms; /* monotonic */
    int64_t timeout_ms;  /* header `timeout`; -1 = none */
    int64_t ttl_ms;      /* header `ttl`; -1 = none */
    int64_t not_before_ms; /* headers `delay`, `deliver-at`: the later, by the wall clock; 0 = at once */
    int64_t delay_ms;    /* from accepted_ms on, where `delay` is the later; else 0 */
    struct str replayed_from; /* of one that was restored: MSG_REPLAYED_FROM, "orders@12"; {NULL, 0} = it is no replay */
    bool id_made;        /* it came without an id */
    uint64_t expected_version; /* header `expected-version`; MSG_ANY_VERSION = none */
    size_t size;         /* bytes of memory */
    struct msg_pool *pool; /* where it goes back to, or NULL */
    char data[];
};

/* Makes messages: owns the generator and knows the time. */
struct msg_factory {
    struct rand rand;
    double sample; /* share of new traces marked as sampled, 0 … 1 */
    int64_t (*now)(void *arg);  /* monotonic ms */
    int64_t (*wall)(void *arg); /* ms since 1970; asked once a second at most */
    void *arg;
    int64_t offset_ms, offset_at_ms; /* wall minus monotonic, and when that was read; zeroed at first */
};

struct msg_input {
    enum msg_kind kind;
    struct str subject; /* legal */
    struct str headers; /* a checked block; the names that only the daemon sets are left out */
    struct str lines;   /* more legal ones before them, of no reserved name: passed on unread; may be empty */
    unsigned line_count;
    struct str id;      /* its id where the headers name none; legal, or empty: then one is made */
    struct str body;
    struct str source;  /* endpoint or service name */
    struct msg_pool *pool; /* NULL = none */
};

/* NULL when a reserved header has an illegal value, or when a delivery would have more headers than
 * a client takes (msg/headers.h); *what then says which and why (static text). */
struct msg *msg_new(struct msg_factory *f, const struct msg_input *in, const char **what);
/* A message that was accepted in an earlier life: headers are the block that msg_new() made then. NULL
 * when they are no such block. */
struct msg *msg_restore(struct msg_factory *f, struct str subject, struct str headers, struct str body);
struct msg *msg_ref(struct msg *m);
void msg_unref(struct msg *m); /* NULL is legal */

/* A log line of this message: its id, correlation id, trace and subject, then up to three pairs. */
struct log_pair {
    const char *key, *value;
};
void msg_log(struct log *l, enum log_level level, const char *event, const struct msg *m,
             const struct log_pair pairs[static 4]);
