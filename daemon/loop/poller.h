#pragma once
/*
 * Which sockets of streams are ready, straight from epoll, all of a turn in one call. Not for other folders. libevent waits
 * for the poller as for one descriptor. Of a thousand sockets that are ready it would have each looked at a second time, to
 * find that it is not ready any more (it knows edge-triggered events, but hides EPOLLERR, without which a reset behind the
 * last data would go unnoticed), and would keep 130 bytes of its own for each idle one.
 */
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct poller;

/* what: EPOLLIN, EPOLLOUT, … as epoll_wait(2) has them. One that was taken out earlier in the turn may still be told. */
typedef void poller_fn(void *arg, uint32_t what);

struct poller *poller_new(struct loop *l, poller_fn *fn);
void poller_free(struct poller *p);

/* From now on fn(arg, …) is told of `want`, where it was `before` until now; 0 = nothing. false: no more than before, the
 * system lets no more sockets be watched. */
bool poller_watch(struct poller *p, int fd, uint32_t before, uint32_t want, void *arg);
