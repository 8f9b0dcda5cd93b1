#include "transport/amqp/wire.h"

#include "base/mem.h"
#include "transport/amqp/tables.h"

#define HEAD 7
#define HEADER_FIXED 12 /* class, weight, body size; the flags come after them */
#define HEADER_ROOM (HEAD + HEADER_FIXED + 9 * (WIRE_SHORT_MAX + 1) + 32) /* what a header frame has beside its table */

const struct str wire_protocol_header = {"AMQP\0\0\x09\x01", 8};
const struct str wire_heartbeat = {"\x08\0\0\0\0\0\0\xCE", 8};

void wire_init(struct wire *w)
{
    init_amqp_pool(&w->pool, 4096);
    w->frame_max = WIRE_FRAME_MIN;
}

void wire_fini(struct wire *w)
{
    empty_amqp_pool(&w->pool);
}

/* ---------------------------------------------------------------- in */

/* What a server says to a client; rabbitmq-c would decode the rest too. */
static const amqp_method_number_t from_server[] = {
    AMQP_CONNECTION_START_METHOD, AMQP_CONNECTION_SECURE_METHOD, AMQP_CONNECTION_TUNE_METHOD,
    AMQP_CONNECTION_OPEN_OK_METHOD, AMQP_CONNECTION_CLOSE_METHOD, AMQP_CONNECTION_CLOSE_OK_METHOD,
    AMQP_CONNECTION_BLOCKED_METHOD, AMQP_CONNECTION_UNBLOCKED_METHOD, AMQP_CHANNEL_OPEN_OK_METHOD,
    AMQP_CHANNEL_FLOW_METHOD, AMQP_CHANNEL_CLOSE_METHOD, AMQP_CHANNEL_CLOSE_OK_METHOD,
    AMQP_EXCHANGE_DECLARE_OK_METHOD, AMQP_QUEUE_DECLARE_OK_METHOD, AMQP_QUEUE_BIND_OK_METHOD,
    AMQP_BASIC_QOS_OK_METHOD, AMQP_BASIC_CONSUME_OK_METHOD, AMQP_BASIC_CANCEL_METHOD,
    AMQP_BASIC_CANCEL_OK_METHOD, AMQP_BASIC_RETURN_METHOD, AMQP_BASIC_DELIVER_METHOD, AMQP_BASIC_ACK_METHOD,
    AMQP_BASIC_NACK_METHOD, AMQP_CONFIRM_SELECT_OK_METHOD,
};

static bool is_from_server(amqp_method_number_t id)
{
    for (size_t i = 0; i < sizeof(from_server) / sizeof(from_server[0]); i++) {
        if (from_server[i] == id)
            return true;
    }
    return false;
}

static uint32_t get_u16(const char *p)
{
    return (uint32_t)(uint8_t)p[0] << 8 | (uint8_t)p[1];
}

static uint32_t get_u32(const char *p)
{
    return get_u16(p) << 16 | get_u16(p + 2);
}

static enum wire_kind bad(struct wire_frame *out, const char *what)
{
    out->what = what;
    return WIRE_BAD;
}

struct reading {
    const char *p, *end;
    bool broken; /* something would not fit: nothing more is read */
};

/* n bytes; of zeros where there are not so many. */
static const char *take(struct reading *r, size_t n)
{
    static const char zeros[WIRE_SHORT_MAX];
    if ((size_t)(r->end - r->p) < n) {
        r->broken = true;
        r->p = r->end;
        return zeros;
    }
    r->p += n;
    return r->p - n;
}

static uint8_t take_octet(struct reading *r)
{
    return (uint8_t)*take(r, 1);
}

static uint64_t take_u64(struct reading *r)
{
    const char *p = take(r, 8);
    return (uint64_t)get_u32(p) << 32 | get_u32(p + 4);
}

static amqp_bytes_t take_short(struct reading *r)
{
    size_t n = take_octet(r);
    return amqp_of(str_make(take(r, n), n));
}

/* One for each message: without a pool, and not looked for in a list. */
static enum wire_kind take_deliver(struct wire *w, struct str arguments, struct wire_frame *out)
{
    struct reading r = {arguments.p, arguments.p + arguments.n, false};
    amqp_basic_deliver_t *m = &w->deliver;
    m->consumer_tag = take_short(&r);
    m->delivery_tag = take_u64(&r);
    m->redelivered = take_octet(&r) & 1;
    m->exchange = take_short(&r);
    m->routing_key = take_short(&r);
    out->method.decoded = m;
    return r.broken ? bad(out, "a malformed method") : WIRE_METHOD;
}

