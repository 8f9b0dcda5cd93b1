/* CloudEvents 1.0, read: binary (the bindings of HTTP, Kafka, AMQP, NATS, MQTT) and the JSON event format. */
#include <strings.h>

#include "base/base64.h"
#include "codec/internal.h"
#include "msg/msg.h"
#include "wire/json.h"

#define MEDIA "application/cloudevents"
#define TWIN_MAX 512 /* bytes of a value that is copied under a second name: the block has room for these */
#define TYPE_MAX 256

/* Attributes with a rule of their own. */
enum core { SPECVERSION, ID, SOURCE, TYPE, TIME, DATACONTENTTYPE, CORE_COUNT };

struct reading {
    const struct codec *codec;
    struct codec_room *room; /* headers: the block so far; body: the value in hand */
    unsigned lines;
    unsigned seen;    /* bits of enum core */
    bool type_known;  /* the protocol's own slot says what the content type is */
    const char *what; /* the first thing wrong */
};

static const struct {
    const char *name, *header; /* header NULL: becomes none */
    const char *missing;       /* NULL: optional */
} core[CORE_COUNT] = {
    [SPECVERSION] = {"specversion", NULL, "no CloudEvent: attribute `specversion` is missing"},
    [ID] = {"id", "id", "no CloudEvent: attribute `id` is missing"},
    [SOURCE] = {"source", "ce-source", "no CloudEvent: attribute `source` is missing"},
    [TYPE] = {"type", "ce-type", "no CloudEvent: attribute `type` is missing"},
    [TIME] = {"time", "time", NULL},
    [DATACONTENTTYPE] = {"datacontenttype", "content-type", NULL},
};

static bool bad(struct reading *d, const char *what)
{
    if (d->what == NULL)
        d->what = what;
    return false;
}

static bool put(struct reading *d, struct str prefix, struct str name, struct str value)
{
    struct buf *out = &d->room->headers;
    if (d->lines == CODEC_HEADERS_LINES || out->len + prefix.n + name.n + value.n + 3 > CODEC_HEADERS_BYTES)
        return false;
    codec_line(out, prefix, name, value);
    d->lines++;
    return true;
}

/* ---- one attribute ---- */

static enum core core_of(struct str name)
{
    unsigned i = 0;
    while (i < CORE_COUNT && !str_is(name, core[i].name))
        i++;
    return (enum core)i;
}

static bool put_core(struct reading *d, enum core which, struct str value)
{
    if (d->seen & 1u << which)
        return bad(d, "an attribute that stands twice");
    d->seen |= 1u << which;
    if (which == SPECVERSION && !str_starts(value, STR("1.")))
        return bad(d, "a `specversion` other than 1.x");
    if (which == ID && value.n > MSG_ID_MAX)
        return bad(d, "an `id` above 256 bytes");
    bool wanted = core[which].header != NULL &&
                  (which != DATACONTENTTYPE || (!d->type_known && value.n <= TYPE_MAX));
    return !wanted || put(d, STR_NONE, str_of(core[which].header), value) || bad(d, "attributes above 60 KiB or 112 lines");
}

/* The value is what stands in the room's body. */
static bool attribute(struct reading *d, struct str name)
{
    struct str value = str_trim(buf_str(&d->room->body));
    enum core which = core_of(name);
    if (!str_printable(value))
        return bad(d, "an attribute with control characters, or that is not UTF-8");
    if (value.n == 0)
        return true; /* as if it were not there */
    if (which < CORE_COUNT)
        return put_core(d, which, value);
    if (codec_has(buf_str(&d->room->headers), STR("ce-"), name))
        return bad(d, "an attribute that stands twice");
    return put(d, STR("ce-"), name, value) || bad(d, "attributes above 60 KiB or 112 lines");
}

/* ---- binary ---- */

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* HTTP binding, 3.1.3.2: older senders quote, newer ones percent-encode. A `%` without two digits stands for
 * itself: some senders do neither. */
