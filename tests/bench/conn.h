#pragma once

#include "util.h"

/* A non-blocking connection in an epoll set: one read per wake-up into a shared scratch area, whole
 * frames handed out in place, one write per turn. Addresses are `tcp:PORT` (loopback) and
 * `unix:PATH`. What the peer does not take stays in `out`: the load generator's window bounds it. */

enum { CONN_SCRATCH = 256 * 1024 };

struct conn {
    int fd, epfd;
    bool blocked;       /* the socket is full; waits for EPOLLOUT */
    bool dirty;         /* for the owner: has output of this turn */
    unsigned index;     /* for the owner */
    struct buf rest;    /* an unfinished frame */
    struct buf out;
};

/* Uses up whole frames at p, n bytes, and returns how many bytes that were. */
typedef size_t conn_take(void *arg, struct conn *c, const char *p, size_t n);

int net_listen(const char *address);
/* Connects, waiting for up to 5 s for a listener to appear. */
int net_connect(const char *address);
int net_epoll(void);
/* Non-blocking, and no delay where it is TCP. */
void net_tune(int fd);

/* Puts fd into the epoll set with EPOLLIN; event data is c itself. */
void conn_open(struct conn *c, int epfd, int fd);
void conn_close(struct conn *c);
/* Reads once and hands whole frames to take. False: the peer has closed. */
bool conn_read(struct conn *c, conn_take *take, void *arg);
/* Hands to take what an earlier taker has left over: deliveries may come in one read with the daemon's HELLO. */
void conn_take_rest(struct conn *c, conn_take *take, void *arg);
/* Writes out what is in `out`, once; the rest goes at the next EPOLLOUT. */
void conn_flush(struct conn *c);

/* Accepts on listener (or -1) and serves all connections, and `first` if not NULL, for ever:
 * take's answers go into c->out and are written once per read. Returns when `first` has ended. */
void serve(int listener, struct conn *first, int epfd, conn_take *take);
