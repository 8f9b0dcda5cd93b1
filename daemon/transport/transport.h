#pragma once
/*
 * The contract between the carriers (transports, and local/ for services) and the core (delivery/).
 *
 * A carrier has two halves. As a *source* it turns what it receives into messages and gives them
 * to its intake; as a *sink* it takes handovers and reports, for each, exactly one settlement. It
 * never decides what happens next: retries, breakers, time-outs and dead letters are the core's.
 *
 *     peer -> carrier -> intake_accept()  ...core...  sink.send() -> carrier -> peer
 *     peer <- carrier <- asker.done()     ...core...  sink_up.settled() <- carrier <- peer
 *
 * Nobody calls back from inside a call: accept() never calls the asker, send() never reports.
 * Everything runs on one loop.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "config/config.h"
#include "loop/loop.h"
#include "loop/tls.h"
#include "msg/msg.h"

/* ---------------------------------------------------------------- waiting */

/* A source that has to wait. Zeroed is idle; resume is called once, possibly from inside another
 * call of the core: it only marks that reading goes on (stream_resume), it never offers a message. */
struct waiter {
    struct list_node link;
    struct list *in;
    void (*resume)(void *arg);
    void *arg;
};

static inline void waiter_cancel(struct waiter *w)
{
    if (w->in != NULL)
        list_remove(w->in, &w->link);
    w->in = NULL;
}

/* Resumes all who wait; those who wait again at once are not resumed twice. */
static inline void waiters_wake(struct list *waiters)
{
    for (size_t count = waiters->count; count > 0 && !list_empty(waiters); count--) {
        struct waiter *w = CONTAINER_OF(list_first(waiters), struct waiter, link);
        waiter_cancel(w);
        w->resume(w->arg);
    }
}

static inline void waiter_enrol(struct waiter *w, struct list *waiters)
{
    list_push(waiters, &w->link);
    w->in = waiters;
}

/* ---------------------------------------------------------------- sinks: where deliveries go */

enum outcome {
    OUTCOME_OK,     /* the peer has taken it: settled */
    OUTCOME_RETRY,  /* it may work later: counts an attempt */
    OUTCOME_REJECT, /* it will never work */
    OUTCOME_HOLD,   /* not tried, or given back: counts no attempt */
};

/* What came back. Slices are valid during the call only. */
struct reply {
    enum code code;      /* CODE_OK, or why not */
    struct str headers;  /* a checked block, may be empty */
    struct str body;     /* reply, streamed item, or the detail of an error (JSON or text) */
    bool kept;           /* in asker_ops.done() of an event that went wrong: whatever of it did is a dead letter, on disk */
};

/* Did the process that held it die? */
enum crash {
    CRASH_NONE,
    CRASH_SHARED, /* with more than this in hand */
    CRASH_SOLE,   /* with nothing else in hand */
};

struct settlement {
    enum outcome outcome;
    enum crash crash; /* with RETRY */
    int pid;          /* of the process, with a crash; 0 = not known */
    struct reply reply;
    int64_t retry_after_ms; /* the peer's wish with RETRY; -1 = none */
    bool final;             /* with RETRY for a request: the peer itself answered with an error,
                               which goes to the asker instead of being tried again; else without effect */
};

/* Who has deliveries in hand, for people: "pid 4711, client 3". The carrier's, but for what the core notes. */
struct noted { /* the numbers that stand for it in a chunk of notes */
    uint64_t chunk, light_chunk;
    uint16_t number, light_number;
};
struct holder {
    const char *text;
    struct noted noted; /* the core's; zeroed at first */
};

/* One delivery in the hands of a carrier. The core owns it; the carrier may use the last three
 * members from send() until it has settled it or is told to cancel. */
struct handover {
    struct msg *msg;       /* borrowed; take a reference to keep it longer */
    enum msg_kind kind;    /* MSG_REQUEST wants a reply; may be EVENT for a copy of a request */
    unsigned attempt;      /* 1, 2, … */
    struct str subject;    /* what this destination is to see */
    const char *redelivered; /* why it may have been seen before: "timeout" "lost" "failed" "released"
                                "crash" "retry" "redrive"; NULL = it was not. Static text */
    bool alone;            /* it may kill who gets it: to one that holds nothing, and nothing beside it */
    int64_t deadline_ms;   /* monotonic: when the core gives this attempt up; INT64_MAX = never */
    const struct target_conf *to; /* what the route says of this destination; NULL = nothing. Ask it
                                     with handover_keys() and handover_codec() */
    const struct sink_up *core; /* whom to report to */
    struct holder *holder; /* set by the carrier in send(); stays as long as it holds this; NULL = not known */
    struct list_node link;
    void *carrier;
    uint64_t carrier_id;
};

