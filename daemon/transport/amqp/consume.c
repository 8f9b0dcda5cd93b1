#include "base/mem.h"
#include "base/rand.h"
#include "loop/timer.h"
#include "msg/headers.h"
#include "transport/amqp/internal.h"
#include "transport/amqp/tables.h"
#include "transport/nest.h"
#include "transport/origin.h"

#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 60000
#define HANDED_OUT_MAX 2 /* times the prefetch: after a cancelled consumer there is another one on the channel */
#define OFFER_AGAIN_MS 500 /* what nobody could take at the moment */
#define ACK_LATER_MS 5     /* how long an acknowledgement waits for others */
#define SPARES_MAX 1024

struct source;

/* A message that the broker waits to hear of. */
struct delivery {
    struct list_node link;      /* in source.unacked, by tag */
    struct list_node done_link; /* in source.done: taken, to be acknowledged at the end of the turn */
    struct list_node held_link; /* in source.held: not taken yet */
    struct source *source;
    uint64_t tag;
    bool again;                 /* its deliveries have failed in passing once already */
    struct msg *msg;            /* of an event, to offer it again */
    struct receipt *receipt;
    char *texts;                /* request: reply_to, correlation id and raw id, one after the other */
    struct answer answer;       /* slices of texts */
};

enum incoming_text { IN_EXCHANGE, IN_KEY, IN_TYPE, IN_REPLY_TO, IN_CORRELATION, IN_TEXTS };

struct source {
    struct consumer *consumer;
    const struct endpoint_source *from;
    const struct amqp_source *keys;
    unsigned codec;
    struct channel channel;
    bool opened, consuming;
    char *error;              /* why it is not consuming */
    struct timer *retry;
    int64_t retry_ms;
    struct list unacked, done, held;
    bool flushing;            /* put off to the end of the turn */
    struct timer *ack;        /* acknowledgements that wait for others */
    bool ack_armed;
    struct waiter waiter;     /* with the core, which has no room */
    struct timer *again;      /* to offer what is held */
    struct buf queue;         /* its name, where the broker gave it */
    /* of the content that comes */
    uint64_t tag;
    bool redelivered;
    struct origin origin;     /* of this exchange, key and redelivered; count 0 = to be made */
    struct buf in[IN_TEXTS];
    struct codec_room room;   /* contents of two channels may come interleaved */
};

struct consumer {
    struct endpoint *endpoint;
    struct broker *conn;
    struct source *sources;
    size_t count;
    struct buf scratch, subject;
    struct rand rand;
    struct msg_pool *pool;
    struct list spares; /* struct delivery */
    bool stopped;
};

struct broker *consumer_broker(const struct consumer *c)
{
    return c->conn;
}

/* ---------------------------------------------------------------- acknowledging */

static struct delivery *done_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct delivery, done_link);
}

static struct delivery *held_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct delivery, held_link);
}

static struct delivery *delivery_new(struct source *s)
{
    struct list *spares = &s->consumer->spares;
    struct list_node *n = list_first(spares);
    struct delivery *d;
    if (n != NULL) {
        list_remove(spares, n);
        d = CONTAINER_OF(n, struct delivery, link);
    } else {
        d = mem_alloc(sizeof(*d));
    }
    *d = (struct delivery){.source = s, .tag = s->tag};
    list_push(&s->unacked, &d->link);
    return d;
}

static void delivery_free(struct delivery *d)
{
    struct source *s = d->source;
    list_remove(&s->unacked, &d->link);
    list_remove(&s->done, &d->done_link);
    list_remove(&s->held, &d->held_link);
    msg_unref(d->msg);
    mem_free(d->texts);
    if (s->consumer->spares.count < SPARES_MAX)
        list_push_front(&s->consumer->spares, &d->link);
    else
        mem_free(d);
}

static void put_ack(struct source *s, uint64_t tag, bool multiple)
{
    amqp_basic_ack_t ack = {.delivery_tag = tag, .multiple = multiple};
    channel_put(&s->channel, AMQP_BASIC_ACK_METHOD, &ack);
}

/* What is done from the oldest on without a gap goes in one acknowledgement, the rest one by one: a slow message does not
 * hold back the credit of those behind it. */
