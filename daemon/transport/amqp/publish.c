#include "base/mem.h"
#include "loop/timer.h"
#include "msg/headers.h"
#include "transport/amqp/flights.h"
#include "transport/amqp/inbox.h"
#include "transport/amqp/internal.h"
#include "transport/amqp/outgoing.h"
#include "transport/amqp/tables.h"

#define REOPEN_MIN_MS 100
#define REOPEN_MAX_MS 30000
#define BLOCKED_MS 100 /* the time-outs of what is out start again so often while the broker is blocked */

struct publisher {
    struct endpoint *endpoint;
    struct broker *conn;
    struct channel channel;  /* with confirms; consumes the answers to what we ask */
    struct answers *answers; /* the other channel of the connection: to who asks us */
    bool ready, flow_off, starved;
    char *error;             /* why the channel was closed */
    struct flights flights;
    struct inbox *inbox;
    struct outgoing outgoing;
    struct list refused;     /* handovers that can never be sent, settled at the end of the turn */
    bool refusing;
    struct timer *reopen, *confirm_timer, *blocked;
    int64_t reopen_ms;
    amqp_method_number_t incoming; /* what the content that comes belongs to */
    struct buf returned_key, returned_id;
    struct codec_room room;  /* of a return, with its scratch */
    struct buf scratch;
};

struct broker *publisher_broker(const struct publisher *p)
{
    return p->conn;
}

struct answers *publisher_answers(const struct publisher *p)
{
    return p->answers;
}

const char *publisher_error(const struct publisher *p)
{
    return p->error;
}

static bool has_room(const struct publisher *p)
{
    return p->ready && !p->flow_off && !broker_is_blocked(p->conn) && !confirms_full(&p->flights.confirms) &&
           p->flights.asked.count < p->endpoint->keys->concurrency && broker_pending(p->conn) < BROKER_OUTPUT_HIGH;
}

static void wake_core(struct publisher *p)
{
    struct sink *s = &p->endpoint->sink;
    if (!p->starved || !has_room(p))
        return;
    p->starved = false;
    if (s->core != NULL)
        s->core->ready(s);
}

static void lose_all(struct publisher *p, const char *why)
{
    p->ready = false;
    inbox_down(p->inbox);
    timer_stop(p->confirm_timer);
    sink_set_up(&p->endpoint->sink, false, why);
    flights_lose(&p->flights);
}

/* ---------------------------------------------------------------- out */

static void settle_refused(void *arg)
{
    struct publisher *p = arg;
    p->refusing = false;
    for (size_t n = p->refused.count; n > 0 && !list_empty(&p->refused); n--) {
        struct handover *h = CONTAINER_OF(list_first(&p->refused), struct handover, link);
        list_remove(&p->refused, &h->link);
        flight_report(h, OUTCOME_REJECT, CODE_INVALID, str_of((const char *)(uintptr_t)h->carrier_id));
    }
}

static void refuse_later(struct publisher *p, struct handover *h, const char *why)
{
    h->carrier = NULL;
    h->carrier_id = (uintptr_t)why;
    list_push(&p->refused, &h->link);
    if (!p->refusing)
        loop_later(p->endpoint->env.loop, settle_refused, p);
    p->refusing = true;
}

static const char *publish(struct publisher *p, const struct handover *h, const struct flight *f)
{
    struct wire_content c = {0};
    char id[NEST_ID_DIGITS + 1];
    const char *wrong = outgoing_make(&p->outgoing, p->endpoint, h, f->id != 0 ? inbox_id(p->inbox, f->id, id) : STR_NONE, &c);
    if (wrong == NULL && !wire_put_content(broker_wire(p->conn), broker_out(p->conn), p->channel.number, &c))
        wrong = "the routing key is above 255 bytes, or the headers are larger than a frame";
    return wrong;
}

static bool publisher_send(struct sink *s, struct handover *h)
{
    struct publisher *p = ((struct endpoint *)s)->publisher;
    if (!has_room(p)) {
        p->starved = true;
        return false;
    }
    struct flight *f = flights_new(&p->flights, h, outgoing_asks(p->endpoint, h));
    const char *wrong = publish(p, h, f);
    if (wrong != NULL) {
        flights_drop(&p->flights, f);
        refuse_later(p, h, wrong);
        return true;
    }
    h->carrier = f;
    if (p->flights.confirms.count == 0)
        timer_after(p->confirm_timer, p->endpoint->keys->confirm_timeout_ms);
    flights_add(&p->flights, f);
    p->endpoint->sent++;
    return true;
}

