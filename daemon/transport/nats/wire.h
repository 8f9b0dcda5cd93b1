#pragma once
/*
 * The client protocol of NATS, pure: bytes in, operations out; calls in, bytes out. Source:
 * docs.nats.io/reference/reference-protocols/nats-protocol, and nats-server 2.9.
 *
 *   server  INFO {…}   MSG subject sid [reply] bytes   HMSG subject sid [reply] header-bytes bytes   PING   PONG   +OK   -ERR '…'
 *   client  CONNECT {…}   PUB   HPUB   SUB   UNSUB   PING   PONG
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"
#include "msg/headers.h"

#define WIRE_LINE_MAX 8192     /* bytes of a line of the server's; nats-server's own limit is 4096 */
#define WIRE_INFO_MAX 65536    /* INFO names every server of the cluster */
#define WIRE_HEADERS_MAX 69632 /* bytes of a message's headers: a whole header block with CR behind each line, and more */
#define WIRE_BYTES_MAX (1u << 30)
/* Input that a whole message needs. */
#define WIRE_INPUT_MAX(body_max) ((size_t)(body_max) + WIRE_HEADERS_MAX + WIRE_INFO_MAX)

/* ---- in ---- */

enum wire_op { WIRE_MSG, WIRE_INFO, WIRE_PING, WIRE_PONG, WIRE_OK, WIRE_ERR };

struct wire_in {
    enum wire_op op;
    size_t size;        /* bytes of it */
    struct str text;    /* INFO: its JSON; ERR: the text inside the quotes */
    struct str subject; /* MSG, as all below; not checked but for blanks */
    struct str reply;   /* {NULL, 0} = none */
    uint64_t sid;
    struct str headers; /* the whole block, for nats_headers(); {NULL, 0} = none */
    struct str body;
    size_t skip;        /* not 0: it is too large; size is that of its line, and so many bytes behind it have to be passed over */
};

enum wire_status { WIRE_WHOLE, WIRE_MORE, WIRE_BAD };

/* One operation at the start of in. WIRE_MORE: call again with more bytes. WIRE_BAD: *what (static text) says why the
 * connection cannot go on. A body above body_max, or headers above WIRE_HEADERS_MAX, are no error: see skip. */
enum wire_status nats_parse(struct str in, uint64_t body_max, struct wire_in *out, const char **what);

/* The headers of a message: *rest is what nats_next() walks; the result is the status that the server says (503 = no
 * responders), 0 = none, -1 where it is no header block. */
int nats_headers(struct str block, struct str *rest);
/* Names as sent, values without blanks around them; nothing else is checked. Lines without a colon are left out. */
bool nats_next(struct str *rest, struct header *h);

struct wire_info {
    uint64_t max_payload; /* headers and body */
    bool headers, tls_required, tls_available, lame_duck;
};

bool nats_info_parse(struct str json, struct wire_info *out, const char **what);

/* What an -ERR means. subject (PUBLISH): the one that was refused, appended to it. */
enum wire_fault {
    FAULT_LOST,      /* the server closes the connection, or nobody knows */
    FAULT_REFUSED,   /* the same, and a person has to see to it */
    FAULT_PUBLISH,   /* we may not publish there; the connection goes on */
    FAULT_SUBSCRIBE, /* we may not subscribe to one of our sources; the connection goes on */
};
enum wire_fault nats_fault(struct str text, struct buf *subject);

/* ---- out ---- */

struct wire_hello {
    const char *name;
    const char *user, *password, *token; /* NULL = none; UTF-8 */
};

/* Nothing that a connection publishes comes back to it: a source of `>` does not hear our answers. */
void nats_put_connect(struct buf *out, const struct wire_hello *h);
void nats_put_sub(struct buf *out, struct str subject, const char *queue, uint64_t sid); /* queue NULL = none */
void nats_put_unsub(struct buf *out, uint64_t sid);

struct wire_pub {
    struct str subject;
    struct str reply;   /* n 0 = none */
    struct str headers; /* a block as msg/headers.h has it; n 0 = none */
    struct str body;
};

uint64_t nats_payload(const struct wire_pub *p); /* what max_payload is about */
void nats_put_pub(struct buf *out, const struct wire_pub *p);

/* Why nothing can be published there (static text), or NULL: blanks, empty tokens, `*` or `>` as a token. */
const char *nats_subject_fault(struct str subject);
/* The same of a subscription: `*` is a token, `>` the last one. */
const char *nats_filter_fault(struct str filter);
