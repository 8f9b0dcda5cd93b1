#include "loop/dial.h"

#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "loop/impl.h"
#include "loop/resolve.h"
#include "loop/timer.h"

struct dial {
    struct loop *loop;
    dial_fn *fn;
    void *arg;
    struct lookup *lookup; /* while resolving */
    struct timer *timer;
    struct event *event;   /* while connecting */
    int fd;
    struct address found[RESOLVE_MAX];
    size_t count, next;    /* next = the one to be tried after this */
    int64_t timeout_ms, deadline;
    char *host;
    char reason[256];      /* of the address that failed last */
};

static void dial_try(struct dial *d);

static void dial_drop_socket(struct dial *d)
{
    if (d->event != NULL)
        event_free(d->event);
    if (d->fd >= 0)
        close(d->fd);
    d->event = NULL;
    d->fd = -1;
}

static void dial_free(struct dial *d)
{
    dial_drop_socket(d);
    timer_free(d->timer);
    mem_free(d->host);
    mem_free(d);
}

/* fd >= 0 is handed over. */
static void dial_answer(struct dial *d, int fd)
{
    dial_fn *fn = d->fn;
    void *arg = d->arg;
    char reason[sizeof(d->reason)];
    snprintf(reason, sizeof(reason), "%s", d->reason);
    if (fd >= 0)
        d->fd = -1;
    dial_free(d);
    fn(arg, fd, fd >= 0 ? NULL : reason);
}

static void dial_note(struct dial *d, const char *why)
{
    const struct address *a = &d->found[d->next - 1];
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";
    getnameinfo((const struct sockaddr *)&a->sa, a->size, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(d->reason, sizeof(d->reason), a->sa.ss_family == AF_INET6 ? "[%s]:%s: %s" : "%s:%s: %s",
             host, port, why);
}

static void dial_failed(struct dial *d, const char *why)
{
    dial_note(d, why);
    dial_drop_socket(d);
    dial_try(d);
}

/* A connect to an ephemeral port of this host may, once in a while, meet itself. */
static bool socket_met_itself(int fd)
{
    struct sockaddr_storage a = {0}, b = {0};
    socklen_t an = sizeof(a), bn = sizeof(b);
    return getsockname(fd, (struct sockaddr *)&a, &an) == 0 &&
           getpeername(fd, (struct sockaddr *)&b, &bn) == 0 && an == bn && memcmp(&a, &b, an) == 0;
}

static void dial_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct dial *d = arg;
    int error = 0, on = 1;
    socklen_t size = sizeof(error);
    (void)what;
    loop_woke(d->loop);
    getsockopt((int)fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0 && socket_met_itself((int)fd))
        error = ECONNREFUSED;
    if (error != 0) {
        dial_failed(d, strerror(error));
        return;
    }
    setsockopt((int)fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    event_free(d->event);
    d->event = NULL;
    dial_answer(d, (int)fd);
}

static bool dial_connect(struct dial *d, const struct address *a)
{
    d->fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0)
        return false;
    if (connect(d->fd, (const struct sockaddr *)&a->sa, a->size) != 0 && errno != EINPROGRESS)
        return false;
    d->event = event_new(d->loop->base, d->fd, EV_WRITE, dial_on_event, d);
    return d->event != NULL && event_add(d->event, NULL) == 0;
}

/* The next address gets its share of the time that is left, so that a silent one does not use up
 * that of the others. */
static void dial_try(struct dial *d)
{
    while (d->next < d->count) {
        int64_t left = d->deadline - loop_now(d->loop);
        const struct address *a = &d->found[d->next++];
        if (dial_connect(d, a)) {
            timer_after(d->timer, left > 0 ? left / (int64_t)(d->count - d->next + 1) : 0);
            return;
        }
        dial_note(d, strerror(errno));
        dial_drop_socket(d);
    }
    dial_answer(d, -1);
}

static void dial_on_timer(void *arg)
{
    struct dial *d = arg;
    char why[64], ms[32];
    snprintf(why, sizeof(why), "no answer within %s", str_format_duration(d->timeout_ms, ms));
    if (d->lookup == NULL) {
        dial_failed(d, why);
        return;
    }
    resolve_cancel(d->lookup);
    snprintf(d->reason, sizeof(d->reason), "cannot resolve \"%s\": %s", d->host, why);
    dial_answer(d, -1);
}

static void dial_on_resolved(void *arg, const struct address *found, size_t count, const char *reason)
{
    struct dial *d = arg;
    d->lookup = NULL;
    for (size_t i = 0; i < count; i++)
        d->found[i] = found[i];
    d->count = count;
    if (reason != NULL)
        snprintf(d->reason, sizeof(d->reason), "%s", reason);
    dial_try(d);
}

struct dial *dial_open(struct loop *l, const struct dial_target *target, dial_fn *fn, void *arg)
{
    struct dial *d = mem_zalloc(sizeof(*d));
    d->loop = l;
    d->fn = fn;
    d->arg = arg;
    d->fd = -1;
    d->host = mem_strdup(target->host);
    d->timeout_ms = target->timeout_ms;
    d->deadline = loop_now(l) + target->timeout_ms;
    d->timer = timer_new(l, dial_on_timer, d);
    timer_after(d->timer, target->timeout_ms);
    d->lookup = resolve_start(l, target->host, target->port, dial_on_resolved, d);
    return d;
}

void dial_cancel(struct dial *d)
{
    if (d == NULL)
        return;
    resolve_cancel(d->lookup);
    dial_free(d);
}
