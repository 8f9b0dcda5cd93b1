/* What we subscribe to. A message with a reply subject is a request (nest: and an id in its packet); nothing else is ever
 * acknowledged. */
#include "base/mem.h"
#include "transport/nats/internal.h"
#include "transport/nest.h"
#include "wire/json.h"

struct asked { /* a request that waits for its reply */
    struct list_node link;
    struct endpoint *endpoint;
    struct intake *intake;
    struct receipt *receipt;
    unsigned codec;
    bool several;              /* its reply has items, and the codec has no room for these */
    struct str reply, id, subject; /* slices of data; id: of its packet with nest, else the message's */
    char data[];
};

static const struct endpoint_source *source_of(const struct endpoint *e, uint64_t sid)
{
    return sid > 0 && sid <= e->env.source_count ? &e->env.sources[sid - 1] : NULL;
}

/* ---------------------------------------------------------------- answers */

/* A reply that the server would not take is an error that it does; where the connection is away nobody is told. */
static void put(struct endpoint *e, struct wire_pub *pub, struct str reply)
{
    pub->subject = reply;
    pub->reply = STR_NONE;
    if (nats_conn_is_up(&e->in))
        nats_put_pub(nats_conn_out(&e->in), pub);
}

static bool fits(const struct endpoint *e, const struct wire_pub *pub)
{
    return nats_payload(pub) <= e->in.info.max_payload;
}

/* What the reply has, and what makes an event of it where the codec asks for that: it is about what was asked. */
static void encode(const struct asked *t, const struct reply *r, struct buf *lines, struct wire_pub *out)
{
    struct endpoint *e = t->endpoint;
    buf_str_put(lines, r->headers);
    if (r->code != CODE_OK)
        headers_put(lines, CODEC_ERROR_HEADER, str_of(code_name(r->code)));
    if (t->codec == CODEC_CLOUDEVENTS) {
        headers_put(lines, "id", t->id);
        headers_put(lines, "source", str_of(e->conf->name));
    }
    nats_encode(e, nats_codec(t->codec), &(struct message_parts){t->subject, buf_str(lines), r->body}, STR_NONE, out);
}

static void put_native_error(struct asked *t, enum code code, struct str detail)
{
    struct buf lines = BUF_EMPTY;
    struct wire_pub pub;
    encode(t, &(struct reply){.code = code, .body = detail}, &lines, &pub);
    if (!fits(t->endpoint, &pub))
        pub.body = STR_NONE;
    put(t->endpoint, &pub, t->reply);
    buf_fini(&lines);
}

static void put_native(struct asked *t, const struct reply *r)
{
    struct buf lines = BUF_EMPTY;
    struct wire_pub pub;
    if (t->several || r->code != CODE_OK) {
        put_native_error(t, t->several ? CODE_INVALID : r->code,
                         t->several ? STR("a reply of several items needs `codec: nest`") : r->body);
        return;
    }
    encode(t, r, &lines, &pub);
    if (fits(t->endpoint, &pub))
        put(t->endpoint, &pub, t->reply);
    else
        put_native_error(t, CODE_TOO_LARGE, STR("the reply is larger than the server's max_payload"));
    buf_fini(&lines);
}

static void put_packet(struct asked *t, struct buf *frame)
{
    struct wire_pub pub = {.body = nest_unframed(frame)};
    if (!fits(t->endpoint, &pub)) {
        buf_clear(frame);
        nest_put_error(frame, t->id, CODE_TOO_LARGE, STR("the reply is larger than the server's max_payload"));
        pub.body = nest_unframed(frame);
    }
    put(t->endpoint, &pub, t->reply);
}

static void asked_free(struct asked *t)
{
    list_remove(&t->endpoint->asked, &t->link);
    mem_free(t);
}

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *w)
{
    struct asked *t = ctx;
    struct endpoint *e = t->endpoint;
    struct buf frame = BUF_EMPTY;
    (void)token;
    t->several = t->codec != CODEC_NEST;
    if (t->codec == CODEC_NEST)
        nest_put_value(&frame, t->id, item, false);
    if (frame.len > 0)
        put_packet(t, &frame);
    buf_fini(&frame);
    if (w == NULL || !nats_conn_is_up(&e->in) || nats_conn_has_room(&e->in))
        return true;
    waiter_enrol(w, &e->crowded);
    return false;
}

static void on_done(void *ctx, uint64_t token, const struct reply *r)
{
    struct asked *t = ctx;
    struct buf frame = BUF_EMPTY;
    (void)token;
    if (t->codec == CODEC_NEST) {
        nest_put_end(&frame, t->id, r);
        put_packet(t, &frame);
    } else {
        put_native(t, r);
    }
    buf_fini(&frame);
    asked_free(t);
}

