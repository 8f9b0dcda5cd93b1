#include "admin/admin.h"

#include "admin/internal.h"
#include "base/mem.h"

static void on_accept(void *arg, int fd)
{
    visitor_open(arg, fd);
}

struct admin *admin_open(const struct admin_env *env, struct err *err)
{
    struct admin *a = mem_zalloc(sizeof(*a));
    json_set_alloc_funcs(mem_alloc, mem_free); /* an answer is whole or there is none */
    const struct admin_conf *conf = &env->ops->config(env->app)->admin;
    a->env = *env;
    list_init(&a->visitors);
    list_init(&a->taps);
    list_init(&a->dead_calls);
    list_init(&a->why_calls);
    list_init(&a->log_calls);
    list_init(&a->reload_calls);
    struct listen_spec spec = {.path = conf->socket, .mode = conf->mode, .group = conf->group,
                               .fd = env->listen_fd};
    a->listener = listen_open(env->loop, &spec, on_accept, a, err);
    if (a->listener != NULL && conf->http != NULL)
        a->http = http_open(env->loop, conf->http, pages_serve, a, err);
    if (a->listener == NULL || (conf->http != NULL && a->http == NULL)) {
        admin_close(a);
        return NULL;
    }
    return a;
}

unsigned admin_http_port(const struct admin *a)
{
    return a->http != NULL ? http_port(a->http) : 0;
}

void admin_close(struct admin *a)
{
    if (a == NULL)
        return;
    while (!list_empty(&a->visitors))
        visitor_close(CONTAINER_OF(list_first(&a->visitors), struct visitor, link));
    http_close(a->http);
    listen_close(a->listener);
    mem_free(a);
}
