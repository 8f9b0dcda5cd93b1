#include "loop/post.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop/impl.h"

struct post {
    struct loop *loop;
    void (*fn)(void *arg, void *job);
    void *arg;
    struct event *event;
    int fd;
    pthread_mutex_t lock; /* guards what follows */
    void **jobs;
    size_t count, cap;
};

static void post_run(struct post *p)
{
    pthread_mutex_lock(&p->lock);
    void **jobs = p->jobs;
    size_t count = p->count;
    p->jobs = NULL;
    p->count = p->cap = 0;
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < count; i++)
        p->fn(p->arg, jobs[i]);
    mem_free(jobs);
}

static void post_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct post *p = arg;
    (void)fd;
    (void)what;
    loop_woke(p->loop);
    post_run(p);
}

struct post *post_new(struct loop *l, void (*fn)(void *arg, void *job), void *arg)
{
    struct post *p = mem_zalloc(sizeof(*p));
    p->loop = l;
    p->fn = fn;
    p->arg = arg;
    p->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(p->fd >= 0);
    pthread_mutex_init(&p->lock, NULL);
    /* Edge-triggered: every write is an edge, so that it need not be read. */
    p->event = event_new(l->base, p->fd, EV_READ | EV_PERSIST | EV_ET, post_on_event, p);
    assert(p->event != NULL);
    event_add(p->event, NULL);
    return p;
}

void post_send(struct post *p, void *job)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&p->lock);
    if (p->count == p->cap) {
        p->cap = p->cap > 0 ? p->cap * 2 : 16;
        p->jobs = mem_realloc(p->jobs, p->cap * sizeof(*p->jobs));
    }
    p->jobs[p->count++] = job;
    bool first = p->count == 1; /* of a batch: it wakes the loop, which is not to wait for the lock then */
    pthread_mutex_unlock(&p->lock);
    while (first && write(p->fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

void post_free(struct post *p)
{
    if (p == NULL)
        return;
    post_run(p);
    event_free(p->event);
    close(p->fd);
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
}
