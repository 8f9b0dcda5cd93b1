/*
 * libbellhop: serve, call and publish through bellhopd from C. The protocol is bellhop-protocol(7).
 *
 * One `struct bellhop` is one connection with a name. It never blocks and starts no thread: give its
 * descriptor and poll bits to any loop and call bellhop_process() when they are ready, or let bellhop_run()
 * be the loop. It is not thread-safe: use one connection per thread.
 *
 * Shapes. Functions that can fail return 0 (or a positive id) or a negative errno value:
 *   -EINVAL    an argument the protocol does not allow (control character in a subject, bad header, …)
 *   -EMSGSIZE  more than 64 KiB or 128 lines of headers, or a body above the daemon's limits.body
 *   -ENOTCONN  not connected at the moment (waiting to reconnect, leaving or closed)
 *   -EAGAIN    the output buffer is full: try again when on.writable fires
 *   -ENOMEM    no memory; nothing was sent
 * Times are milliseconds. Text arguments are UTF-8 and NUL-terminated unless a length stands beside them.
 *
 * Ownership. Arguments are borrowed for the call. What a callback is given is valid until it returns: copy what
 * must live longer. No function calls back before it returns, except bellhop_process() and bellhop_run(),
 * and from a callback every function but those two is legal, bellhop_free() included.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BELLHOP_API __attribute__((visibility("default")))
#else
#define BELLHOP_API
#endif

#define BELLHOP_SUBJECT_MAX 1024u           /* bytes of a subject */
#define BELLHOP_HEADERS_MAX (64u * 1024)    /* bytes of a header block */
#define BELLHOP_HEADERS_LINES 128u          /* lines of a header block */
#define BELLHOP_CREDIT_DEFAULT 64u          /* deliveries taken at once unless bellhop_set_credit() says otherwise */
#define BELLHOP_OUTPUT_DEFAULT (8u << 20)   /* bytes of output held back unless bellhop_set_output() says otherwise */

struct bellhop;

/* A subject, a header block and a body, in both directions. A header block is the protocol's own text, lines
 * `name: value\n`: build one with struct bellhop_headers, read one with bellhop_header_find() or _next(). In what
 * the library hands out the subject is NUL-terminated; body and headers are not. */
struct bellhop_msg {
    const char *subject;
    const char *headers;
    size_t headers_len;
    const void *body;
    size_t body_len;
};

/* ---- a connection ------------------------------------------------------------------------------------ */

enum bellhop_kind { BELLHOP_EVENT, BELLHOP_REQUEST };

/* Something the daemon wants handled. It is yours from on.delivery until you answer it, which you do exactly once,
 * at once or later, with one of bellhop_delivery_ok/_reply/_error/_release; that call frees it, also when the connection
 * has ended in the meantime (the daemon then delivers it again, by the route's policy). */
struct bellhop_delivery {
    struct bellhop *conn;
    enum bellhop_kind kind;
    uint64_t id;             /* as on the wire; 0 = the daemon wants no answer (answer it all the same) */
    struct bellhop_msg msg;  /* valid in on.delivery only, then cleared */
    void *user;              /* yours; NULL at first */
};

/* What a connection tells you. Any member may be NULL; `user` is the pointer given to bellhop_new(). */
struct bellhop_handlers {
    /* The daemon has answered HELLO: also after each reconnect. Subscriptions are renewed by the library. */
    void (*ready)(struct bellhop *b, void *user);
    /* One delivery: see above. Without this handler deliveries are refused with `no-service`. */
    void (*delivery)(struct bellhop *b, struct bellhop_delivery *d, void *user);
    /* Nobody waits for the answer to `d` any more. It is still yours and still has to be answered. */
    void (*cancel)(struct bellhop *b, struct bellhop_delivery *d, void *user);
    /* The daemon drains: no new deliveries come; settle what you have. It will close the connection. */
    void (*bye)(struct bellhop *b, void *user);
    /* The output that made a call return -EAGAIN has fallen below half of its bound. */
    void (*writable)(struct bellhop *b, void *user);
    /* The connection has ended, or could not be made. retry_ms: time until the next attempt, or -1: for good.
     * Fires after each outstanding request was answered with a local `unavailable` error. Deliveries in your hands
     * stay valid; answering them only frees them. */
    void (*closed)(struct bellhop *b, const char *reason, int64_t retry_ms, void *user);
};

