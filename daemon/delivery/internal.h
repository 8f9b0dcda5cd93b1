#pragma once
/* What the files of this folder share; nobody else includes it. */
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "delivery/breaker.h"
#include "delivery/hub.h"
#include "delivery/sched.h"
#include "store/store.h"
#include "store/store_log.h"

#define TARGET_DEAD UINT32_MAX /* as a delivery's target: it is a dead letter that was sent on */

/* What a struct due is embedded in. */
enum { DUE_DELIVERY, DUE_PROBE, DUE_ARRIVAL, DUE_SUSPECT, DUE_STORE, DUE_WALK, DUE_LOGS, DUE_REPLAY, DUE_HISTORY };

struct source { /* one intake and the routes of its key */
    struct intake intake; /* first */
    struct hub *hub;
    char *key, *name;
    const struct source_routes *routes; /* of the set in use, or NULL */
};

struct source_routes {
    struct matcher *matcher; /* value = index into set->routes */
};

struct route_target {
    struct dest *dest;
    const struct target_conf *conf;
};

struct route {
    struct route_set *set; /* a reference is counted per live delivery */
    const struct route_conf *conf;
    const struct policy_conf *policy;
    struct route_target *targets;
    struct route_target dead_to; /* of the policy; dest NULL = none */
    struct noted noted;
    struct hub_log *log; /* NULL = none, or none could be made */
    uint64_t matched;
};

struct log_removed; /* log.h */

struct hub_log { /* an event log of the store */
    struct hub *hub;
    uint32_t number;
    int64_t keep_ms;   /* as the routes in use say */
    uint64_t max_size;
    bool trimming;
    bool removing;             /* log_remove.c */
    void (*removed)(void *arg, const struct log_removed *r); /* NULL = nobody waits for it */
    void *removed_arg;
    struct log_removed *gone;  /* so far; owned while it is being removed */
    struct list readers, followers; /* struct log_reader; followers wait for more */
};

/* What the store keeps of a destination, and how much of it is in memory. */
struct backlog {
    uint32_t queue;    /* of the store; 0 = nothing of it was ever stored */
    uint64_t paged;    /* ready ones that are on disk only, all behind `through` */
    uint64_t delayed;  /* those not due yet, on disk only */
    uint64_t moving;   /* dead letters from elsewhere that are on their way to disk, to be paged */
    uint64_t overdue;  /* they fell due in this life when there was no room for them, on disk only: durable_overdue.c */
    uint64_t left;     /* ready ones not behind `through`, on disk only: left there by their lanes */
    uint64_t through;  /* key up to which ready ones were taken into memory */
    size_t held, held_bytes; /* stored ones in memory */
    bool loading;      /* a store_load() is under way */
    bool arming;       /* the attempts of some are being put on disk; nothing is handed over before */
    uint64_t saves, saved; /* attempts on their way to disk so far, and those of them that are there */
};

/* Deliveries that are on disk only. */
static inline uint64_t backlog_stored(const struct backlog *b)
{
    return b->paged + b->delayed + b->overdue + b->left + b->moving;
}

struct route_set {
    struct hub *hub; /* NULL until route_set_bind() */
    uint64_t generation; /* 1, 2, … */
    size_t refs; /* the hub's one, and one per live delivery or dead letter */
    void *owner;
    void (*owner_free)(void *owner);
    struct route **routes;
    size_t count, cap;
    size_t bound; /* so many of the first have their destinations */
    struct map sources; /* key -> struct source_routes */
    struct map by_name; /* name -> struct route; filled when first needed */
    struct route subscriptions; /* the route of deliveries to subscriptions */
};

/* How those that fell due and found no room are read again. */
struct overdue {
    struct list_node link; /* in hub->overdue, where there are any */
    int64_t since_ms;      /* … since this time */
    uint64_t from;         /* where reading goes on; 0 = at the first of them */
    bool found;            /* one at least was taken since it began at the first */
    int64_t rest_until_ms; /* none was */
    bool reading;
    struct idmap held;     /* keys of those in memory that were delayed in this life -> delivery … */
    struct buf gone;       /* … and, reading, the keys (uint64_t) of those that have left it meanwhile: still there */
};

/* Of the memory, with deliveries that are not stored: share.c. */
struct share {
    uint64_t bytes, wake_below;
    struct list waiters; /* sources, until it holds less */
};

