#pragma once
/* What the files of `cloudevents` share; codec.h is the contract. */
#include "codec/codec.h"
#include "msg/headers.h"

/* An attribute that has a place among the headers of its own beside ce-NAME. */
struct codec_twin {
    const char *attribute, *header;
};

extern const struct codec_twin codec_twins[]; /* ends with a row without names */

bool codec_attribute_name(struct str name); /* a-z 0-9, short enough for a header behind `ce-` */
bool codec_has(struct str headers, struct str prefix, struct str name); /* is there a header prefix + name? */

static inline void codec_line(struct buf *out, struct str prefix, struct str name, struct str value)
{
    buf_str_put(out, prefix);
    buf_str_put(out, name);
    buf_put(out, ": ", 2);
    buf_str_put(out, value);
    buf_putc(out, '\n');
}

/* application/json, application/anything+json, with or without parameters. */
bool codec_type_is_json(struct str content_type);

bool cloudevents_decode(const struct codec *c, struct codec_room *r, const struct wire_message *in,
                        struct message_parts *out, const char **what);
void cloudevents_encode(const struct codec *c, struct codec_room *r, const struct message_parts *in,
                        struct wire_message *out);
