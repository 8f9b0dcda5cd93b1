#pragma once
/*
 * RESP2, the language of a Redis server, without any I/O: commands as bytes, bytes as replies.
 * Around hiredis's reader (the one file that includes it), with limits and an arena of our own: what
 * a server sends is as little trusted as what anybody else does. Pure.
 * Specification: https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

/* ---- replies ---- */

enum resp_type { RESP_NIL, RESP_INTEGER, RESP_STATUS, RESP_ERROR, RESP_STRING, RESP_ARRAY };

#define RESP_LINE_MAX 256 /* bytes of a status or an error; the rest is cut off */

struct resp {
    enum resp_type type;
    int64_t integer;          /* RESP_INTEGER */
    struct str text;          /* RESP_STRING: any bytes; RESP_STATUS, RESP_ERROR: printable ASCII. A NUL stands behind it */
    const struct resp *items; /* RESP_ARRAY */
    size_t count;
};

struct resp_limits {
    size_t element; /* bytes of one unfinished text */
    size_t reply;   /* bytes of one whole reply, nodes included */
};

struct resp_reader;

struct resp_reader *resp_reader_new(const struct resp_limits *limits);
void resp_reader_free(struct resp_reader *r);                  /* NULL is legal */

enum resp_read { RESP_REPLY, RESP_MORE, RESP_BAD };

/* Input is copied; feed pieces of at most RESP_FEED bytes and read all that is there after each: the
 * reader below moves what is left after every reply. */
#define RESP_FEED 2048
void resp_feed(struct resp_reader *r, struct str bytes);

/* RESP_REPLY: *out is valid until the next call of this header with r. RESP_MORE: feed. RESP_BAD: no
 * RESP2, or beyond the limits: *what (valid as long as r) says which, and the connection is lost. */
enum resp_read resp_read(struct resp_reader *r, const struct resp **out, const char **what);

bool resp_reader_overflowed(const struct resp_reader *r); /* RESP_BAD was one of the limits */

/* ---- commands ---- */

/* `*count`, to be followed by that many resp_arg(). Straight into the output: hiredis's formatter
 * would make a copy of each body only to be copied again. */
void resp_begin(struct buf *out, size_t count);
void resp_arg(struct buf *out, struct str arg);
void resp_arg_u64(struct buf *out, uint64_t arg);

/* ---- errors ---- */

enum resp_fault {
    FAULT_NONE,     /* no error at all */
    FAULT_DENIED,   /* NOAUTH, WRONGPASS, NOPERM: nobody but a person can mend it */
    FAULT_ELSEWHERE,/* MOVED, ASK, CROSSSLOT, CLUSTERDOWN: a cluster, which we do not speak */
    FAULT_NOT_NOW,  /* LOADING, BUSY, TRYAGAIN, MASTERDOWN: the same will work later */
    FAULT_READONLY, /* READONLY: a replica; another address may be the primary */
    FAULT_FULL,     /* OOM, MISCONF, NOREPLICAS: it takes no writes at the moment */
    FAULT_EXISTS,   /* BUSYGROUP */
    FAULT_NO_GROUP, /* NOGROUP, UNBLOCKED: the stream or its group is not there (any more) */
    FAULT_OTHER,    /* ERR, WRONGTYPE, …: this command will never work */
};

enum resp_fault resp_fault(const struct resp *reply);

/* ---- who it is ---- */

enum server_kind { SERVER_PRIMARY, SERVER_REPLICA, SERVER_SENTINEL };

enum server_kind hello_parse(const struct resp *reply); /* of HELLO; PRIMARY also where it does not tell */

/* ---- what a subscribed connection brings ---- */

enum push_kind { PUSH_MESSAGE, PUSH_SUBSCRIBED, PUSH_UNSUBSCRIBED, PUSH_PONG };

struct push {
    enum push_kind kind;
    struct str pattern; /* {NULL, 0} where the subscription was no pattern */
    struct str channel, payload;
};

bool push_parse(const struct resp *reply, struct push *out); /* false: none of these */

/* ---- streams ---- */

struct entry_id {
    uint64_t ms, seq;
};

#define ENTRY_ID_MAX 42 /* bytes of its text, with the NUL */

bool entry_id_parse(struct str text, struct entry_id *out); /* "1526919030474-55" */
struct str entry_id_text(struct entry_id id, char out[static ENTRY_ID_MAX]);
int entry_id_cmp(struct entry_id a, struct entry_id b);

struct entry {
    struct entry_id id;
    struct str text;           /* the same as it came, which is how entry_id_text() writes it */
    const struct resp *fields; /* name, value, name, value, … all RESP_STRING */
    size_t count;              /* of fields, even */
    bool deleted;              /* pending, but gone from the stream */
};

/* One element of a list of entries. false: no entry. */
bool entry_parse(const struct resp *item, struct entry *out);

/* The entries (to be parsed one by one) of an XREADGROUP of one stream; nil gives none. false: no such
 * reply. */
bool xread_parse(const struct resp *reply, const struct resp **items, size_t *count);

struct xclaim {
    struct entry_id next;      /* where to go on; 0-0 = through */
    const struct resp *items;  /* entries */
    size_t count;
    const struct resp *gone;   /* ids that were pending but are deleted (Redis 7) */
    size_t gone_count;
};

bool xautoclaim_parse(const struct resp *reply, struct xclaim *out);

struct xpending {
    struct entry_id id;
    uint64_t deliveries; /* how often it was handed to a consumer */
};

bool xpending_parse(const struct resp *item, struct xpending *out); /* one row of the extended form */
