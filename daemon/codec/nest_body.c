/* Bodies and metadata; see nest.h. */
#include "codec/internal.h"
#include "codec/nest.h"
#include "msg/headers.h"
#include "wire/json.h"
#include "wire/utf8.h"

static bool type_is_text(struct str content_type)
{
    return str_starts(content_type, STR("text/"));
}

bool nest_body_json(struct str body, struct str content_type, struct buf *scratch, struct str *json)
{
    *json = STR_NONE;
    if (body.n == 0)
        return true;
    if (!type_is_text(content_type) && json_valid(body, NULL, NULL)) {
        *json = body;
        return true;
    }
    if (codec_type_is_json(content_type) || !str_utf8(body))
        return false;
    buf_clear(scratch);
    json_quote(body, scratch);
    *json = buf_str(scratch);
    return true;
}

static bool put_header_name(struct str name, struct buf *out)
{
    size_t before = out->len;
    if (name.n == 0)
        return false;
    while (name.n > 0) {
        char utf8[4];
        uint32_t c = json_char(&name);
        buf_put(out, utf8, utf8_encode(c >= 'A' && c <= 'Z' ? c | 0x20 : c, utf8));
    }
    return header_name_valid(str_make(buf_data(out) + before, out->len - before));
}

static bool put_header_value(struct str value, struct buf *out)
{
    size_t before = out->len;
    json_unquote(value, out);
    return header_value_valid(str_make(buf_data(out) + before, out->len - before));
}

static bool put_header(const struct json_member *m, struct buf *out)
{
    if (m->type != JSON_STRING || !put_header_name(m->name, out))
        return false;
    buf_puts(out, ": ");
    if (!put_header_value(m->value, out))
        return false;
    buf_putc(out, '\n');
    return true;
}

void nest_metadata_headers(struct str metadata, struct buf *headers)
{
    struct json_member m;
    size_t at = 0, lines = 0, from = headers->len;
    while (lines < HEADERS_MAX_LINES && json_next_member(metadata, &at, &m)) {
        size_t before = headers->len;
        if (put_header(&m, headers) && headers->len - from <= HEADERS_MAX_BYTES)
            lines++;
        else
            headers->len = before;
    }
}

static bool stands_again(struct str headers, struct str name)
{
    struct header h;
    while (headers_next(&headers, &h)) {
        if (str_eq(h.name, name))
            return true;
    }
    return false;
}

void nest_headers_metadata(struct str headers, struct buf *metadata)
{
    struct header h;
    const char *before = "{";
    while (headers_next(&headers, &h)) {
        if (stands_again(headers, h.name))
            continue;
        buf_puts(metadata, before);
        json_quote(h.name, metadata);
        buf_putc(metadata, ':');
        json_quote(h.value, metadata);
        before = ",";
    }
    if (*before == ',')
        buf_putc(metadata, '}');
}
