/*
 * daemon/codec/codec.h: whatever a peer sends, what is taken is a legal message; written and read again it is the
 * same. Input: a byte for the codec, then lines: content type, subject, headers, an empty line, the body.
 */
#include "base/mem.h"
#include "codec/codec.h"
#include "fuzz.h"
#include "msg/headers.h"
#include "msg/msg.h"
#include "wire/json.h"

static const struct codec codecs[] = {
    {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "ce-", .percent = true},
    {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "ce_"},
    {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "cloudEvents_"},
    {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = ""},
    {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "", .structured = true},
    {.format = CODEC_FORMAT_RAW, .prefix = ""},
};
#define CODECS (sizeof(codecs) / sizeof(codecs[0]))

/* A message that outlives the room it was read into. */
struct kept {
    struct buf subject, headers, body;
};

static void keep(struct kept *k, const struct message_parts *m)
{
    *k = (struct kept){BUF_EMPTY, BUF_EMPTY, BUF_EMPTY};
    buf_str_put(&k->subject, m->subject);
    buf_str_put(&k->headers, m->headers);
    buf_str_put(&k->body, m->body);
}

static void kept_fini(struct kept *k)
{
    buf_fini(&k->subject);
    buf_fini(&k->headers);
    buf_fini(&k->body);
}

static int64_t no_time(void *arg)
{
    (void)arg;
    return 1;
}

static void check_message(const struct message_parts *m)
{
    struct msg_factory factory = {.now = no_time, .wall = no_time};
    const char *what = NULL;
    size_t offset;
    HOLDS(headers_check(m->headers, &what, &offset));
    HOLDS(m->subject.n > 0 && m->subject.n <= MSG_SUBJECT_MAX && str_printable(m->subject));
    struct msg_input in = {.subject = m->subject, .headers = m->headers, .body = m->body, .source = STR("edge")};
    struct msg *made = msg_new(&factory, &in, &what);
    HOLDS(made != NULL);
    msg_unref(made);
}

/* Written by c and read again. */
static void pass(const struct codec *c, const struct kept *from, struct kept *to)
{
    struct codec_room out_room = {0}, in_room = {0};
    struct message_parts m = {buf_str(&from->subject), buf_str(&from->headers), buf_str(&from->body)}, back;
    struct wire_message w;
    struct header h;
    const char *what = NULL;
    codec_encode(c, &out_room, &m, &w);
    HOLDS(!c->structured || (json_valid(w.body, NULL, NULL) && w.headers.n == 0));
    HOLDS(str_eq(w.subject, m.subject));
    codec_begin(&in_room);
    while (headers_next(&w.headers, &h))
        codec_header(c, &in_room, h.name, h.value);
    w.headers = codec_room_headers(&in_room);
    bool ok = codec_decode(c, &in_room, &w, &back, &what);
    HOLDS(ok || strstr(what, "112 lines") != NULL || strstr(what, "is missing") != NULL);
    if (!ok) /* percent-encoding has made it too long for the room */
        back = m;
    check_message(&back);
    keep(to, &back);
    codec_room_fini(&out_room);
    codec_room_fini(&in_room);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* White space around JSON data does not cross the structured form. */
static struct str inner(const struct codec *c, struct str body)
{
    while (c->structured && body.n > 0 && is_blank(body.p[body.n - 1]))
        body.n--;
    while (c->structured && body.n > 0 && is_blank(body.p[0]))
        body = str_make(body.p + 1, body.n - 1);
    return body;
}

static void check_passes(const struct codec *c, const struct message_parts *m)
{
    struct kept once, twice, thrice;
    keep(&once, m);
    pass(c, &once, &twice);
    pass(c, &twice, &thrice);
    HOLDS(str_eq(inner(c, buf_str(&once.body)), inner(c, buf_str(&twice.body))));
    HOLDS(str_eq(buf_str(&twice.headers), buf_str(&thrice.headers)));
    HOLDS(str_eq(buf_str(&twice.body), buf_str(&thrice.body)));
    kept_fini(&once);
    kept_fini(&twice);
    kept_fini(&thrice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct codec *c = &codecs[data[0] % CODECS];
    struct str text = str_make(data + 1, size - 1), line;
    struct codec_room room = {0};
    struct message_parts m;
    const char *what = NULL;
    struct wire_message in = {.content_type = str_cut(&text, '\n')};
    in.subject = str_cut(&text, '\n');
    codec_begin(&room);
    while ((line = str_cut(&text, '\n')).n > 0) {
        struct str value = line, name = str_cut(&value, '\t');
        codec_header(c, &room, name, value);
    }
    in.headers = codec_room_headers(&room);
    in.body = text;
    size_t offset;
    HOLDS(headers_check(in.headers, &what, &offset));
    what = NULL;
    bool ok = codec_decode(c, &room, &in, &m, &what);
    HOLDS(ok || what != NULL);
    if (ok) {
        check_message(&m);
        check_passes(c, &m);
    }
    codec_room_fini(&room);
    return 0;
}
