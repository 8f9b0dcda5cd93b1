/* The admin pages: health for orchestrators, metrics for Prometheus. GET only, no secrets. */
#include "admin/internal.h"

static bool serving(struct admin *a)
{
    return strcmp(a->env.ops->state(a->env.app), "running") == 0;
}

static void add_endpoint(void *arg, const struct endpoint_conf *conf, const struct endpoint_status *s,
                         int64_t expires)
{
    struct buf *out = arg;
    (void)expires;
    buf_printf(out, "endpoint %s: %s%s%s\n", conf->name, s->state, s->error != NULL ? ": " : "",
               s->error != NULL ? s->error : "");
}

/* The loop answers, so it lives: liveness never depends on anybody else. */
static void page_live(struct admin *a, const char *query, struct http_reply *r)
{
    (void)a;
    (void)query;
    buf_puts(&r->body, "ok\n");
}

/* Links that are down do not make us unready: messages for them wait or are refused on their own. */
static void page_ready(struct admin *a, const char *query, struct http_reply *r)
{
    r->status = serving(a) ? 200 : 503;
    buf_printf(&r->body, "%s\n", serving(a) ? "ok" : a->env.ops->state(a->env.app));
    if (strstr(query, "verbose") != NULL)
        a->env.ops->each_endpoint(a->env.app, add_endpoint, &r->body);
}

static void page_startup(struct admin *a, const char *query, struct http_reply *r)
{
    bool started = strcmp(a->env.ops->state(a->env.app), "starting") != 0;
    (void)query;
    r->status = started ? 200 : 503;
    buf_puts(&r->body, started ? "ok\n" : "starting\n");
}

static void page_metrics(struct admin *a, const char *query, struct http_reply *r)
{
    (void)query;
    r->content_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_write(a, &r->body);
}

static const struct page {
    const char *path;
    void (*fn)(struct admin *a, const char *query, struct http_reply *r);
} pages[] = {
    {"/livez", page_live},       {"/readyz", page_ready},
    {"/startupz", page_startup}, {"/metrics", page_metrics},
};

void pages_serve(void *admin, const char *path, const char *query, struct http_reply *reply)
{
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(path, pages[i].path) == 0) {
            pages[i].fn(admin, query != NULL ? query : "", reply);
            return;
        }
    }
    reply->status = 404;
    buf_puts(&reply->body, "not found; there are /livez /readyz /startupz /metrics\n");
}