static enum wire_kind take_method(struct wire *w, struct str payload, struct wire_frame *out)
{
    if (payload.n < 4)
        return bad(out, "a method frame without a method");
    out->method.id = get_u32(payload.p);
    struct str arguments = str_make(payload.p + 4, payload.n - 4);
    if (out->method.id == AMQP_BASIC_DELIVER_METHOD)
        return take_deliver(w, arguments, out);
    if (!is_from_server(out->method.id))
        return bad(out, "a method that a server does not send");
    /* The only one of them with a table, behind two octets of version. */
    if (out->method.id == AMQP_CONNECTION_START_METHOD &&
        (arguments.n < 2 || table_check(str_make(arguments.p + 2, arguments.n - 2)) == 0))
        return bad(out, "a malformed table");
    recycle_amqp_pool(&w->pool);
    if (amqp_decode_method(out->method.id, &w->pool, amqp_of(arguments), &out->method.decoded) < 0)
        return bad(out, "a malformed method");
    return WIRE_METHOD;
}

static void take_table(struct wire *w, struct reading *r, amqp_table_t *out)
{
    struct str rest = str_make(r->p, (size_t)(r->end - r->p));
    size_t n = table_check(rest), used = 0;
    recycle_amqp_pool(&w->pool);
    if (n == 0 || amqp_decode_table(amqp_of(rest), &w->pool, out, &used) < 0 || used != n)
        r->broken = true;
    else
        r->p += n;
}

