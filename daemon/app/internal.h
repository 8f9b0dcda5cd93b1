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
    struct app *app; /* whose app_dispose() is to free it; NULL until the loop has it */
    struct config *conf;
    struct certificate *certificates; /* as they were read last; NULL: not yet */
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
    struct reload *reload;
    struct disposal *disposals; /* to be freed in a thread … */
    struct batch *batch;        /* … and what one is freeing, or NULL */
    bool closing;
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
/* To the certificates of the current generation: all of them, or none where one is not in order. */
bool endpoints_renew_tls(struct app *a, struct err *err);
void endpoints_watch(struct app *a);                      /* watches the files of the profiles in use */
void endpoints_on_leaving(void *app);
struct open_endpoint *endpoint_named(struct app *a, const char *name);

/* routes.c */
void routes_orders(struct app *a, const struct config *before, const struct config *after); /* before may be NULL */
struct route_set *routes_make(struct generation *g); /* on any thread */

/* certificates.c: what the TLS profiles of a configuration name, one for each profile and role in use; made on any thread */
struct certificate {
    struct tls_context *context; /* NULL: see why */
    char *why;
};
struct certificate *certificates_read(const struct config *c);
const struct certificate *certificate_of(const struct generation *g, const struct endpoint_conf *e); /* e has a profile */
void certificates_free(struct certificate *all, const struct config *c); /* NULL is legal */
size_t certificates_paths(const struct config *c, const char ***paths); /* the files; the array is the caller's */
uint64_t certificates_print(const struct config *c); /* watch_print() of them */

/* dispose.c */
void app_dispose(void *app, void (*fn)(void *what), void *what); /* as hub_env.dispose */
void app_end_disposals(struct app *a);                           /* from here on at once */

/* reload.c */
struct reload *reload_new(struct app *a);
struct reload_ask *reload_ask(struct reload *r, const struct reload_request *request, const char **why);
void reload_cancel(struct reload *r, struct reload_ask *ask);
void reload_stop(struct reload *r); /* refuses what is under way and what comes: the daemon drains */
void reload_free(struct reload *r); /* NULL is legal */
void app_on_hup(void *app);
void app_on_certificates(void *app);

/* drain.c */
void app_drain(struct app *a, int64_t budget_ms);
void app_on_term(void *app);
void app_on_drain(void *app);

/* view.c */
extern const struct admin_app app_admin_ops;
