#pragma once
/*
 * The admin socket, where the `bellhop` tool speaks (the local protocol: HELLO, then REQ with a
 * command as its subject), and the admin pages over HTTP: /livez /readyz /startupz
 * /metrics. One command is one file; HTTP is read-only.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "delivery/hub.h"
#include "local/server.h"
#include "loop/loop.h"

struct admin;

struct schedule_status {
    const char *name, *subject;
    int64_t next_wall_ms, last_wall_ms; /* -1 = none: draining; nothing was published so far */
    int64_t late_ms;                    /* how long after its time the last one was published */
    uint64_t published, refused, lost;  /* lost: refused until the next time was due */
    bool retrying;                      /* the last one was refused, and is offered again */
};

struct reload_ask;

struct reload_answer {
    bool good;                   /* else err says why nothing has changed */
    uint64_t generation;         /* in use now */
    const struct texts *changes; /* what is other, or would be, a line each */
    const struct err *err;
};

struct reload_request {
    bool dry_run; /* only what would change */
    void (*done)(void *arg, const struct reload_answer *answer);
    void *arg;
};

/* What only the daemon as a whole knows or can do; app/ provides it. */
struct admin_app {
    const struct config *(*config)(void *app);     /* the one in force */
    uint64_t (*generation)(void *app);             /* 1, 2, … */
    const char *(*reload_error)(void *app);        /* why the last reload was refused, or NULL */
    const char *(*state)(void *app);               /* "starting" | "running" | "draining" */
    int64_t (*uptime_ms)(void *app);
    void (*each_endpoint)(void *app,
                          void (*fn)(void *arg, const struct endpoint_conf *conf,
                                     const struct endpoint_status *status, int64_t cert_expires_wall_ms),
                          void *arg);              /* expiry 0 = no certificate */
    /* Has each endpoint that is up look at its far end (transport.h, doctor): ask gives a doctor for an endpoint's name, or
     * NULL to leave it out. */
    void (*examine)(void *app, struct doctor *(*ask)(void *arg, const char *endpoint), void *arg);
    void (*each_schedule)(void *app, void (*fn)(void *arg, const struct schedule_status *status), void *arg);
    /* Reads the configuration again; answered once and later. NULL with why (static text): refused. cancel: no answer any more,
     * and what was asked for is done all the same. */
    struct reload_ask *(*reload)(void *app, const struct reload_request *request, const char **why);
    void (*reload_cancel)(void *app, struct reload_ask *ask);
    void (*drain)(void *app);                      /* as SIGTERM; returns at once */
};

struct admin_env {
    struct loop *loop;
    struct log *log;
    struct hub *hub;
    struct server *server;
    int listen_fd; /* admin socket handed over by systemd, or -1 */
    const struct admin_app *ops;
    void *app;
};

/* Opens what the configuration names: the socket, and HTTP where admin.http is set. NULL with err. */
struct admin *admin_open(const struct admin_env *env, struct err *err);
unsigned admin_http_port(const struct admin *a); /* 0 = off */
void admin_close(struct admin *a); /* before hub_free(); NULL is legal */