struct dest {
    struct hub *hub;
    char *name;
    bool service;
    size_t routed; /* routes and dead letters that name it */
    struct sink *sink; /* who gets what is ready; NULL = nobody has come yet */
    size_t parted;     /* sinks that have left and may still settle what they hold */
    bool awaited;      /* a successor of the sink that has left is on its way: see hub_part() */
    struct due arrival; /* when it is given up */
    struct breaker breaker;
    struct breaker_conf breaker_conf; /* of the policy whose delivery failed last */
    struct list ready, parked, waiting, inflight; /* struct delivery by link */
    struct map lanes;   /* key -> struct lane (lane.c) */
    struct list hungry; /* struct lane: durable_lane.c */
    struct order *order; /* NULL = none */
    bool order_strict;
    bool pumping;       /* dest_pump() is at work further up */
    struct list_node unpumped; /* in hub->unpumped */
    struct list waiters;                  /* sources that wait for room */
    struct due probe;                     /* open breaker: when to try again */
    struct backlog backlog;
    struct overdue overdue;
    struct share share;
    struct noted noted;
    size_t suspects;      /* handed over alone: one at most */
    struct due suspect;   /* poison.c: the first one has waited long enough for empty hands */
    uint64_t suspect_number; /* which delivery that is … */
    int64_t suspect_since_ms; /* … and since when it has been waiting */
    uint64_t done, failed, dead, retries;
};

struct receipt {
    struct hub *hub;
    struct asker asker; /* ops NULL = withdrawn */
    struct delivery *request; /* the delivery whose reply is awaited, or NULL for events */
    size_t open;        /* deliveries not yet ended that count for it */
    enum code code;     /* events: the first thing that went wrong */
    char *detail;
    bool lost;          /* events: something went wrong with one of which no dead letter is on disk */
    struct receipt *next; /* among the hub's spare ones */
};

struct delivery {
    struct handover h; /* first */
    struct list_node link;
    struct due due;
    enum delivery_state state;
    unsigned crashes;        /* of a service that held nothing else */
    struct dest *dest;
    struct route *route;
    struct receipt *receipt; /* NULL = nobody asks */
    int64_t deadline_ms;     /* ttl of an event, patience of a request's asker; SCHED_NEVER */
    bool patient;            /* WAIT may move the deadline: the asker named none of its own */
    bool streamed;
    bool shares;             /* it counts for its destination's share */
    bool delayed;            /* stored as not yet due */
    bool old;                /* from an earlier life that ended badly: may have been handed over then */
    bool armed;              /* old, and its next attempt is on disk */
    bool taken;              /* was delayed in this life: no load of its queue brings it */
    bool settling;           /* answered with OK; done once the unit that says so is on disk */
    bool lone;               /* in flight as a suspect */
    bool drifts;             /* it was delayed, and not handed over yet … */
    int64_t due_at_ms;       /* … since this time; monotonic, of this life or before it */
    int64_t sent_ms;         /* when it was handed over for this attempt; 0 = it is not */
    struct sink *sink;       /* in flight: to whom */
    struct lane *lane;       /* NULL = in no order */
    struct list_node lane_link;
    char *crash_pids;        /* "123, 456"; owned */
    uint64_t number;         /* of acceptance */
    uint64_t key;            /* in the store; 0 = not stored */
    uint64_t save;           /* which of its destination's saves holds its attempts */
    uint32_t target, redrives;
    char *origin;            /* the name of its route, where that is no more; owned */
    size_t charge;           /* bytes counted against the memory limit */
    uint64_t id_hash;        /* history_hash() of the message's id, which is far away by the time of its end */
    char *subject;           /* owned when it differs from the message's */
    char *first_error, *last_error;
};

struct subscription {
    struct dest *dest; /* NULL = free slot */
    char *filter;
};

/* One destination of one message, as planned before anything is accepted. */
struct plan {
    struct dest *dest;
    struct route *route;
    const struct target_conf *to; /* NULL for a subscription */
    uint32_t target; /* its place in the route's `to` */
    bool durable;    /* set by plan_check() */
};

