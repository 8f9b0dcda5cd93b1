/* What is published on channels: NestJS clients, and anybody else. */
#include <stdio.h>

#include "base/mem.h"
#include "loop/timer.h"
#include "msg/headers.h"
#include "transport/nest.h"
#include "transport/redis/internal.h"
#include "wire/json.h"

#define REPLY_SUFFIX STR(".reply")

struct channel { /* one source */
    struct subscriber *owner;
    const struct endpoint_source *source;
    struct str name; /* of the channel, or the pattern */
    bool pattern;
    unsigned codec;
    struct origin origin; /* of the channel; of a pattern, of the one that came last */
};

struct subscriber {
    struct endpoint *endpoint;
    struct conn *conn; /* NULL once stopped */
    struct channel *channels;
    size_t count;
    size_t at;            /* the source that has not taken the message yet */
    struct waiter waiter; /* of that source */
    struct list asks;     /* struct ask */
    struct list askers_waiting; /* streams of replies that wait for our output to drain */
    struct timer *retry;  /* a subscription was denied */
    char *error;
    int64_t down_ms;      /* since when nothing is heard; 0 = never yet, or up */
    struct buf headers, subject, lines; /* scratch */
};

struct ask { /* a request whose client waits */
    struct list_node link;
    struct subscriber *owner;
    struct receipt *receipt;
    size_t channel_length, id_length;
    char text[]; /* the channel it came on, then its id as raw JSON */
};

/* ---------------------------------------------------------------- answers */

static struct str ask_id(const struct ask *a)
{
    return str_make(a->text + a->channel_length, a->id_length);
}

static void on_published(void *arg, uint64_t token, const struct resp *reply)
{
    (void)token;
    if (reply != NULL && reply->type == RESP_ERROR)
        redis_denied(arg, reply->text);
}

/* The packet that stands in endpoint->packet. */
static void publish(struct subscriber *s, struct str channel)
{
    struct endpoint *e = s->endpoint;
    struct str packet = nest_unframed(&e->packet);
    if (e->packet.len == 0 || !conn_ready(e->commands))
        return; /* the client cannot be told; it gives up by its own time-out */
    struct buf *out = conn_call(e->commands, on_published, 0, 3);
    resp_arg(out, STR("PUBLISH"));
    buf_clear(&s->subject);
    buf_str_put(&s->subject, channel);
    buf_str_put(&s->subject, REPLY_SUFFIX);
    resp_arg(out, buf_str(&s->subject));
    resp_arg(out, packet);
    e->sent++;
}

static struct buf *packet(struct subscriber *s)
{
    buf_clear(&s->endpoint->packet);
    return &s->endpoint->packet;
}

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *w)
{
    struct ask *a = ctx;
    struct endpoint *e = a->owner->endpoint;
    (void)token;
    nest_put_value(packet(a->owner), ask_id(a), item, false);
    publish(a->owner, str_make(a->text, a->channel_length));
    bool full = conn_ready(e->commands) && conn_full(e->commands);
    if (full && w != NULL && w->in == NULL)
        waiter_enrol(w, &a->owner->askers_waiting);
    return !full;
}

static void on_done(void *ctx, uint64_t token, const struct reply *r)
{
    struct ask *a = ctx;
    (void)token;
    list_remove(&a->owner->asks, &a->link);
    nest_put_end(packet(a->owner), ask_id(a), r);
    publish(a->owner, str_make(a->text, a->channel_length));
    mem_free(a);
}

static const struct asker_ops nest_asker = {.more = on_more, .done = on_done};

static struct ask *ask_new(struct subscriber *s, struct str channel, struct str id)
{
    struct ask *a = mem_alloc(sizeof(*a) + channel.n + id.n);
    *a = (struct ask){.owner = s, .channel_length = channel.n, .id_length = id.n};
    bytes_str(bytes_str(a->text, channel), id);
    return a;
}

/* ---------------------------------------------------------------- messages */

