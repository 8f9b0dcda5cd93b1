#pragma once
/*
 * One connection to a Redis server: the link, the greeting (AUTH, SELECT, a name), replies matched to their
 * commands in order, a watch over a server that says nothing.
 *
 *     down --link up--> greeting --all answered--> ready --lost--> down
 *
 * Callbacks come from the loop, never from inside conn_call(), conn_release() or conn_free().
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "transport/link.h"
#include "transport/redis/resp.h"

struct endpoint;
struct conn;

/* The answer to a command; NULL: the connection was lost before it came, and nobody knows whether the
 * command was run. Valid during the call, or until conn_release() after conn_hold(). */
typedef void conn_reply_fn(void *arg, uint64_t token, const struct resp *reply);

struct conn_ops {
    void (*on_ready)(void *arg); /* may call */
    void (*on_down)(void *arg, const char *reason); /* was ready; after all its calls have been answered with NULL */
    void (*on_drain)(void *arg); /* unwritten output has become little; may be NULL */
    /* A message of a subscription. false: not taken; the connection is held and shows it again after
     * conn_release(). NULL where nothing is subscribed to. */
    bool (*on_message)(void *arg, const struct push *p);
    bool writes; /* a replica is of no use where there are other addresses */
};

struct conn *conn_new(struct endpoint *e, const struct conn_ops *ops, void *arg); /* starts dialling */
void conn_free(struct conn *c); /* no callback afterwards; NULL is legal */

bool conn_ready(const struct conn *c);
bool conn_full(const struct conn *c); /* much unwritten output: call no more until on_drain */
struct link *conn_link(const struct conn *c);

/* Begins a command of that many arguments, whose answer goes to fn (NULL = nobody): only while ready. Append the
 * arguments to the result with resp_arg() before anything else. SUBSCRIBE and its like: one channel each. */
struct buf *conn_call(struct conn *c, conn_reply_fn *fn, uint64_t token, size_t arguments);

/* Reads no further: from inside a conn_reply_fn, whose reply then stays. */
void conn_hold(struct conn *c);
void conn_release(struct conn *c); /* legal where it is not held, and when it has gone down meanwhile */

/* From inside on_ready(): the connection before this one ended because an answer was too long. */
bool conn_overflowed(const struct conn *c);

/* The server says that it is the wrong one for our commands (FAULT_READONLY, FAULT_ELSEWHERE): what it says, with what to do about
 * it; valid until the next one. NULL: it says something else. */
const char *conn_misled(struct conn *c, const struct resp *error);
/* After it, when that is told: the link goes to another address, at once from a replica, slowly from a server of a cluster; a
 * replica that is alone is tried again slowly. false: there is nowhere to go, the connection stays. */
bool conn_leaves(const struct conn *c);
void conn_leave(struct conn *c); /* where it leaves */

/* How much longer than usual an answer may take (BLOCK); 0 at first. */
void conn_patience(struct conn *c, int64_t more_ms);