/* A connection that is not connected yet. `name` is the service's name in HELLO (a caller needs one too).
 * Handlers are copied. NULL when out of memory or when the name is not a legal subject. Free it with bellhop_free(). */
BELLHOP_API struct bellhop *bellhop_new(const char *name, const struct bellhop_handlers *on, void *user);

/* Closes and frees everything that belongs to the connection, unanswered deliveries included; no callback fires.
 * In a callback: takes effect when bellhop_process() or bellhop_run() returns, which must not use it again. NULL is legal. */
BELLHOP_API void bellhop_free(struct bellhop *b);

/* Settings for HELLO and the buffers; call them before bellhop_connect(). credit: 1..65535 unanswered deliveries at once.
 * token and instance are copied. 0, -EINVAL or -ENOMEM. */
BELLHOP_API int bellhop_set_credit(struct bellhop *b, unsigned credit);
BELLHOP_API int bellhop_set_token(struct bellhop *b, const char *token);
BELLHOP_API int bellhop_set_instance(struct bellhop *b, const char *instance);

/* Reconnect after a failure or a lost connection: the n-th wait is drawn evenly from 1 to min(max_ms, min_ms * 2^n) ms
 * ("full jitter"); n is 0 again after HELLO was answered. max_ms = 0 (the default): never. `denied` and `version` from the
 * daemon end it for good. */
BELLHOP_API int bellhop_set_reconnect(struct bellhop *b, unsigned min_ms, unsigned max_ms);

/* Bytes of unwritten output above which requests, publishes and stream items are refused with -EAGAIN. Final answers to
 * deliveries are never refused: the credit bounds them. */
BELLHOP_API void bellhop_set_output(struct bellhop *b, size_t limit_bytes);

/* Connects to the daemon's socket and queues HELLO. 0: on its way (with reconnect set also when the first attempt failed:
 * on.closed tells); else a negative errno: -ENOENT or -ECONNREFUSED = no daemon there, -EACCES, -ENAMETOOLONG,
 * -EISCONN = connected already, or still ending. Calls made before on.ready are sent right behind HELLO. */
BELLHOP_API int bellhop_connect(struct bellhop *b, const char *path);

/* The same over a connected stream socket that the caller opened; the library owns and closes it from here on.
 * There is nothing to reconnect to. */
BELLHOP_API int bellhop_attach(struct bellhop *b, int fd);

/* Polite end: BYE is sent, the daemon stops delivering; the connection closes by itself (on.closed, for good) once every
 * delivery is answered, those that crossed the BYE included, every request has its answer and the output is written. */
BELLHOP_API int bellhop_bye(struct bellhop *b);

/* Ends the connection now, for good. Outstanding requests get their local error and on.closed fires at the next
 * bellhop_process(). */
BELLHOP_API void bellhop_close(struct bellhop *b, const char *reason);

/* True between bellhop_connect() and the end for good. */
BELLHOP_API bool bellhop_is_open(const struct bellhop *b);
/* True while HELLO is answered and the connection stands. */
BELLHOP_API bool bellhop_is_ready(const struct bellhop *b);

/* Why the connection ended or could not be made the last time: what on.closed was told. "" before that. */
BELLHOP_API const char *bellhop_reason(const struct bellhop *b);

/* What the daemon said in HELLO; empty text and the protocol's 1 MiB before that. Valid until the next reconnect. */
struct bellhop_info {
    const char *node;
    const char *session;
    size_t limit_body;
};
BELLHOP_API struct bellhop_info bellhop_info(const struct bellhop *b);

/* ---- the loop ----------------------------------------------------------------------------------------- */

/* The descriptor to poll, or -1 while there is none (it changes at a reconnect: ask before each poll). */
BELLHOP_API int bellhop_fd(const struct bellhop *b);
/* POLLIN and/or POLLOUT, what to poll the descriptor for; 0 without one. */
BELLHOP_API short bellhop_events(const struct bellhop *b);
/* Milliseconds until bellhop_process() has something to do without an event; -1 = never, 0 = now. */
BELLHOP_API int bellhop_timeout(const struct bellhop *b);