struct hub {
    struct hub_env env;
    struct hub_limits limits;
    struct msg_factory factory;
    struct sched sched;
    int64_t armed_ms;
    struct map sources, dests;
    struct buf lane_key;                /* scratch of lane.c */
    struct route_set *routes;
    struct matcher *subscriptions;      /* value = index into subscribers */
    struct subscription *subscribers;
    uint32_t subscriber_count;
    struct plan *plans;                 /* scratch of hub_accept() */
    size_t plan_count, plan_cap;
    const struct route *logged;         /* of the message planned: where it is to be appended, or NULL */
    struct map logs;                    /* name -> struct hub_log */
    struct due log_due;                 /* the next look at their age and size */
    struct list replays;                /* struct replay */
    struct list dead;
    struct list walks;           /* dead_store.c */
    bool dead_changing;
    store_audit_fn *audit_done;  /* of the audit that runs, unless it was cancelled */
    void *audit_arg;
    bool auditing;
    size_t dead_bytes;
    struct list memory_waiters;
    const char *why;             /* of the message that is being refused: why_text, or NULL */
    char why_text[512];
    uint64_t memory;
    uint64_t numbers;            /* of deliveries so far */
    struct store *store;         /* NULL = none */
    struct idmap queues;         /* of the store -> struct dest */
    struct list accepting, deferring; /* durable.c: what the store has not answered yet */
    struct list burying;              /* dead_tell.c: likewise */
    struct list store_waiters;   /* sources that wait for the store */
    struct due store_due;        /* when the next delayed one on disk is due */
    uint64_t old_below;          /* smaller numbers are of lives that ended badly; 0 = none did */
    int64_t store_due_ms;        /* its time; SCHED_NEVER = none */
    int64_t store_offset_ms;     /* the store's time minus monotonic */
    int64_t drop_debt;           /* durable_drop.c: bytes that are still to be dropped */
    int64_t drops_told_ms;
    uint64_t drops_untold;
    bool taking, take_again;     /* a store_take_due() is under way; something fell due meanwhile */
    struct list overdue;         /* struct dest by overdue.link */
    unsigned group;              /* depth of hub_group_begin() */
    struct list unpumped;        /* struct dest: dest_pump() waits for the end of the group */
    struct delivery *spare; /* ended ones, kept for the next, linked by h.carrier */
    struct receipt *spare_receipt;
    size_t spares, spare_receipts;
    struct hub_counts counts;
    bool draining;
    bool paying;                 /* durable_pay() is at work further up */
    bool again;                  /* what is being accepted is a replay: no copy */
    struct history *history; /* NULL until there is a limit for it */
    struct list whys;        /* why.c */
    uint64_t generations;    /* of routes so far */
    void (*tap)(void *arg, const struct tap *t);
    void *tap_arg;
};

int64_t hub_now(struct hub *h);
int64_t hub_wall(struct hub *h); /* ms since 1970 */
void hub_arm(struct hub *h); /* after something was scheduled */
void hub_schedule(struct hub *h, struct due *d, int64_t span_ms, bool regular);
void hub_schedule_from(struct hub *h, struct due *d, int64_t now, int64_t span_ms, bool regular); /* who knows the time */
void hub_release_memory(struct hub *h, size_t bytes);
void hub_tell_tap(struct hub *h, enum tap_event event, const struct delivery *d);
static inline void hub_trace(struct hub *h, enum tap_event event, const struct delivery *d)
{
    if (h->tap != NULL)
        hub_tell_tap(h, event, d);
}

/* dest.c */
extern const struct sink_up dest_up;
void dest_free(struct dest *d);
bool dest_is_up(const struct dest *d);
static inline bool dest_is_there(const struct dest *d) /* or will be in a moment: requests wait that long */
{
    return dest_is_up(d) || d->awaited;
}
void dest_pump(struct dest *d);
enum code dest_room(struct dest *d, const struct msg *m, enum msg_kind kind, struct waiter *w);
void dest_wake(struct dest *d);
void dest_failed(struct dest *d, const struct delivery *v, enum code code);
void dest_due(struct dest *d);
void dest_came(struct dest *d); /* its sink is up */
void dest_arrival_due(struct dest *d);

/* share.c: has d room for one more that is not stored? Of dest_room(); where there is none, hub.why says so. */
enum code share_room(struct dest *d, const struct msg *m, enum msg_kind kind, struct waiter *w);
void share_release(struct dest *d, size_t bytes);

/* delivery.c */
void delivery_spares_free(struct hub *h);
struct receipt *receipt_new(struct hub *h, const struct asker *asker); /* NULL where nobody asks */
struct delivery *delivery_new(struct hub *h, struct msg *m, enum msg_kind kind, const struct plan *p,
                              const struct captures *c);
void delivery_ready(struct delivery *v);
void delivery_sent(struct delivery *v, int64_t now);
void delivery_settle(struct delivery *v, const struct settlement *s);
void delivery_undone(struct delivery *v, const struct settlement *s); /* settled, which could not be stored: the same,
                                                                         but nothing that its destination is to blame for */