/* The transport's target_keys struct of the route, or NULL: the endpoint may have been another
 * transport's when the route was read. */
static inline const void *handover_keys(const struct handover *h, const struct config_transport *t)
{
    return h->to != NULL && h->to->transport == t ? h->to->extra : NULL;
}

/* The codec of a route's side: its own, else the endpoint's, else the transport's `standard`. */
static inline unsigned codec_of(unsigned route, const struct endpoint_conf *e, unsigned standard)
{
    unsigned endpoint = e->codec != CODEC_UNSET ? e->codec : standard;
    return route != CODEC_UNSET ? route : endpoint;
}

static inline unsigned handover_codec(const struct handover *h, const struct endpoint_conf *e, unsigned standard)
{
    return codec_of(h->to != NULL ? h->to->codec : CODEC_UNSET, e, standard);
}

struct sink;

struct sink_ops {
    /* Takes one handover. false: not now (no credit, output full); the core keeps it and tries
     * again after sink_up.ready(). Called only while the sink is up. Never reports from inside. */
    bool (*send)(struct sink *s, struct handover *h);
    /* The core gives up on a handover that was sent: forget it, report nothing. abandoned: the asker
     * has gone or the time is over; tell the peer where the protocol can. */
    void (*cancel)(struct sink *s, struct handover *h, bool abandoned);
};

/* Embedded in the carrier's own struct, which outlives it. */
struct sink {
    const struct sink_ops *ops;
    const char *name;             /* for people: the service or endpoint */
    bool service;                 /* a local service: absent means no-service, not unavailable */
    bool up;                      /* somebody is there to take handovers; set by sink_set_up() */
    const struct sink_up *core;   /* set by the core when it adopts the sink */
    void *dest;                   /* the core's */
};

/* How a carrier reports; called from the loop, never from inside send() or cancel(). From inside settled(), more(), ready() and
 * state() the core may call send() and cancel() of other handovers, and done() of what the same carrier has asked. */
struct sink_up {
    void (*settled)(struct handover *h, const struct settlement *s); /* once; h is gone after it */
    /* An item of a streamed reply. false: the asker cannot take more at the moment and w is enrolled;
     * this item is taken, read no further until w->resume. */
    bool (*more)(struct handover *h, const struct reply *item, struct waiter *w);
    void (*extend)(struct handover *h);                              /* WAIT: the time-out starts again */
    void (*ready)(struct sink *s);                                   /* send() may succeed again */
    void (*state)(struct sink *s, bool up, const char *why);         /* peers came or all are gone */
};

static inline void sink_set_up(struct sink *s, bool up, const char *why)
{
    if (s->up == up)
        return;
    s->up = up;
    if (s->core != NULL)
        s->core->state(s, up, why);
}

/* ---------------------------------------------------------------- intakes: where messages come in */

/* Who brought a message and waits for its end. ops NULL = nobody (no acknowledgement exists). */
struct asker_ops {
    /* An item of a streamed reply. false: taken, but the output is full and w is enrolled (when it is
     * not NULL) until it has drained. */
    bool (*more)(void *ctx, uint64_t token, const struct reply *item, struct waiter *w);
    /* Exactly once, unless withdrawn: for an event when every delivery has ended (CODE_OK only when
     * all went well), for a request its reply. */
    void (*done)(void *ctx, uint64_t token, const struct reply *reply);
};

struct asker {
    const struct asker_ops *ops;
    void *ctx;
    uint64_t token;
};

struct receipt; /* an accepted message whose asker is waiting */
struct intake;

struct intake_ops {
    /*
     * Offers a message. CODE_OK: accepted; `*receipt` (where asker.ops is set) stays valid until
     * done() or withdraw(). CODE_BUSY (only where w is not NULL): not taken, w is enrolled; stop
     * reading and offer it again after w->resume. Anything else: refused, say so to the peer.
     * m is referenced, not consumed. No callback before this returns.
     */
    enum code (*accept)(struct intake *i, struct msg *m, const struct asker *asker, struct waiter *w,
                        struct receipt **receipt);
    /* The asker is gone or no longer interested: no callback afterwards. */
    void (*withdraw)(struct receipt *r);
    /* A message that the source has refused by itself, before it offered it: one among those that were not accepted. */
    void (*refused)(struct intake *i, enum code code);
};