/* One turn: reads what is there (when `revents` has POLLIN, POLLHUP or POLLERR), fires callbacks, runs timers, and
 * writes all collected output in one call. 0, or -ENOTCONN once the connection has ended for good, -EBUSY when
 * called from a callback. */
BELLHOP_API int bellhop_process(struct bellhop *b, short revents);

/* Writes collected output now instead of at the next turn. 0 also when the socket takes only a part. */
BELLHOP_API int bellhop_flush(struct bellhop *b);

/* The loop itself: turns until timeout_ms have passed (-1: no limit), bellhop_stop() is called or a signal arrives
 * (-EINTR). 0, -EINTR, -ENOTCONN once it has ended for good, -EBUSY from a callback. */
BELLHOP_API int bellhop_run(struct bellhop *b, int timeout_ms);

/* Makes bellhop_run() return 0 after the present turn. Safe in a signal handler. */
BELLHOP_API void bellhop_stop(struct bellhop *b);

/* Bytes of output not yet written, and requests, publishes and subscriptions not yet answered. */
BELLHOP_API size_t bellhop_output(const struct bellhop *b);
BELLHOP_API size_t bellhop_pending(const struct bellhop *b);

/* ---- calling -------------------------------------------------------------------------------------------- */

enum bellhop_result {
    BELLHOP_OK,    /* final: the event, subscription or ping was accepted */
    BELLHOP_MORE,  /* one item of a streamed reply; others follow */
    BELLHOP_REPLY, /* final: the (last) reply */
    BELLHOP_ERROR  /* final: refused or failed */
};

#define BELLHOP_RETRY_POLICY (-1) /* not said: events are tried again by the route's policy, requests are not */
#define BELLHOP_RETRY_NO (-2)     /* it would fail again */
#define BELLHOP_RETRY_YES (-3)    /* try again, requests too, with the delays of the route's policy */

/* An answer. For BELLHOP_ERROR `code` is one of the protocol's codes and the body its detail; retry_ms is the time after
 * which to try again, or one of the three above. `local`: made by this library (`timeout`, `unavailable` when the
 * connection ended first): what became of the message is then not known. `subject`: of a BELLHOP_MORE that has one
 * (an entry of an event log), else NULL. */
struct bellhop_answer {
    enum bellhop_result result;
    uint64_t id;
    const char *code;
    const char *headers;
    size_t headers_len;
    const void *body;
    size_t body_len;
    int64_t retry_ms;
    bool local;
    const char *subject;
};

/* Called for each MORE and then exactly once with a final answer, or not at all after bellhop_cancel() or bellhop_free(). */
typedef void bellhop_answer_fn(struct bellhop *b, const struct bellhop_answer *a, void *user);

/* Sends a request. timeout_ms > 0: travels as the header `timeout` (do not set it yourself) and is watched here too: when
 * it passes (checked every 10 ms) CANCEL is sent and the answer is a local `timeout`; 0: the route's time-out only. Returns the id for
 * bellhop_cancel(), or a negative errno. */
BELLHOP_API int64_t bellhop_request(struct bellhop *b, const struct bellhop_msg *msg, int64_t timeout_ms,
                                    bellhop_answer_fn *fn, void *user);

/* Gives up a request: CANCEL goes out and its callback is never called again. -ENOENT: already answered. */
BELLHOP_API int bellhop_cancel(struct bellhop *b, int64_t id);

/* Publishes an event. With fn: the answer is BELLHOP_OK (accepted under the route's promise) or BELLHOP_ERROR; without: none
 * is asked for and 0 is returned. Else the id, or a negative errno. */
BELLHOP_API int64_t bellhop_publish(struct bellhop *b, const struct bellhop_msg *msg, bellhop_answer_fn *fn,
                                    void *user);

/* Subscribes the connection to subjects matching `filter`; their deliveries come to on.delivery. group: share
 * the load with others of that group, NULL = none. fn (may be NULL) gets the answer to the first SUB only; after a reconnect the
 * library subscribes again by itself. Returns the id for bellhop_unsubscribe(), or a negative errno. */
BELLHOP_API int64_t bellhop_subscribe(struct bellhop *b, const char *filter, const char *group,
                                      bellhop_answer_fn *fn, void *user);
/* Ends a subscription; deliveries already on their way still come. -ENOENT: no such subscription. */
BELLHOP_API int bellhop_unsubscribe(struct bellhop *b, int64_t id);

