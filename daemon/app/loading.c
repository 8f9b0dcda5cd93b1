#include "app/loading.h"

#include "app/transports.h"
#include "base/mem.h"

/* Would this endpoint go on as it is? Only when neither it nor what its profile says has changed. */
static bool unchanged(const struct config *before, const struct config *after, const struct endpoint_conf *e)
{
    const struct endpoint_conf *now = config_endpoint(after, e->name);
    if (now == NULL || !endpoint_conf_equal(e, now) || before->limits.body != after->limits.body ||
        !endpoint_sources_equal(e, now))
        return false;
    return e->tls == NULL || tls_conf_equal(config_tls(before, e->tls), config_tls(after, e->tls));
}

static void find_unchanged(struct loading *l, const struct config *after)
{
    l->unchanged = mem_calloc(l->before->endpoint_count, sizeof(*l->unchanged));
    for (size_t i = 0; i < l->before->endpoint_count; i++)
        l->unchanged[i] = unchanged(l->before, after, &l->before->endpoints[i]);
}

static void load(struct loading *l)
{
    struct config *conf = config_load(l->before->file, app_config_transports, &l->err);
    if (conf != NULL && !l->store_open && config_stores(conf)) {
        err_add(&l->err, "%s: a store or a durable route is new: the store is opened at the start, so restart bellhopd",
                conf->file);
        config_free(conf);
        return;
    }
    if (conf == NULL)
        return;
    config_diff(l->before, conf, &l->changes);
    config_keep(conf, l->before);
    l->generation = generation_new(conf);
    if (l->what == LOADING_DIFF)
        return;
    find_unchanged(l, conf);
    l->print = certificates_print(conf);
    l->generation->certificates = certificates_read(conf);
    l->routes = routes_make(l->generation);
}

void loading_run(void *loading)
{
    struct loading *l = loading;
    if (l->what == LOADING_CERTIFICATES)
        l->certificates = certificates_read(l->before);
    else
        load(l);
}

static void destroy(void *loading)
{
    struct loading *l = loading;
    mem_free(l->unchanged);
    texts_fini(&l->changes);
    err_fini(&l->err);
    mem_free(l);
}

void loading_free(struct app *a, struct loading *l)
{
    certificates_free(l->certificates, l->before);
    route_set_unref(l->routes);
    generation_unref(l->generation);
    generation_unref(l->from);
    app_dispose(a, destroy, l);
}