static void flush(struct source *s)
{
    uint64_t through = 0, count = 0;
    timer_stop(s->ack);
    s->ack_armed = false;
    while (!list_empty(&s->unacked)) {
        struct delivery *d = CONTAINER_OF(list_first(&s->unacked), struct delivery, link);
        if (!list_linked(&d->done_link))
            break;
        through = d->tag;
        count++;
        delivery_free(d);
    }
    if (count > 0)
        put_ack(s, through, count > 1);
    while (!list_empty(&s->done)) {
        struct delivery *d = done_of(list_first(&s->done));
        put_ack(s, d->tag, false);
        delivery_free(d);
    }
}

static void on_ack_timer(void *arg)
{
    flush(arg);
}

/* One acknowledgement for many is less work for both sides; but none waits while there is nothing else that its
 * company could be, or while the broker may be out of credit. */
static void on_turn_end(void *arg)
{
    struct source *s = arg;
    s->flushing = false;
    if (s->consumer->stopped || s->done.count == s->unacked.count || s->done.count * 4 >= s->keys->prefetch) {
        flush(s);
    } else if (!s->ack_armed) {
        timer_after(s->ack, ACK_LATER_MS);
        s->ack_armed = true;
    }
}

static void acknowledge(struct delivery *d)
{
    struct source *s = d->source;
    list_push(&s->done, &d->done_link);
    if (!s->flushing)
        loop_later(s->consumer->endpoint->env.loop, on_turn_end, s);
    s->flushing = true;
}

/* Never back into the queue, from which it would come again at once: to the dead letters of the queue, or away. */
static void reject(struct delivery *d, const char *why)
{
    struct source *s = d->source;
    const struct endpoint *e = s->consumer->endpoint;
    amqp_basic_reject_t reject = {.delivery_tag = d->tag, .requeue = false};
    log_write(e->env.log, LOG_WARN, "message_rejected", "endpoint", e->conf->name, "source", s->from->label, "reason",
              why, NULL);
    channel_put(&s->channel, AMQP_BASIC_REJECT_METHOD, &reject);
    delivery_free(d);
}

/* ---------------------------------------------------------------- offering to the core */

static bool is_request(const struct delivery *d)
{
    return d->texts != NULL;
}

static void answer(struct delivery *d, const struct reply *r, bool last)
{
    const struct endpoint *e = d->source->consumer->endpoint;
    d->answer.last = last;
    if (!answers_send(publisher_answers(e->publisher), &d->answer, r) && last)
        log_write(e->env.log, LOG_WARN, "answer_lost", "endpoint", e->conf->name, "source", d->source->from->label, NULL);
}

/* Nobody could take it now: it stays with us, unacknowledged, and counts against the prefetch. */
static bool is_passing(enum code code)
{
    return code == CODE_BUSY || code == CODE_NO_SERVICE || code == CODE_UNAVAILABLE || code == CODE_OVERLOADED ||
           code == CODE_DRAINING || code == CODE_INTERNAL;
}

static void hold(struct delivery *d, enum code code)
{
    struct source *s = d->source;
    if (!list_linked(&d->held_link))
        list_push(&s->held, &d->held_link);
    if (code != CODE_BUSY)
        timer_after(s->again, OFFER_AGAIN_MS);
}

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *w)
{
    struct delivery *d = ctx;
    (void)token;
    answer(d, item, false);
    return !answers_full(publisher_answers(d->source->consumer->endpoint->publisher), w);
}

static void on_done(void *ctx, uint64_t token, const struct reply *r)
{
    struct delivery *d = ctx;
    (void)token;
    d->receipt = NULL;
    if (is_request(d)) {
        answer(d, r, true);
        acknowledge(d);
    } else if (r->code == CODE_OK || r->code == CODE_DUPLICATE || r->kept) {
        acknowledge(d); /* a dead letter has one place: ours, or the queue's dead letters */
    } else if (is_passing(r->code) && !d->again) {
        d->again = true; /* once: what kills whoever takes it looks the same as a store that is full */
        hold(d, r->code);
    } else {
        reject(d, code_name(r->code));
    }
}

static const struct asker_ops source_asker = {.more = on_more, .done = on_done};

