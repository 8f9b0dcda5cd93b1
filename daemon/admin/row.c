#include "admin/row.h"

#include "wire/json.h"

/* No value ends in one of these: texts end in quotes. */
static bool is_first(const struct buf *out)
{
    uint8_t last = out->len > 0 ? buf_data(out)[out->len - 1] : '[';
    return last == '[' || last == '{';
}

static void begin(struct buf *out, const char *key)
{
    if (!is_first(out))
        buf_putc(out, ',');
    if (key == NULL)
        return;
    buf_putc(out, '"');
    buf_puts(out, key);
    buf_puts(out, "\":");
}

void row_open(struct buf *out, const char *key, char bracket)
{
    begin(out, key);
    buf_putc(out, bracket);
}

void row_close(struct buf *out, char bracket)
{
    buf_putc(out, bracket);
}

void row_str(struct buf *out, const char *key, struct str text)
{
    begin(out, key);
    json_quote(text.p == NULL ? STR("") : str_utf8(text) ? text : STR("(not UTF-8)"), out);
}

void row_text(struct buf *out, const char *key, const char *text)
{
    if (text != NULL) {
        row_str(out, key, str_of(text));
        return;
    }
    begin(out, key);
    buf_puts(out, "null");
}

void row_u64(struct buf *out, const char *key, uint64_t number)
{
    begin(out, key);
    buf_u64(out, number);
}

void row_i64(struct buf *out, const char *key, int64_t number)
{
    begin(out, key);
    buf_i64(out, number);
}

void row_bool(struct buf *out, const char *key, bool is)
{
    begin(out, key);
    buf_puts(out, is ? "true" : "false");
}
