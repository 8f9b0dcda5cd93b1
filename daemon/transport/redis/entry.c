/* What the codecs are here, and what an entry of a stream is as a message: pure. */
#include "msg/headers.h"
#include "msg/msg.h"
#include "transport/redis/internal.h"
#include "wire/json.h"

/* Over pub/sub there is no room for headers: the JSON form. */
const struct codec redis_channel_codecs[] = {
    [CODEC_RAW] = {.format = CODEC_FORMAT_RAW, .prefix = "ce-"},
    [CODEC_CLOUDEVENTS] = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "ce-", .structured = true},
};
const struct codec redis_entry_codecs[] = {
    [CODEC_RAW] = {.format = CODEC_FORMAT_RAW, .prefix = "ce-"},
    [CODEC_CLOUDEVENTS] = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "ce-"},
};

unsigned entry_codec(unsigned side, const struct endpoint_conf *e)
{
    return codec_of(side, e, CODEC_RAW) == CODEC_CLOUDEVENTS ? CODEC_CLOUDEVENTS : CODEC_RAW;
}

/* Fields with a place of their own, as the first of each name has them. */
struct places {
    struct str body, type, subject;
    bool id; /* the sender has named one */
};

static struct str *place_of(struct places *p, struct str name)
{
    if (str_eq(name, STR(FIELD_BODY)))
        return &p->body;
    if (str_eq(name, STR(FIELD_TYPE)))
        return &p->type;
    return str_eq(name, STR(FIELD_SUBJECT)) ? &p->subject : NULL;
}

static void find_places(const struct entry *e, struct places *out)
{
    *out = (struct places){.id = false};
    for (size_t i = 0; i + 1 < e->count; i += 2) {
        struct str name = e->fields[i].text, *place = place_of(out, name);
        if (place != NULL && place->p == NULL)
            *place = e->fields[i + 1].text;
        out->id |= str_eq(name, STR("id")) || str_eq(name, STR("ce-id"));
    }
}

/* Entries of applications that know nothing of us: {"name":"value",…}. */
static bool fields_json(const struct entry *e, struct buf *out)
{
    buf_clear(out);
    for (size_t i = 0; i < e->count; i++) {
        if (!str_utf8(e->fields[i].text))
            return false;
        buf_putc(out, i == 0 ? '{' : i % 2 == 0 ? ',' : ':');
        json_quote(e->fields[i].text, out);
    }
    buf_puts(out, e->count > 0 ? "}" : "{}");
    return true;
}

static void put_native(const struct entry *e, const struct codec *codec, struct codec_room *room)
{
    struct places none;
    for (size_t i = 0; i + 1 < e->count; i += 2) {
        struct str name = e->fields[i].text;
        if (place_of(&none, name) == NULL && !origin_owns(STR("redis-"), name))
            codec_header(codec, room, name, e->fields[i + 1].text);
    }
}

void entry_names_init(struct entry_names *n, struct str stream)
{
    origin_begin(&n->origin);
    ORIGIN_ADD(&n->origin, "redis-stream", stream);
    origin_mark(&n->origin);
    buf_clear(&n->id);
    if (stream.n < MSG_ID_MAX && header_value_valid(stream)) {
        buf_str_put(&n->id, stream);
        buf_putc(&n->id, '/');
    }
    n->id_prefix = n->id.len;
}

void entry_names_fini(struct entry_names *n)
{
    origin_fini(&n->origin);
    buf_fini(&n->id);
}

/* A repeated entry must keep its id: where the sender has named none, it is made of the place. */
static struct str made_id(const struct entry *e, struct entry_names *n)
{
    if (n->id_prefix + e->text.n > MSG_ID_MAX)
        return e->text;
    n->id.len = n->id_prefix;
    buf_str_put(&n->id, e->text);
    return buf_str(&n->id);
}

static void put_place(const struct entry *e, const struct entry_place *place, struct origin *o)
{
    char number[20];
    origin_rewind(o);
    ORIGIN_LINE(o, "redis-entry", e->text);
    if (place->deliveries > 0)
        ORIGIN_LINE(o, "redis-deliveries", str_make(number, (size_t)(bytes_u64(number, place->deliveries) - number)));
}

bool entry_decode(const struct entry *entry, const struct entry_place *place, const struct entry_room *room,
                  struct msg_input *out, const char **what)
{
    const struct codec *codec = &redis_entry_codecs[place->codec];
    struct message_parts parts;
    struct places own;
    find_places(entry, &own);
    struct wire_message in = {.subject = own.subject.n > 0 ? own.subject : place->stream, .content_type = own.type,
                              .body = own.body};
    codec_begin(room->codec);
    put_place(entry, place, &room->names->origin);
    if (in.body.p != NULL) {
        put_native(entry, codec, room->codec);
    } else if (fields_json(entry, room->body)) {
        in.body = buf_str(room->body);
        in.content_type = STR("application/json");
    } else {
        *what = "no field `body`, and fields that are no text";
        return false;
    }
    in.headers = codec_room_headers(room->codec);
    if (!codec_decode(codec, room->codec, &in, &parts, what))
        return false;
    *out = (struct msg_input){.kind = MSG_EVENT, .subject = parts.subject, .headers = parts.headers, .body = parts.body};
    origin_give(&room->names->origin, false, out);
    if (!own.id || own.body.p == NULL)
        out->id = made_id(entry, room->names);
    return true;
}
