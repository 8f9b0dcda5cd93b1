#include "transport/nats/nats.h"

#include "base/mem.h"
#include "transport/nats/internal.h"

/* ---------------------------------------------------------------- configuration */

static const char *const schemes[] = {"nats", "natss", NULL};
static const char *const ack_words[] = {[ACK_INHERIT] = "inherit", [ACK_YES] = "yes", [ACK_NO] = "no", NULL};

static const struct key endpoint_keys[] = {
    {.name = "ack", .type = KEY_BOOL, .offset = offsetof(struct nats_keys, ack), .standard = "false",
     .help = "events are sent as requests, so that the success or failure of their handler is known"},
    {.name = "concurrency", .type = KEY_COUNT, .offset = offsetof(struct nats_keys, concurrency), .standard = "1024",
     .min = 1, .max = 65535, .help = "most unanswered, or unconfirmed, messages at a time"},
    {.name = "reply_timeout", .type = KEY_DURATION, .offset = offsetof(struct nats_keys, reply_timeout_ms),
     .standard = "10s", .min = 100, .max = 3600000,
     .help = "how long the server may owe a PONG before the connection is given up"},
    {.name = "reconnect_max", .type = KEY_DURATION, .offset = offsetof(struct nats_keys, reconnect_max_ms),
     .standard = "5s", .min = 100, .max = 3600000, .help = "longest pause between two tries to connect"},
    {.name = "token", .type = KEY_SECRET, .offset = offsetof(struct nats_keys, token),
     .help = "token that the server asks for in place of a user"},
    {.name = "inbox", .type = KEY_TEXT, .offset = offsetof(struct nats_keys, inbox), .standard = "_INBOX", .max = 255,
     .help = "what the subjects of replies begin with"},
    {.name = NULL},
};

static const struct key source_keys[] = {
    {.name = "subject", .type = KEY_TEXT, .offset = offsetof(struct nats_source, subject), .flags = KEY_REQUIRED,
     .max = 1024, .help = "subject to subscribe to, * one token, > the rest"},
    {.name = "queue", .type = KEY_TEXT, .offset = offsetof(struct nats_source, queue), .max = 255,
     .help = "queue group: its members share the messages"},
    {.name = NULL},
};

static const struct key target_keys[] = {
    {.name = "ack", .type = KEY_CHOICE, .offset = offsetof(struct nats_target, ack), .standard = "inherit",
     .choices = ack_words, .help = "as ack of the endpoint"},
    {.name = NULL},
};

static const char *check_endpoint(const struct endpoint_conf *conf)
{
    const struct nats_keys *keys = conf->extra;
    bool user = conf->url.user != NULL;
    for (size_t i = 0; i < conf->other_count; i++)
        user = user || conf->others[i].user != NULL;
    if (user && keys->token != NULL)
        return "`token` and a user in the URL: NATS takes one of them";
    return nats_subject_fault(str_of(keys->inbox));
}

/* Its wildcards are ours. */
static bool source_filter(const void *extra, struct buf *out)
{
    const struct nats_source *s = extra;
    if (s->subject != NULL) /* it is missing: reported elsewhere */
        buf_puts(out, s->subject);
    return true;
}

static const char *check_source(const void *extra)
{
    const struct nats_source *keys = extra;
    const char *why = nats_filter_fault(str_of(keys->subject));
    return why == NULL && keys->queue != NULL ? nats_subject_fault(str_of(keys->queue)) : why;
}

/* ---------------------------------------------------------------- doctor */

void nats_doctor_end(struct endpoint *e)
{
    struct doctor *d = e->doctor;
    e->doctor = NULL;
    if (d != NULL)
        d->done(d);
}

void nats_doctor_pong(struct endpoint *e)
{
    const struct wire_info *info = &e->out.info;
    struct doctor *d = e->doctor;
    struct buf what = BUF_EMPTY;
    char most[32], body[32];
    if (info->max_payload < e->env.body_max) {
        buf_printf(&what, "max_payload of the server is %s, limits.body %s: what is larger is refused",
                   str_format_size(info->max_payload, most), str_format_size(e->env.body_max, body));
        d->found(d, FINDING_WARNING, buf_cstr(&what), "raise max_payload, or lower limits.body");
    }
    if (info->lame_duck)
        d->found(d, FINDING_WARNING, "the server is about to stop (lame duck)", "name another one in `connect`");
    buf_fini(&what);
    nats_doctor_end(e);
}

