#pragma once
/*
 * Host names to addresses, without blocking (evdns: /etc/hosts and the servers of
 * /etc/resolv.conf, both read again when the last look-up before has ended). Numeric addresses
 * and localhost need no resolver. Not for other folders.
 */
#include <stddef.h>
#include <sys/socket.h>

#include "loop/loop.h"

#define RESOLVE_MAX 16 /* addresses kept of one name */

struct address {
    struct sockaddr_storage sa;
    socklen_t size;
};

struct lookup;

/* count > 0: addresses, borrowed; else reason says why not. The lookup is gone afterwards. */
typedef void resolve_fn(void *arg, const struct address *found, size_t count, const char *reason);

/* Answered by one callback from the loop, or by none after resolve_cancel(). port: decimal. */
struct lookup *resolve_start(struct loop *l, const char *host, const char *port, resolve_fn *fn,
                             void *arg);
void resolve_cancel(struct lookup *u); /* NULL is legal */