bool delivery_more(struct delivery *v, const struct reply *item, struct waiter *w);
void delivery_extend(struct delivery *v);
void delivery_due(struct delivery *v);
void delivery_drop(struct delivery *v);    /* nobody wants it any more */
void delivery_refuse(struct delivery *v, enum code code, const char *why); /* a request that cannot be sent */
/* The same, since nobody is up; another code where an earlier attempt may have done it. */
void delivery_refuse_nobody(struct delivery *v);

bool delivery_is_live(enum delivery_state s);
void delivery_discard(struct delivery *v);  /* frees one that is in no list and in no books */
void delivery_done(struct delivery *v, const struct reply *reply);
void delivery_die(struct delivery *v, enum code code, const char *why);
const char *delivery_route(const struct delivery *v);

void delivery_leave(struct delivery *v);  /* PARKED -> STORED: it is in no lane, and leaves memory */
void delivery_unpark(struct delivery *v); /* PARKED -> READY; the caller sees to dest_pump() */

/* lane.c: order within a key */
bool lane_enter_order(struct delivery *v);
static inline bool lane_enter(struct delivery *v) /* false: another one of its key is out, it has to be parked */
{
    return (v->dest->order == NULL && v->lane == NULL) || lane_enter_order(v);
}
void lane_pause(struct delivery *v); /* it will wait for its next attempt */
void lane_leave(struct delivery *v); /* the next one of its key is unparked; legal when in no lane */
void lanes_fini(struct dest *d);
/* Of a stored one that is about to come into memory: its lane has enough there, it is to stay on disk and is counted. */
bool lane_leaves(const struct delivery *v);
bool lane_crowded(const struct delivery *v); /* of one that fell due: too many are in its lane */

/* durable_lane.c */
bool durable_feed(struct dest *d); /* begins a load for a lane that is hungry; false: none is */

/* dedupe.c: what stands for it, appended to name; false: a copy cannot be told from another message. */
bool dedupe_name(const struct route *r, const struct msg *m, struct buf *name);

/* poison.c: messages that services die of */
void poison_note(struct delivery *v, const struct settlement *s); /* h.alone, crashes and last_error tell of it */
bool poison_is(const struct delivery *v); /* it has died of it often enough */
/* A suspect cannot be handed over: nobody has empty hands. false: what stands behind it goes past it. */
bool poison_holds_up(struct delivery *v, int64_t now);
void poison_wait_ends(struct delivery *v, int64_t now); /* of the first in the queue: one that has waited too long is no suspect any more */
void poison_restore(struct delivery *v); /* what last_error tells: whether it goes alone, and process ids */

/* durable.c: what is on disk and what of it is in memory */
bool durable_wanted(const struct hub *h, const struct plan *p, enum msg_kind kind, const struct msg *m);
enum code durable_room(struct dest *d, const struct msg *m, struct waiter *w);
enum code store_room(struct hub *h, const struct msg *m, struct waiter *w);
/* a: of the same message, or NULL at first. The first appends the message to the log of its route; deliveries
 * that are not durable may then be held back until it is there. */
struct acceptance *durable_log(struct hub *h, const struct route *r, const struct msg *m);
void durable_hold_back(struct acceptance *a, struct delivery *v);
struct acceptance *durable_accept(struct hub *h, struct acceptance *a, struct delivery *v);
bool durable_guarded(const struct acceptance *a); /* it may turn out to be a copy */
/* The last call for this message. whole: it is accepted with these, else it was without them. */
void durable_accepted(struct acceptance *a, struct receipt *r, bool whole);
void durable_end(struct delivery *v, enum delivery_state how);
bool durable_wait(struct delivery *v, int64_t span_ms); /* true: it is to leave memory */
void durable_bury(struct delivery *v, enum code reason);
/* New, into the store in place of the one under the key `from` (0 = of none), in one step; consumed. Never for want of
 * room. False: its destination can have no queue, nothing was done. */
bool durable_move(struct delivery *v_take, uint64_t from);
bool durable_defer(struct delivery *v, const struct settlement *s);
void durable_undefer(struct dest *d); /* it goes away: what is being accepted or settled there is dropped */
void durable_refill(struct dest *d);    /* more from disk, where there is room for it */
void durable_forget(struct hub *h);
void durable_hold(struct delivery *v);    /* it is in memory now, or (release) no more */
void durable_release(struct delivery *v);
void durable_page(struct dest *d, uint64_t *where, int64_t by); /* so many more are on disk only */
void durable_take(struct dest *d, const struct store_record *r); /* into memory, and on its way */
void durable_each_accepting(struct hub *h, void (*fn)(void *arg, const struct delivery *v), void *arg);
uint64_t durable_stored(const struct hub *h); /* deliveries that are on disk only */

