#pragma once
/*
 * The core: takes messages from intakes, finds their route, and carries each delivery through its
 * states until it ends. No socket, clock or file in it: time comes from the environment, so that
 * the simulator runs the same code. One loop owns it.
 *
 *     accepted -> ready -> inflight -> done
 *         |        ^ ^        |
 *                  | |        | RETRY (attempt + 1, back-off), HOLD (given back)
 *                  | +--------+------> waiting --(time)--> ready
 *                  |          +------> dead      REJECT, or attempts used up
 *         |        +-----------------> expired   ttl over      (from ready, waiting, inflight)
 *                                      dropped   withdrawn request, purge, dead letter not kept
 *
 *         +-> parked ---> ready        its destination has an order, and one of its key is before it
 *         +-> stored ---> ready        a durable one that is on disk only: beyond the window of its
 *                                      destination, or not due for a while
 *
 * Deliveries of durable routes are accepted when the store has them; what is in memory of them is
 * bounded, and the rest is read in order as it is handed over. A request is never stored. Where such a route
 * has `dedupe`, a further copy of a message is answered as the first one was, and goes nowhere.
 *
 * Conservation: every delivery accepted is in exactly one state; see struct hub_counts.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/map.h"
#include "config/config.h"
#include "msg/msg.h"
#include "route/matcher.h"
#include "store/store.h"
#include "transport/transport.h"

struct hub;
struct dest;
struct route;
struct route_set;

enum delivery_state {
    DELIVERY_NEW, DELIVERY_STORED, DELIVERY_READY, DELIVERY_PARKED, DELIVERY_WAITING, DELIVERY_INFLIGHT,
    DELIVERY_DONE, DELIVERY_DEAD, DELIVERY_EXPIRED, DELIVERY_DROPPED, DELIVERY_STATES
};

struct hub_env {
    void *arg;
    int64_t (*now)(void *arg);                /* monotonic ms */
    int64_t (*wall)(void *arg);               /* ms since 1970 */
    void (*arm)(void *arg, int64_t when_ms);  /* call hub_tick() at that time (replaces earlier wishes) */
    /* Calls fn(what), which only frees memory, once and on any thread; NULL = it is called at once. */
    void (*dispose)(void *arg, void (*fn)(void *what), void *what);
    struct log *log;                          /* may be NULL */
    uint64_t seed;                            /* 0 = from the kernel */
};

struct hub_limits {
    uint64_t memory; /* bytes of messages held; see share.c for what one destination may have of it */
    uint64_t queue;  /* deliveries waiting per destination */
    uint64_t dead;   /* dead letters held */
    uint64_t history;  /* bytes of notes for hub_why_stored(); 0 = none are taken */
    bool store_blocks; /* a full store holds its sources back instead of refusing (when_full: block) */
    bool store_drops;  /* one that is nearly full drops the oldest that are ready (when_full: drop-oldest) */
};

#define DRIFT_BUCKETS 6
extern const int64_t drift_bounds_ms[DRIFT_BUCKETS - 1]; /* 10, 100, 1000, …; the last bucket has none */

struct hub_counts {
    uint64_t accepted;                /* deliveries that ever were */
    uint64_t state[DELIVERY_STATES];  /* live states: now; end states: ever */
    uint64_t refused[CODE_COUNT];     /* messages not accepted, by reason */
    uint64_t retries, timeouts, late;
    uint64_t dropped_full;            /* of the dropped: to make room in the store */
    uint64_t drift[DRIFT_BUCKETS];    /* delayed messages by how late they were first handed over, each in one */
    uint64_t drift_sum_ms;
    uint64_t messages;                /* messages accepted (a fan-out counts once) */
    uint64_t duplicates;              /* messages whose first copy had been accepted: not among those */
};

struct hub *hub_new(const struct hub_env *env, const struct hub_limits *limits);
void hub_free(struct hub *h); /* ends every delivery as dropped without telling anybody; carriers are gone */
void hub_set_limits(struct hub *h, const struct hub_limits *limits);
void hub_set_sample(struct hub *h, double sample);
/* Before the first route and source. Takes over what the store holds; it outlives the hub's last call to
 * it. Times of the store become times of this life, and follow its monotonic clock; only `deliver-at` follows the
 * wall clock, which is looked at once a minute at least. */
void hub_use_store(struct hub *h, struct store *st);
struct store *hub_store(const struct hub *h); /* or NULL */
/* What is accepted and settled in between becomes durable together or not at all (a service's answer
 * and the messages it staged). An OK to a delivery counts once that is on disk; where there is no room
 * the delivery is tried again. Pairs nest; legal without a store, where it means nothing. */
void hub_group_begin(struct hub *h);
void hub_group_end(struct hub *h);
void hub_tick(struct hub *h); /* does what is due; arms for what comes next */
void hub_drain(struct hub *h, bool draining); /* a note for the sources, who refuse what is new */
bool hub_draining(const struct hub *h);