static void put_unescaped(struct str value, struct buf *out)
{
    bool quoted = value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"';
    if (quoted)
        value = str_make(value.p + 1, value.n - 2);
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (quoted && c == '\\' && i + 1 < value.n) {
            c = value.p[++i];
        } else if (c == '%' && i + 2 < value.n && hex_value(value.p[i + 1]) >= 0 && hex_value(value.p[i + 2]) >= 0) {
            c = (char)(unsigned char)(hex_value(value.p[i + 1]) << 4 | hex_value(value.p[i + 2]));
            i += 2;
        }
        buf_putc(out, c);
    }
}

/* Which attribute a native header is; {NULL, 0} = none. */
static struct str attribute_of(const struct header *h, bool unprefixed)
{
    struct str name = h->name;
    if (str_starts(name, STR("ce-")))
        name = str_make(name.p + 3, name.n - 3);
    else if (!unprefixed)
        return STR_NONE;
    return codec_attribute_name(name) ? name : STR_NONE;
}

static bool read_binary(struct reading *d, struct str native, bool unprefixed)
{
    struct header h;
    while (d->what == NULL && headers_next(&native, &h)) {
        struct str name = attribute_of(&h, unprefixed);
        if (name.p == NULL)
            continue;
        buf_clear(&d->room->body);
        if (d->codec->percent)
            put_unescaped(h.value, &d->room->body);
        else
            buf_str_put(&d->room->body, h.value);
        attribute(d, name);
    }
    return d->what == NULL;
}

/* ---- the JSON event format ---- */

struct payload {
    struct json_member data, data_base64;
};

static bool read_member(struct reading *d, const struct json_member *m, struct payload *p)
{
    if (str_is(m->name, "data") || str_is(m->name, "data_base64")) {
        struct json_member *slot = m->name.n == 4 ? &p->data : &p->data_base64;
        if (slot->value.p != NULL)
            return bad(d, "an attribute that stands twice");
        *slot = *m;
        return true;
    }
    if (!codec_attribute_name(m->name) || m->type == JSON_NULL)
        return true;
    if (m->type == JSON_OBJECT || m->type == JSON_ARRAY)
        return bad(d, "an attribute that is an object or array");
    buf_clear(&d->room->body);
    if (m->type == JSON_STRING)
        json_unquote(m->value, &d->room->body);
    else
        buf_str_put(&d->room->body, m->value);
    return attribute(d, m->name);
}

static bool unquote_base64(struct str string, struct buf *out)
{
    struct buf text = BUF_EMPTY;
    json_unquote(string, &text);
    bool ok = base64_parse(buf_str(&text), out);
    buf_fini(&text);
    return ok;
}

/* JSON event format, 3.1.2. */
static bool read_data(struct reading *d, const struct payload *p, struct str *body)
{
    struct buf *out = &d->room->body;
    struct str type = headers_get(buf_str(&d->room->headers), "content-type");
    bool both = p->data.value.p != NULL && p->data.type != JSON_NULL && p->data_base64.value.p != NULL;
    *body = STR_NONE;
    buf_clear(out);
    if (p->data_base64.value.p != NULL && p->data_base64.type != JSON_NULL) {
        if (both || p->data_base64.type != JSON_STRING || !unquote_base64(p->data_base64.value, out))
            return bad(d, both ? "both `data` and `data_base64`" : "`data_base64` that is not base64");
        *body = buf_str(out);
    } else if (p->data.value.p == NULL) {
        return true;
    } else if (type.p == NULL || codec_type_is_json(type)) {
        *body = p->data.value;
        return type.p != NULL || put(d, STR_NONE, STR("content-type"), STR("application/json"));
    } else if (p->data.type == JSON_STRING) {
        json_unquote(p->data.value, out);
        *body = buf_str(out);
    } else if (p->data.type != JSON_NULL) {
        return bad(d, "`data` that is no string, though `datacontenttype` says it is not JSON");
    }
    return true;
}

static bool read_structured(struct reading *d, struct str text, struct payload *p)
{
    enum json_type type;
    struct json_member m;
    size_t at = 0;
    if (!json_valid(text, &type, NULL) || type != JSON_OBJECT)
        return bad(d, "application/cloudevents+json that is no JSON object");
    while (d->what == NULL && json_next_member(text, &at, &m))
        read_member(d, &m, p);
    return d->what == NULL;
}