static void refuse(struct subscriber *s, struct str channel, struct str id, enum code code, const char *why)
{
    struct endpoint *e = s->endpoint;
    char *name = str_dup(channel);
    log_write(e->env.log, LOG_WARN, "message_refused", "endpoint", e->conf->name, "channel", name, "code",
              code_name(code), "reason", why, "kind", id.p != NULL ? "request" : "event", NULL);
    mem_free(name);
    if (id.p == NULL)
        return;
    if (code == CODE_NO_ROUTE)
        nest_reply_no_handler(packet(s), id);
    else
        nest_put_error(packet(s), id, code, str_of(why));
    publish(s, channel);
}

/* What a message is made of, whatever its codec. */
struct content {
    struct msg_input input;
    struct str id; /* of a NestJS request, else {NULL, 0} */
};

static void set_origin(struct channel *c, struct str channel)
{
    origin_begin(&c->origin);
    ORIGIN_ADD(&c->origin, "redis-channel", channel);
    if (c->pattern)
        ORIGIN_ADD(&c->origin, "redis-pattern", c->name);
}

/* As origin_give(), for a body that is no JSON. */
static void set_text(const struct channel *c, struct msg_input *to)
{
    struct buf *lines = &c->owner->lines;
    origin_give(&c->origin, false, to);
    buf_clear(lines);
    headers_put(lines, "content-type", STR("text/plain"));
    buf_str_put(lines, to->lines);
    to->lines = buf_str(lines);
    to->line_count++;
}

static void put_metadata(struct subscriber *s, struct str metadata)
{
    struct header h;
    buf_clear(&s->lines);
    nest_metadata_headers(metadata, &s->lines);
    for (struct str rest = buf_str(&s->lines); headers_next(&rest, &h);) {
        if (!origin_owns(STR("redis-"), h.name))
            buf_str_put(&s->headers, str_make(h.name.p, h.name.n + h.value.n + 3));
    }
}

/* A packet without a pattern, or no JSON at all, is an event to NestJS: the whole of it is the data. The channel says
 * what it is about, whatever the packet's pattern does. */
static bool read_packet(const struct channel *c, const struct push *p, struct content *out, const char **what)
{
    struct subscriber *s = c->owner;
    struct nest_request r;
    const char *none;
    bool request = nest_request_parse(p->payload, &r, &none);
    buf_clear(&s->subject);
    if (!nest_subject_text(p->channel, &s->subject)) {
        *what = "no subject can be made of this channel";
        return false;
    }
    out->input.subject = buf_str(&s->subject);
    origin_give(&c->origin, true, &out->input);
    if (!request) {
        out->input.body = p->payload;
        if (!json_valid(p->payload, NULL, NULL))
            set_text(c, &out->input);
        return true;
    }
    out->input.body = r.data;
    out->id = r.id;
    out->input.kind = r.id.p != NULL ? MSG_REQUEST : MSG_EVENT;
    buf_clear(&s->headers);
    if (r.metadata.p != NULL)
        put_metadata(s, r.metadata);
    out->input.headers = buf_str(&s->headers);
    return true;
}

static bool read_payload(const struct channel *c, const struct push *p, struct content *out, const char **what)
{
    struct endpoint *e = c->owner->endpoint;
    struct message_parts parts;
    struct wire_message in = {.subject = p->channel, .body = p->payload};
    codec_begin(&e->room);
    if (c->codec == CODEC_CLOUDEVENTS && p->payload.n > 0 && p->payload.p[0] == '{')
        in.content_type = STR("application/cloudevents+json");
    if (!codec_decode(&redis_channel_codecs[c->codec], &e->room, &in, &parts, what))
        return false;
    out->input.subject = parts.subject;
    out->input.headers = parts.headers;
    out->input.body = parts.body;
    origin_give(&c->origin, false, &out->input);
    return true;
}

