#include "base/mem.h"
#include "base/rand.h"
#include "loop/timer.h"
#include "transport/amqp/hand.h"
#include "transport/amqp/incoming.h"
#include "transport/amqp/topology.h"
#include "transport/nest.h"

#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 60000
#define HANDED_OUT_MAX 2 /* times the prefetch: after a cancelled consumer there is another one on the channel */
#define OFFER_AGAIN_MS 500 /* what nobody could take at the moment */

struct source {
    struct consumer *consumer;
    const struct endpoint_source *from;
    const struct amqp_source *keys;
    struct channel channel;
    bool opened, consuming;
    char *error;              /* why it is not consuming */
    struct timer *retry;
    int64_t retry_ms;
    struct hand hand;
    struct waiter waiter;     /* with the core, which has no room */
    struct timer *again;      /* to offer what is held */
    struct incoming incoming;
};

struct consumer {
    struct endpoint *endpoint;
    struct broker *conn;
    struct source *sources;
    size_t count;
    struct rand rand;
    struct msg_pool *pool;
    bool stopped;
};

struct broker *consumer_broker(const struct consumer *c)
{
    return c->conn;
}

static void reject(struct delivery *d, const char *why)
{
    const struct source *s = d->source;
    const struct endpoint *e = s->consumer->endpoint;
    log_write(e->env.log, LOG_WARN, "message_rejected", "endpoint", e->conf->name, "source", s->from->label, "reason",
              why, NULL);
    hand_reject(d);
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
        list_push(&s->hand.held, &d->held_link);
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
        hand_done(d);
    } else if (r->code == CODE_OK || r->code == CODE_DUPLICATE || r->kept) {
        hand_done(d); /* a dead letter has one place: ours, or the queue's dead letters */
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
    struct reply error = {.code = code, .body = str_of(nest_refusal(d->source->from->intake, code))};
    if (is_request(d)) {
        answer(d, &error, true);
        hand_done(d);
    } else if (is_passing(code)) {
        hold(d, code);
    } else {
        reject(d, nest_refusal(d->source->from->intake, code));
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
    list_remove(&s->hand.held, &d->held_link);
    s->consumer->endpoint->received++;
    return true;
}

static void offer_held(void *arg)
{
    struct source *s = arg;
    for (size_t n = s->hand.held.count; n > 0 && !list_empty(&s->hand.held) && s->waiter.in == NULL; n--) {
        if (!offer(CONTAINER_OF(list_first(&s->hand.held), struct delivery, held_link)))
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

static void set_answer(struct delivery *d, struct str id)
{
    struct source *s = d->source;
    struct str to = incoming_text(&s->incoming, IN_REPLY_TO), correlation = incoming_text(&s->incoming, IN_CORRELATION);
    struct buf texts = BUF_EMPTY;
    buf_str_put(&texts, to);
    buf_str_put(&texts, correlation);
    buf_str_put(&texts, id);
    const char *at = d->texts = buf_steal(&texts);
    d->answer = (struct answer){.asked = d->msg, .codec = s->incoming.codec, .reply_to = str_make(at, to.n),
                                .correlation_id = str_make(at + to.n, correlation.n),
                                .id = str_make(at + to.n + correlation.n, id.n)};
}

static void take(struct delivery *d, struct str body)
{
    struct source *s = d->source;
    struct parcel parcel;
    const char *what = NULL;
    bool good = incoming_read(&s->incoming, body, &parcel, &what);
    parcel.input.source = str_of(s->from->intake->name);
    parcel.input.pool = s->consumer->pool;
    if (good)
        d->msg = msg_new(s->from->intake->factory, &parcel.input, &what);
    if (d->msg == NULL) {
        intake_refused(s->from->intake, CODE_INVALID);
        reject(d, what);
        return;
    }
    if (parcel.input.kind == MSG_REQUEST)
        set_answer(d, parcel.id);
    if (!is_request(d) && !list_empty(&s->hand.held))
        list_push(&s->hand.held, &d->held_link); /* not past those that wait */
    else
        offer(d);
}

static void on_content(void *arg, struct str body, bool oversized)
{
    struct source *s = arg;
    if (s->hand.unacked.count >= HANDED_OUT_MAX * s->keys->prefetch) {
        s->consumer->endpoint->bad++;
        broker_reset(s->consumer->conn, "the broker hands out more than `prefetch`");
        return;
    }
    struct delivery *d = hand_take(&s->hand, s, s->incoming.tag);
    if (!oversized) {
        take(d, body);
        return;
    }
    intake_refused(s->from->intake, CODE_TOO_LARGE);
    reject(d, "the body is above limits.body");
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

/* All of it at once: where one step fails, the broker closes the channel and passes over the rest. */
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
    topology_declare(&s->channel, k);
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
    for (struct delivery *d; (d = hand_first(&s->hand)) != NULL;) {
        if (d->receipt != NULL)
            s->from->intake->ops->withdraw(d->receipt);
        hand_drop(d);
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
        incoming_deliver(&s->incoming, m->decoded);
        break;
    case AMQP_BASIC_CONSUME_OK_METHOD:
        on_consume_ok(s);
        break;
    case AMQP_BASIC_CANCEL_METHOD:
        on_cancelled(s);
        break;
    case AMQP_QUEUE_DECLARE_OK_METHOD:
        incoming_named(&s->incoming, bytes_of(declared->queue));
        break;
    default:
        break;
    }
}

static void on_properties(void *arg, const amqp_basic_properties_t *p)
{
    struct source *s = arg;
    incoming_properties(&s->incoming, p);
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
                         .channel = {.ops = &source_ops, .arg = s}};
    hand_init(&s->hand, &s->channel, l, s->keys->prefetch);
    incoming_init(&s->incoming, s->keys, codec_of(from->codec, c->endpoint->conf, CODEC_NEST));
    s->waiter = (struct waiter){.resume = on_resume, .arg = s};
    s->retry = timer_new(l, on_retry, s);
    s->again = timer_new(l, offer_held, s);
    broker_add(c->conn, &s->channel);
}

struct consumer *consumer_new(struct endpoint *e)
{
    struct consumer *c = mem_zalloc(sizeof(*c));
    c->endpoint = e;
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
    mem_free(c->sources);
    mem_free(c);
}

static void source_fini(struct source *s)
{
    drop_all(s);
    timer_free(s->retry);
    timer_free(s->again);
    hand_fini(&s->hand);
    incoming_fini(&s->incoming);
    mem_free(s->error);
}

void consumer_free(struct consumer *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        hand_flush(&c->sources[i].hand); /* what has been settled */
    broker_free(c->conn);
    c->conn = NULL;
    for (size_t i = 0; i < c->count; i++)
        source_fini(&c->sources[i]);
    msg_pool_close(c->pool);
    loop_later(c->endpoint->env.loop, forget, c); /* the end of a hand's turn may still be due, and finds nothing */
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
        hand_hurry(&c->sources[i].hand);
    }
}

/* What waits for the core is the core's to count; what it cannot deliver comes again from the broker. */
size_t consumer_busy(const struct consumer *c)
{
    size_t busy = broker_is_ready(c->conn) && broker_pending(c->conn) > 0;
    for (size_t i = 0; i < c->count; i++)
        busy += c->sources[i].hand.done.count;
    return busy;
}

size_t consumer_unsettled(const struct consumer *c)
{
    size_t sum = 0;
    for (size_t i = 0; i < c->count; i++)
        sum += hand_unsettled(&c->sources[i].hand);
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
