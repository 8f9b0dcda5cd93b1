#include "transport/tcp/tcp.h"

#include <stddef.h>
#include <stdio.h>

#include "base/mem.h"
#include "transport/tcp/internal.h"

static const char *const tcp_schemes[] = {"tcp", "tls", NULL};
static const char *const ack_choices[] = {"inherit", "yes", "no", NULL};

const struct key tcp_endpoint_keys[] = {
    {.name = "ack", .type = KEY_BOOL, .offset = offsetof(struct tcp_conf, ack), .standard = "false",
     .help = "send events as requests, so that a NestJS event handler's success or failure is known"},
    {.name = "concurrency", .type = KEY_COUNT, .offset = offsetof(struct tcp_conf, concurrency),
     .standard = "1024", .min = 1, .max = 65535, .help = "unanswered messages at a time (connect)"},
    {.name = "connections", .type = KEY_COUNT, .offset = offsetof(struct tcp_conf, connections),
     .standard = "10000", .min = 1, .max = 1000000, .help = "connections open at a time (listen)"},
    {.name = "frame_timeout", .type = KEY_DURATION, .offset = offsetof(struct tcp_conf, frame_timeout_ms),
     .standard = "30s", .min = 10, .max = 3600000, .help = "how long an unfinished frame may take"},
    {.name = "write_timeout", .type = KEY_DURATION, .offset = offsetof(struct tcp_conf, write_timeout_ms),
     .standard = "30s", .min = 10, .max = 3600000, .help = "how long a peer may go without reading"},
    {.name = NULL},
};

const struct key tcp_target_keys[] = {
    {.name = "ack", .type = KEY_CHOICE, .offset = offsetof(struct tcp_target, ack), .standard = "inherit",
     .choices = ack_choices, .help = "as the endpoint's ack, for this route"},
    {.name = NULL},
};

struct stream_limits tcp_limits(const struct endpoint *e)
{
    /* A unit is at most three bytes of UTF-8 (four for two units). */
    return (struct stream_limits){.input = e->env.body_max + ENVELOPE_MAX, .high = OUTPUT_HIGH,
                                  .partial_ms = e->keys->frame_timeout_ms,
                                  .write_ms = e->keys->write_timeout_ms};
}

static void on_accept(void *arg, int fd)
{
    peer_open(arg, fd);
}

static bool start_listening(struct endpoint *e, struct err *err)
{
    struct listen_spec spec = {.host = e->conf->url.host, .port = e->conf->url.port,
                               .fd = e->env.listen_fd};
    e->listener = listen_open(e->env.loop, &spec, on_accept, e, err);
    return e->listener != NULL;
}

static struct endpoint *tcp_open(const struct endpoint_conf *conf, const struct endpoint_env *env,
                                 struct err *err)
{
    struct endpoint *e = mem_zalloc(sizeof(*e));
    e->conf = conf;
    e->keys = conf->extra;
    e->env = *env;
    e->env.tls = env->tls != NULL ? tls_context_ref(env->tls) : NULL;
    e->sink.name = conf->name;
    e->holder.text = conf->url.text;
    list_init(&e->peers);
    list_init(&e->spare_asks);
    if (!conf->listen) {
        e->client = client_new(e);
    } else if (!start_listening(e, err)) {
        tls_context_unref(e->env.tls);
        mem_free(e);
        return NULL;
    } else {
        e->pool = msg_pool_new();
    }
    return e;
}

static struct sink *tcp_sink(struct endpoint *e)
{
    return e->client != NULL ? &e->sink : NULL;
}

static int tcp_listen_fd(const struct endpoint *e)
{
    return e->listener != NULL ? listen_fd(e->listener) : -1;
}

static void tcp_set_tls(struct endpoint *e, struct tls_context *tls)
{
    tls_context_unref(e->env.tls);
    e->env.tls = tls != NULL ? tls_context_ref(tls) : NULL;
    if (e->client != NULL)
        client_set_tls(e->client, tls);
}

static void tcp_stop_intake(struct endpoint *e)
{
    e->stopped = true;
    listen_close(e->listener); /* its address is free for a successor */
    e->listener = NULL;
    LIST_EACH(&e->peers, n)
        peer_stop(peer_of(n));
}

static size_t tcp_busy(const struct endpoint *e)
{
    size_t busy = e->client != NULL ? client_busy(e->client) : 0;
    LIST_EACH(&e->peers, n)
        busy += peer_busy(peer_of(n));
    return busy;
}

static void tcp_status(const struct endpoint *e, struct endpoint_status *out)
{
    *out = (struct endpoint_status){.received = e->received, .sent = e->sent, .bad = e->bad};
    if (e->client != NULL) {
        out->state = link_state(client_link(e->client));
        out->error = link_error(client_link(e->client));
        out->connections = link_is_up(client_link(e->client));
    } else {
        out->state = "listening";
        out->connections = e->peers.count;
    }
}

static void tcp_close(struct endpoint *e)
{
    while (!list_empty(&e->peers))
        peer_close(peer_of(list_first(&e->peers)));
    listen_close(e->listener);
    client_free(e->client);
    tls_context_unref(e->env.tls);
    buf_fini(&e->subject);
    memo_fini(&e->memo);
    peers_fini(e);
    msg_pool_close(e->pool);
    mem_free(e);
}

const struct transport tcp_transport = {
    .conf = {.name = "tcp", .schemes = tcp_schemes, .can_listen = true, .can_connect = true,
             .endpoint_keys = tcp_endpoint_keys, .endpoint_size = sizeof(struct tcp_conf),
             .target_keys = tcp_target_keys, .target_size = sizeof(struct tcp_target),
             .codecs = CODEC_BIT(CODEC_NEST)},
    .open = tcp_open, .sink = tcp_sink, .listen_fd = tcp_listen_fd, .set_tls = tcp_set_tls, .stop_intake = tcp_stop_intake,
    .busy = tcp_busy, .status = tcp_status, .close = tcp_close,
};