/* ---- the whole ---- */

enum mode { MODE_BINARY, MODE_STRUCTURED, MODE_OTHER };

static enum mode mode_of(struct str type)
{
    size_t n = sizeof(MEDIA) - 1;
    if (type.n < n || strncasecmp(type.p, MEDIA, n) != 0)
        return MODE_BINARY;
    struct str format = str_trim(str_cut(&type, ';'));
    bool json = format.n == n + 5 && strncasecmp(format.p + n, "+json", 5) == 0;
    return json ? MODE_STRUCTURED : MODE_OTHER;
}

/* What is no attribute goes on as it is, except where an attribute has the place. */
static void put_others(struct reading *d, struct str native, bool unprefixed)
{
    struct header h;
    while (headers_next(&native, &h)) {
        bool taken = str_is(h.name, "id") || (str_is(h.name, "time") && d->seen & 1u << TIME) ||
                     str_is(h.name, "content-type");
        bool again = str_starts(h.name, STR("ce-")) || attribute_of(&h, unprefixed).p != NULL;
        if (!taken && !again)
            put(d, STR_NONE, h.name, h.value);
    }
}

static void put_twins(struct reading *d)
{
    struct buf *out = &d->room->headers;
    for (const struct codec_twin *t = codec_twins; t->attribute != NULL; t++) {
        char name[32] = "ce-";
        bytes_copy(name + 3, t->attribute, strlen(t->attribute) + 1);
        struct str value = headers_get(buf_str(out), name);
        if (value.p == NULL || value.n > TWIN_MAX || codec_has(buf_str(out), STR_NONE, str_of(t->header)))
            continue;
        struct buf copy = BUF_EMPTY; /* out may move while it is written */
        buf_str_put(&copy, value);
        codec_line(out, STR_NONE, str_of(t->header), buf_str(&copy));
        buf_fini(&copy);
    }
}

static bool check_required(struct reading *d)
{
    for (unsigned i = 0; i < CORE_COUNT && d->what == NULL; i++) {
        if (core[i].missing != NULL && !(d->seen & 1u << i))
            bad(d, core[i].missing);
    }
    return d->what == NULL;
}

static bool read_event(struct reading *d, const struct wire_message *in, struct str *body)
{
    struct payload p = {0};
    struct str type = in->content_type.n > 0 ? in->content_type : headers_get(in->headers, "content-type");
    enum mode mode = mode_of(type);
    bool unprefixed = *d->codec->prefix == '\0' && mode == MODE_BINARY && codec_has(in->headers, STR_NONE, STR("specversion"));
    if (mode == MODE_OTHER)
        return bad(d, "a batch, or an event format other than application/cloudevents+json");
    *body = in->body;
    d->type_known = mode == MODE_BINARY && type.n > 0 && type.n <= TYPE_MAX && header_value_valid(type);
    if (d->type_known)
        put(d, STR_NONE, STR("content-type"), type);
    bool ok = mode == MODE_BINARY ? read_binary(d, in->headers, unprefixed) : read_structured(d, in->body, &p);
    if (!ok || !check_required(d) || (mode == MODE_STRUCTURED && !read_data(d, &p, body)))
        return false;
    put_others(d, in->headers, unprefixed);
    put_twins(d);
    return true;
}

bool cloudevents_decode(const struct codec *c, struct codec_room *r, const struct wire_message *in,
                        struct message_parts *out, const char **what)
{
    struct reading d = {.codec = c, .room = r};
    buf_clear(&r->headers);
    *out = (struct message_parts){0};
    if (read_event(&d, in, &out->body)) {
        out->headers = buf_str(&r->headers);
        out->subject = in->subject.n > 0 ? in->subject : headers_get(out->headers, "ce-type");
        if (out->subject.n > MSG_SUBJECT_MAX || !str_printable(out->subject))
            bad(&d, "a subject that is not 1 to 1,024 bytes of printable UTF-8");
    }
    *what = d.what;
    return d.what == NULL;
}
