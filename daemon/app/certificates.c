#include "app/internal.h"
#include "base/mem.h"

#define ROLES 2 /* a profile has a context for each of enum tls_role */

static struct certificate read_one(const struct tls_conf *t, enum tls_role role)
{
    struct tls_settings settings = {
        .name = t->name, .ca = t->ca, .cert = t->cert, .key = t->key, .verify = t->verify,
        .min_version = t->min_version, .peers = t->peers.items, .peer_count = t->peers.count};
    struct err err = {0};
    struct certificate c = {.context = tls_context_new(&settings, role, &err)};
    if (c.context == NULL)
        c.why = mem_strdup(err.texts[0]);
    err_fini(&err);
    return c;
}

static size_t place_of(const struct config *c, const struct endpoint_conf *e)
{
    return (size_t)(config_tls(c, e->tls) - c->tls) * ROLES + (e->listen ? TLS_ACCEPT : TLS_CONNECT);
}

struct certificate *certificates_read(const struct config *c)
{
    struct certificate *all = mem_calloc(c->tls_count * ROLES, sizeof(*all));
    for (size_t i = 0; i < c->endpoint_count; i++) {
        const struct endpoint_conf *e = &c->endpoints[i];
        struct certificate *mine = e->tls != NULL ? &all[place_of(c, e)] : NULL;
        if (mine != NULL && mine->context == NULL && mine->why == NULL)
            *mine = read_one(config_tls(c, e->tls), e->listen ? TLS_ACCEPT : TLS_CONNECT);
    }
    return all;
}

const struct certificate *certificate_of(const struct generation *g, const struct endpoint_conf *e)
{
    return &g->certificates[place_of(g->conf, e)];
}

void certificates_free(struct certificate *all, const struct config *c)
{
    for (size_t i = 0; all != NULL && i < c->tls_count * ROLES; i++) {
        tls_context_unref(all[i].context);
        mem_free(all[i].why);
    }
    mem_free(all);
}

size_t certificates_paths(const struct config *c, const char ***paths)
{
    size_t count = 0;
    *paths = mem_calloc(c->tls_count * 3, sizeof(char *));
    for (size_t i = 0; i < c->tls_count; i++) {
        const char *files[] = {c->tls[i].ca, c->tls[i].cert, c->tls[i].key};
        for (size_t k = 0; k < 3; k++) {
            if (files[k] != NULL)
                (*paths)[count++] = files[k];
        }
    }
    return count;
}

uint64_t certificates_print(const struct config *c)
{
    const char **paths;
    size_t count = certificates_paths(c, &paths);
    uint64_t print = watch_print(paths, count);
    mem_free(paths);
    return print;
}
