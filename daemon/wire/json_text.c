/* The text side of json.h: what escapes stand for, and writing them. */
#include "wire/json.h"
#include "wire/swar.h"
#include "wire/utf8.h"

#define REPLACEMENT 0xFFFDu

static const char escape_value[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
};

static const char escape_letter[32] = {
    ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
};

static struct str rest(struct str text, size_t n)
{
    return str_make(text.p + n, text.n - n);
}

static uint32_t hex_value(uint8_t c)
{
    return c <= '9' ? (uint32_t)(c - '0') : (uint32_t)((c | 0x20) - 'a' + 10);
}

/* The code unit of a `\uXXXX` at the start of text, or -1 where there is none. */
static int32_t unit_at(struct str text)
{
    if (text.n < 6 || text.p[0] != '\\' || text.p[1] != 'u')
        return -1;
    uint32_t unit = 0;
    for (size_t i = 2; i < 6; i++)
        unit = unit << 4 | (hex_value((uint8_t)text.p[i]) & 15);
    return (int32_t)unit;
}

static uint32_t take_unit(struct str *text)
{
    int32_t high = unit_at(*text);
    *text = rest(*text, 6);
    if (high < 0xD800 || high > 0xDFFF)
        return (uint32_t)high;
    int32_t low = unit_at(*text);
    if (high > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
        return REPLACEMENT;
    *text = rest(*text, 6);
    return 0x10000 + (((uint32_t)high & 0x3FF) << 10 | ((uint32_t)low & 0x3FF));
}

static uint32_t take_wide(struct str *text)
{
    const uint8_t *p = (const uint8_t *)text->p;
    size_t n = utf8_length(p, text->n);
    static const uint8_t lead_bits[] = {0, 0, 0x1F, 0x0F, 0x07};
    if (n < 2) {
        *text = rest(*text, 1);
        return REPLACEMENT;
    }
    uint32_t c = p[0] & lead_bits[n];
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3F);
    *text = rest(*text, n);
    return c;
}

uint32_t json_char(struct str *text)
{
    uint8_t first = (uint8_t)text->p[0];
    if (first >= 0x80)
        return take_wide(text);
    if (first == '\\' && unit_at(*text) >= 0)
        return take_unit(text);
    if (first == '\\' && text->n >= 2 && escape_value[(uint8_t)text->p[1]] != 0) {
        first = (uint8_t)escape_value[(uint8_t)text->p[1]];
        *text = rest(*text, 1);
    }
    *text = rest(*text, 1);
    return first;
}

void json_unquote(struct str string, struct buf *out)
{
    if (string.n < 2)
        return;
    struct str text = str_make(string.p + 1, string.n - 2);
    while (text.n > 0) {
        struct str plain = text;
        const char *escape = memchr(text.p, '\\', text.n);
        if (escape != NULL)
            plain.n = (size_t)(escape - text.p);
        buf_str_put(out, plain);
        text = rest(text, plain.n);
        if (text.n == 0)
            return;
        char utf8[4];
        buf_put(out, utf8, utf8_encode(json_char(&text), utf8));
    }
}

/* Bytes at the start of text that need no escape. */
static size_t plain_run(struct str text)
{
    size_t i = 0;
    for (; i + 8 <= text.n; i += 8) {
        uint64_t stop = swar_escapes(swar_load(text.p + i));
        if (stop != 0)
            return i + swar_first(stop);
    }
    while (i < text.n && (uint8_t)text.p[i] >= 0x20 && text.p[i] != '"' && text.p[i] != '\\')
        i++;
    return i;
}

static void put_escape(uint8_t c, struct buf *out)
{
    char letter = c < 0x20 ? escape_letter[c] : (char)c;
    if (letter == 0)
        buf_printf(out, "\\u%04x", c);
    else
        buf_put(out, (char[]){'\\', letter}, 2);
}

void json_quote(struct str text, struct buf *out)
{
    buf_putc(out, '"');
    while (text.n > 0) {
        size_t n = plain_run(text);
        buf_put(out, text.p, n);
        text = rest(text, n);
        if (text.n == 0)
            break;
        put_escape((uint8_t)text.p[0], out);
        text = rest(text, 1);
    }
    buf_putc(out, '"');
}