static const struct asker_ops asker_ops = {.more = on_more, .done = on_done};

/* ---------------------------------------------------------------- messages */

struct incoming {
    const struct endpoint_source *source;
    const struct wire_in *in;
    unsigned codec;
    struct message_parts parts;
    struct native native;
    struct str id;       /* nest: of its packet */
    bool json;           /* nest: its data are JSON */
    bool request;
    struct buf subject, headers; /* nest: what parts has slices of */
};

static void add_metadata(struct incoming *m, struct str metadata)
{
    struct buf more = BUF_EMPTY;
    struct str rest, native = m->native.headers;
    struct header h;
    nest_metadata_headers(metadata, &more);
    for (rest = buf_str(&more); headers_next(&rest, &h);) {
        bool fits = m->headers.len + h.name.n + h.value.n + 3 <= CODEC_HEADERS_BYTES;
        char *name = str_dup(h.name);
        if (fits && headers_get(native, name).p == NULL)
            headers_put(&m->headers, name, h.value);
        mem_free(name);
    }
    buf_fini(&more);
}

/* NestJS routes by the subject, whatever the pattern in the packet is. What is no packet is an event, the whole of it its data. */
static void read_packet(struct incoming *m)
{
    struct nest_request r;
    const char *what;
    enum json_type type;
    bool packet = nest_request_parse(m->in->body, &r, &what);
    m->json = packet || json_valid(m->in->body, &type, NULL);
    m->id = packet ? r.id : STR_NONE;
    m->request = packet && r.id.p != NULL && m->in->reply.n > 0;
    m->parts.body = packet ? r.data : m->in->body;
    if (!m->json)
        headers_put(&m->headers, "content-type", STR("text/plain"));
    buf_str_put(&m->headers, m->native.headers);
    if (packet && r.metadata.p != NULL)
        add_metadata(m, r.metadata);
    m->parts.headers = buf_str(&m->headers);
    m->parts.subject = m->in->subject;
    if (nest_subject_text(m->in->subject, &m->subject))
        m->parts.subject = buf_str(&m->subject);
}

static bool decode(struct endpoint *e, struct incoming *m, const char **what)
{
    const struct codec *codec = nats_codec(m->codec);
    *what = "a subject that is no text";
    if (m->in->subject.n > MSG_SUBJECT_MAX || !str_printable(m->in->subject))
        return false;
    nats_read_headers(e, codec, m->in, &m->native);
    if (m->codec == CODEC_NEST) {
        read_packet(m);
        return true;
    }
    struct wire_message w = {m->in->subject, m->native.headers, m->native.content_type, m->in->body};
    m->request = m->in->reply.n > 0;
    return codec_decode(codec, &e->room, &w, &m->parts, what);
}

static struct msg *make(struct endpoint *e, const struct incoming *m, const char **what)
{
    const struct nats_source *keys = m->source->keys;
    struct msg_input input = {.kind = m->request ? MSG_REQUEST : MSG_EVENT, .subject = m->parts.subject,
                              .headers = m->parts.headers, .id = m->native.id, .body = m->parts.body,
                              .source = str_of(m->source->intake->name)};
    origin_begin(&e->origin);
    ORIGIN_ADD(&e->origin, "nats-subject", m->in->subject);
    ORIGIN_ADD(&e->origin, "nats-queue", str_of(keys->queue));
    origin_give(&e->origin, m->json, &input);
    return msg_new(m->source->intake->factory, &input, what);
}

/* msg: NULL where it was none; the inbox of who asks is then as good a name for what was asked. */
static struct asked *asked_new(struct endpoint *e, const struct incoming *m, const struct msg *msg)
{
    struct str name = m->codec == CODEC_NEST ? m->id : msg != NULL ? msg->id : m->in->reply;
    size_t reply = m->in->reply.n, id = name.n, subject = m->parts.subject.n;
    struct asked *t = mem_zalloc(sizeof(*t) + reply + id + subject);
    char *at = t->data;
    t->endpoint = e;
    t->intake = m->source->intake;
    t->codec = m->codec;
    t->reply = str_make(at, reply);
    t->id = str_make(at += reply, id);
    t->subject = str_make(at += id, subject);
    bytes_str(bytes_str(bytes_str(t->data, m->in->reply), name), m->parts.subject);
    list_push(&e->asked, &t->link);
    return t;
}

/* One that nothing became of: who asks is told. */
static void refuse(struct asked *t, enum code code, const char *why)
{
    struct reply r = {.code = code, .body = str_of(why)};
    on_done(t, 0, &r);
}

