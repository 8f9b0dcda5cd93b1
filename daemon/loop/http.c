#include "loop/http.h"

#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"
#include "loop/http_parse.h"
#include "loop/listen.h"
#include "loop/stream.h"
#include "loop/timer.h"

#define CLIENTS_MAX 64
#define REQUEST_MS 10000

struct http_server {
    struct loop *loop;
    struct listener *listener;
    http_fn *fn;
    void *arg;
    struct list clients;
};

struct client {
    struct http_server *server;
    struct list_node node;
    struct stream *stream;
    struct timer *limit; /* from accept to the end of the request */
};

static void client_free(void *arg)
{
    struct client *c = arg;
    timer_free(c->limit);
    mem_free(c);
}

/* May run inside the client's own callbacks: memory goes at the end of the turn. */
static void client_leave(struct client *c)
{
    struct http_server *h = c->server;
    list_remove(&h->clients, &c->node);
    timer_stop(c->limit);
    loop_later(h->loop, client_free, c);
    if (h->clients.count == CLIENTS_MAX - 1)
        listen_pause(h->listener, false);
}

static void client_answer(struct client *c, const struct http_reply *r, bool head)
{
    struct buf *out = stream_out(c->stream);
    buf_printf(out, "HTTP/1.1 %d %s\r\n", r->status, http_status_text(r->status));
    buf_printf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", r->content_type, r->body.len);
    if (r->status == 405)
        buf_puts(out, "Allow: GET, HEAD\r\n");
    buf_puts(out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                  "Connection: close\r\n\r\n");
    if (!head)
        buf_str_put(out, buf_str(&r->body));
    stream_finish(c->stream);
    client_leave(c);
}

static void client_refuse(struct client *c, int status)
{
    struct http_reply reply = {.status = status, .content_type = "text/plain; charset=utf-8"};
    buf_printf(&reply.body, "%s\n", http_status_text(status));
    client_answer(c, &reply, false);
    buf_fini(&reply.body);
}

static void client_serve(struct client *c, const struct http_request *q)
{
    struct http_reply reply = {.status = 200, .content_type = "text/plain; charset=utf-8"};
    c->server->fn(c->server->arg, q->path, q->query, &reply);
    client_answer(c, &reply, q->head);
    buf_fini(&reply.body);
}

static size_t client_on_data(void *arg, const uint8_t *p, size_t n)
{
    struct client *c = arg;
    struct str input = str_make(p, n < HTTP_HEAD_MAX ? n : HTTP_HEAD_MAX);
    struct http_request request = {0};
    size_t size = http_head_size(input);
    if (size == 0 && n < HTTP_HEAD_MAX)
        return 0;
    int status = size == 0 ? 431 : http_parse(str_make(p, size), &request);
    if (status == 200)
        client_serve(c, &request);
    else
        client_refuse(c, status);
    http_request_fini(&request);
    return n;
}

static void client_on_close(void *arg, const char *reason)
{
    (void)reason;
    client_leave(arg);
}

static void client_on_limit(void *arg)
{
    struct client *c = arg;
    stream_close(c->stream);
    client_leave(c);
}

static const struct stream_ops client_ops = {
    .on_data = client_on_data,
    .on_close = client_on_close,
};

static void http_on_accept(void *arg, int fd)
{
    struct http_server *h = arg;
    struct client *c = mem_zalloc(sizeof(*c));
    c->server = h;
    c->stream = stream_new(h->loop, fd, &client_ops, c);
    c->limit = timer_new(h->loop, client_on_limit, c);
    timer_after(c->limit, REQUEST_MS);
    list_push(&h->clients, &c->node);
    if (h->clients.count == CLIENTS_MAX)
        listen_pause(h->listener, true);
}

struct http_server *http_open(struct loop *l, const char *address, http_fn *fn, void *arg, struct err *err)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL) {
        err_add(err, "%s: an HTTP address is HOST:PORT", address);
        return NULL;
    }
    const char *from = address;
    size_t n = (size_t)(colon - address);
    if (n >= 2 && address[0] == '[' && colon[-1] == ']') {
        from++;
        n -= 2;
    }
    char *host = mem_strndup(from, n);
    struct http_server *h = mem_zalloc(sizeof(*h));
    struct listen_spec spec = {.host = host, .port = colon + 1, .fd = -1};
    h->loop = l;
    h->fn = fn;
    h->arg = arg;
    list_init(&h->clients);
    h->listener = listen_open(l, &spec, http_on_accept, h, err);
    mem_free(host);
    if (h->listener == NULL) {
        mem_free(h);
        return NULL;
    }
    return h;
}

unsigned http_port(const struct http_server *h)
{
    return listen_port(h->listener);
}

void http_close(struct http_server *h)
{
    if (h == NULL)
        return;
    LIST_EACH(&h->clients, n) {
        struct client *c = CONTAINER_OF(n, struct client, node);
        stream_close(c->stream);
        client_leave(c);
    }
    listen_close(h->listener);
    loop_later(h->loop, mem_free, h);
}
