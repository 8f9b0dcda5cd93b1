#include "transport/amqp/incoming.h"

#include "msg/headers.h"
#include "transport/amqp/tables.h"
#include "transport/nest.h"

/* ---------------------------------------------------------------- what comes before the body */

struct str incoming_text(const struct incoming *c, enum incoming_text which)
{
    return buf_str(&c->in[which]);
}

static void keep(struct incoming *c, enum incoming_text which, struct str text)
{
    buf_clear(&c->in[which]);
    buf_str_put(&c->in[which], text);
}

static struct str queue_of(const struct incoming *c)
{
    return c->keys->queue != NULL ? str_of(c->keys->queue) : buf_str(&c->queue);
}

static void make_origin(struct incoming *c)
{
    origin_begin(&c->origin);
    ORIGIN_ADD(&c->origin, "amqp-queue", queue_of(c));
    if (incoming_text(c, IN_EXCHANGE).n > 0)
        ORIGIN_ADD(&c->origin, "amqp-exchange", incoming_text(c, IN_EXCHANGE));
    ORIGIN_ADD(&c->origin, "amqp-routing-key", incoming_text(c, IN_KEY));
    if (c->redelivered)
        ORIGIN_ADD(&c->origin, "amqp-redelivered", STR("true"));
}

void incoming_deliver(struct incoming *c, const amqp_basic_deliver_t *m)
{
    struct str exchange = bytes_of(m->exchange), key = bytes_of(m->routing_key);
    bool same = c->origin.count > 0 && c->redelivered == m->redelivered && holds(&c->in[IN_EXCHANGE], exchange) &&
                holds(&c->in[IN_KEY], key);
    c->tag = m->delivery_tag;
    c->redelivered = m->redelivered;
    if (!same) {
        keep(c, IN_EXCHANGE, exchange);
        keep(c, IN_KEY, key);
        make_origin(c);
    }
    for (unsigned i = IN_TYPE; i < IN_TEXTS; i++) {
        if (c->in[i].len > 0)
            buf_clear(&c->in[i]);
    }
    codec_begin(&c->room);
}

void incoming_properties(struct incoming *c, const amqp_basic_properties_t *p)
{
    struct codec_room *room = &c->room;
    const struct codec *codec = amqp_codec(c->codec);
    struct str type = properties_read(p, codec, room, &c->scratch);
    if (type.n > 0)
        keep(c, IN_TYPE, type);
    if ((p->_flags & AMQP_BASIC_REPLY_TO_FLAG) != 0)
        keep(c, IN_REPLY_TO, bytes_of(p->reply_to));
    if ((p->_flags & AMQP_BASIC_CORRELATION_ID_FLAG) != 0)
        keep(c, IN_CORRELATION, bytes_of(p->correlation_id));
    uint64_t deaths = (p->_flags & AMQP_BASIC_HEADERS_FLAG) != 0 ? table_deaths(&p->headers) : 0;
    char number[20];
    if (deaths > 0)
        codec_header(codec, room, STR("amqp-deaths"), str_make(number, (size_t)(bytes_u64(number, deaths) - number)));
}

/* ---------------------------------------------------------------- the message */

static bool plain_parcel(struct incoming *c, struct str body, unsigned codec, struct parcel *out, const char **what)
{
    struct codec_room *room = &c->room;
    struct message_parts parts;
    struct wire_message in = {.subject = incoming_text(c, IN_KEY), .headers = codec_room_headers(room),
                              .content_type = incoming_text(c, IN_TYPE), .body = body};
    if (in.subject.n == 0) /* fanout */
        in.subject = incoming_text(c, IN_EXCHANGE).n > 0 ? incoming_text(c, IN_EXCHANGE) : queue_of(c);
    if (!codec_decode(amqp_codec(codec), room, &in, &parts, what))
        return false;
    bool asks = incoming_text(c, IN_REPLY_TO).n > 0 && incoming_text(c, IN_CORRELATION).n > 0;
    out->input = (struct msg_input){.kind = asks ? MSG_REQUEST : MSG_EVENT, .subject = parts.subject,
                                    .headers = parts.headers, .body = parts.body};
    origin_give(&c->origin, false, &out->input);
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
static void put_metadata(struct incoming *c, struct str metadata, struct buf *out)
{
    struct buf lines = BUF_EMPTY;
    struct header h;
    nest_metadata_headers(metadata, &lines);
    struct str native = codec_room_headers(&c->room), rest = buf_str(&lines);
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
static bool nest_parcel(struct incoming *c, struct str body, struct parcel *out, const char **what)
{
    struct nest_request req;
    if (!nest_request_parse(body, &req, what)) {
        bool good = plain_parcel(c, body, CODEC_RAW, out, what);
        out->input.kind = MSG_EVENT;
        return good;
    }
    buf_clear(&c->subject);
    if (!nest_subject(req.pattern, &c->subject)) {
        *what = "no subject can be made of this pattern";
        return false;
    }
    buf_clear(&c->scratch);
    buf_str_put(&c->scratch, codec_room_headers(&c->room));
    if (req.metadata.p != NULL)
        put_metadata(c, req.metadata, &c->scratch);
    bool asks = req.id.p != NULL && incoming_text(c, IN_REPLY_TO).n > 0;
    out->id = req.id;
    out->input = (struct msg_input){.kind = asks ? MSG_REQUEST : MSG_EVENT, .subject = buf_str(&c->subject),
                                    .headers = buf_str(&c->scratch), .body = req.data};
    origin_give(&c->origin, true, &out->input);
    return true;
}

bool incoming_read(struct incoming *c, struct str body, struct parcel *out, const char **what)
{
    out->id = STR_NONE;
    return c->codec == CODEC_NEST ? nest_parcel(c, body, out, what) : plain_parcel(c, body, c->codec, out, what);
}

void incoming_named(struct incoming *c, struct str queue)
{
    buf_clear(&c->queue);
    buf_str_put(&c->queue, queue);
    c->origin.count = 0;
}

void incoming_init(struct incoming *c, const struct amqp_source *keys, unsigned codec)
{
    *c = (struct incoming){.keys = keys, .codec = codec};
}

void incoming_fini(struct incoming *c)
{
    origin_fini(&c->origin);
    for (size_t i = 0; i < IN_TEXTS; i++)
        buf_fini(&c->in[i]);
    codec_room_fini(&c->room);
    buf_fini(&c->queue);
    buf_fini(&c->subject);
    buf_fini(&c->scratch);
}