/* Lets the daemon have `more` deliveries more outstanding than now (1..65535). */
BELLHOP_API int bellhop_credit(struct bellhop *b, unsigned more);

/* PING; fn gets BELLHOP_OK when PONG comes. PINGs of the daemon are answered by the library. */
BELLHOP_API int64_t bellhop_ping(struct bellhop *b, bellhop_answer_fn *fn, void *user);

/* ---- answering deliveries ------------------------------------------------------------------------------- */

/* Final answers: each frees `d`, also on error (the error then says what went wrong on the way: -ENOTCONN = the connection it came
 * over has ended and the daemon will deliver again, -EMSGSIZE = the reply was too large and an ERR
 * `too-large` was sent in its place). _ok on a request sends an empty reply; _reply on an event sends OK. */
BELLHOP_API int bellhop_delivery_ok(struct bellhop_delivery *d);
/* The reply: msg->body and msg->headers; the subject is not used. */
BELLHOP_API int bellhop_delivery_reply(struct bellhop_delivery *d, const struct bellhop_msg *msg);
/* code: a protocol code, `failed` when in doubt; detail: text or NULL; retry_ms: time to wait, or BELLHOP_RETRY_… */
BELLHOP_API int bellhop_delivery_error(struct bellhop_delivery *d, const char *code, const char *detail,
                                       int64_t retry_ms);
/* Gives it back unhandled; no attempt is counted. */
BELLHOP_API int bellhop_delivery_release(struct bellhop_delivery *d);

/* One item of a streamed reply to a request; `d` stays yours. -EAGAIN: slow down until on.writable. */
BELLHOP_API int bellhop_delivery_more(struct bellhop_delivery *d, const struct bellhop_msg *msg);
/* Still working: the delivery's time-out starts again. */
BELLHOP_API int bellhop_delivery_wait(struct bellhop_delivery *d);
/* Publishes an event that counts only if `d` is answered with OK or a reply (a transactional outbox): fn, required,
 * gets its own final answer at that moment. Returns the id or a negative errno. */
BELLHOP_API int64_t bellhop_delivery_publish(struct bellhop_delivery *d, const struct bellhop_msg *msg,
                                             bellhop_answer_fn *fn, void *user);
/* Which attempt this is, 1 for the first. Reads the headers: call it in on.delivery. */
BELLHOP_API unsigned bellhop_delivery_attempt(const struct bellhop_delivery *d);
/* The answer to `d` is not wanted any more (CANCEL came) or cannot be sent (its connection ended). */
BELLHOP_API bool bellhop_delivery_is_cancelled(const struct bellhop_delivery *d);

/* ---- headers ---------------------------------------------------------------------------------------------- */

/* A header block under construction. Start with {0}; the first error sticks, so check `error` once at the end. */
struct bellhop_headers {
    char *data;
    size_t len;
    size_t cap;
    unsigned lines;
    int error;
};

/* Adds a line. name: a lower-case token (a-z 0-9 and !#$%&'*+-.^_`|~); value: UTF-8 without control characters. Returns
 * headers->error: 0, -EINVAL, -EMSGSIZE (64 KiB, 128 lines) or -ENOMEM. */
BELLHOP_API int bellhop_headers_add(struct bellhop_headers *headers, const char *name, const char *value);
/* Empties it for reuse, error included. */
BELLHOP_API void bellhop_headers_clear(struct bellhop_headers *headers);
BELLHOP_API void bellhop_headers_fini(struct bellhop_headers *headers);

/* One header of a block: pointers into it, not NUL-terminated. */
struct bellhop_header {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};

/* Walks a block: start with *pos = 0, call while true. Lines that are not headers are passed over. */
BELLHOP_API bool bellhop_header_next(const char *block, size_t len, size_t *pos, struct bellhop_header *out);
/* The first header of that name. False: there is none, and *out is cleared. */
BELLHOP_API bool bellhop_header_find(const char *block, size_t len, const char *name, struct bellhop_header *out);

/* A duration such as 250ms, 5s, 1h30m or 7d into milliseconds (>= 0), or -1 when it is not one. */
BELLHOP_API int64_t bellhop_duration_ms(const char *text, size_t len);

#ifdef __cplusplus
}
#endif
