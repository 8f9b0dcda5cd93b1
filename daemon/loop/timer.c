#include "loop/timer.h"

#include <assert.h>
#include <event2/event.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/mem.h"
#include "loop/impl.h"

/* One timerfd for all timers, set only when the earliest one is earlier than what it is set to:
 * a timer that keeps moving later costs no system call until the old time has passed. */
struct timers {
    struct loop *loop;
    struct heap heap;
    struct event *event;
    int fd;
    int64_t armed; /* INT64_MAX = not set */
};

struct timer {
    struct heap_node node;
    struct loop *loop;
    loop_fn *fn;
    void *arg;
};

static void timers_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct timers *t = arg;
    int64_t now = loop_now(t->loop);
    (void)fd;
    (void)what;
    t->armed = INT64_MAX;
    /* The count bounds the turn when a callback sets its timer to a time already past. */
    for (size_t most = t->heap.count; most > 0; most--) {
        struct heap_node *n = heap_min(&t->heap);
        if (n == NULL || n->key > now)
            return;
        heap_remove(&t->heap, n);
        struct timer *due = CONTAINER_OF(n, struct timer, node);
        due->fn(due->arg);
    }
}

struct timers *timers_new(struct loop *l)
{
    struct timers *t = mem_zalloc(sizeof(*t));
    t->loop = l;
    t->armed = INT64_MAX;
    t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    assert(t->fd >= 0);
    /* Edge-triggered: setting it again clears it, so that it need not be read. */
    t->event = event_new(l->base, t->fd, EV_READ | EV_PERSIST | EV_ET, timers_on_event, t);
    assert(t->event != NULL);
    event_add(t->event, NULL);
    return t;
}

void timers_free(struct timers *t)
{
    event_free(t->event);
    close(t->fd);
    heap_fini(&t->heap);
    mem_free(t);
}

void timers_arm(struct timers *t)
{
    struct heap_node *n = heap_min(&t->heap);
    if (n == NULL || n->key >= t->armed)
        return;
    int64_t when = n->key > 0 ? n->key : 1; /* 0 would disarm */
    struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(when / 1000),
                                           .tv_nsec = (long)(when % 1000) * 1000000}};
    int rc = timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &spec, NULL);
    assert(rc == 0);
    t->armed = n->key;
}

struct timer *timer_new(struct loop *l, loop_fn *fn, void *arg)
{
    struct timer *t = mem_zalloc(sizeof(*t));
    t->loop = l;
    t->fn = fn;
    t->arg = arg;
    return t;
}

void timer_free(struct timer *t)
{
    if (t == NULL)
        return;
    timer_stop(t);
    mem_free(t);
}

void timer_at(struct timer *t, int64_t when_ms)
{
    timer_stop(t);
    heap_push(&t->loop->timers->heap, &t->node, when_ms);
}

void timer_after(struct timer *t, int64_t delay_ms)
{
    /* now is cut to whole ms: one more keeps the timer from being early */
    timer_at(t, loop_now(t->loop) + (delay_ms > 0 ? delay_ms + 1 : 0));
}

void timer_stop(struct timer *t)
{
    heap_remove(&t->loop->timers->heap, &t->node);
}