static void refused(struct delivery *d, enum code code)
{
    struct reply error = {.code = code, .body = str_of(nest_refusal(code))};
    if (is_request(d)) {
        answer(d, &error, true);
        acknowledge(d);
    } else if (is_passing(code)) {
        hold(d, code);
    } else {
        reject(d, nest_refusal(code));
    }
}

/* false: it is held, nothing behind it is offered either. */
static bool offer(struct delivery *d)
{
    struct source *s = d->source;
    struct asker asker = {.ops = &source_asker, .ctx = d};
    enum code code = intake_accept(s->from->intake, d->msg, &asker, is_request(d) ? NULL : &s->waiter, &d->receipt);
    if (code != CODE_OK) {
        d->receipt = NULL;
        refused(d, code);
        return !is_passing(code) || is_request(d);
    }
    list_remove(&s->held, &d->held_link);
    s->consumer->endpoint->received++;
    return true;
}

static void offer_held(void *arg)
{
    struct source *s = arg;
    for (size_t n = s->held.count; n > 0 && !list_empty(&s->held) && s->waiter.in == NULL; n--) {
        if (!offer(held_of(list_first(&s->held))))
            return;
    }
}

/* Called from inside the core. */
static void on_resume(void *arg)
{
    struct source *s = arg;
    timer_after(s->again, 0);
}

/* ---------------------------------------------------------------- contents */

static struct str text_of(const struct source *s, enum incoming_text which)
{
    return buf_str(&s->in[which]);
}

static void keep(struct source *s, enum incoming_text which, struct str text)
{
    buf_clear(&s->in[which]);
    buf_str_put(&s->in[which], text);
}

static struct str queue_of(const struct source *s)
{
    return s->keys->queue != NULL ? str_of(s->keys->queue) : buf_str(&s->queue);
}

static void make_origin(struct source *s)
{
    origin_begin(&s->origin);
    ORIGIN_ADD(&s->origin, "amqp-queue", queue_of(s));
    if (text_of(s, IN_EXCHANGE).n > 0)
        ORIGIN_ADD(&s->origin, "amqp-exchange", text_of(s, IN_EXCHANGE));
    ORIGIN_ADD(&s->origin, "amqp-routing-key", text_of(s, IN_KEY));
    if (s->redelivered)
        ORIGIN_ADD(&s->origin, "amqp-redelivered", STR("true"));
}

static void on_deliver(struct source *s, const amqp_basic_deliver_t *m)
{
    struct str exchange = bytes_of(m->exchange), key = bytes_of(m->routing_key);
    bool same = s->origin.count > 0 && s->redelivered == m->redelivered && holds(&s->in[IN_EXCHANGE], exchange) &&
                holds(&s->in[IN_KEY], key);
    s->tag = m->delivery_tag;
    s->redelivered = m->redelivered;
    if (!same) {
        keep(s, IN_EXCHANGE, exchange);
        keep(s, IN_KEY, key);
        make_origin(s);
    }
    for (unsigned i = IN_TYPE; i < IN_TEXTS; i++) {
        if (s->in[i].len > 0)
            buf_clear(&s->in[i]);
    }
    codec_begin(&s->room);
}

static void on_properties(void *arg, const amqp_basic_properties_t *p)
{
    struct source *s = arg;
    struct codec_room *room = &s->room;
    const struct codec *codec = amqp_codec(s->codec);
    struct str type = properties_read(p, codec, room, &s->consumer->scratch);
    if (type.n > 0)
        keep(s, IN_TYPE, type);
    if ((p->_flags & AMQP_BASIC_REPLY_TO_FLAG) != 0)
        keep(s, IN_REPLY_TO, bytes_of(p->reply_to));
    if ((p->_flags & AMQP_BASIC_CORRELATION_ID_FLAG) != 0)
        keep(s, IN_CORRELATION, bytes_of(p->correlation_id));
    uint64_t deaths = (p->_flags & AMQP_BASIC_HEADERS_FLAG) != 0 ? table_deaths(&p->headers) : 0;
    char number[20];
    if (deaths > 0)
        codec_header(codec, room, STR("amqp-deaths"), str_make(number, (size_t)(bytes_u64(number, deaths) - number)));
}

