/* Messages of NATS to the parts of a message and back: what raw, cloudevents and the headers of nest share. */
#include <strings.h>

#include "transport/nats/internal.h"

const struct codec *nats_codec(unsigned choice)
{
    static const struct codec raw = {.format = CODEC_FORMAT_RAW, .prefix = "ce-"};
    static const struct codec events = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "ce-", .percent = true};
    return choice == CODEC_CLOUDEVENTS ? &events : &raw;
}

static bool is_name(struct str name, const char *wanted)
{
    return name.n == strlen(wanted) && strncasecmp(name.p, wanted, name.n) == 0;
}

/* A header that is ours, or that stands for something else. */
static bool is_special(const struct header *h, struct str ours, struct native *out, struct str *id)
{
    if (is_name(h->name, "content-type"))
        out->content_type = h->value;
    else if (is_name(h->name, "nats-msg-id"))
        *id = h->value;
    else if (is_name(h->name, "nats-service-error"))
        out->service_error = h->value;
    else
        return ours.n > 0 && (is_name(h->name, "nats-subject") || is_name(h->name, "nats-queue"));
    return true;
}

static void add_block(struct endpoint *e, const struct codec *c, struct str block)
{
    struct header h;
    while (headers_next(&block, &h))
        codec_header(c, &e->room, h.name, h.value);
}

void nats_read_headers(struct endpoint *e, const struct codec *c, const struct wire_in *in, struct str ours,
                       struct native *out)
{
    struct header h;
    struct str rest = STR_NONE, id = STR_NONE;
    *out = (struct native){.status = 0};
    codec_begin(&e->room);
    add_block(e, c, ours);
    if (in->headers.n > 0)
        out->status = nats_headers(in->headers, &rest);
    while (out->status == 0 && nats_next(&rest, &h)) {
        if (!is_special(&h, ours, out, &id))
            codec_header(c, &e->room, h.name, h.value);
    }
    if (id.n > 0 && headers_get(codec_room_headers(&e->room), "id").p == NULL)
        codec_header(c, &e->room, STR("id"), id);
    out->headers = codec_room_headers(&e->room);
}

void nats_encode(struct endpoint *e, const struct codec *c, const struct message_parts *parts, struct str first,
                 struct wire_pub *out)
{
    struct wire_message w;
    codec_encode(c, &e->room, parts, &w);
    buf_clear(&e->lines);
    buf_str_put(&e->lines, first);
    if (w.content_type.n > 0)
        headers_put(&e->lines, "content-type", w.content_type);
    if (w.content_type.n > 0 && c->format == CODEC_FORMAT_CLOUDEVENTS)
        headers_put(&e->lines, "ce-datacontenttype", w.content_type);
    buf_str_put(&e->lines, w.headers);
    *out = (struct wire_pub){.subject = w.subject, .headers = buf_str(&e->lines), .body = w.body};
}