/* INFO has said all there is to know: the PING asks whether the server is still there. */
static void nats_doctor(struct endpoint *e, struct doctor *d)
{
    nats_doctor_end(e);
    e->doctor = d;
    e->doctor_ping = nats_conn_ping(&e->out);
}

/* ---------------------------------------------------------------- the endpoint */

static void on_resume(void *arg)
{
    struct endpoint *e = arg;
    nats_conn_resume(&e->in);
}

static void connect(struct endpoint *e, struct conn *c, const struct conn_ops *ops)
{
    struct conn_spec spec = {.loop = e->env.loop, .conf = e->conf, .tls = e->env.tls, .body_max = e->env.body_max,
                             .name = e->name, .token = e->keys->token, .reply_ms = e->keys->reply_timeout_ms,
                             .reconnect_max_ms = e->keys->reconnect_max_ms};
    nats_conn_open(c, &spec, ops, e);
}

static struct endpoint *nats_open(const struct endpoint_conf *conf, const struct endpoint_env *env, struct err *err)
{
    struct endpoint *e = mem_zalloc(sizeof(*e));
    struct buf name = BUF_EMPTY;
    (void)err;
    *e = (struct endpoint){.conf = conf, .env = *env, .keys = conf->extra,
                           .sink = {.name = conf->name, .ops = &nats_sink_ops},
                           .waiter = {.resume = on_resume, .arg = e}};
    buf_printf(&name, "bellhop %s %s", env->node, conf->name);
    e->name = buf_steal(&name);
    list_init(&e->asked);
    list_init(&e->crowded);
    nats_sink_init(e);
    connect(e, &e->out, &nats_out_ops);
    if (env->source_count > 0)
        connect(e, &e->in, &nats_in_ops);
    return e;
}

static struct sink *nats_sink(struct endpoint *e)
{
    return &e->sink;
}

static int nats_listen_fd(const struct endpoint *e)
{
    (void)e;
    return -1;
}

static void nats_set_tls(struct endpoint *e, struct tls_context *tls)
{
    link_set_tls(e->out.link, tls);
    if (e->in.link != NULL)
        link_set_tls(e->in.link, tls);
}

static size_t nats_busy(const struct endpoint *e)
{
    return e->waiting.count + e->unconfirmed.count + e->refused.count + nats_source_busy(e) +
           (nats_conn_pending(&e->out) > 0) + (nats_conn_pending(&e->in) > 0);
}

static void nats_status(const struct endpoint *e, struct endpoint_status *out)
{
    const struct link *l = link_worse(e->out.link, e->in.link);
    *out = (struct endpoint_status){.state = link_state(l), .error = link_error(l),
                                    .connections = (size_t)nats_conn_is_up(&e->out) + nats_conn_is_up(&e->in),
                                    .received = e->received, .sent = e->sent, .bad = e->bad + e->out.bad + e->in.bad};
}

static void free_later(void *arg)
{
    mem_free(arg);
}

static void nats_close(struct endpoint *e)
{
    e->closed = true;
    nats_doctor_end(e);
    nats_source_fini(e);
    nats_conn_close(&e->in);
    nats_conn_close(&e->out);
    nats_sink_fini(e);
    codec_room_fini(&e->room);
    buf_fini(&e->lines);
    origin_fini(&e->origin);
    mem_free(e->name);
    loop_later(e->env.loop, free_later, e); /* end_turn() may be on its way */
}

const struct transport nats_transport = {
    .conf = {.name = "nats", .schemes = schemes, .can_connect = true, .port = NATS_PORT,
             .codecs = CODEC_BIT(CODEC_NEST) | CODEC_BIT(CODEC_RAW) | CODEC_BIT(CODEC_CLOUDEVENTS),
             .endpoint_keys = endpoint_keys, .endpoint_size = sizeof(struct nats_keys), .check_endpoint = check_endpoint,
             .source_keys = source_keys, .source_size = sizeof(struct nats_source), .check_source = check_source,
             .source_filter = source_filter,
             .target_keys = target_keys, .target_size = sizeof(struct nats_target)},
    .open = nats_open, .sink = nats_sink, .listen_fd = nats_listen_fd, .set_tls = nats_set_tls,
    .stop_intake = nats_source_stop, .busy = nats_busy, .status = nats_status, .doctor = nats_doctor, .close = nats_close,
};
