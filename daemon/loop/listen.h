#pragma once
/*
 * Listening sockets. Accepts at most 64 connections a turn. Out of descriptors it pauses for
 * 100 ms and says so in the log, instead of spinning.
 */
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "loop/loop.h"

struct listener;

struct listen_spec {
    const char *host; /* TCP: numeric or name; "" or "*" = all addresses (dual stack); NULL = Unix */
    const char *port; /* TCP: decimal; "0" = any free one */
    const char *path; /* Unix socket path */
    unsigned mode;    /* Unix: permission bits of the path */
    const char *group; /* Unix: group name or NULL */
    int fd;           /* >= 0: an already listening socket (systemd); the above only describe it.
                         Set to -1 otherwise. */
};

/* fd is accepted, non-blocking, close-on-exec; it is the callee's. */
typedef void listen_fn(void *arg, int fd);

/*
 * Opens and listens. A stale Unix socket path (nobody answers a connect) is replaced; a live one, a
 * symlink or anything that is no socket is refused: two daemons on one path never start (a lock on
 * PATH.lock decides races). NULL on failure with a text in err.
 */
struct listener *listen_open(struct loop *l, const struct listen_spec *spec, listen_fn *fn, void *arg,
                             struct err *err);
void listen_pause(struct listener *n, bool paused);
int listen_fd(const struct listener *n); /* borrowed; dup(2) it to hand it to a successor */
unsigned listen_port(const struct listener *n); /* the port really bound */
const char *listen_address(const struct listener *n); /* "127.0.0.1:4000" or the path */
void listen_close(struct listener *n); /* removes the path it made (not one handed over); NULL is legal */
