#pragma once
/* Outgoing TCP connections: resolves without blocking, tries each address in turn. */
#include <stdint.h>

#include "loop/loop.h"

struct dial;

/* fd >= 0: connected, non-blocking, TCP_NODELAY set, the callee's; else reason says why not. The
 * dial is gone when this is called. */
typedef void dial_fn(void *arg, int fd, const char *reason);

struct dial_target {
    const char *host; /* numeric, localhost, or a name to be looked up */
    const char *port; /* decimal */
    int64_t timeout_ms; /* for all of it: look-up and every address */
};

/* target is copied. Answered by exactly one callback from the loop (never before this returns), or
 * by none after dial_cancel(). */
struct dial *dial_open(struct loop *l, const struct dial_target *target, dial_fn *fn, void *arg);
void dial_cancel(struct dial *d); /* NULL is legal */

#define dial_start(l, host, port, timeout_ms, fn, arg)                                             \
    dial_open((l), &(struct dial_target){(host), (port), (timeout_ms)}, (fn), (arg))