/* There is no taking back: only forget. */
static void publisher_cancel(struct sink *s, struct handover *h, bool abandoned)
{
    struct publisher *p = ((struct endpoint *)s)->publisher;
    struct flight *f = h->carrier;
    (void)abandoned;
    if (f == NULL) {
        list_remove(&p->refused, &h->link);
        return;
    }
    flights_forget(&p->flights, f);
    wake_core(p);
}

static const struct sink_ops publisher_sink = {.send = publisher_send, .cancel = publisher_cancel};

/* The broker is there and confirms nothing: what it has is unknown, so all of it goes out again, elsewhere perhaps. */
static void on_confirm_timer(void *arg)
{
    struct publisher *p = arg;
    const struct confirms *c = &p->flights.confirms;
    const struct flight *oldest = confirms_get(c, c->first);
    int64_t limit = p->endpoint->keys->confirm_timeout_ms;
    if (oldest == NULL)
        return;
    int64_t left = oldest->sent_ms + limit - loop_now(p->endpoint->env.loop);
    if (left <= 0 && !broker_is_blocked(p->conn))
        broker_reset(p->conn, "the broker does not confirm what was published");
    else
        timer_after(p->confirm_timer, left > 0 ? left : limit);
}

/* What was published before we heard of it waits in the broker's socket: that it takes long is no failure of an attempt. */
static void on_blocked(void *arg)
{
    struct publisher *p = arg;
    if (!broker_is_blocked(p->conn))
        return;
    flights_extend(&p->flights);
    timer_after(p->blocked, BLOCKED_MS);
}

/* ---------------------------------------------------------------- returns */

static void on_return(struct publisher *p, const amqp_basic_return_t *r)
{
    buf_clear(&p->returned_key);
    buf_str_put(&p->returned_key, bytes_of(r->routing_key));
    struct buf *why = &p->flights.why_returned;
    buf_clear(why);
    char text[320];
    close_text(r->reply_code, r->reply_text, text);
    buf_printf(why, "%s: no queue is bound to exchange '%.*s' for this routing key", text,
               (int)r->exchange.len, (const char *)r->exchange.bytes);
}

static void return_properties(struct publisher *p, const amqp_basic_properties_t *properties)
{
    static const struct codec raw = {.format = CODEC_FORMAT_RAW};
    codec_begin(&p->room);
    properties_read(properties, &raw, &p->room, &p->scratch);
    buf_clear(&p->returned_id);
    buf_str_put(&p->returned_id, headers_get(codec_room_headers(&p->room), "id"));
}

/* ---------------------------------------------------------------- the channel */

static void set_error(struct publisher *p, const char *text)
{
    mem_free(p->error);
    p->error = text != NULL ? mem_strdup(text) : NULL;
}

static void open_channel(struct publisher *p)
{
    amqp_channel_open_t open = {0};
    amqp_confirm_select_t select = {0};
    amqp_basic_consume_t consume = {.queue = amqp_cstring_bytes(REPLY_QUEUE), .no_ack = true};
    channel_put(&p->channel, AMQP_CHANNEL_OPEN_METHOD, &open);
    channel_put(&p->channel, AMQP_BASIC_CONSUME_METHOD, &consume);
    channel_put(&p->channel, AMQP_CONFIRM_SELECT_METHOD, &select); /* the last: its answer says that all is well */
}

static void on_ready(void *arg)
{
    struct publisher *p = arg;
    p->reopen_ms = REOPEN_MIN_MS;
    p->flow_off = false;
    open_channel(p);
    if (p->endpoint->consumer != NULL)
        broker_hurry(consumer_broker(p->endpoint->consumer));
}

static void on_select_ok(struct publisher *p)
{
    p->ready = true;
    set_error(p, NULL);
    sink_set_up(&p->endpoint->sink, true, "connected");
    wake_core(p);
}

static void on_settle(struct publisher *p, uint64_t tag, bool multiple, bool ack)
{
    p->reopen_ms = REOPEN_MIN_MS;
    if (!confirms_settle(&p->flights.confirms, tag, multiple, ack)) {
        p->endpoint->bad++;
        broker_reset(p->conn, "the broker confirms what was never published");
        return;
    }
    wake_core(p);
}

static void on_flow(struct publisher *p, const amqp_channel_flow_t *flow)
{
    amqp_channel_flow_ok_t ok = {.active = flow->active};
    channel_put(&p->channel, AMQP_CHANNEL_FLOW_OK_METHOD, &ok);
    p->flow_off = !flow->active;
    wake_core(p);
}

