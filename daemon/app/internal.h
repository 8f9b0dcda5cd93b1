#pragma once
/* What the files of this folder share. */
#include "admin/admin.h"
#include "app/app.h"
#include "app/schedules.h"
#include "base/list.h"
#include "base/log.h"
#include "delivery/hub.h"
#include "local/server.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "loop/tls.h"
#include "loop/watch.h"
#include "transport/transport.h"

/* A loaded configuration; lives until nothing points into it: endpoints, routes, deliveries. */
struct generation {
    size_t refs;
    struct config *conf;
};

struct open_endpoint {
    struct list_node link;
    struct list *home; /* the list it is in */
    const struct transport *transport;
    const struct endpoint_conf *conf;
    struct generation *generation; /* conf points into it */
    struct endpoint *endpoint;
    struct tls_context *tls;       /* NULL = plain */
    struct endpoint_source *sources; /* what it consumes, with the keys of its generation */
    size_t source_count;
    int64_t leaving_until_ms;      /* removed by a reload: closed when idle, or then */
};

enum app_state { APP_STARTING, APP_RUNNING, APP_DRAINING };

struct app {
    struct loop *loop;
    struct log *log;
    struct hub *hub;
    struct store *store; /* NULL = none is configured */
    struct server *server;
    struct admin *admin;
    struct schedules *schedules;
    struct timer *tick, *watchdog, *leaving, *drain;
    struct watch *watch;
    struct generation *current;
    struct list endpoints, fresh, leavers; /* struct open_endpoint: in use; opened by a reload that is
                                              not yet decided; on their way out */
    enum app_state state;
    uint64_t generation;
    char *reload_error;
    int64_t started_ms, watchdog_ms;
    int64_t drain_until_ms, quiet_since_ms;
    bool bye_sent, aborted;
};

/* app.c */
struct hub_limits hub_limits_of(const struct config *c);
void app_warn(struct app *a); /* logs the warnings of the configuration in use */
struct generation *generation_new(struct config *conf_take);
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g);

/* endpoints.c */
/* Opens into a->fresh: nothing is handed to it before endpoint_use(). */
struct open_endpoint *endpoint_open(struct app *a, struct generation *g, const struct endpoint_conf *conf,
                                    struct err *err);
void endpoint_use(struct app *a, struct open_endpoint *e);
void endpoint_close(struct app *a, struct open_endpoint *e); /* at once; frees it */
/* Takes nothing new; closed when what it has in hand has ended, at the latest after drain_timeout. */
void endpoint_leave(struct app *a, struct open_endpoint *e);
size_t endpoint_held(const struct open_endpoint *e); /* what was handed to it and is not settled */
struct tls_context *endpoint_tls(const struct config *c, const struct endpoint_conf *conf, struct err *err);
/* Do the routes of two configurations consume the same from it? */
bool endpoint_sources_equal(const struct config *a, const struct config *b, const struct endpoint_conf *e);
bool endpoints_renew_tls(struct app *a, struct err *err); /* certificates have changed */
void endpoints_watch(struct app *a);                      /* watches the files of the profiles in use */
void endpoints_on_leaving(void *app);
struct open_endpoint *endpoint_named(struct app *a, const char *name);

/* routes.c */
void routes_orders(struct app *a, const struct config *before, const struct config *after); /* before may be NULL */
struct route_set *routes_make(struct app *a, struct generation *g);

/* reload.c */
/* Reads the file anew and uses it; tells the log and systemd. dry_run: only what would change. */
bool app_reload(struct app *a, bool dry_run, struct texts *changes, struct err *err);
void app_on_hup(void *app);
void app_on_certificates(void *app);

/* drain.c */
void app_drain(struct app *a, int64_t budget_ms);
void app_on_term(void *app);
void app_on_drain(void *app);

/* view.c */
extern const struct admin_app app_admin_ops;