void hub_counts(const struct hub *h, struct hub_counts *out);
uint64_t hub_memory(const struct hub *h);
size_t hub_live(const struct hub *h); /* deliveries not yet ended */
size_t hub_deliverable(const struct hub *h); /* of those, the ones whose destination is up and that are not
                                                safe on disk; and what the store has not answered yet */

/* accepted minus all states, after recounting every list: 0 unless there is a bug. */
int64_t hub_unaccounted(const struct hub *h);
/* A carrier has refused a message before it offered it: counts among the others. */
void hub_refused(struct hub *h, enum code code);

/* ---- sources and destinations; both keep their address for the hub's life ---- */

/* Made at first use. key: as route_conf.source has it; name: the endpoint's. */
struct intake *hub_intake(struct hub *h, const char *key, const char *name);

/* Adopts a sink under its name (sink->name; borrowed). One destination per sink and name: a name
 * that is known without a sink (a route came first) is joined. */
struct dest *hub_adopt(struct hub *h, struct sink *sink);
/* The sink is about to go: it gets nothing more, and what it holds it may settle until hub_disown(). replaced: its successor is
 * adopted next; requests wait for that one to come up (2 s at most), where they would else be refused at once. */
void hub_part(struct hub *h, struct sink *sink, bool replaced);
size_t hub_held(const struct sink *sink); /* handovers that it has not settled */
/* The sink goes away: handovers it still holds count as lost (RETRY, unavailable), but are held against no successor. */
void hub_disown(struct hub *h, struct sink *sink);
struct dest *hub_dest(struct hub *h, const char *name, bool service); /* made at first use */

/* Deliveries to d that have the same key are handed over one after the other, in the order of their acceptance;
 * those of other keys, or none, do not wait for them. strict: the next one waits until the one before has ended for
 * good; else only while it is in flight. by: as in order.h, "header:key" or "json:customer"; NULL = no order. For what
 * is accepted from now on. */
void hub_set_order(struct dest *d, const char *by, bool strict);

struct dest_status {
    const char *name;
    bool service, up;
    bool routed; /* a route names it, or the store knows it; else a client has made it up */
    size_t ready, waiting, inflight;
    size_t parked;   /* behind another one of their key */
    uint64_t stored; /* on disk only, beside those */
    uint64_t memory; /* bytes held by those that are not stored */
    uint64_t done, failed, dead, retries;
    const char *breaker;
};
void dest_status(const struct dest *d, struct dest_status *out);
void hub_each_dest(struct hub *h, void (*fn)(void *arg, const struct dest_status *s), void *arg);

/* ---- routes ---- */

/* A set of routes that is used as a whole. Made without a hub, for instance in a thread of its own; whoever has it then is its
 * only user. owner (the configuration that the routes point into) is freed when the last delivery of its routes has ended. */
struct route_set *route_set_new(void *owner, void (*owner_free)(void *owner));
void route_set_add(struct route_set *s, const struct route_conf *r, const struct policy_conf *policy);
void route_set_default(struct route_set *s, const struct policy_conf *policy); /* for subscriptions */
/* Finds the destinations of its next `most` routes; true: all have theirs. What is left hub_use() does. */
bool route_set_bind(struct route_set *s, struct hub *h, size_t most);
void route_set_unref(struct route_set *s); /* of one that is not used after all; NULL is legal */
void hub_use(struct hub *h, struct route_set *set_take);

struct route_view {
    const char *name, *from, *match;
    const struct policy_conf *policy;
    const struct target_conf *to;
    size_t to_count;
    bool durable;
    const char *log; /* the event log that it appends to, or NULL */
    uint64_t matched;
};
void hub_each_route(const struct hub *h, void (*fn)(void *arg, const struct route_view *r), void *arg);
/* Which route takes this subject from this endpoint, or from one source of it (route_conf.source)?
 * false = none. Slices of subject in c. */
bool hub_explain(struct hub *h, const char *from, struct str subject, struct route_view *out,
                 struct captures *c);

/* ---- subscriptions at run time ---- */
uint32_t hub_subscribe(struct hub *h, struct str filter, struct dest *dest); /* events only */
void hub_unsubscribe(struct hub *h, uint32_t subscription);
/* Does nothing name this destination any more, and nothing wait for it? Then it may be retired. */
bool hub_forgettable(const struct dest *d);
/* The end of a destination that no route names; its waiting deliveries are dropped with it. */
void hub_retire(struct hub *h, struct dest *d);

/* ---- dead letters: in the store where there is one, else a bounded list in memory, which drops its
 * oldest when it is full; oldest first ---- */
struct dead_letter {
    struct list_node link;
    struct msg *msg;
    struct route *route; /* referenced; NULL from the store */
    const char *route_name;
    struct dest *dest;
    uint64_t number;     /* in the store */
    unsigned redrives;   /* how often it was sent again before */
    char *subject;       /* as the destination saw it */
    const struct target_conf *to; /* of the handover */
    bool sent_on;        /* it died at the policy's dead_letter.to */
    enum code reason;
    unsigned attempts;
    char *first_error, *last_error;
    int64_t accepted_wall_ms, time_wall_ms; /* when it was accepted, and when it died */
};
struct dead_query {
    struct str id, route, match; /* {NULL, 0} = any; match is a filter */
    size_t limit;                /* 0 = no limit */
};
void hub_each_dead(struct hub *h, const struct dead_query *q,
                   void (*fn)(void *arg, const struct dead_letter *d), void *arg);
