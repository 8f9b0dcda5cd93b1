#pragma once
/*
 * What was published and is not over: an event until it is confirmed, a request until it is answered too. Each holds one handover,
 * which is reported once: from inside confirms_settle(), flights_blame() and flights_lose(), or by whoever has its answer.
 *
 *     added --confirmed (of a request: and answered)--> OK
 *       |---returned----> REJECT no-route
 *       |---rejected----> RETRY overloaded
 *       |---blamed------> RETRY no-route: its exchange was what the broker closed the channel for
 *       +---lost--------> HOLD; of a request RETRY: it may have been worked on
 */
#include "base/list.h"
#include "base/slots.h"
#include "loop/loop.h"
#include "transport/amqp/confirms.h"
#include "transport/transport.h"

struct flight {
    struct list_node link; /* among the spares */
    struct handover *h;    /* NULL = settled, or given up by the core */
    uint64_t id;           /* of a request; 0 = it is none, or answered */
    int64_t sent_ms;
    bool confirmed;
};

struct flights {
    struct loop *loop;
    struct confirms confirms; /* of struct flight */
    struct slots asked;       /* requests by number: struct flight */
    struct list spares;
    struct buf why_returned;  /* what the broker has said of the one that came back last */
};

void flights_init(struct flights *f, struct loop *l, size_t most); /* most: unconfirmed ones, see confirms_full() */
void flights_fini(struct flights *f); /* settles nothing: whoever closes an endpoint takes back what it holds first */

/* A new one, with a number where it asks; then it is published, and flights_add() or flights_drop() called. */
struct flight *flights_new(struct flights *f, struct handover *h, bool asks);
void flights_add(struct flights *f, struct flight *one);  /* published: its confirm comes */
void flights_drop(struct flights *f, struct flight *one); /* it could not be */
void flights_forget(struct flights *f, struct flight *one); /* the core gives its handover up */

struct flight *flights_asked(const struct flights *f, uint64_t id); /* a request that waits for its answer, or NULL */
struct handover *flights_answered(struct flights *f, struct flight *one); /* its end, which the caller reports */

/* The broker has returned it; its confirm comes next. It does not say which one it is: the first that is still out under this id and
 * key. A later one of the same kind comes back as well. */
void flights_returned(struct flights *f, struct str id, struct str key);
/* "NOT_FOUND - no exchange 'x' in vhost '/'", "ACCESS_REFUSED - access to exchange 'x' …": those that were sent there are
 * to blame, the others are not. */
void flights_blame(struct flights *f, const char *text);
void flights_extend(struct flights *f); /* the time-outs of events start again: it is not their fault that it takes long */
void flights_lose(struct flights *f);   /* the channel has gone */

void flight_report(struct handover *h, enum outcome outcome, enum code code, struct str detail);