static void on_method(void *arg, const amqp_method_t *m)
{
    struct publisher *p = arg;
    const amqp_basic_ack_t *ack = m->decoded;
    const amqp_basic_nack_t *nack = m->decoded;
    switch (m->id) {
    case AMQP_CONFIRM_SELECT_OK_METHOD:
        on_select_ok(p);
        break;
    case AMQP_BASIC_ACK_METHOD:
        on_settle(p, ack->delivery_tag, ack->multiple, true);
        break;
    case AMQP_BASIC_NACK_METHOD:
        on_settle(p, nack->delivery_tag, nack->multiple, false);
        break;
    case AMQP_BASIC_RETURN_METHOD:
        on_return(p, m->decoded);
        break;
    case AMQP_CHANNEL_FLOW_METHOD:
        on_flow(p, m->decoded);
        break;
    case AMQP_BASIC_CANCEL_METHOD:
        broker_reset(p->conn, "the broker has cancelled the replies");
        break;
    default:
        break;
    }
    p->incoming = m->id;
}

static void on_properties(void *arg, const amqp_basic_properties_t *properties)
{
    struct publisher *p = arg;
    if (p->incoming == AMQP_BASIC_RETURN_METHOD)
        return_properties(p, properties);
    else
        inbox_properties(p->inbox, properties);
}

static void on_content(void *arg, struct str body, bool oversized)
{
    struct publisher *p = arg;
    if (p->incoming == AMQP_BASIC_RETURN_METHOD) {
        flights_returned(&p->flights, buf_str(&p->returned_id), buf_str(&p->returned_key));
    } else {
        inbox_content(p->inbox, body, oversized);
        wake_core(p);
    }
}

static void on_closed(void *arg, const amqp_channel_close_t *why)
{
    struct publisher *p = arg;
    char text[320];
    set_error(p, close_text(why->reply_code, why->reply_text, text));
    log_write(p->endpoint->env.log, LOG_WARN, "channel_closed", "endpoint", p->endpoint->conf->name, "reason", text, NULL);
    p->ready = false;
    if (why->class_id == AMQP_BASIC_CLASS)
        flights_blame(&p->flights, text);
    lose_all(p, text);
    timer_after(p->reopen, p->reopen_ms);
    p->reopen_ms = p->reopen_ms * 2 < REOPEN_MAX_MS ? p->reopen_ms * 2 : REOPEN_MAX_MS;
}

static void on_reopen(void *arg)
{
    struct publisher *p = arg;
    if (broker_is_ready(p->conn))
        open_channel(p);
}

static void on_down(void *arg, const char *reason)
{
    struct publisher *p = arg;
    timer_stop(p->reopen);
    set_error(p, NULL);
    lose_all(p, reason);
}

static void on_drain(void *arg)
{
    wake_core(arg);
}

static const struct channel_ops publish_ops = {
    .on_ready = on_ready, .on_method = on_method, .on_properties = on_properties, .on_content = on_content,
    .on_closed = on_closed, .on_down = on_down, .on_drain = on_drain, .on_blocked = on_blocked};

/* ---------------------------------------------------------------- life */

struct publisher *publisher_new(struct endpoint *e)
{
    struct publisher *p = mem_zalloc(sizeof(*p));
    p->endpoint = e;
    list_init(&p->refused);
    flights_init(&p->flights, e->env.loop, (size_t)e->keys->concurrency);
    p->reopen = timer_new(e->env.loop, on_reopen, p);
    p->confirm_timer = timer_new(e->env.loop, on_confirm_timer, p);
    p->blocked = timer_new(e->env.loop, on_blocked, p);
    p->channel.ops = &publish_ops;
    p->channel.arg = p;
    e->sink.ops = &publisher_sink;
    p->conn = amqp_connect(e, "publish");
    broker_add(p->conn, &p->channel);
    p->answers = answers_new(e, p->conn);
    p->inbox = inbox_new(e, &p->flights, p->conn);
    return p;
}

static void forget(void *arg)
{
    struct publisher *p = arg;
    mem_free(p);
}

void publisher_free(struct publisher *p)
{
    if (p == NULL)
        return;
    inbox_free(p->inbox);
    broker_free(p->conn);
    answers_free(p->answers);
    timer_free(p->reopen);
    timer_free(p->confirm_timer);
    timer_free(p->blocked);
    flights_fini(&p->flights);
    outgoing_fini(&p->outgoing);
    codec_room_fini(&p->room);
    buf_fini(&p->returned_key);
    buf_fini(&p->returned_id);
    buf_fini(&p->scratch);
    mem_free(p->error);
    list_init(&p->refused); /* settle_refused() may still be due */
    loop_later(p->endpoint->env.loop, forget, p);
}

size_t publisher_busy(const struct publisher *p)
{
    return p->refused.count + (broker_is_ready(p->conn) && broker_pending(p->conn) > 0);
}