static bool read(struct channel *c, const struct push *p, struct content *out, const char **what)
{
    struct subscriber *s = c->owner;
    *out = (struct content){.input = {.kind = MSG_EVENT, .source = str_of(c->source->intake->name),
                                      .pool = s->endpoint->pool}};
    if (c->pattern)
        set_origin(c, p->channel);
    return c->codec == CODEC_NEST ? read_packet(c, p, out, what) : read_payload(c, p, out, what);
}

/* false: the source has to wait. */
static bool offer(const struct channel *c, struct msg *m, struct str channel, struct str id)
{
    struct subscriber *s = c->owner;
    struct ask *a = id.p != NULL ? ask_new(s, channel, id) : NULL;
    struct asker asker = {.ops = &nest_asker, .ctx = a};
    struct receipt *receipt = NULL;
    enum code code = intake_accept(c->source->intake, m, a != NULL ? &asker : NULL, &s->waiter, &receipt);
    if (a != NULL && code == CODE_OK) {
        a->receipt = receipt;
        list_push(&s->asks, &a->link);
    } else {
        mem_free(a);
    }
    if (code != CODE_OK && code != CODE_BUSY)
        refuse(s, channel, id, code, nest_refusal(c->source->intake, code));
    return code != CODE_BUSY;
}

static bool take(struct channel *c, const struct push *p)
{
    struct subscriber *s = c->owner;
    struct content content;
    const char *what = NULL;
    bool legal = read(c, p, &content, &what), fits = content.input.body.n <= s->endpoint->env.body_max;
    struct msg *m = legal && fits ? msg_new(c->source->intake->factory, &content.input, &what) : NULL;
    if (m == NULL) {
        enum code code = legal && !fits ? CODE_TOO_LARGE : CODE_INVALID;
        intake_refused(c->source->intake, code);
        refuse(s, p->channel, content.id, code, legal && !fits ? "body above limits.body" : what);
        s->endpoint->bad++;
        return true;
    }
    bool taken = offer(c, m, p->channel, content.id);
    msg_unref(m);
    s->endpoint->received += taken;
    return taken;
}

/* A pattern such as `orders.*` matches the replies to its own requests too. */
static bool meant_for(const struct channel *c, const struct push *p)
{
    bool pattern = p->pattern.p != NULL;
    if (c->pattern != pattern || !str_eq(c->name, pattern ? p->pattern : p->channel))
        return false;
    return c->codec != CODEC_NEST || !pattern || !str_ends(p->channel, REPLY_SUFFIX);
}

static bool on_message(void *arg, const struct push *p)
{
    struct subscriber *s = arg;
    for (; s->at < s->count; s->at++) {
        if (meant_for(&s->channels[s->at], p) && !take(&s->channels[s->at], p))
            return false;
    }
    s->at = 0;
    return true;
}

static void on_resume(void *arg)
{
    struct subscriber *s = arg;
    if (s->conn != NULL)
        conn_release(s->conn);
}

/* ---------------------------------------------------------------- subscriptions */

static void set_error(struct subscriber *s, const struct channel *c, struct str text)
{
    struct endpoint *e = s->endpoint;
    struct buf b = BUF_EMPTY;
    buf_printf(&b, "%s: ", c->source->label);
    buf_str_put(&b, text);
    mem_free(s->error);
    s->error = buf_steal(&b);
    log_write(e->env.log, LOG_WARN, "subscription_denied", "endpoint", e->conf->name, "source", c->source->label,
              "reason", s->error, NULL);
}

static void on_subscribed(void *arg, uint64_t number, const struct resp *reply)
{
    struct subscriber *s = arg;
    if (reply == NULL || reply->type != RESP_ERROR)
        return;
    set_error(s, &s->channels[number], reply->text);
    timer_after(s->retry, REFUSED_MS);
}

static void subscribe(struct subscriber *s)
{
    mem_free(s->error);
    s->error = NULL;
    for (size_t i = 0; i < s->count; i++) {
        struct buf *out = conn_call(s->conn, on_subscribed, i, 2);
        resp_arg(out, s->channels[i].pattern ? STR("PSUBSCRIBE") : STR("SUBSCRIBE"));
        resp_arg(out, s->channels[i].name);
    }
}

