#include "codec/codec.h"

#include <strings.h>

#include "codec/internal.h"
#include "msg/msg.h"

#define TYPE_MAX 256
#define PREFIX_MAX (sizeof("cloudEvents_") - 1)

void codec_room_fini(struct codec_room *r)
{
    buf_fini(&r->native);
    buf_fini(&r->headers);
    buf_fini(&r->body);
}

void codec_begin(struct codec_room *r)
{
    buf_clear(&r->native);
    r->native_lines = 0;
}

struct str codec_room_headers(const struct codec_room *r)
{
    return buf_str(&r->native);
}

/* ---- reserved headers that msg_new() reads ---- */

static bool is_id(struct str value)
{
    return value.n > 0 && value.n <= MSG_ID_MAX;
}

static bool is_duration(struct str value)
{
    int64_t ms;
    return str_parse_duration(value, &ms);
}

static bool is_time(struct str value)
{
    int64_t ms;
    return str_parse_time(value, &ms);
}

static bool reserved_fits(struct str name, struct str value)
{
    static const struct {
        const char *name;
        bool (*fits)(struct str value);
    } reserved[] = { /* by the length of their names */
        [2] = {"id", is_id},            [3] = {"ttl", is_duration},    [5] = {"delay", is_duration},
        [7] = {"timeout", is_duration}, [10] = {"deliver-at", is_time}};
    if (name.n >= sizeof(reserved) / sizeof(reserved[0]) || reserved[name.n].name == NULL)
        return true;
    return memcmp(name.p, reserved[name.n].name, name.n) != 0 || reserved[name.n].fits(value);
}

/* ---- native headers ---- */

static bool prefix_cut(struct str *name)
{
    static const struct str forms[] = {{"ce-", 3}, {"ce_", 3}, {"cloudEvents_", 12}, {"cloudEvents:", 12}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (name->n > forms[i].n && strncasecmp(name->p, forms[i].p, forms[i].n) == 0) {
            *name = str_make(name->p + forms[i].n, name->n - forms[i].n);
            return true;
        }
    }
    return false;
}

/* Returns the byte behind the name; NULL where it is none. */
static char *put_name(const struct codec *c, struct str name, char *to)
{
    if (c->format == CODEC_FORMAT_CLOUDEVENTS && prefix_cut(&name))
        to = bytes_copy(to, "ce-", 3);
    for (size_t i = 0; i < name.n; i++) {
        *to = (char)header_token[(unsigned char)name.p[i]];
        if (*to++ == '\0')
            return NULL;
    }
    return to;
}

bool codec_header(const struct codec *c, struct codec_room *r, struct str name, struct str value)
{
    value = str_trim(value);
    if (name.n == 0 || name.n > HEADER_NAME_MAX + PREFIX_MAX || r->native_lines == CODEC_HEADERS_LINES ||
        value.n > CODEC_HEADERS_BYTES || r->native.len + name.n + value.n + 3 > CODEC_HEADERS_BYTES)
        return false;
    char *line = (char *)buf_reserve(&r->native, name.n + value.n + 3), *end = put_name(c, name, line);
    struct str own = str_make(line, end != NULL ? (size_t)(end - line) : 0);
    if (own.n == 0 || own.n > HEADER_NAME_MAX || !str_printable(value) || !reserved_fits(own, value))
        return false;
    end = bytes_str(bytes_copy(end, ": ", 2), value);
    *end++ = '\n';
    buf_commit(&r->native, (size_t)(end - line));
    r->native_lines++;
    return true;
}

/* ---- what both files of cloudevents need ---- */

const struct codec_twin codec_twins[] = {
    {"correlationid", "correlation-id"}, {"partitionkey", "key"}, {"traceparent", "traceparent"},
    {"tracestate", "tracestate"},        {"bellhoperror", CODEC_ERROR_HEADER}, {NULL, NULL},
};

bool codec_attribute_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (!((name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= '0' && name.p[i] <= '9')))
            return false;
    }
    return name.n > 0 && name.n <= 125 && !str_is(name, "data");
}

bool codec_has(struct str headers, struct str prefix, struct str name)
{
    struct header h;
    while (headers_next(&headers, &h)) {
        if (h.name.n == prefix.n + name.n && str_starts(h.name, prefix) && str_ends(h.name, name))
            return true;
    }
    return false;
}

bool codec_type_is_json(struct str content_type)
{
    struct str type = str_trim(str_cut(&content_type, ';'));
    return str_ends(type, STR("/json")) || str_ends(type, STR("+json"));
}

/* ---- raw ---- */

static bool raw_decode(struct codec_room *r, const struct wire_message *in, struct message_parts *out,
                       const char **what)
{
    *out = (struct message_parts){in->subject, in->headers, in->body};
    if (in->content_type.n > 0 && in->content_type.n <= TYPE_MAX && header_value_valid(in->content_type) &&
        !codec_has(in->headers, STR_NONE, STR("content-type"))) {
        buf_clear(&r->headers);
        headers_put(&r->headers, "content-type", in->content_type);
        buf_str_put(&r->headers, in->headers);
        out->headers = buf_str(&r->headers);
    }
    *what = in->subject.n == 0 ? "no subject" : "a subject that is not 1 to 1,024 bytes of printable UTF-8";
    return in->subject.n > 0 && in->subject.n <= MSG_SUBJECT_MAX && str_printable(in->subject);
}

/* All but the content type, in as few pieces as there are. */
static void raw_encode(struct codec_room *r, const struct message_parts *in, struct wire_message *out)
{
    struct str rest = in->headers, type = STR_NONE;
    const char *piece = rest.p, *line = rest.p;
    struct header h;
    buf_clear(&r->headers);
    for (; headers_next(&rest, &h); line = rest.p) {
        if (!str_eq(h.name, STR("content-type")))
            continue;
        buf_put(&r->headers, piece, (size_t)(line - piece));
        piece = rest.p;
        type = type.p != NULL ? type : h.value;
    }
    *out = (struct wire_message){in->subject, in->headers, type, in->body};
    if (type.p == NULL)
        return;
    buf_put(&r->headers, piece, (size_t)(line - piece));
    out->headers = buf_str(&r->headers);
}

bool codec_decode(const struct codec *c, struct codec_room *r, const struct wire_message *in,
                  struct message_parts *out, const char **what)
{
    if (c->format == CODEC_FORMAT_RAW)
        return raw_decode(r, in, out, what);
    return cloudevents_decode(c, r, in, out, what);
}

void codec_encode(const struct codec *c, struct codec_room *r, const struct message_parts *in,
                  struct wire_message *out)
{
    if (c->format == CODEC_FORMAT_RAW)
        raw_encode(r, in, out);
    else
        cloudevents_encode(c, r, in, out);
}

enum code codec_reply_code(struct str headers)
{
    struct str word = headers_get(headers, CODEC_ERROR_HEADER);
    return word.p != NULL ? code_parse(word) : CODE_OK;
}

enum code codec_decode_reply(const struct codec *c, struct codec_room *r, const struct wire_message *in,
                             struct message_parts *out)
{
    static const struct codec raw = {.prefix = "", .format = CODEC_FORMAT_RAW};
    const char *what;
    if (!codec_decode(c, r, in, out, &what))
        (void)codec_decode(&raw, r, in, out, &what);
    return codec_reply_code(out->headers);
}
