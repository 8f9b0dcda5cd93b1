#pragma once
/* Outgoing TCP connections: resolves without blocking, tries each address in turn. */
#include <stdint.h>

#include "loop/loop.h"

struct dial;

/* fd >= 0: connected, non-blocking, TCP_NODELAY set, the callee's; else reason says why not. The
 * dial is gone when this is called. */
typedef void dial_fn(void *arg, int fd, const char *reason);

/* Answered by exactly one callback from the loop (never before this returns), or by none after
 * dial_cancel(). */
struct dial *dial_start(struct loop *l, const char *host, const char *port, int64_t timeout_ms,
                        dial_fn *fn, void *arg);
void dial_cancel(struct dial *d); /* NULL is legal */