static void on_retry(void *arg)
{
    struct subscriber *s = arg;
    if (conn_ready(s->conn))
        subscribe(s); /* once more does no harm where it has worked */
}

/* What was published meanwhile is lost: that is what pub/sub promises. */
static void on_ready(void *arg)
{
    struct subscriber *s = arg;
    struct endpoint *e = s->endpoint;
    char time[32];
    if (s->down_ms > 0)
        log_write(e->env.log, LOG_WARN, "subscription_gap", "endpoint", e->conf->name, "deaf_for",
                  str_format_duration(loop_now(e->env.loop) - s->down_ms, time), NULL);
    s->down_ms = 0;
    subscribe(s);
}

static void on_down(void *arg, const char *reason)
{
    struct subscriber *s = arg;
    (void)reason;
    s->at = 0;
    s->down_ms = loop_now(s->endpoint->env.loop);
    waiter_cancel(&s->waiter);
    timer_stop(s->retry);
}

static const struct conn_ops subscriber_ops = {.on_ready = on_ready, .on_down = on_down, .on_message = on_message};

/* ---------------------------------------------------------------- life */

static void add_channels(struct subscriber *s)
{
    const struct endpoint *e = s->endpoint;
    s->channels = mem_calloc(e->env.source_count, sizeof(*s->channels));
    for (size_t i = 0; i < e->env.source_count; i++) {
        const struct endpoint_source *source = &e->env.sources[i];
        const struct redis_source *keys = source->keys;
        if (keys->stream != NULL)
            continue;
        s->channels[s->count++] = (struct channel){
            .owner = s, .source = source, .pattern = keys->pattern != NULL,
            .name = str_of(keys->pattern != NULL ? keys->pattern : keys->channel),
            .codec = codec_of(source->codec, e->conf, CODEC_NEST)};
        if (keys->channel != NULL)
            set_origin(&s->channels[s->count - 1], str_of(keys->channel));
    }
}

struct subscriber *subscriber_new(struct endpoint *e)
{
    struct subscriber *s = mem_zalloc(sizeof(*s));
    s->endpoint = e;
    add_channels(s);
    if (s->count == 0) {
        mem_free(s->channels);
        mem_free(s);
        return NULL;
    }
    list_init(&s->asks);
    list_init(&s->askers_waiting);
    s->waiter = (struct waiter){.resume = on_resume, .arg = s};
    s->retry = timer_new(e->env.loop, on_retry, s);
    s->conn = conn_new(e, &subscriber_ops, s);
    return s;
}

void subscriber_stop(struct subscriber *s)
{
    if (s == NULL)
        return;
    waiter_cancel(&s->waiter);
    timer_stop(s->retry);
    conn_free(s->conn);
    s->conn = NULL;
}

void subscriber_free(struct subscriber *s)
{
    if (s == NULL)
        return;
    subscriber_stop(s);
    while (!list_empty(&s->asks)) {
        struct ask *a = CONTAINER_OF(list_first(&s->asks), struct ask, link);
        list_remove(&s->asks, &a->link);
        const struct intake_ops *ops = s->channels[0].source->intake->ops;
        ops->withdraw(a->receipt);
        mem_free(a);
    }
    waiters_wake(&s->askers_waiting);
    timer_free(s->retry);
    for (size_t i = 0; i < s->count; i++)
        origin_fini(&s->channels[i].origin);
    mem_free(s->channels);
    mem_free(s->error);
    buf_fini(&s->headers);
    buf_fini(&s->subject);
    buf_fini(&s->lines);
    mem_free(s);
}

size_t subscriber_busy(const struct subscriber *s)
{
    return s != NULL ? s->asks.count : 0;
}

void subscriber_drained(struct subscriber *s)
{
    if (s != NULL)
        waiters_wake(&s->askers_waiting);
}

struct conn *subscriber_conn(const struct subscriber *s)
{
    return s->conn;
}

const char *subscriber_error(const struct subscriber *s)
{
    return s->error;
}
