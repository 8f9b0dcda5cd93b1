#include "loop/poller.h"

#include <assert.h>
#include <event2/event.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop/impl.h"

#define READY_MOST 1024 /* a turn; the others in the next */

struct poller {
    struct loop *loop;
    poller_fn *fn;
    struct event *event;
    int fd;
    struct epoll_event ready[READY_MOST];
};

static void poller_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct poller *p = arg;
    (void)what;
    loop_woke(p->loop);
    int count = epoll_wait(fd, p->ready, READY_MOST, 0);
    for (int i = 0; i < count; i++)
        p->fn(p->ready[i].data.ptr, p->ready[i].events);
}

struct poller *poller_new(struct loop *l, poller_fn *fn)
{
    struct poller *p = mem_zalloc(sizeof(*p));
    p->loop = l;
    p->fn = fn;
    p->fd = epoll_create1(EPOLL_CLOEXEC);
    assert(p->fd >= 0);
    p->event = event_new(l->base, p->fd, EV_READ | EV_PERSIST, poller_on_event, p);
    assert(p->event != NULL);
    event_add(p->event, NULL);
    return p;
}

void poller_free(struct poller *p)
{
    event_free(p->event);
    close(p->fd);
    mem_free(p);
}

bool poller_watch(struct poller *p, int fd, uint32_t before, uint32_t want, void *arg)
{
    int how = before == 0 ? EPOLL_CTL_ADD : want != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    return epoll_ctl(p->fd, how, fd, &(struct epoll_event){.events = want, .data.ptr = arg}) == 0;
}
