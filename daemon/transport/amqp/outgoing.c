#include "transport/amqp/outgoing.h"

#include <inttypes.h>
#include <stdio.h>

#include "msg/headers.h"
#include "transport/amqp/tables.h"
#include "transport/nest.h"

static const struct amqp_target standard_target = {.mandatory = true, .persistent = true};

static const struct amqp_target *target_of(const struct handover *h)
{
    const struct amqp_target *t = handover_keys(h, &amqp_transport.conf);
    return t != NULL ? t : &standard_target;
}

static unsigned codec_of_handover(const struct endpoint *e, const struct handover *h)
{
    return handover_codec(h, e->conf, CODEC_NEST);
}

const char *outgoing_exchange(const struct handover *h)
{
    const char *exchange = target_of(h)->exchange;
    return exchange != NULL ? exchange : "";
}

struct str outgoing_key(const struct handover *h)
{
    const struct amqp_target *t = target_of(h);
    if (t->queue != NULL)
        return str_of(t->queue);
    return t->routing_key != NULL ? str_of(t->routing_key) : h->subject;
}

bool outgoing_asks(const struct endpoint *e, const struct handover *h)
{
    unsigned ack = target_of(h)->ack;
    if (h->kind == MSG_REQUEST)
        return true;
    return codec_of_handover(e, h) == CODEC_NEST && (ack != 0 ? ack == 1 : e->keys->ack);
}

/* ---------------------------------------------------------------- properties */

/* How long it is worth anything to whoever gets it: the broker drops it after that. */
static int64_t life_of(const struct handover *h, int64_t now)
{
    if (h->kind == MSG_REQUEST)
        return h->deadline_ms == INT64_MAX ? -1 : h->deadline_ms - now;
    return h->msg->ttl_ms < 0 ? -1 : h->msg->accepted_ms + h->msg->ttl_ms - now;
}

static void set_reply(amqp_basic_properties_t *p, struct str id)
{
    p->reply_to = amqp_of(STR(REPLY_QUEUE));
    p->correlation_id = amqp_of(id);
    p->_flags |= AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG;
}

static void set_properties(struct outgoing *o, const struct handover *h, int64_t now, amqp_basic_properties_t *p)
{
    const struct amqp_target *t = target_of(h);
    int64_t life = life_of(h, now);
    p->delivery_mode = h->kind == MSG_EVENT && t->persistent ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT;
    p->_flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
    if (t->priority > 0) {
        p->priority = (uint8_t)t->priority;
        p->_flags |= AMQP_BASIC_PRIORITY_FLAG;
    }
    if (life >= 0) {
        int n = snprintf(o->expiration, sizeof(o->expiration), "%" PRId64, life);
        p->expiration = amqp_of(str_make(o->expiration, (size_t)n));
        p->_flags |= AMQP_BASIC_EXPIRATION_FLAG;
    }
}

/* ---------------------------------------------------------------- body and headers */

static void encode_event(struct outgoing *o, const struct handover *h, struct wire_content *c)
{
    struct message_parts parts = {.subject = h->subject, .headers = h->msg->headers, .body = h->msg->body};
    struct wire_message out;
    codec_encode(amqp_codec(CODEC_CLOUDEVENTS), &o->room, &parts, &out);
    c->body = out.body;
    properties_set_type(&c->properties, out.content_type);
    properties_write(out.headers, &c->properties, &o->entries);
}

static const char *encode_packet(struct outgoing *o, const struct handover *h, struct str id, int64_t now, struct wire_content *c)
{
    struct str data;
    buf_clear(&o->packet);
    buf_clear(&o->scratch);
    if (!nest_body_json(h->msg->body, headers_get(h->msg->headers, "content-type"), &o->scratch, &data))
        return NEST_NO_BODY;
    nest_put_handover(&o->packet, h, data, id, now);
    c->body = nest_unframed(&o->packet);
    properties_write_message(h->msg, &c->properties, &o->entries);
    return NULL;
}

const char *outgoing_make(struct outgoing *o, const struct endpoint *e, const struct handover *h, struct str id,
                          struct wire_content *c)
{
    unsigned codec = codec_of_handover(e, h);
    int64_t now = loop_now(e->env.loop);
    const char *wrong = NULL;
    buf_clear(&o->entries);
    if (codec == CODEC_NEST) {
        wrong = encode_packet(o, h, id, now, c);
    } else if (codec == CODEC_CLOUDEVENTS) {
        encode_event(o, h, c);
    } else { /* as they are */
        c->body = h->msg->body;
        properties_write_message(h->msg, &c->properties, &o->entries);
    }
    c->entries = buf_str(&o->entries);
    c->publish.exchange = amqp_of(str_of(target_of(h)->exchange));
    c->publish.routing_key = amqp_of(outgoing_key(h));
    c->publish.mandatory = target_of(h)->mandatory;
    set_properties(o, h, now, &c->properties);
    if (id.p != NULL)
        set_reply(&c->properties, id);
    return wrong;
}

void outgoing_fini(struct outgoing *o)
{
    codec_room_fini(&o->room);
    buf_fini(&o->packet);
    buf_fini(&o->scratch);
    buf_fini(&o->entries);
}
