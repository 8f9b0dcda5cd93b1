#include "base/mem.h"
#include "msg/headers.h"
#include "transport/amqp/internal.h"
#include "transport/amqp/tables.h"
#include "transport/nest.h"

struct answers {
    struct endpoint *endpoint;
    struct broker *conn;
    struct channel channel;     /* without confirms: whoever has asked may be gone */
    bool ready;
    struct list askers_waiting; /* those who answer faster than it goes out */
    struct codec_room room;
    struct buf packet, entries;
};

static void on_ready(void *arg)
{
    struct answers *a = arg;
    amqp_channel_open_t open = {0};
    channel_put(&a->channel, AMQP_CHANNEL_OPEN_METHOD, &open);
}

static void on_method(void *arg, const amqp_method_t *m)
{
    struct answers *a = arg;
    if (m->id == AMQP_CHANNEL_OPEN_OK_METHOD)
        a->ready = true;
}

static void on_down(void *arg, const char *reason)
{
    struct answers *a = arg;
    (void)reason;
    a->ready = false;
    waiters_wake(&a->askers_waiting);
}

/* Nothing that is published there can close it but a lack of rights, which the next one will not have either. */
static void on_closed(void *arg, const amqp_channel_close_t *why)
{
    struct answers *a = arg;
    char text[320];
    log_write(a->endpoint->env.log, LOG_WARN, "channel_closed", "endpoint", a->endpoint->conf->name, "reason",
              close_text(why->reply_code, why->reply_text, text), NULL);
    on_down(a, text);
    on_ready(a);
}

static void on_drain(void *arg)
{
    struct answers *a = arg;
    if (broker_is_ready(a->conn) && broker_pending(a->conn) < BROKER_OUTPUT_HIGH && !broker_is_blocked(a->conn))
        waiters_wake(&a->askers_waiting);
}

static const struct channel_ops answers_ops = {
    .on_ready = on_ready, .on_method = on_method, .on_closed = on_closed,
    .on_down = on_down, .on_drain = on_drain};

/* What the reply has, and what makes an event of it where the codec asks for that: it is about what was asked. */
static struct str headers_of(struct answers *a, const struct answer *to, const struct reply *r)
{
    struct buf *out = &a->packet;
    buf_clear(out);
    buf_str_put(out, r->headers);
    if (r->code != CODE_OK)
        headers_put(out, CODEC_ERROR_HEADER, str_of(code_name(r->code)));
    if (to->codec == CODEC_CLOUDEVENTS) {
        headers_put(out, "id", to->asked->id);
        headers_put(out, "source", str_of(a->endpoint->conf->name));
    }
    return buf_str(out);
}

static void plain_body(struct answers *a, const struct answer *to, const struct reply *r, struct wire_content *c)
{
    struct message_parts parts = {.subject = to->asked->subject, .headers = headers_of(a, to, r), .body = r->body};
    struct wire_message out = {0};
    codec_encode(amqp_codec(to->codec), &a->room, &parts, &out);
    c->body = out.body;
    properties_set_type(&c->properties, out.content_type);
    buf_clear(&a->entries);
    properties_write(out.headers, &c->properties, &a->entries);
    c->entries = buf_str(&a->entries);
}

static void nest_body(struct answers *a, const struct answer *to, const struct reply *r, struct wire_content *c)
{
    buf_clear(&a->packet);
    if (to->last)
        nest_put_end(&a->packet, to->id, r);
    else
        nest_put_value(&a->packet, to->id, r, false);
    c->body = nest_unframed(&a->packet);
}

bool answers_send(struct answers *a, const struct answer *to, const struct reply *r)
{
    struct wire_content c = {.publish.routing_key = amqp_of(to->reply_to)};
    if (!a->ready)
        return false;
    if (to->codec == CODEC_NEST)
        nest_body(a, to, r, &c);
    else
        plain_body(a, to, r, &c);
    c.properties.correlation_id = amqp_of(to->correlation_id);
    c.properties._flags |= AMQP_BASIC_CORRELATION_ID_FLAG;
    bool sent = (c.body.n == 0 && to->codec == CODEC_NEST) || /* a streamed item without a value */
                wire_put_content(broker_wire(a->conn), broker_out(a->conn), a->channel.number, &c);
    a->endpoint->sent += sent;
    return sent;
}

bool answers_full(struct answers *a, struct waiter *w)
{
    bool full = a->ready && (broker_pending(a->conn) > BROKER_OUTPUT_HIGH || broker_is_blocked(a->conn));
    if (full && w != NULL && w->in == NULL)
        waiter_enrol(w, &a->askers_waiting);
    return full;
}

struct answers *answers_new(struct endpoint *e, struct broker *conn)
{
    struct answers *a = mem_zalloc(sizeof(*a));
    a->endpoint = e;
    a->conn = conn;
    a->channel.ops = &answers_ops;
    a->channel.arg = a;
    list_init(&a->askers_waiting);
    broker_add(conn, &a->channel);
    return a;
}

void answers_free(struct answers *a)
{
    while (!list_empty(&a->askers_waiting))
        waiter_cancel(CONTAINER_OF(list_first(&a->askers_waiting), struct waiter, link));
    codec_room_fini(&a->room);
    buf_fini(&a->packet);
    buf_fini(&a->entries);
    mem_free(a);
}
