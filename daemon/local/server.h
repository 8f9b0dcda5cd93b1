#pragma once
/*
 * The Unix socket where services attach (bellhop-protocol(7)). The server owns the listener, the connected
 * sessions and the services they attach as; each service is one destination of the core.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "config/config.h"
#include "delivery/hub.h"
#include "loop/loop.h"

struct server;

struct server_env {
    struct loop *loop;
    struct log *log;
    struct hub *hub;
    const struct config *conf; /* borrowed; replaced by server_reload() */
    int listen_fd;             /* handed over by systemd, or -1 */
};

/* Opens the socket. NULL with err set where that fails. */
struct server *server_open(const struct server_env *env, struct err *err);
void server_reload(struct server *s, const struct config *conf); /* who may attach, limits; sessions stay */
void server_stop(struct server *s);  /* draining: no new connections */
void server_bye(struct server *s);   /* draining: tells every client BYE */
size_t server_clients(const struct server *s);
size_t server_busy(const struct server *s); /* sessions with an unanswered delivery or request */
void server_close(struct server *s); /* at once; before hub_free() */

size_t server_attached(const struct server *s, const char *name); /* clients under this name */
/* Nobody is attached under this name: its destination is free for an endpoint. Legal where nobody ever was. */
void server_give_up(struct server *s, const char *name);

struct service_status {
    size_t instances, inflight;
    uint64_t credit;
};
struct service_status server_service(const struct server *s, const char *name); /* zeros where nobody ever was */

struct server_counts {
    uint64_t accepted, denied, bad_frames, late_answers;
};
void server_counts(const struct server *s, struct server_counts *out);