void durable_quarantined(struct dest *d, uint64_t count); /* rows that a load has found damaged; 0 is legal */
bool durable_half_free(const struct dest *d); /* time to read more of it */
struct delivery *durable_restore(struct dest *d, const struct store_record *r); /* NULL: it could not be, and was ended */
bool durable_full(const struct dest *d); /* there is no room in memory for more of it */

/* durable_due.c: when stored ones are due */
void durable_drift(struct delivery *v); /* a delayed one is handed over for the first time */
int64_t durable_time(struct hub *h);    /* the store's (store.h) */
int64_t durable_wall(struct hub *h, int64_t store_ms); /* such a time, by the wall clock */
void durable_set_time(struct hub *h, const struct store_stats *s); /* at the start */
void durable_tell_time(struct hub *h);  /* to the store: before what is put there */
void durable_set_due(struct delivery *v, struct store_record *r); /* of one that is accepted */
void durable_note_due(struct hub *h, bool by_wall, int64_t due_ms); /* durable_due() is to be called then */
void durable_look(struct hub *h);       /* … at once */
void durable_due(struct hub *h);

bool durable_take_due(struct dest *d, const struct store_record *r, int64_t due_at_ms); /* false: its lane has enough
                                                                                           in memory */

/* durable_overdue.c: due, but there is no room in memory */
void durable_put_off(struct dest *d); /* one more, which store_take_due() has handed out */
void durable_overdue_feed(struct dest *d); /* some of them come into memory, where there is room again; never inside a load */
void durable_overdue_look(struct hub *h);  /* likewise for all destinations, and for those that rest */
void durable_overdue_hold(struct delivery *v); /* it was delayed, and is in memory now; or not any more */
void durable_overdue_release(struct delivery *v);
void durable_overdue_fini(struct dest *d);

/* durable_arm.c */
bool durable_ready(struct delivery *v); /* may it be handed over now? false: later, dest_pump() is called */

/* durable_drop.c */
void durable_owe(struct hub *h, size_t bytes); /* so much is about to be put; called outside units */
void durable_pay(struct hub *h);
/* What was handed to the store before has to be on disk before so much more is: there may be no room for both. */
bool durable_crowded(const struct hub *h, const struct store_stats *s, size_t bytes);

/* routes.c */
struct route *route_named(struct route_set *s, struct str name); /* or NULL */
void route_captures(const struct route *r, struct str subject, struct captures *c); /* c: as the matcher has it */

/* why.c */
void whys_clear(struct hub *h);
/* log.c, replay.c */
const struct route *log_route(const struct hub_log *l); /* one that appends to it, or NULL */
bool log_is_there(const struct hub_log *l); /* it was not removed, or a route names it */
void log_remove_fini(struct hub_log *l);
struct hub_log *log_named(struct hub *h, struct str name); /* made at first use; NULL: there are too many, or no store */
void logs_adopt(struct hub *h); /* at the start */
void logs_use(struct hub *h);   /* other routes are in use */
void logs_due(struct hub *h);
void log_wake(struct hub_log *l);
void hub_logs_free(struct hub *h);
void replay_due(struct due *due);
void replays_free(struct hub *h);

/* hub.c: to the targets of a route, or to one of them, without an asker and without its log */
enum code hub_send_again(struct hub *h, struct route *r, struct msg *m, const char *service, struct waiter *w);

/* dead.c */
void dead_add(struct hub *h, struct delivery *v, enum code reason);
bool dead_edit(struct hub *h, const struct dead_letter *d, const struct dead_content *c, bool dry_run); /* false: too many headers */
void dead_clear(struct hub *h);
/* One delivery of r has ended; the asker hears of it when the last one has. kept: as struct reply has it. */
void receipt_end(struct receipt *r, const struct reply *reply, bool kept);
/* Inside the unit that buries v: its receipt, if it has one, ends when that is on disk. */
void dead_tell(struct delivery *v, const struct reply *reply);
void dead_tells_forget(struct hub *h); /* the process ends: nobody is told */
bool dead_copy(struct delivery *v, enum code reason); /* false: it goes nowhere and is to be kept. Else it ends as dead,
                                                         and there is no dead letter */
void dead_walks_clear(struct hub *h);
void dead_walk_due(struct due *due);
void dead_ended(struct hub *h, uint64_t key, enum delivery_state how); /* a stored delivery; for canaries */
