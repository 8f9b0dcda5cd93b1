#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/slots.h"
#include "loop/timer.h"
#include "msg/headers.h"
#include "transport/amqp/confirms.h"
#include "transport/amqp/internal.h"
#include "transport/amqp/tables.h"
#include "transport/nest.h"

#define STREAM_STALL_MS 2000
#define REOPEN_MIN_MS 100
#define REOPEN_MAX_MS 30000
#define BLOCKED_MS 100 /* the time-outs of what is out start again so often while the broker is blocked */
#define BAD_EXCHANGE_MS 5000 /* before a message is tried again that its exchange did not take */

/* What was published and is not over: an event until it is confirmed, a request until it is answered too. */
struct flight {
    struct list_node link; /* in spares */
    struct handover *h;    /* NULL = settled, or given up by the core */
    uint64_t id;           /* request: in `asked`; 0 = not there any more */
    int64_t sent_ms;
    bool confirmed;
};

struct publisher {
    struct endpoint *endpoint;
    struct broker *conn;
    struct channel channel;  /* with confirms; consumes the replies */
    struct answers *answers; /* the other channel of the connection */
    bool ready, flow_off, starved;
    char *error;             /* why the channel was closed */
    struct confirms confirms; /* of struct flight */
    struct slots asked;      /* requests by number: struct flight */
    uint32_t salt;
    struct list refused;     /* handovers that can never be sent, settled at the end of the turn */
    bool refusing;
    struct codec_room room, reply_room; /* a reply may come in two pieces, and others be sent between them */
    struct buf packet, scratch, entries;
    struct list spares;      /* struct flight */
    struct timer *reopen, *patience, *confirm_timer, *blocked;
    int64_t reopen_ms;
    struct waiter waiter;    /* an asker that cannot take more of a stream */
    uint64_t stalled_id;
    amqp_method_number_t incoming; /* what the content that comes belongs to */
    struct buf returned_key, returned_id, returned_why;
    uint64_t reply_id;
    bool reply_is_ours;
    struct buf reply_type;
};

static const struct amqp_target standard_target = {.mandatory = true, .persistent = true};

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
    return p->ready && !p->flow_off && !broker_is_blocked(p->conn) && !confirms_full(&p->confirms) &&
           p->asked.count < p->endpoint->keys->concurrency && broker_pending(p->conn) < BROKER_OUTPUT_HIGH;
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

/* ---------------------------------------------------------------- settling */

static void report(struct handover *h, enum outcome outcome, enum code code, struct str detail)
{
    struct settlement s = {.outcome = outcome, .reply = {.code = code, .body = detail}, .retry_after_ms = -1};
    h->core->settled(h, &s);
}

/* Lets go of its request number and its handover, which the caller reports. */
static struct handover *flight_take(struct publisher *p, struct flight *f)
{
    struct handover *h = f->h;
    if (f->id != 0)
        slots_take(&p->asked, f->id);
    f->id = 0;
    f->h = NULL;
    return h;
}

static struct flight *flight_new(struct publisher *p, struct handover *h)
{
    struct list_node *n = list_first(&p->spares);
    if (n != NULL)
        list_remove(&p->spares, n);
    struct flight *f = n != NULL ? CONTAINER_OF(n, struct flight, link) : mem_alloc(sizeof(*f));
    *f = (struct flight){.h = h, .sent_ms = loop_now(p->endpoint->env.loop)};
    return f;
}

/* Never more of them than were out at a time: `concurrency`. */
static void flight_free(struct publisher *p, struct flight *f)
{
    list_push_front(&p->spares, &f->link);
}

static void flight_lost(struct handover *h)
{
    bool request = h->kind == MSG_REQUEST; /* its answer is lost: it may have been worked on */
    report(h, request ? OUTCOME_RETRY : OUTCOME_HOLD, CODE_UNAVAILABLE, STR("the connection was lost before an answer"));
}

static void on_confirm(void *arg, void *value, enum confirm how)
{
    struct publisher *p = arg;
    struct flight *f = value;
    f->confirmed = true;
    if (how == CONFIRM_ACK && f->id != 0)
        return; /* the answer is still to come */
    struct handover *h = flight_take(p, f);
    flight_free(p, f);
    if (h == NULL)
        return;
    if (how == CONFIRM_ACK)
        report(h, OUTCOME_OK, CODE_OK, STR_NONE);
    else if (how == CONFIRM_RETURNED)
        report(h, OUTCOME_REJECT, CODE_NO_ROUTE, buf_str(&p->returned_why));
    else if (how == CONFIRM_NACK)
        report(h, OUTCOME_RETRY, CODE_OVERLOADED, STR("the broker did not take the message"));
    else
        flight_lost(h);
}

