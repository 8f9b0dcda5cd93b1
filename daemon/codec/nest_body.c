/* Bodies and metadata; see nest.h. */
#include "codec/nest.h"
#include "wire/json.h"
#include "wire/utf8.h"

static bool type_is_text(struct str content_type)
{
    return str_starts(content_type, STR("text/"));
}

/* application/json, application/anything+json, with or without parameters */
static bool type_is_json(struct str content_type)
{
    struct str type = str_trim(str_cut(&content_type, ';'));
    return str_ends(type, STR("/json")) || str_ends(type, STR("+json"));
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
    if (type_is_json(content_type) || !str_utf8(body))
        return false;
    buf_clear(scratch);
    json_quote(body, scratch);
    *json = buf_str(scratch);
    return true;
}

/* RFC 9110, section 5.6.2: what a header name may hold. */
static bool name_byte(uint32_t c)
{
    return c < 0x80 && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c != 0 && strchr("!#$%&'*+-.^_`|~", (int)c) != NULL));
}

static bool put_header_name(struct str name, struct buf *out)
{
    size_t before = out->len;
    while (name.n > 0) {
        uint32_t c = json_char(&name);
        if (!name_byte(c))
            return false;
        buf_putc(out, (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c));
    }
    return out->len > before;
}

static bool put_header_value(struct str value, struct buf *out)
{
    size_t before = out->len;
    json_unquote(value, out);
    return str_printable(str_make(buf_data(out) + before, out->len - before));
}

void nest_metadata_headers(struct str metadata, struct buf *headers)
{
    struct json_member m;
    size_t at = 0;
    while (json_next_member(metadata, &at, &m)) {
        size_t before = headers->len;
        bool ok = m.type == JSON_STRING && put_header_name(m.name, headers);
        if (ok) {
            buf_puts(headers, ": ");
            ok = put_header_value(m.value, headers);
        }
        if (ok)
            buf_putc(headers, '\n');
        else
            headers->len = before;
    }
}

static bool legal_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (!name_byte((uint8_t)name.p[i]))
            return false;
    }
    return name.n > 0;
}

/* Takes the next legal header off the front of *lines. */
static bool next_header(struct str *lines, struct str *name, struct str *value)
{
    while (lines->n > 0) {
        *value = str_cut(lines, '\n');
        *name = str_cut(value, ':');
        *value = str_trim(*value);
        if (value->p != NULL && legal_name(*name) && str_printable(*value))
            return true;
    }
    return false;
}

static bool stands_again(struct str lines, struct str name)
{
    struct str other, value;
    while (next_header(&lines, &other, &value)) {
        if (str_eq(other, name))
            return true;
    }
    return false;
}

void nest_headers_metadata(struct str headers, struct buf *metadata)
{
    struct str name, value;
    const char *before = "{";
    while (next_header(&headers, &name, &value)) {
        if (stands_again(headers, name))
            continue;
        buf_puts(metadata, before);
        json_quote(name, metadata);
        buf_putc(metadata, ':');
        json_quote(value, metadata);
        before = ",";
    }
    if (*before == ',')
        buf_putc(metadata, '}');
}
