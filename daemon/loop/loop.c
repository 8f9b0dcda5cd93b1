#include "loop/loop.h"

#include <assert.h>
#include <event2/event.h>
#include <signal.h>

#include "base/clock.h"
#include "base/mem.h"
#include "loop/impl.h"

#define LATER_FIRST 64

static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    assert(config != NULL);
    /* Our timers have their own descriptor, so libevent need not ask for the time in each turn. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    assert(base != NULL);
    return base;
}

struct loop *loop_new(struct log *log)
{
    struct loop *l = mem_zalloc(sizeof(*l));
    event_set_mem_functions(mem_alloc, mem_realloc, mem_free); /* libevent without memory is no state to go on in */
    l->log = log;
    l->base = base_new();
    l->clock = mem_zalloc(sizeof(*l->clock));
    l->timers = timers_new(l);
    l->streams = stream_hub_new(l);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* ulimit -f: who writes the file sees to it */
    return l;
}

static void loop_run_later(struct loop *l)
{
    for (size_t i = 0; i < l->later_count; i++) {
        struct later job = l->later[i]; /* the array may move while the job runs */
        job.fn(job.arg);
    }
    l->later_count = 0;
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    loop_run_later(l);
    for (int i = 0; i < 3 && l->resolver != NULL; i++) /* evdns answers a cancelled look-up later */
        loop_turn(l, false);
    stream_hub_free(l->streams);
    loop_run_later(l);
    for (struct loop_handler *h = l->handlers, *next; h != NULL; h = next) {
        next = h->next;
        event_free(h->event);
        mem_free(h);
    }
    timers_free(l->timers);
    event_base_free(l->base);
    mem_free(l->clock);
    mem_free(l->later);
    mem_free(l);
}

const int64_t loop_turn_bounds_ms[LOOP_TURN_BUCKETS - 1] = {1, 10, 100, 1000};

/* What it has read ahead of the wait is a part of it. */
static void end_turn(struct loop_clock *c)
{
    if (!c->fresh)
        return; /* nothing came */
    int64_t span = clock_mono_ms() - c->now;
    size_t i = 0;
    while (i < LOOP_TURN_BUCKETS - 1 && span > loop_turn_bounds_ms[i])
        i++;
    c->turns.count[i]++;
    c->turns.sum_ms += (uint64_t)span;
    if (span > c->turns.longest_ms)
        c->turns.longest_ms = span;
    c->fresh = false;
}

const struct loop_turns *loop_turns(const struct loop *l)
{
    return &l->clock->turns;
}

bool loop_turn(struct loop *l, bool wait)
{
    if (l->later_count > 0 || stream_hub_busy(l->streams))
        wait = false;
    stream_hub_ready(l->streams);
    timers_arm(l->timers);
    end_turn(l->clock);
    event_base_loop(l->base, EVLOOP_ONCE | (wait ? 0 : EVLOOP_NONBLOCK));
    loop_run_later(l);
    stream_hub_flush(l->streams);
    loop_run_later(l);
    stream_hub_reap(l->streams);
    return !l->stopped;
}

void loop_run(struct loop *l)
{
    l->stopped = false;
    l->clock->fresh = false; /* the start was no turn */
    while (loop_turn(l, true))
        continue;
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
}

struct log *loop_log(const struct loop *l)
{
    return l->log;
}

int64_t loop_now(const struct loop *l)
{
    struct loop_clock *c = l->clock;
    if (!c->fresh) {
        c->now = clock_mono_ms();
        c->fresh = true;
    }
    return c->now;
}

void loop_later(struct loop *l, loop_fn *fn, void *arg)
{
    if (l->later_count == l->later_cap) {
        l->later_cap = l->later_cap > 0 ? l->later_cap * 2 : LATER_FIRST;
        l->later = mem_realloc(l->later, l->later_cap * sizeof(*l->later));
    }
    l->later[l->later_count++] = (struct later){fn, arg};
}

static void loop_on_signal(evutil_socket_t signo, short what, void *arg)
{
    struct loop_handler *h = arg;
    (void)signo;
    (void)what;
    loop_woke(h->loop);
    h->fn(h->arg);
}

void loop_signal(struct loop *l, int signo, loop_fn *fn, void *arg)
{
    struct loop_handler *h = mem_zalloc(sizeof(*h));
    h->loop = l;
    h->fn = fn;
    h->arg = arg;
    h->event = event_new(l->base, signo, EV_SIGNAL | EV_PERSIST, loop_on_signal, h);
    assert(h->event != NULL);
    event_add(h->event, NULL);
    h->next = l->handlers;
    l->handlers = h;
}

struct event_base *loop_base(const struct loop *l)
{
    return l->base;
}