/* What a content is to become. */
struct parcel {
    struct msg_input input;
    struct str id; /* nest: raw JSON; {NULL, 0} = none */
};

static bool plain_parcel(struct source *s, struct str body, unsigned codec, struct parcel *out, const char **what)
{
    struct codec_room *room = &s->room;
    struct message_parts parts;
    struct wire_message in = {.subject = text_of(s, IN_KEY), .headers = codec_room_headers(room),
                              .content_type = text_of(s, IN_TYPE), .body = body};
    if (in.subject.n == 0) /* fanout */
        in.subject = text_of(s, IN_EXCHANGE).n > 0 ? text_of(s, IN_EXCHANGE) : queue_of(s);
    if (!codec_decode(amqp_codec(codec), room, &in, &parts, what))
        return false;
    bool asks = text_of(s, IN_REPLY_TO).n > 0 && text_of(s, IN_CORRELATION).n > 0;
    out->input = (struct msg_input){.kind = asks ? MSG_REQUEST : MSG_EVENT, .subject = parts.subject,
                                    .headers = parts.headers, .body = parts.body};
    origin_give(&s->origin, false, &out->input);
    return true;
}

static bool has_header(struct str block, struct str name)
{
    struct header h;
    while (headers_next(&block, &h)) {
        if (str_eq(h.name, name))
            return true;
    }
    return false;
}

/* The protocol's own headers, then what the packet's metadata has beside them: a daemon writes both. */
static void put_metadata(struct source *s, struct str metadata, struct buf *out)
{
    struct buf lines = BUF_EMPTY;
    struct header h;
    nest_metadata_headers(metadata, &lines);
    struct str native = codec_room_headers(&s->room), rest = buf_str(&lines);
    while (headers_next(&rest, &h)) {
        if (has_header(native, h.name) || origin_owns(STR("amqp-"), h.name))
            continue;
        buf_put(out, h.name.p, h.name.n);
        buf_puts(out, ": ");
        buf_str_put(out, h.value);
        buf_putc(out, '\n');
    }
    buf_fini(&lines);
}

/* What has no pattern comes from somebody who knows nothing of NestJS: an event under its routing key. */
static bool nest_parcel(struct source *s, struct str body, struct parcel *out, const char **what)
{
    struct nest_request req;
    struct consumer *c = s->consumer;
    if (!nest_request_parse(body, &req, what)) {
        bool good = plain_parcel(s, body, CODEC_RAW, out, what);
        out->input.kind = MSG_EVENT;
        return good;
    }
    buf_clear(&c->subject);
    if (!nest_subject(req.pattern, &c->subject)) {
        *what = "no subject can be made of this pattern";
        return false;
    }
    buf_clear(&c->scratch);
    buf_str_put(&c->scratch, codec_room_headers(&s->room));
    if (req.metadata.p != NULL)
        put_metadata(s, req.metadata, &c->scratch);
    bool asks = req.id.p != NULL && text_of(s, IN_REPLY_TO).n > 0;
    out->id = req.id;
    out->input = (struct msg_input){.kind = asks ? MSG_REQUEST : MSG_EVENT, .subject = buf_str(&c->subject),
                                    .headers = buf_str(&c->scratch), .body = req.data};
    origin_give(&s->origin, true, &out->input);
    return true;
}

static void set_answer(struct delivery *d, struct str id)
{
    struct source *s = d->source;
    struct str to = text_of(s, IN_REPLY_TO), correlation = text_of(s, IN_CORRELATION);
    struct buf texts = BUF_EMPTY;
    buf_str_put(&texts, to);
    buf_str_put(&texts, correlation);
    buf_str_put(&texts, id);
    const char *at = d->texts = buf_steal(&texts);
    d->answer = (struct answer){.asked = d->msg, .codec = s->codec, .reply_to = str_make(at, to.n),
                                .correlation_id = str_make(at + to.n, correlation.n),
                                .id = str_make(at + to.n + correlation.n, id.n)};
}

