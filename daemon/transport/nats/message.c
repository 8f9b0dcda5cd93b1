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

/* A header that stands for something else, or whose name is ours to say. */
static bool is_special(const struct header *h, struct native *out)
{
    if (is_name(h->name, "content-type"))
        out->content_type = h->value;
    else if (is_name(h->name, "nats-msg-id"))
        out->id = h->value.n <= MSG_ID_MAX && header_value_valid(h->value) ? h->value : STR_NONE;
    else if (is_name(h->name, "nats-service-error"))
        out->service_error = h->value;
    else
        return is_name(h->name, "nats-subject") || is_name(h->name, "nats-queue");
    return true;
}

void nats_read_headers(struct endpoint *e, const struct codec *c, const struct wire_in *in, struct native *out)
{
    struct header h;
    struct str rest = STR_NONE;
    *out = (struct native){.status = 0};
    codec_begin(&e->room);
    if (in->headers.n > 0)
        out->status = nats_headers(in->headers, &rest);
    while (out->status == 0 && nats_next(&rest, &h)) {
        if (!is_special(&h, out))
            codec_header(c, &e->room, h.name, h.value);
    }
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
