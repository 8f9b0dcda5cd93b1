#include "loop/listen.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "loop/impl.h"
#include "loop/listen_socket.h"
#include "loop/timer.h"

#define ACCEPT_MAX 64
#define STARVED_MS 100

struct listener {
    struct loop *loop;
    listen_fn *fn;
    void *arg;
    struct event *event;
    struct timer *rest;
    struct listen_socket socket;
    int spare; /* given up to turn a caller away when there are no descriptors left */
    bool paused, starved, closed;
};

static void listen_watch(struct listener *n)
{
    if (n->paused || n->starved)
        event_del(n->event);
    else
        event_add(n->event, NULL);
}

static int spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Without this the caller at the front would wait for a descriptor that may never come. */
static void listen_starve(struct listener *n, int error)
{
    log_write(loop_log(n->loop), LOG_WARN, "accept_failed", "address", n->socket.address, "reason",
              strerror(error), NULL);
    if (n->spare >= 0) {
        close(n->spare);
        int fd = accept4(n->socket.fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        n->spare = spare_open();
    }
    n->starved = true;
    listen_watch(n);
    timer_after(n->rest, STARVED_MS);
}

static void listen_on_rest(void *arg)
{
    struct listener *n = arg;
    if (n->spare < 0)
        n->spare = spare_open();
    n->starved = false;
    listen_watch(n);
}

static void listen_on_event(evutil_socket_t listening, short what, void *arg)
{
    struct listener *n = arg;
    (void)what;
    loop_woke(n->loop);
    for (int i = 0; i < ACCEPT_MAX && !n->paused && !n->closed; i++) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            n->fn(n->arg, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listen_starve(n, errno);
            return;
        }
        /* Any other error is that of one connection which has gone: accept(2) */
    }
}

struct listener *listen_open(struct loop *l, const struct listen_spec *spec, listen_fn *fn, void *arg,
                             struct err *err)
{
    struct listen_socket socket;
    if (!listen_socket_open(&socket, spec, err))
        return NULL;
    struct listener *n = mem_zalloc(sizeof(*n));
    n->loop = l;
    n->fn = fn;
    n->arg = arg;
    n->socket = socket;
    n->spare = spare_open();
    n->rest = timer_new(l, listen_on_rest, n);
    n->event = event_new(l->base, socket.fd, EV_READ | EV_PERSIST, listen_on_event, n);
    assert(n->event != NULL);
    listen_watch(n);
    return n;
}

void listen_pause(struct listener *n, bool paused)
{
    n->paused = paused;
    listen_watch(n);
}

int listen_fd(const struct listener *n)
{
    return n->socket.fd;
}

unsigned listen_port(const struct listener *n)
{
    return n->socket.port;
}

const char *listen_address(const struct listener *n)
{
    return n->socket.address;
}

void listen_close(struct listener *n)
{
    if (n == NULL || n->closed)
        return;
    n->closed = true;
    event_free(n->event);
    timer_free(n->rest);
    listen_socket_close(&n->socket);
    if (n->spare >= 0)
        close(n->spare);
    loop_later(n->loop, mem_free, n); /* we may be inside its callback */
}