static void take(struct delivery *d, struct str body)
{
    struct source *s = d->source;
    struct parcel parcel;
    const char *what = NULL;
    parcel.id = STR_NONE;
    bool good = s->codec == CODEC_NEST ? nest_parcel(s, body, &parcel, &what)
                                       : plain_parcel(s, body, s->codec, &parcel, &what);
    parcel.input.source = str_of(s->from->intake->name);
    parcel.input.pool = s->consumer->pool;
    if (good)
        d->msg = msg_new(s->from->intake->factory, &parcel.input, &what);
    if (d->msg == NULL) {
        reject(d, what);
        return;
    }
    if (parcel.input.kind == MSG_REQUEST)
        set_answer(d, parcel.id);
    if (!is_request(d) && !list_empty(&s->held))
        list_push(&s->held, &d->held_link); /* not past those that wait */
    else
        offer(d);
}

static void on_content(void *arg, struct str body, bool oversized)
{
    struct source *s = arg;
    if (s->unacked.count >= HANDED_OUT_MAX * s->keys->prefetch) {
        s->consumer->endpoint->bad++;
        broker_reset(s->consumer->conn, "the broker hands out more than `prefetch`");
        return;
    }
    struct delivery *d = delivery_new(s);
    if (oversized)
        reject(d, "the body is above limits.body");
    else
        take(d, body);
}

/* ---------------------------------------------------------------- the channel */

static void set_error(struct source *s, const char *text)
{
    const struct endpoint *e = s->consumer->endpoint;
    if (text != NULL && (s->error == NULL || strcmp(s->error, text) != 0))
        log_write(e->env.log, LOG_WARN, "source_down", "endpoint", e->conf->name, "source", s->from->label, "reason", text,
                  NULL);
    mem_free(s->error);
    s->error = text != NULL ? mem_strdup(text) : NULL;
}

static void declare_exchange(struct source *s)
{
    const struct amqp_declare *d = &s->keys->declare;
    amqp_exchange_declare_t declare = {.exchange = amqp_of(str_of(s->keys->exchange)), .durable = d->durable,
                                       .type = amqp_cstring_bytes(amqp_exchange_types[d->exchange_type])};
    if (!str_starts(str_of(s->keys->exchange), STR("amq.")))
        channel_put(&s->channel, AMQP_EXCHANGE_DECLARE_METHOD, &declare);
}

static void add_text(struct table *t, const char *name, const char *value)
{
    if (value != NULL && *value != '\0')
        table_add(t, str_of(name), str_of(value));
}

static void add_count(struct table *t, const char *name, uint64_t value)
{
    if (value > 0)
        table_add_integer(t, name, (int64_t)value);
}

