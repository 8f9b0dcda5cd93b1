#pragma once
/* What the files of this folder share. */
#include "base/list.h"
#include "base/rand.h"
#include "delivery/hub.h"
#include "store/store_mem.h"
#include "world.h"

#define SINKS 5
#define GRAVE (SINKS - 1) /* where policies send what died */
#define ASKS_MAX 1024
#define SOURCES 2
#define ROUTES 6
#define SUBJECTS 6
#define WALL INT64_C(1700000000000)

struct fake_sink { /* a destination that holds what it is given until chance answers */
    struct sink sink; /* first */
    struct world *world;
    char name[16];
    struct list held; /* struct handover by link */
    size_t room;
    bool starved;
};

enum ask_state { ASK_UNUSED, ASK_OPEN, ASK_ANSWERED, ASK_WITHDRAWN, ASK_LOST /* with the process */ };

struct ask {
    enum ask_state state;
    bool request;
    bool durable;
    bool promised; /* told OK while its route was durable: has to end, whatever happens */
    bool ended;    /* delivered, dead or expired at least once */
    bool deduped;  /* copies of it are known */
    unsigned life, subject;
    size_t original; /* the one whose id it has: itself, unless it is a copy */
    int64_t born;    /* true time, as the next two */
    int64_t begins;  /* not to be handed over before */
    int64_t expires; /* not to expire before */
    int64_t at_wall; /* not to be handed over before the wall clock has said that; 0 = at once */
    bool said;       /* it has, whatever it said afterwards */
    struct receipt *receipt;
    struct handed {
        unsigned times, life, suspect; /* suspect: the attempt at which it was last handed over as one that a
                                          crash may have left in flight, in that life */
        int64_t until;      /* a pause: not to be handed over before */
        unsigned paused_in; /* life */
    } handed[SINKS + 1];
};

struct world {
    struct rand rand;
    int64_t now, armed; /* true time: it never steps, and goes on between lives */
    int64_t boot;       /* when the monotonic clock began */
    int64_t step;       /* the wall clock minus what it should say */
    int64_t trusted;    /* what was there before may be early: the clock was set forward, and no process saw it */
    int64_t told;       /* a durable message that came then was acknowledged: the store has been told the time */
    int64_t stepped;    /* when the clock was last set forward while a process lived */
    bool verbose;
    struct hub *hub;
    struct fake_sink sinks[SINKS], subscriber;
    bool subscribed;
    uint32_t subscription;
    struct intake *sources[SOURCES];
    struct waiter waiters[SOURCES];
    struct ask asks[ASKS_MAX];
    size_t ask_count;
    struct store_disk *disk; /* NULL = this seed has no store */
    struct store *store;
    bool faulted;    /* what it was asked for may not have been done */
    bool buries[2];  /* these policies send what died to the grave */
    bool dedupes[ROUTES];
    bool drops;      /* the store makes room by dropping its oldest */
    bool walking;    /* through dead letters, to change them */
    int64_t ttl_ms;  /* the shorter one of the policies' */
    uint64_t dropped, dropped_full; /* to make room: in this life; in the others */
    unsigned life; /* processes so far */
    unsigned armed_actions; /* swarm: which kinds of mischief this seed has */
    struct outcome_of_run *out;
};

/* sinks.c: the books, askers and destinations */
void note(struct world *w, const char *what, uint64_t number);
void broken(struct world *w, const char *what);
void on_tap(void *arg, const struct tap *t);
void on_resume(void *arg);
void sink_setup(struct world *w, struct fake_sink *f, const char *name, bool service);
struct handover *pick(struct world *w, struct fake_sink *f);
void answer(struct world *w, struct fake_sink *f, struct handover *h, enum outcome o, enum code code);
void lose_all(struct world *w, struct fake_sink *f);
extern const struct asker_ops asker_ops;

static inline void see(struct world *w, enum sight s)
{
    w->out->seen[s]++;
}

static inline uint64_t below(struct world *w, uint64_t bound)
{
    return rand_below(&w->rand, bound);
}

/* clock.c */
int64_t env_now(void *arg);
int64_t env_wall(void *arg);
void env_arm(void *arg, int64_t when_ms);
void move_clock(struct world *w, int64_t ms);
void do_clock(struct world *w);
void clock_while_down(struct world *w, bool all_kept); /* the process has ended; was all done that it asked of the store? */
void clock_put_right(struct world *w);
bool clock_says(const struct world *w, int64_t at_wall);

/* routes.c */
void use_routes(struct world *w);
int route_of(unsigned subject, size_t source); /* that is durable; -1 = none */
bool goes_to_grave(const struct world *w, const char *route);

/* chance.c */
extern const char *const subjects[SUBJECTS];
void chance(struct world *w); /* something happens, or nothing */
void do_store(struct world *w);
void do_subscription(struct world *w);

/* world.c */
void world_start(struct world *w);