struct intake {
    const struct intake_ops *ops;
    struct msg_factory *factory; /* for msg_new(); times are those of this turn */
    const char *name;            /* the endpoint's */
    const char *why;             /* of a message just refused, where there is more to say than its code; else NULL */
};

static inline enum code intake_accept(struct intake *i, struct msg *m, const struct asker *asker,
                                      struct waiter *w, struct receipt **receipt)
{
    return i->ops->accept(i, m, asker, w, receipt);
}

static inline void intake_refused(struct intake *i, enum code code)
{
    i->ops->refused(i, code);
}

/* ---------------------------------------------------------------- endpoints of a transport */

struct endpoint; /* the transport's own; its first member is a struct sink where it can be a target */

/* What a connecting endpoint is to consume: one for each different `from: {endpoint: …}` of the routes.
 * Messages of a source go to its own intake, which knows only the routes of that source. An endpoint
 * whose sources change at a reload is opened anew, beside the one that was. */
struct endpoint_source {
    const void *keys;      /* the transport's source_keys struct */
    unsigned codec;        /* enum codec_choice; see codec_of() */
    const char *label;     /* for people: "rabbit, queue: orders" */
    struct intake *intake;
};

struct endpoint_env {
    struct loop *loop;
    struct log *log;
    const char *node;         /* this daemon's name; borrowed, outlives the endpoint */
    uint64_t body_max;        /* limits.body */
    struct tls_context *tls;  /* referenced by whoever keeps it; NULL = plain */
    int listen_fd;            /* handed over by systemd, or -1 */
    bool succeeds;            /* connect: the one before it is at work until this one is in use, and then ends what it has in hand */
    struct intake *intake;    /* listen: for what comes in */
    const struct endpoint_source *sources; /* connect: what to consume; borrowed, outlive the endpoint */
    size_t source_count;      /* whether routes lead to the endpoint is not told: they come and go while it is open */
};

/* What a person should know of the far end: settings that betray the promise, and what to do about them. */
enum finding_level {
    FINDING_NOTE,
    FINDING_WARNING, /* the promise holds until something happens (a restart, a full disk) */
    FINDING_ERROR,   /* it does not hold */
};

struct doctor {
    /* Texts are valid during the call. what: what is the case; advice: what to do. */
    void (*found)(struct doctor *d, enum finding_level level, const char *what, const char *advice);
    void (*done)(struct doctor *d); /* d is gone after it */
};

struct endpoint_status {
    const char *state;   /* "listening" | "up" | "connecting" | "down" | "refused" */
    const char *error;   /* last one, or NULL; borrowed until the next call */
    size_t connections;
    uint64_t received, sent; /* messages */
    uint64_t bad;            /* protocol errors of peers */
};

struct transport {
    struct config_transport conf; /* name, schemes, key tables */
    /* Opens an endpoint: a listener is bound when this returns; a connecting one starts dialling and
     * reports through its sink. conf is borrowed and outlives the endpoint. NULL with err set. */
    struct endpoint *(*open)(const struct endpoint_conf *conf, const struct endpoint_env *env,
                             struct err *err);
    struct sink *(*sink)(struct endpoint *e); /* NULL = cannot be a target */
    int (*listen_fd)(const struct endpoint *e); /* -1 = does not listen; borrowed */
    void (*set_tls)(struct endpoint *e, struct tls_context *tls); /* for new connections */
    void (*stop_intake)(struct endpoint *e);  /* draining: take nothing new, finish what is there */
    size_t (*busy)(const struct endpoint *e); /* askers still waiting, output still unwritten */
    /* Beside those: messages that the core has accepted and not settled, which would come again from the peer if the endpoint were
     * closed now. One that a reload replaces waits for them too. NULL = there are never any. */
    size_t (*unsettled)(const struct endpoint *e);
    void (*status)(const struct endpoint *e, struct endpoint_status *out);
    /* Asks the far end: found() any number of times, also from inside; then done() once, from the loop or at the latest from close();
     * whoever asked may have lost interest by then, and ask again: the earlier one is done first. Only while the endpoint
     * is up. NULL = there is nothing to ask. */
    void (*doctor)(struct endpoint *e, struct doctor *d);
    /* At once; withdraws its receipts, settles nothing. After a drain, but also without one. A reload that changes a connecting
     * endpoint or its sources opens the next, then stop_intake() is called, and close() when nothing is in hand any more
     * or drain_timeout is over: meanwhile both are there. */
    void (*close)(struct endpoint *e);
};
