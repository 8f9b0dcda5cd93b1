#pragma once
/*
 * Where a message was, as header lines: made once for all that come from the same place, and passed to msg_new() as
 * msg_input.lines, which reads them no more. The first of them says that the body is JSON: for a packet of
 * NestJS all of them, for anything else what stands behind it.
 */
#include <strings.h>

#include "base/buf.h"
#include "msg/headers.h"
#include "msg/msg.h"

#define ORIGIN_JSON "content-type: application/json\n"
#define ORIGIN_VALUE_MAX 1024 /* bytes; what is longer is left out, and so is what is not legal in a header */

struct origin {
    struct buf text;
    unsigned count; /* of lines, the first included */
    size_t fixed_bytes; /* origin_rewind() goes back to here */
    unsigned fixed_count;
};

/* name: a literal, legal, not reserved; value: legal. */
#define ORIGIN_LINE(o, name, value) origin_line(o, STR(name ": "), value)

static inline void origin_line(struct origin *o, struct str name, struct str value)
{
    char *to = (char *)buf_reserve(&o->text, name.n + value.n + 1);
    to = bytes_str(bytes_str(to, name), value);
    *to = '\n';
    buf_commit(&o->text, name.n + value.n + 1);
    o->count++;
}

static inline void origin_begin(struct origin *o)
{
    buf_clear(&o->text);
    buf_put(&o->text, ORIGIN_JSON, sizeof(ORIGIN_JSON) - 1);
    o->count = 1;
}

/* name: a literal, legal, not reserved; value: any. */
#define ORIGIN_ADD(o, name, value) origin_add(o, STR(name ": "), value)

static inline void origin_add(struct origin *o, struct str name, struct str value)
{
    if (value.p != NULL && value.n <= ORIGIN_VALUE_MAX && header_value_valid(value))
        origin_line(o, name, value);
}

/* What was added so far is the same for all messages; what comes then is each one's own. */
static inline void origin_mark(struct origin *o)
{
    o->fixed_bytes = o->text.len;
    o->fixed_count = o->count;
}

static inline void origin_rewind(struct origin *o)
{
    o->text.len = o->fixed_bytes;
    o->count = o->fixed_count;
}

/* Valid until the next call with o. */
static inline void origin_give(const struct origin *o, bool json, struct msg_input *to)
{
    size_t skip = json ? 0 : sizeof(ORIGIN_JSON) - 1;
    to->lines = str_make(buf_data(&o->text) + skip, o->text.len - skip);
    to->line_count = o->count - !json;
}

/* A name that only the transport gives (prefix: "amqp-"), in whatever case it came: what a sender says under it is left out. */
static inline bool origin_owns(struct str prefix, struct str name)
{
    return name.n >= prefix.n && strncasecmp(name.p, prefix.p, prefix.n) == 0;
}

static inline void origin_fini(struct origin *o)
{
    buf_fini(&o->text);
}