/* In the order of their flags, as put_properties() has them. */
static void take_properties(struct wire *w, struct reading *r, amqp_basic_properties_t *p)
{
    uint32_t flags = get_u16(take(r, 2));
    *p = (amqp_basic_properties_t){._flags = flags};
    r->broken |= flags & 1; /* a second word of flags: no property has its bit there */
    if (flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
        p->content_type = take_short(r);
    if (flags & AMQP_BASIC_CONTENT_ENCODING_FLAG)
        p->content_encoding = take_short(r);
    if (flags & AMQP_BASIC_HEADERS_FLAG)
        take_table(w, r, &p->headers);
    if (flags & AMQP_BASIC_DELIVERY_MODE_FLAG)
        p->delivery_mode = take_octet(r);
    if (flags & AMQP_BASIC_PRIORITY_FLAG)
        p->priority = take_octet(r);
    if (flags & AMQP_BASIC_CORRELATION_ID_FLAG)
        p->correlation_id = take_short(r);
    if (flags & AMQP_BASIC_REPLY_TO_FLAG)
        p->reply_to = take_short(r);
    if (flags & AMQP_BASIC_EXPIRATION_FLAG)
        p->expiration = take_short(r);
    if (flags & AMQP_BASIC_MESSAGE_ID_FLAG)
        p->message_id = take_short(r);
    if (flags & AMQP_BASIC_TIMESTAMP_FLAG)
        p->timestamp = take_u64(r);
    if (flags & AMQP_BASIC_TYPE_FLAG)
        p->type = take_short(r);
    if (flags & AMQP_BASIC_USER_ID_FLAG)
        p->user_id = take_short(r);
    if (flags & AMQP_BASIC_APP_ID_FLAG)
        p->app_id = take_short(r);
}

static enum wire_kind take_header(struct wire *w, struct str payload, struct wire_frame *out)
{
    if (payload.n < HEADER_FIXED + 2)
        return bad(out, "a header frame that is too short");
    struct reading r = {payload.p + HEADER_FIXED, payload.p + payload.n, false};
    if (get_u16(payload.p) != AMQP_BASIC_CLASS)
        return bad(out, "a header of another class than basic");
    take_properties(w, &r, &w->properties);
    if (r.broken)
        return bad(out, "malformed properties");
    out->properties = &w->properties;
    out->body_size = (uint64_t)get_u32(payload.p + 4) << 32 | get_u32(payload.p + 8);
    return WIRE_HEADER;
}

static enum wire_kind take_payload(struct wire *w, uint8_t type, struct str payload, struct wire_frame *out)
{
    switch (type) {
    case AMQP_FRAME_METHOD:
        return take_method(w, payload, out);
    case AMQP_FRAME_HEADER:
        return take_header(w, payload, out);
    case AMQP_FRAME_BODY:
        out->body = payload;
        return WIRE_BODY;
    default:
        return WIRE_HEARTBEAT;
    }
}

static bool is_type(uint8_t type)
{
    return type == AMQP_FRAME_METHOD || type == AMQP_FRAME_HEADER || type == AMQP_FRAME_BODY ||
           type == AMQP_FRAME_HEARTBEAT;
}

enum wire_kind wire_next(struct wire *w, struct str in, struct wire_frame *out)
{
    *out = (struct wire_frame){0};
    if (in.n > 0 && !is_type((uint8_t)in.p[0]))
        return bad(out, in.p[0] == 'A' ? "the peer speaks another version of AMQP" : "this is no AMQP 0-9-1");
    if (in.n < HEAD)
        return WIRE_MORE;
    uint64_t size = get_u32(in.p + 3), whole = size + WIRE_FRAME_EXTRA;
    if (whole > w->frame_max)
        return bad(out, "a frame above the size that was agreed on");
    if (in.n < whole)
        return WIRE_MORE;
    if ((uint8_t)in.p[whole - 1] != AMQP_FRAME_END)
        return bad(out, "a frame without its end");
    out->channel = (uint16_t)get_u16(in.p + 1);
    out->used = (size_t)whole;
    return take_payload(w, (uint8_t)in.p[0], str_make(in.p + HEAD, (size_t)size), out);
}

/* ---------------------------------------------------------------- out */

static char *put_u16(char *p, uint32_t v)
{
    p[0] = (char)(v >> 8);
    p[1] = (char)v;
    return p + 2;
}

static char *put_u32(char *p, uint32_t v)
{
    return put_u16(put_u16(p, v >> 16), v & 0xFFFF);
}

static char *put_head(char *p, uint8_t type, uint16_t channel, size_t size)
{
    *p = (char)type;
    return put_u32(put_u16(p + 1, channel), (uint32_t)size);
}

bool wire_put_method(struct buf *out, uint16_t channel, amqp_method_number_t id, void *method)
{
    char *frame = (char *)buf_reserve(out, WIRE_FRAME_MIN), *arguments = frame + HEAD + 4;
    int n = amqp_encode_method(id, method,
                               (amqp_bytes_t){.len = WIRE_FRAME_MIN - HEAD - 4 - 1, .bytes = arguments});
    if (n < 0)
        return false;
    put_u32(put_head(frame, AMQP_FRAME_METHOD, channel, (size_t)n + 4), id);
    arguments[n] = (char)AMQP_FRAME_END;
    buf_commit(out, (size_t)n + HEAD + 4 + 1);
    return true;
}

static char *put_short(char *p, amqp_bytes_t text)
{
    *p++ = (char)text.len;
    return bytes_copy(p, text.bytes, text.len);
}

static char *put_long(char *p, struct str text)
{
    return bytes_str(put_u32(p, (uint32_t)text.n), text);
}

static char *put_u64(char *p, uint64_t v)
{
    return put_u32(put_u32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

static void put_publish(struct buf *out, uint16_t channel, const amqp_basic_publish_t *m)
{
    char *frame = (char *)buf_reserve(out, HEAD + 7 + 2 * (WIRE_SHORT_MAX + 1) + 1);
    char *p = put_u32(frame + HEAD, AMQP_BASIC_PUBLISH_METHOD);
    p = put_u16(p, 0); /* ticket */
    p = put_short(put_short(p, m->exchange), m->routing_key);
    *p++ = (char)(m->mandatory | m->immediate << 1);
    put_head(frame, AMQP_FRAME_METHOD, channel, (size_t)(p - frame) - HEAD);
    *p++ = (char)AMQP_FRAME_END;
    buf_commit(out, (size_t)(p - frame));
}

static char *put_octet(char *p, uint8_t v)
{
    *p = (char)v;
    return p + 1;
}

/* In the order of their flags (AMQP 0-9-1, 4.2.6.1). */
static char *put_properties(char *p, const struct wire_content *c)
{
    const amqp_basic_properties_t *of = &c->properties;
    uint32_t flags = (of->_flags & ~(uint32_t)AMQP_BASIC_HEADERS_FLAG) | (c->entries.n > 0 ? AMQP_BASIC_HEADERS_FLAG : 0);
    p = put_u16(p, flags);
    if (flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
        p = put_short(p, of->content_type);
    if (flags & AMQP_BASIC_CONTENT_ENCODING_FLAG)
        p = put_short(p, of->content_encoding);
    if (flags & AMQP_BASIC_HEADERS_FLAG)
        p = put_long(p, c->entries);
    if (flags & AMQP_BASIC_DELIVERY_MODE_FLAG)
        p = put_octet(p, of->delivery_mode);
    if (flags & AMQP_BASIC_PRIORITY_FLAG)
        p = put_octet(p, of->priority);
    if (flags & AMQP_BASIC_CORRELATION_ID_FLAG)
        p = put_short(p, of->correlation_id);
    if (flags & AMQP_BASIC_REPLY_TO_FLAG)
        p = put_short(p, of->reply_to);
    if (flags & AMQP_BASIC_EXPIRATION_FLAG)
        p = put_short(p, of->expiration);
    if (flags & AMQP_BASIC_MESSAGE_ID_FLAG)
        p = put_short(p, of->message_id);
    if (flags & AMQP_BASIC_TIMESTAMP_FLAG)
        p = put_u64(p, of->timestamp);
    if (flags & AMQP_BASIC_TYPE_FLAG)
        p = put_short(p, of->type);
    if (flags & AMQP_BASIC_USER_ID_FLAG)
        p = put_short(p, of->user_id);
    return flags & AMQP_BASIC_APP_ID_FLAG ? put_short(p, of->app_id) : p;
}

/* Nine short strings at most. What is not set has no length. */
static bool short_enough(const struct wire_content *c)
{
    const amqp_basic_properties_t *p = &c->properties;
    size_t all = p->content_type.len | p->content_encoding.len | p->correlation_id.len | p->reply_to.len |
                 p->expiration.len | p->message_id.len | p->type.len | p->user_id.len | p->app_id.len |
                 c->publish.exchange.len | c->publish.routing_key.len;
    return all <= WIRE_SHORT_MAX; /* 255: no bit above */
}

/* false, and out as it was: it does not fit into a frame. */
static bool put_header(const struct wire *w, struct buf *out, uint16_t channel, const struct wire_content *c)
{
    char *frame = (char *)buf_reserve(out, HEADER_ROOM + c->entries.n), *p = frame + HEAD;
    p = put_u32(p, (uint32_t)AMQP_BASIC_CLASS << 16);
    p = put_properties(put_u64(p, c->body.n), c);
    *p++ = (char)AMQP_FRAME_END;
    if ((size_t)(p - frame) > w->frame_max)
        return false;
    put_head(frame, AMQP_FRAME_HEADER, channel, (size_t)(p - frame) - WIRE_FRAME_EXTRA);
    buf_commit(out, (size_t)(p - frame));
    return true;
}

static void put_body(const struct wire *w, struct buf *out, uint16_t channel, struct str body)
{
    size_t most = w->frame_max - WIRE_FRAME_EXTRA;
    while (body.n > 0) {
        size_t n = body.n < most ? body.n : most;
        char *frame = (char *)buf_reserve(out, n + WIRE_FRAME_EXTRA);
        char *end = bytes_copy(put_head(frame, AMQP_FRAME_BODY, channel, n), body.p, n);
        *end = (char)AMQP_FRAME_END;
        buf_commit(out, n + WIRE_FRAME_EXTRA);
        body = str_make(body.p + n, body.n - n);
    }
}

bool wire_put_content(const struct wire *w, struct buf *out, uint16_t channel, const struct wire_content *c)
{
    size_t before = out->len;
    if (!short_enough(c) || c->entries.n > w->frame_max)
        return false;
    put_publish(out, channel, &c->publish);
    if (!put_header(w, out, channel, c)) {
        out->len = before;
        return false;
    }
    put_body(w, out, channel, c->body);
    return true;
}

/* ---------------------------------------------------------------- content that comes in */

void assembly_begin(struct assembly *a, uint64_t limit)
{
    a->state = ASSEMBLY_HEADER;
    a->wanted = a->got = 0;
    a->limit = limit;
    a->oversized = false;
    buf_clear(&a->body);
    buf_clear(&a->headers);
}

enum assembly_step assembly_header(struct assembly *a, uint64_t body_size)
{
    if (a->state != ASSEMBLY_HEADER)
        return ASSEMBLY_BAD;
    a->wanted = body_size;
    a->oversized = body_size > a->limit;
    a->state = body_size > 0 ? ASSEMBLY_BODY : ASSEMBLY_IDLE;
    return body_size > 0 ? ASSEMBLY_MORE : ASSEMBLY_DONE;
}

enum assembly_step assembly_body(struct assembly *a, struct str part, struct str *body)
{
    if (a->state != ASSEMBLY_BODY || part.n > a->wanted - a->got)
        return ASSEMBLY_BAD;
    bool whole = part.n == a->wanted;
    a->got += part.n;
    if (!whole && !a->oversized)
        buf_str_put(&a->body, part);
    if (a->got < a->wanted)
        return ASSEMBLY_MORE;
    a->state = ASSEMBLY_IDLE;
    *body = a->oversized ? STR_NONE : whole ? part : buf_str(&a->body);
    return ASSEMBLY_DONE;
}

void assembly_fini(struct assembly *a)
{
    buf_fini(&a->body);
    buf_fini(&a->headers);
    a->state = ASSEMBLY_IDLE;
}