static enum code offer(struct endpoint *e, const struct incoming *m, struct msg *msg)
{
    struct asked *t = m->request ? asked_new(e, m, msg) : NULL;
    struct asker asker = {.ops = t != NULL ? &asker_ops : NULL, .ctx = t};
    struct receipt *receipt = NULL;
    enum code code = intake_accept(m->source->intake, msg, &asker, &e->waiter, &receipt);
    if (t == NULL)
        return code;
    t->receipt = receipt;
    if (code == CODE_BUSY)
        asked_free(t);
    else if (code != CODE_OK)
        refuse(t, code, m->codec == CODEC_NEST ? nest_refusal(m->source->intake, code) : "");
    return code;
}

static void refuse_bad(struct endpoint *e, struct incoming *m, enum code code, const char *what)
{
    e->bad++;
    intake_refused(m->source->intake, code);
    m->request = m->in->reply.n > 0 && (m->codec != CODEC_NEST || m->id.p != NULL);
    m->parts.subject = m->in->subject;
    if (m->request)
        refuse(asked_new(e, m, NULL), code, what);
}

/* false = wait. */
static bool take(struct endpoint *e, struct incoming *m)
{
    const char *what;
    struct msg *msg = decode(e, m, &what) ? make(e, m, &what) : NULL;
    if (msg == NULL) {
        refuse_bad(e, m, CODE_INVALID, what);
        return true;
    }
    enum code code = offer(e, m, msg);
    msg_unref(msg);
    e->received += code != CODE_BUSY;
    return code != CODE_BUSY;
}

static bool on_message(struct conn *c, const struct wire_in *in)
{
    struct endpoint *e = c->owner;
    struct incoming m = {.source = source_of(e, in->sid), .in = in};
    bool taken = true;
    if (m.source == NULL || str_starts(in->subject, buf_str(&e->inbox)))
        return true; /* a reply to us, which a source of `>` hears too */
    m.codec = codec_of(m.source->codec, e->conf, CODEC_NEST);
    if (in->skip > 0)
        refuse_bad(e, &m, CODE_TOO_LARGE, "a message above limits.body");
    else
        taken = take(e, &m);
    buf_fini(&m.subject);
    buf_fini(&m.headers);
    return taken;
}

/* ---------------------------------------------------------------- coming and going */

static void on_up(struct conn *c)
{
    struct endpoint *e = c->owner;
    e->last_ping = 0; /* that PONG would have come over the connection before */
    for (size_t i = 0; i < e->env.source_count && !e->stopped; i++) {
        const struct nats_source *keys = e->env.sources[i].keys;
        nats_put_sub(nats_conn_out(c), str_of(keys->subject), keys->queue, i + 1);
    }
    if (link_connects(c->link) > 1)
        log_write(e->env.log, LOG_WARN, "subscription_gap", "endpoint", e->conf->name, "reason",
                  "what was published while the connection was away is lost", NULL);
}

/* Who asked still waits at its inbox: the answer goes out over the next connection. */
static void on_down(struct conn *c, const char *reason)
{
    struct endpoint *e = c->owner;
    (void)reason;
    waiter_cancel(&e->waiter);
    waiters_wake(&e->crowded);
}

static void on_room(struct conn *c)
{
    struct endpoint *e = c->owner;
    waiters_wake(&e->crowded);
}

static void on_pong(struct conn *c)
{
    (void)c;
}

static void on_refused(struct conn *c, struct str subject)
{
    struct endpoint *e = c->owner;
    char *text = str_dup(subject);
    log_write(e->env.log, LOG_WARN, "reply_refused", "endpoint", e->conf->name, "subject", text, "reason",
              "no right to publish to the inbox of who asked", NULL);
    mem_free(text);
}

const struct conn_ops nats_in_ops = {.up = on_up, .message = on_message, .pong = on_pong, .refused = on_refused,
                                     .room = on_room, .down = on_down};

/* Messages that are on their way come before the PONG, and are taken. */
void nats_source_stop(struct endpoint *e)
{
    e->stopped = true;
    if (!nats_conn_is_up(&e->in))
        return;
    for (size_t i = 0; i < e->env.source_count; i++)
        nats_put_unsub(nats_conn_out(&e->in), i + 1);
    e->last_ping = nats_conn_ping(&e->in);
}

size_t nats_source_busy(const struct endpoint *e)
{
    return e->asked.count + (nats_conn_is_up(&e->in) && e->in.pongs < e->last_ping);
}

void nats_source_fini(struct endpoint *e)
{
    waiter_cancel(&e->waiter);
    while (!list_empty(&e->asked)) {
        struct asked *t = CONTAINER_OF(list_first(&e->asked), struct asked, link);
        t->intake->ops->withdraw(t->receipt);
        asked_free(t);
    }
    waiters_wake(&e->crowded); /* the list goes: what has waited for room goes on with what else it does */
}