size_t hub_dead_count(const struct hub *h);
size_t hub_redrive(struct hub *h, const struct dead_query *q, bool dry_run); /* dead -> ready, attempts anew */
size_t hub_purge(struct hub *h, const struct dead_query *q, bool dry_run);   /* dead -> dropped */

/* The same in the store: answered later, oldest first, any number of them; those that were there when it
 * was asked for. What has been sent again stays so when the walk ends early. */
#define DEAD_REDRIVES_MAX 5 /* one that has come back so often is passed over, unless it is named by its id */
enum dead_action { DEAD_LIST, DEAD_REDRIVE, DEAD_PURGE, DEAD_EDIT };
struct dead_walked {
    size_t count, skipped; /* skipped: passed over because they have come back too often (DEAD_EDIT: because its
                              headers would be too many) */
    size_t done, bad;      /* of a canary: those that were delivered, and those that were not, so far */
    size_t left;           /* of a canary that stopped: those that it did not send */
    bool stopped;
    bool failed;           /* the store could not be read to the end */
};
/* What DEAD_EDIT changes. {NULL, 0} = as it is. */
struct dead_content {
    struct str subject, body;
    struct str headers; /* a checked block: its lines take the place of all of their names; no value = no line */
};
struct dead_ask {
    struct dead_query query; /* copied */
    enum dead_action action;
    struct dead_content edit; /* copied */
    bool dry_run;
    /* DEAD_REDRIVE: the time between two (0 = none); and one, then ten, then the rest, each batch once the
     * one before it has ended, until one of them fails. */
    int64_t pause_us;
    bool canary;
    void (*moved)(void *arg, const struct dead_walked *sum); /* progress, now and then; NULL is legal */
    void (*each)(void *arg, const struct dead_letter *d); /* each that matches; NULL is legal */
    void (*done)(void *arg, const struct dead_walked *sum);
    void *arg;
};
struct dead_walk;
/* Needs hub_store(). NULL: another change is under way. */
struct dead_walk *hub_dead_walk(struct hub *h, const struct dead_ask *ask);
void hub_dead_walk_cancel(struct dead_walk *w); /* no call any more; what it has changed stays */
const char *route_name(const struct route *r);
const char *dest_name(const struct dest *d);

/* ---- audit ---- */
/* Recounts the store; done(arg, …) later, once. false: one is running, or there is no store. */
bool hub_audit(struct hub *h, store_audit_fn *done, void *arg);
void hub_audit_cancel(struct hub *h); /* no call any more; legal when none runs */

/* ---- history: what became of a message (history.h) ---- */
enum past_event {
    PAST_ACCEPTED,  /* onto disk only: for later, or behind many others */
    PAST_DONE, PAST_FAILED /* a request was answered with an error */,
    PAST_RETRY /* an attempt failed; again after pause_ms */, PAST_RELEASED /* given back */,
    PAST_DEAD, PAST_EXPIRED, PAST_DROPPED, PAST_DUPLICATE, PAST_REDRIVEN, PAST_PURGED,
    PAST_NOW /* not over: detail says what it waits for */, PAST_EVENTS
};
struct past { /* valid during the call only */
    enum past_event event;
    int64_t time_ms, accepted_ms, sent_ms; /* wall clock; 0 = not known, or not handed over */
    int64_t pause_ms;
    unsigned attempt;
    bool stored, request;
    bool told;           /* its source was answered at that time */
    uint64_t generation; /* of the configuration; 0 = not known */
    struct str source, subject, route, to, peer, cause, detail;
};
typedef void past_fn(void *arg, const struct past *p);
/* What is in memory: what has not ended, and notes that do not go to the store. In no order; fn is called at once. */
void hub_why_now(struct hub *h, struct str id, past_fn *fn, void *arg);
struct why_ask {
    struct str id; /* copied */
    past_fn *each;
    void (*done)(void *arg, bool complete); /* false: the store could not be read */
    void *arg;
};
struct why;
/* What is in the store, in order of time; needs hub_store(). Answered later. */
struct why *hub_why_stored(struct hub *h, const struct why_ask *ask);
void hub_why_cancel(struct why *w); /* no call any more */
void hub_flush(struct hub *h); /* notes that are in memory go to the store: before it is closed */

/* ---- tap ---- */
enum tap_event { TAP_ACCEPTED, TAP_DELIVERED, TAP_DONE, TAP_RETRY, TAP_DEAD, TAP_EXPIRED,
                 TAP_FAILED /* a request that was answered with an error */,
                 TAP_DUPLICATE /* not accepted: the first copy was */ };
struct tap {
    enum tap_event event;
    const struct msg *msg;
    const char *route, *to;
    unsigned attempt;
};
void hub_tap(struct hub *h, void (*fn)(void *arg, const struct tap *t), void *arg); /* NULL = off */