static void declare_queue(struct source *s)
{
    const struct amqp_declare *d = &s->keys->declare;
    struct table arguments = {0};
    add_text(&arguments, "x-queue-type", amqp_queue_types[d->type]);
    add_text(&arguments, "x-dead-letter-exchange", d->dead_letter_exchange);
    if (d->dead_letter_exchange == NULL && d->dead_letter_routing_key != NULL) /* the default one has no name */
        table_add(&arguments, STR("x-dead-letter-exchange"), STR(""));
    add_text(&arguments, "x-dead-letter-routing-key", d->dead_letter_routing_key);
    add_count(&arguments, "x-delivery-limit", d->delivery_limit);
    add_count(&arguments, "x-max-length", d->max_length);
    add_count(&arguments, "x-message-ttl", (uint64_t)d->message_ttl_ms);
    amqp_queue_declare_t declare = {.queue = amqp_of(str_of(s->keys->queue)), .durable = d->durable,
                                    .exclusive = d->exclusive, .auto_delete = d->auto_delete,
                                    .arguments = table_made(&arguments)};
    channel_put(&s->channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
    table_fini(&arguments);
}

/* All of it at once: where one step fails, the broker closes the channel and passes over the rest. An empty
 * name stands for the queue that was declared last. */
static void start(struct source *s)
{
    const struct amqp_source *k = s->keys;
    amqp_channel_open_t open = {0};
    amqp_basic_qos_t qos = {.prefetch_count = (uint16_t)k->prefetch};
    amqp_basic_consume_t consume = {.queue = amqp_of(str_of(k->queue)),
                                    .consumer_tag = amqp_cstring_bytes(s->consumer->endpoint->conf->name)};
    if (!s->opened)
        channel_put(&s->channel, AMQP_CHANNEL_OPEN_METHOD, &open);
    s->opened = true;
    if (k->declare.given && k->exchange != NULL)
        declare_exchange(s);
    if (k->declare.given)
        declare_queue(s);
    for (size_t i = 0; i < k->bind.count; i++) {
        amqp_queue_bind_t bind = {.queue = amqp_of(str_of(k->queue)), .exchange = amqp_of(str_of(k->exchange)),
                                  .routing_key = amqp_of(str_of(k->bind.items[i]))};
        channel_put(&s->channel, AMQP_QUEUE_BIND_METHOD, &bind);
    }
    channel_put(&s->channel, AMQP_BASIC_QOS_METHOD, &qos);
    channel_put(&s->channel, AMQP_BASIC_CONSUME_METHOD, &consume);
}

static void on_retry(void *arg)
{
    struct source *s = arg;
    if (broker_is_ready(s->consumer->conn) && !s->consumer->stopped)
        start(s);
}

/* For ever, but with longer and longer pauses: somebody has to make the queue, or to give us the right to it. */
static void retry_later(struct source *s)
{
    s->consuming = false;
    timer_after(s->retry, s->retry_ms / 2 + (int64_t)rand_below(&s->consumer->rand, (uint64_t)s->retry_ms));
    s->retry_ms = s->retry_ms * 2 < RETRY_MAX_MS ? s->retry_ms * 2 : RETRY_MAX_MS;
}

/* The broker hands all of them out again, so nobody here waits for them. */
static void drop_all(struct source *s)
{
    waiter_cancel(&s->waiter);
    timer_stop(s->again);
    timer_stop(s->ack);
    s->ack_armed = false;
    while (!list_empty(&s->unacked)) {
        struct delivery *d = CONTAINER_OF(list_first(&s->unacked), struct delivery, link);
        if (d->receipt != NULL)
            s->from->intake->ops->withdraw(d->receipt);
        delivery_free(d);
    }
}

static void on_ready(void *arg)
{
    struct source *s = arg;
    s->opened = s->consuming = false;
    s->retry_ms = RETRY_MIN_MS;
    broker_hurry(publisher_broker(s->consumer->endpoint->publisher));
    if (!s->consumer->stopped)
        start(s);
}

static void on_consume_ok(struct source *s)
{
    const struct endpoint *e = s->consumer->endpoint;
    s->consuming = true;
    s->retry_ms = RETRY_MIN_MS;
    set_error(s, NULL);
    log_write(e->env.log, LOG_INFO, "source_up", "endpoint", e->conf->name, "source", s->from->label, NULL);
}

static void on_cancelled(struct source *s)
{
    set_error(s, "the broker has cancelled the consumer: the queue was deleted, or its leader has gone");
    retry_later(s);
}

static void on_method(void *arg, const amqp_method_t *m)
{
    struct source *s = arg;
    const amqp_queue_declare_ok_t *declared = m->decoded;
    switch (m->id) {
    case AMQP_BASIC_DELIVER_METHOD:
        on_deliver(s, m->decoded);
        break;
    case AMQP_BASIC_CONSUME_OK_METHOD:
        on_consume_ok(s);
        break;
    case AMQP_BASIC_CANCEL_METHOD:
        on_cancelled(s);
        break;
    case AMQP_QUEUE_DECLARE_OK_METHOD:
        buf_clear(&s->queue);
        buf_str_put(&s->queue, bytes_of(declared->queue));
        s->origin.count = 0;
        break;
    default:
        break;
    }
}

static void on_closed(void *arg, const amqp_channel_close_t *why)
{
    struct source *s = arg;
    char text[320];
    s->opened = false;
    set_error(s, close_text(why->reply_code, why->reply_text, text));
    drop_all(s);
    retry_later(s);
}

static void on_down(void *arg, const char *reason)
{
    struct source *s = arg;
    (void)reason;
    s->opened = s->consuming = false;
    timer_stop(s->retry);
    set_error(s, NULL); /* the link has one */
    drop_all(s);
}

static const struct channel_ops source_ops = {
    .on_ready = on_ready, .on_method = on_method, .on_properties = on_properties, .on_content = on_content,
    .on_closed = on_closed, .on_down = on_down};

/* ---------------------------------------------------------------- life */

static void source_init(struct source *s, struct consumer *c, const struct endpoint_source *from)
{
    struct loop *l = c->endpoint->env.loop;
    *s = (struct source){.consumer = c, .from = from, .keys = from->keys,
                         .codec = codec_of(from->codec, c->endpoint->conf, CODEC_NEST),
                         .channel = {.ops = &source_ops, .arg = s}};
    list_init(&s->unacked);
    list_init(&s->done);
    list_init(&s->held);
    s->waiter = (struct waiter){.resume = on_resume, .arg = s};
    s->retry = timer_new(l, on_retry, s);
    s->again = timer_new(l, offer_held, s);
    s->ack = timer_new(l, on_ack_timer, s);
    broker_add(c->conn, &s->channel);
}

struct consumer *consumer_new(struct endpoint *e)
{
    struct consumer *c = mem_zalloc(sizeof(*c));
    c->endpoint = e;
    list_init(&c->spares);
    c->count = e->env.source_count;
    c->sources = mem_calloc(c->count, sizeof(*c->sources));
    c->pool = msg_pool_new();
    c->conn = amqp_connect(e, "consume");
    rand_seed_os(&c->rand);
    for (size_t i = 0; i < c->count; i++)
        source_init(&c->sources[i], c, &e->env.sources[i]);
    return c;
}

static void forget(void *arg)
{
    struct consumer *c = arg;
    for (struct list_node *n; (n = list_first(&c->spares)) != NULL;) {
        list_remove(&c->spares, n);
        mem_free(CONTAINER_OF(n, struct delivery, link));
    }
    mem_free(c->sources);
    mem_free(c);
}

static void source_fini(struct source *s)
{
    drop_all(s);
    timer_free(s->retry);
    timer_free(s->again);
    timer_free(s->ack);
    origin_fini(&s->origin);
    for (size_t i = 0; i < IN_TEXTS; i++)
        buf_fini(&s->in[i]);
    codec_room_fini(&s->room);
    buf_fini(&s->queue);
    mem_free(s->error);
}

void consumer_free(struct consumer *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        flush(&c->sources[i]); /* what has been settled */
    broker_free(c->conn);
    c->conn = NULL;
    for (size_t i = 0; i < c->count; i++)
        source_fini(&c->sources[i]);
    buf_fini(&c->scratch);
    buf_fini(&c->subject);
    msg_pool_close(c->pool);
    loop_later(c->endpoint->env.loop, forget, c); /* on_turn_end() may still be due, and finds nothing */
}

void consumer_stop(struct consumer *c)
{
    amqp_basic_cancel_t cancel = {.consumer_tag = amqp_cstring_bytes(c->endpoint->conf->name), .nowait = true};
    c->stopped = true;
    for (size_t i = 0; i < c->count; i++) {
        timer_stop(c->sources[i].retry);
        if (c->sources[i].consuming)
            channel_put(&c->sources[i].channel, AMQP_BASIC_CANCEL_METHOD, &cancel);
        c->sources[i].consuming = false;
        flush(&c->sources[i]);
    }
}

/* What waits for the core is the core's to count; what it cannot deliver comes again from the broker. */
size_t consumer_busy(const struct consumer *c)
{
    size_t busy = broker_is_ready(c->conn) && broker_pending(c->conn) > 0;
    for (size_t i = 0; i < c->count; i++)
        busy += c->sources[i].done.count;
    return busy;
}

size_t consumer_unsettled(const struct consumer *c)
{
    size_t sum = 0;
    for (size_t i = 0; i < c->count; i++)
        sum += c->sources[i].unacked.count - c->sources[i].held.count - c->sources[i].done.count;
    return sum;
}

bool consumer_is_ready(const struct consumer *c)
{
    size_t consuming = 0;
    for (size_t i = 0; i < c->count; i++)
        consuming += c->sources[i].consuming;
    return consuming == c->count || c->stopped;
}

const char *consumer_error(const struct consumer *c)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->sources[i].error != NULL)
            return c->sources[i].error;
    }
    return NULL;
}
