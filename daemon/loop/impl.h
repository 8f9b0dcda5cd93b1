#pragma once
/* What the files of this folder know of the loop and of each other. Not for other folders. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"

struct event;
struct event_base;
struct resolver;
struct stream_hub;
struct timers;

struct later {
    loop_fn *fn;
    void *arg;
};

struct loop_clock {
    int64_t now;
    bool fresh; /* read in this turn */
    struct loop_turns turns;
};

struct loop_handler {
    struct loop *loop;
    struct event *event;
    loop_fn *fn;
    void *arg;
    struct loop_handler *next;
};

struct loop {
    struct log *log;
    struct event_base *base;
    struct loop_clock *clock;
    struct timers *timers;
    struct stream_hub *streams;
    struct resolver *resolver; /* NULL until a name is looked up */
    struct later *later;
    size_t later_count, later_cap;
    struct loop_handler *handlers;
    bool stopped;
};

/* First in whatever libevent calls: a turn is as long as it is since then. */
static inline void loop_woke(const struct loop *l)
{
    loop_now(l);
}

/* timer.c: timers_arm() before each wait; at most one system call. */
struct timers *timers_new(struct loop *l);
void timers_free(struct timers *t);
void timers_arm(struct timers *t);

/* stream.c, once a turn each: ready = those that go on without an event (before the wait);
 * flush = what has output; reap = frees the closed ones. */
struct stream_hub *stream_hub_new(struct loop *l);
void stream_hub_free(struct stream_hub *h);
bool stream_hub_busy(const struct stream_hub *h); /* something is to be done without an event */
void stream_hub_ready(struct stream_hub *h);
void stream_hub_flush(struct stream_hub *h);
void stream_hub_reap(struct stream_hub *h);
