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

static struct str field(const struct entry *e, const char *name)
{
    for (size_t i = 0; i + 1 < e->count; i += 2) {
        if (str_is(e->fields[i].text, name))
            return e->fields[i + 1].text;
    }
    return STR_NONE;
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
    for (size_t i = 0; i + 1 < e->count; i += 2) {
        struct str name = e->fields[i].text;
        if (!str_is(name, FIELD_BODY) && !str_is(name, FIELD_TYPE) && !str_is(name, FIELD_SUBJECT) &&
            !str_starts(name, STR("redis-")))
            codec_header(codec, room, name, e->fields[i + 1].text);
    }
}

/* A repeated entry must keep its id: where the sender has named none, it is made of the place. */
static void put_id(const struct entry_place *place, struct str id, const struct codec *codec, struct codec_room *room)
{
    char made[MSG_ID_MAX];
    if (place->stream.n + 1 + id.n > sizeof(made) || !header_value_valid(place->stream)) {
        codec_header(codec, room, STR("id"), id);
        return;
    }
    char *end = bytes_str(made, place->stream);
    *end++ = '/';
    end = bytes_str(end, id);
    codec_header(codec, room, STR("id"), str_make(made, (size_t)(end - made)));
}

/* Before the fields, which may take all the room there is. */
static void put_place(const struct entry *e, const struct entry_place *place, const struct codec *codec,
                      struct codec_room *room)
{
    char text[ENTRY_ID_MAX], number[20];
    struct str id = entry_id_text(e->id, text);
    codec_header(codec, room, STR("redis-stream"), place->stream);
    codec_header(codec, room, STR("redis-entry"), id);
    if (place->deliveries > 0)
        codec_header(codec, room, STR("redis-deliveries"),
                     str_make(number, (size_t)(bytes_u64(number, place->deliveries) - number)));
    bool native = field(e, FIELD_BODY).p != NULL;
    if (!native || (field(e, "id").p == NULL && field(e, "ce-id").p == NULL))
        put_id(place, id, codec, room);
}

bool entry_decode(const struct entry *entry, const struct entry_place *place, const struct entry_room *room,
                  struct message_parts *out, const char **what)
{
    const struct codec *codec = &redis_entry_codecs[place->codec];
    struct wire_message in = {.subject = field(entry, FIELD_SUBJECT), .content_type = field(entry, FIELD_TYPE),
                              .body = field(entry, FIELD_BODY)};
    if (in.subject.n == 0)
        in.subject = place->stream;
    codec_begin(room->codec);
    put_place(entry, place, codec, room->codec);
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
    return codec_decode(codec, room->codec, &in, out, what);
}