/* Requests that were confirmed and have no answer yet. */
static void lose_asked(struct publisher *p)
{
    struct slots asked = p->asked;
    struct slot *s;
    p->asked = (struct slots){.last = asked.last};
    for (size_t i = 0; (s = slots_next(&asked, &i)) != NULL;) {
        struct flight *f = s->value;
        struct handover *h = f->h;
        f->id = 0;
        flight_free(p, f);
        flight_lost(h);
    }
    slots_fini(&asked);
}

static void lose_all(struct publisher *p, const char *why)
{
    p->ready = false;
    waiter_cancel(&p->waiter);
    timer_stop(p->patience);
    timer_stop(p->confirm_timer);
    sink_set_up(&p->endpoint->sink, false, why);
    confirms_lose(&p->confirms);
    lose_asked(p);
}

/* ---------------------------------------------------------------- out */

static void settle_refused(void *arg)
{
    struct publisher *p = arg;
    p->refusing = false;
    for (size_t n = p->refused.count; n > 0 && !list_empty(&p->refused); n--) {
        struct handover *h = CONTAINER_OF(list_first(&p->refused), struct handover, link);
        list_remove(&p->refused, &h->link);
        report(h, OUTCOME_REJECT, CODE_INVALID, str_of((const char *)(uintptr_t)h->carrier_id));
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

static const struct amqp_target *target_of(const struct handover *h)
{
    const struct amqp_target *t = handover_keys(h, &amqp_transport.conf);
    return t != NULL ? t : &standard_target;
}

/* Where it goes to. A queue's own name is its key at the default exchange. */
static void set_route(struct wire_content *c, const struct amqp_target *t, struct str subject)
{
    struct str key = t->routing_key != NULL ? str_of(t->routing_key) : subject;
    c->publish.exchange = amqp_of(str_of(t->exchange));
    c->publish.routing_key = amqp_of(t->queue != NULL ? str_of(t->queue) : key);
    c->publish.mandatory = t->mandatory;
}

/* How long it is worth anything to whoever gets it: the broker drops it after that. */
static int64_t life_of(const struct handover *h, int64_t now)
{
    if (h->kind == MSG_REQUEST)
        return h->deadline_ms == INT64_MAX ? -1 : h->deadline_ms - now;
    return h->msg->ttl_ms < 0 ? -1 : h->msg->accepted_ms + h->msg->ttl_ms - now;
}

/* Is an answer awaited? Of an event only in what NestJS takes for a request because it has an id. */
static bool asks(const struct publisher *p, const struct handover *h)
{
    const struct amqp_target *t = target_of(h);
    if (h->kind == MSG_REQUEST)
        return true;
    return handover_codec(h, p->endpoint->conf, CODEC_NEST) == CODEC_NEST &&
           (t->ack != 0 ? t->ack == 1 : p->endpoint->keys->ack);
}

struct texts_of { /* what properties point to */
    char id[NEST_ID_DIGITS + 1], expiration[24];
};

static void set_reply(amqp_basic_properties_t *p, const char *id)
{
    p->reply_to = amqp_of(STR(REPLY_QUEUE));
    p->correlation_id = amqp_of(str_make(id, NEST_ID_DIGITS));
    p->_flags |= AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG;
}

static void set_properties(struct wire_content *c, const struct handover *h, int64_t now, struct texts_of *texts)
{
    const struct amqp_target *t = target_of(h);
    int64_t life = life_of(h, now);
    amqp_basic_properties_t *p = &c->properties;
    p->delivery_mode = h->kind == MSG_EVENT && t->persistent ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT;
    p->_flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
    if (t->priority > 0) {
        p->priority = (uint8_t)t->priority;
        p->_flags |= AMQP_BASIC_PRIORITY_FLAG;
    }
    if (life >= 0) {
        int n = snprintf(texts->expiration, sizeof(texts->expiration), "%" PRId64, life);
        p->expiration = amqp_of(str_make(texts->expiration, (size_t)n));
        p->_flags |= AMQP_BASIC_EXPIRATION_FLAG;
    }
}

static void encode_event(struct publisher *p, const struct handover *h, struct wire_content *c)
{
    struct message_parts parts = {.subject = h->subject, .headers = h->msg->headers, .body = h->msg->body};
    struct wire_message out;
    codec_encode(amqp_codec(CODEC_CLOUDEVENTS), &p->room, &parts, &out);
    c->body = out.body;
    properties_set_type(&c->properties, out.content_type);
    properties_write(out.headers, &c->properties, &p->entries);
}

/* The packet: text where it can never be sent, else NULL. */
static const char *encode_packet(struct publisher *p, const struct handover *h, struct str id, struct wire_content *c)
{
    struct str data;
    buf_clear(&p->packet);
    buf_clear(&p->scratch);
    if (!nest_body_json(h->msg->body, headers_get(h->msg->headers, "content-type"), &p->scratch, &data))
        return NEST_NO_BODY;
    nest_put_handover(&p->packet, h, data, id, loop_now(p->endpoint->env.loop));
    c->body = nest_unframed(&p->packet);
    properties_write_message(h->msg, &c->properties, &p->entries);
    return NULL;
}

/* Body and headers as the codec has them; `raw` has them as they are. id: of a request, or {NULL, 0}. */
static const char *encode(struct publisher *p, const struct handover *h, struct str id, struct wire_content *c)
{
    unsigned codec = handover_codec(h, p->endpoint->conf, CODEC_NEST);
    const char *wrong = NULL;
    buf_clear(&p->entries);
    if (codec == CODEC_NEST) {
        wrong = encode_packet(p, h, id, c);
    } else if (codec == CODEC_CLOUDEVENTS) {
        encode_event(p, h, c);
    } else {
        c->body = h->msg->body;
        properties_write_message(h->msg, &c->properties, &p->entries);
    }
    c->entries = buf_str(&p->entries);
    return wrong;
}

static const char *publish(struct publisher *p, const struct handover *h, struct flight *f)
{
    struct wire_content c = {0};
    struct texts_of texts;
    struct str id = f->id != 0 ? nest_id(p->salt, f->id, texts.id) : STR_NONE;
    const char *wrong = encode(p, h, id, &c);
    set_route(&c, target_of(h), h->subject);
    set_properties(&c, h, loop_now(p->endpoint->env.loop), &texts);
    if (f->id != 0)
        set_reply(&c.properties, texts.id);
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
    struct flight *f = flight_new(p, h);
    if (asks(p, h))
        f->id = slots_add(&p->asked, f);
    const char *wrong = publish(p, h, f);
    if (wrong != NULL) {
        flight_take(p, f);
        flight_free(p, f);
        refuse_later(p, h, wrong);
        return true;
    }
    h->carrier = f;
    if (p->confirms.count == 0)
        timer_after(p->confirm_timer, p->endpoint->keys->confirm_timeout_ms);
    confirms_add(&p->confirms, f);
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
    flight_take(p, f);
    if (f->confirmed)
        flight_free(p, f);
    wake_core(p);
}

static const struct sink_ops publisher_sink = {.send = publisher_send, .cancel = publisher_cancel};

/* The broker is there and confirms nothing: what it has is unknown, so all of it goes out again, elsewhere perhaps. */
static void on_confirm_timer(void *arg)
{
    struct publisher *p = arg;
    const struct flight *oldest = confirms_get(&p->confirms, p->confirms.first);
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
    const struct confirms *c = &p->confirms;
    if (!broker_is_blocked(p->conn))
        return;
    for (uint64_t tag = c->first; tag < c->next; tag++) {
        const struct flight *f = confirms_get(c, tag);
        if (f != NULL && f->h != NULL && f->h->kind == MSG_EVENT)
            f->h->core->extend(f->h);
    }
    timer_after(p->blocked, BLOCKED_MS);
}

/* ---------------------------------------------------------------- replies to our requests */

static void on_resume(void *arg)
{
    struct publisher *p = arg;
    timer_stop(p->patience);
    broker_resume(p->conn);
}

static struct handover *end_flight(struct publisher *p, struct flight *f)
{
    bool confirmed = f->confirmed;
    struct handover *h = flight_take(p, f);
    if (confirmed)
        flight_free(p, f);
    return h;
}

/* The asker has taken nothing for a while: its stream ends, so that the others on this connection go on. */
static void on_patience(void *arg)
{
    struct publisher *p = arg;
    struct flight *f = slots_get(&p->asked, p->stalled_id);
    waiter_cancel(&p->waiter);
    broker_resume(p->conn);
    if (f != NULL)
        report(end_flight(p, f), OUTCOME_REJECT, CODE_OVERLOADED, STR("the asker does not read its stream"));
}

static void stream_item(struct publisher *p, struct flight *f, const struct reply *item)
{
    if (f->h->core->more(f->h, item, &p->waiter))
        return;
    p->stalled_id = f->id;
    timer_after(p->patience, STREAM_STALL_MS);
    broker_pause(p->conn);
}

static void nest_answer(struct publisher *p, struct flight *f, struct str body)
{
    struct nest_reply r;
    const char *what;
    if (!nest_reply_parse(body, &r, &what)) {
        p->endpoint->bad++;
        report(end_flight(p, f), OUTCOME_REJECT, CODE_INVALID, str_of(what));
    } else if (r.last) {
        nest_settle(end_flight(p, f), &r);
    } else if (r.response.p != NULL) {
        struct reply item = nest_item(&r);
        stream_item(p, f, &item);
    }
}

static void plain_answer(struct publisher *p, struct flight *f, unsigned codec, struct str body)
{
    struct message_parts parts;
    struct wire_message in = {.subject = f->h->subject, .headers = codec_room_headers(&p->reply_room),
                              .content_type = buf_str(&p->reply_type), .body = body};
    enum code code = codec_decode_reply(amqp_codec(codec), &p->reply_room, &in, &parts);
    struct settlement s = {.outcome = code == CODE_OK ? OUTCOME_OK : OUTCOME_REJECT, .retry_after_ms = -1, .final = true,
                           .reply = {.code = code, .headers = parts.headers, .body = parts.body}};
    struct handover *h = end_flight(p, f);
    h->core->settled(h, &s);
}

static unsigned codec_of_flight(const struct publisher *p, const struct flight *f)
{
    return handover_codec(f->h, p->endpoint->conf, CODEC_NEST);
}

static void reply_properties(struct publisher *p, const amqp_basic_properties_t *properties)
{
    char quoted[NEST_ID_DIGITS + 2];
    struct str id = (properties->_flags & AMQP_BASIC_CORRELATION_ID_FLAG) != 0 ? bytes_of(properties->correlation_id)
                                                                               : STR_NONE;
    p->reply_is_ours = false;
    if (id.n != NEST_ID_DIGITS)
        return;
    quoted[0] = '"';
    *bytes_str(quoted + 1, id) = '"';
    struct flight *f = nest_id_parse(str_make(quoted, sizeof(quoted)), p->salt, &p->reply_id)
                           ? slots_get(&p->asked, p->reply_id) : NULL;
    p->reply_is_ours = f != NULL;
    if (f == NULL)
        return;
    const struct codec *codec = amqp_codec(codec_of_flight(p, f));
    codec_begin(&p->reply_room);
    buf_clear(&p->reply_type);
    buf_str_put(&p->reply_type, properties_read(properties, codec, &p->reply_room, &p->scratch));
}

static void on_reply(struct publisher *p, struct str body, bool oversized)
{
    struct flight *f = p->reply_is_ours ? slots_get(&p->asked, p->reply_id) : NULL;
    if (f == NULL)
        return; /* late: it was given up meanwhile */
    p->endpoint->received++;
    unsigned codec = codec_of_flight(p, f);
    if (oversized)
        report(end_flight(p, f), OUTCOME_REJECT, CODE_TOO_LARGE, STR("the reply is above limits.body"));
    else if (codec == CODEC_NEST)
        nest_answer(p, f, body);
    else
        plain_answer(p, f, codec, body);
    wake_core(p);
}

/* ---------------------------------------------------------------- returns */

/* The broker does not say which one it is: the first that is still out under this id and key. A later one of the same
 * kind comes back as well. */
static void mark_returned(struct publisher *p)
{
    struct confirms *c = &p->confirms;
    for (uint64_t tag = c->first; tag < c->next; tag++) {
        const struct flight *f = confirms_get(c, tag);
        if (f == NULL || f->h == NULL || c->slots[tag & (c->cap - 1)].returned)
            continue;
        const struct amqp_target *t = target_of(f->h);
        struct wire_content at = {0};
        set_route(&at, t, f->h->subject);
        if (holds(&p->returned_id, f->h->msg->id) && holds(&p->returned_key, bytes_of(at.publish.routing_key))) {
            confirms_returned(c, tag);
            return;
        }
    }
}

static void on_return(struct publisher *p, const amqp_basic_return_t *r)
{
    buf_clear(&p->returned_key);
    buf_str_put(&p->returned_key, bytes_of(r->routing_key));
    buf_clear(&p->returned_why);
    char text[320];
    close_text(r->reply_code, r->reply_text, text);
    buf_printf(&p->returned_why, "%s: no queue is bound to exchange '%.*s' for this routing key", text,
               (int)r->exchange.len, (const char *)r->exchange.bytes);
}

static void return_properties(struct publisher *p, const amqp_basic_properties_t *properties)
{
    static const struct codec raw = {.format = CODEC_FORMAT_RAW};
    codec_begin(&p->reply_room);
    properties_read(properties, &raw, &p->reply_room, &p->scratch);
    buf_clear(&p->returned_id);
    buf_str_put(&p->returned_id, headers_get(codec_room_headers(&p->reply_room), "id"));
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
    if (!confirms_settle(&p->confirms, tag, multiple, ack)) {
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
        reply_properties(p, properties);
}

static void on_content(void *arg, struct str body, bool oversized)
{
    struct publisher *p = arg;
    if (p->incoming == AMQP_BASIC_RETURN_METHOD)
        mark_returned(p);
    else
        on_reply(p, body, oversized);
}

/* "NOT_FOUND - no exchange 'x' in vhost '/'", "ACCESS_REFUSED - access to exchange 'x' …": those that were sent there are
 * to blame, the others are not. */
static bool is_blamed(const struct flight *f, struct str text)
{
    char name[WIRE_SHORT_MAX + 16];
    const struct amqp_target *t = target_of(f->h);
    int n = snprintf(name, sizeof(name), "exchange '%s'", t->exchange != NULL ? t->exchange : "");
    return memmem(text.p, text.n, name, (size_t)n) != NULL;
}

static void settle_blamed(struct publisher *p, const char *text)
{
    struct confirms *c = &p->confirms;
    for (uint64_t tag = c->first; tag < c->next; tag++) {
        struct flight *f = confirms_get(c, tag);
        if (f == NULL || f->h == NULL || !is_blamed(f, str_of(text)))
            continue;
        struct handover *h = flight_take(p, f);
        struct settlement s = {.outcome = OUTCOME_RETRY, .retry_after_ms = BAD_EXCHANGE_MS,
                               .reply = {.code = CODE_NO_ROUTE, .body = str_of(text)}};
        h->core->settled(h, &s);
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
        settle_blamed(p, text);
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
    struct rand seed;
    rand_seed_os(&seed);
    p->endpoint = e;
    p->salt = (uint32_t)rand_u64(&seed);
    p->waiter = (struct waiter){.resume = on_resume, .arg = p};
    list_init(&p->refused);
    list_init(&p->spares);
    confirms_init(&p->confirms, (size_t)e->keys->concurrency, on_confirm, p);
    p->reopen = timer_new(e->env.loop, on_reopen, p);
    p->patience = timer_new(e->env.loop, on_patience, p);
    p->confirm_timer = timer_new(e->env.loop, on_confirm_timer, p);
    p->blocked = timer_new(e->env.loop, on_blocked, p);
    p->channel.ops = &publish_ops;
    p->channel.arg = p;
    e->sink.ops = &publisher_sink;
    p->conn = amqp_connect(e, "publish");
    broker_add(p->conn, &p->channel);
    p->answers = answers_new(e, p->conn);
    return p;
}

static void forget(void *arg)
{
    struct publisher *p = arg;
    mem_free(p);
}

/* Settles nothing: whoever closes an endpoint takes back what it holds first. */
static void free_flights(struct publisher *p)
{
    struct slot *s;
    for (size_t i = 0; (s = slots_next(&p->asked, &i)) != NULL;) {
        struct flight *f = s->value;
        if (f->confirmed)
            mem_free(f);
    }
    for (uint64_t tag = p->confirms.first; tag < p->confirms.next; tag++)
        mem_free(confirms_get(&p->confirms, tag));
    for (struct list_node *n; (n = list_first(&p->spares)) != NULL;) {
        list_remove(&p->spares, n);
        mem_free(CONTAINER_OF(n, struct flight, link));
    }
    slots_fini(&p->asked);
    confirms_fini(&p->confirms);
}

void publisher_free(struct publisher *p)
{
    if (p == NULL)
        return;
    waiter_cancel(&p->waiter);
    broker_free(p->conn);
    answers_free(p->answers);
    timer_free(p->reopen);
    timer_free(p->patience);
    timer_free(p->confirm_timer);
    timer_free(p->blocked);
    free_flights(p);
    codec_room_fini(&p->room);
    codec_room_fini(&p->reply_room);
    struct buf *bufs[] = {&p->packet, &p->scratch, &p->entries, &p->returned_key, &p->returned_id, &p->returned_why, &p->reply_type};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        buf_fini(bufs[i]);
    mem_free(p->error);
    list_init(&p->refused); /* settle_refused() may still be due */
    loop_later(p->endpoint->env.loop, forget, p);
}

size_t publisher_busy(const struct publisher *p)
{
    return p->refused.count + (broker_is_ready(p->conn) && broker_pending(p->conn) > 0);
}
