/* CloudEvents 1.0, written: binary, or the JSON event format. */
#include "base/base64.h"
#include "codec/internal.h"
#include "wire/json.h"

#define STRUCTURED_TYPE "application/cloudevents+json"

struct writing {
    const struct codec *codec;
    struct buf *out;    /* header lines, or the JSON text */
    struct str headers; /* the message's */
    bool shared;        /* attributes and headers have one set of names: every header has to be an attribute */
};

/* HTTP binding, 3.1.3.2. */
static void put_escaped(struct str value, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const char *p = value.p; p != NULL && p < value.p + value.n; p++) {
        unsigned char c = (unsigned char)*p;
        if (c > 0x20 && c < 0x7F && c != '"' && c != '%') {
            buf_putc(out, (char)c);
        } else {
            buf_putc(out, '%');
            buf_putc(out, hex[c >> 4]);
            buf_putc(out, hex[c & 15]);
        }
    }
}

static void put_attribute(const struct writing *w, struct str name, struct str value)
{
    struct buf *out = w->out;
    if (value.n == 0)
        return;
    if (w->codec->structured) {
        buf_puts(out, out->len > 1 ? ",\"" : "\"");
        buf_str_put(out, name);
        buf_puts(out, "\":");
        json_quote(value, out);
        return;
    }
    buf_puts(out, w->codec->prefix);
    buf_str_put(out, name);
    buf_put(out, ": ", 2);
    if (w->codec->percent)
        put_escaped(value, out);
    else
        buf_str_put(out, value);
    buf_putc(out, '\n');
}

/* ---- which header is which attribute ---- */

static bool is_core(struct str name)
{
    static const char *const names[] = {"specversion", "id", "source", "type", "time", "datacontenttype"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_is(name, names[i]))
            return true;
    }
    return false;
}

/* How near a header is to the attribute it stands for: 1 = its very name, 0 = it is no attribute. */
static unsigned attribute_of(const struct writing *w, struct str header, struct str *name)
{
    bool own = str_starts(header, STR("ce-"));
    *name = own ? str_make(header.p + 3, header.n - 3) : header;
    if (own || !w->shared)
        return own && codec_attribute_name(*name) ? 1 : 0;
    for (const struct codec_twin *t = codec_twins; t->attribute != NULL; t++) {
        if (str_is(header, t->header)) {
            *name = str_of(t->attribute);
            return 2;
        }
    }
    return codec_attribute_name(header) ? 3 : 0;
}

/* Of several headers for one attribute the nearest is written, of several of one name the first. */
static bool is_first(const struct writing *w, const struct header *h, struct str name, unsigned rank)
{
    struct str rest = w->headers, other;
    struct header o;
    while (headers_next(&rest, &o)) {
        unsigned r = o.value.n > 0 ? attribute_of(w, o.name, &other) : 0;
        if (r != 0 && str_eq(other, name) && (r < rank || (r == rank && o.name.p < h->name.p)))
            return false;
    }
    return true;
}

/* ---- the attributes ---- */

static struct str first_of(const struct writing *w, const char *name, const char *other)
{
    struct str value = headers_get(w->headers, name);
    return value.n > 0 ? value : headers_get(w->headers, other);
}

/* A URI-reference: the name of the endpoint or service as a path. */
static struct str source_of(const struct writing *w, struct buf *scratch)
{
    struct str own = headers_get(w->headers, "ce-source");
    if (own.n > 0)
        return own;
    buf_clear(scratch);
    buf_putc(scratch, '/');
    put_escaped(headers_get(w->headers, "source"), scratch);
    return buf_str(scratch);
}

static void put_core(const struct writing *w, struct str subject, struct buf *scratch)
{
    struct str type = headers_get(w->headers, "ce-type");
    put_attribute(w, STR("specversion"), STR("1.0"));
    put_attribute(w, STR("id"), first_of(w, "ce-id", "id"));
    put_attribute(w, STR("source"), source_of(w, scratch));
    put_attribute(w, STR("type"), type.n > 0 ? type : subject);
    put_attribute(w, STR("time"), first_of(w, "ce-time", "time"));
}

static bool has_own_place(struct str header)
{
    return str_is(header, "id") || str_is(header, "source") || str_is(header, "time") || str_is(header, "content-type");
}

static void put_attributes(const struct writing *w)
{
    struct str rest = w->headers, name;
    struct header h;
    while (headers_next(&rest, &h)) {
        unsigned rank = h.value.n > 0 ? attribute_of(w, h.name, &name) : 0;
        if (rank != 0 && !is_core(name) && is_first(w, &h, name, rank))
            put_attribute(w, name, h.value);
    }
}

/* ---- binary ---- */

static void put_others(const struct writing *w)
{
    struct str rest = w->headers, name;
    struct header h;
    while (headers_next(&rest, &h)) {
        bool attribute = str_starts(h.name, STR("ce-")) || attribute_of(w, h.name, &name) != 0;
        if (!attribute && !has_own_place(h.name))
            codec_line(w->out, STR_NONE, h.name, h.value);
    }
}

/* ---- the JSON event format ---- */

static void put_base64(struct buf *out, struct str body)
{
    buf_puts(out, ",\"data_base64\":\"");
    base64_put(out, body);
    buf_puts(out, "\"}");
}

/* JSON event format, 3.1.1. */
static void put_data(const struct writing *w, struct str body)
{
    struct buf *out = w->out;
    struct str type = headers_get(w->headers, "content-type");
    bool json = (type.n == 0 || codec_type_is_json(type)) && json_valid(body, NULL, NULL);
    bool text = !json && body.n > 0 && !codec_type_is_json(type) && str_utf8(body);
    put_attribute(w, STR("datacontenttype"), type.n == 0 && text ? STR("text/plain") : type);
    size_t before = out->len;
    if (body.n == 0) {
        buf_putc(out, '}');
    } else if (json || text) {
        buf_puts(out, ",\"data\":");
        if (json)
            buf_str_put(out, body);
        else
            json_quote(body, out);
        buf_putc(out, '}');
    } else {
        put_base64(out, body);
    }
    if (json && !json_valid(buf_str(out), NULL, NULL)) { /* one level too deep for a reader like us */
        out->len = before;
        put_base64(out, body);
    }
}

void cloudevents_encode(const struct codec *c, struct codec_room *r, const struct message_parts *in,
                        struct wire_message *out)
{
    struct writing w = {.codec = c, .out = c->structured ? &r->body : &r->headers, .headers = in->headers,
                        .shared = c->structured || *c->prefix == '\0'};
    buf_clear(w.out);
    if (c->structured)
        buf_putc(w.out, '{');
    put_core(&w, in->subject, &r->native);
    put_attributes(&w);
    if (c->structured) {
        put_data(&w, in->body);
        *out = (struct wire_message){in->subject, STR_NONE, STR(STRUCTURED_TYPE), buf_str(w.out)};
    } else {
        put_others(&w);
        *out = (struct wire_message){in->subject, buf_str(w.out), headers_get(in->headers, "content-type"), in->body};
    }
}
