#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buf *out, struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i += 3) {
        unsigned left = bytes.n - i < 3 ? (unsigned)(bytes.n - i) : 3, word = 0;
        for (unsigned k = 0; k < 3; k++)
            word = word << 8 | (k < left ? (unsigned char)bytes.p[i + k] : 0);
        for (unsigned k = 0; k < 4; k++)
            buf_putc(out, k <= left ? digits[word >> (18 - 6 * k) & 63] : '=');
    }
}

static int value_of(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four digits as `count` bytes; the digits behind them are padding. */
static bool parse_four(const char *p, unsigned count, struct buf *out)
{
    unsigned word = 0;
    for (unsigned k = 0; k < 4; k++) {
        int value = k <= count ? value_of((unsigned char)p[k]) : 0;
        if (value < 0)
            return false;
        word = word << 6 | (unsigned)value;
    }
    for (unsigned k = 0; k < count; k++)
        buf_putc(out, (char)(unsigned char)(word >> (16 - 8 * k)));
    return count == 3 || (word & (0xFFFFFFu >> (8 * count))) == 0;
}

bool base64_parse(struct str text, struct buf *out)
{
    size_t before = out->len;
    if (text.n % 4 != 0)
        return false;
    unsigned padding = text.n == 0 || text.p[text.n - 1] != '=' ? 0 : text.p[text.n - 2] != '=' ? 1 : 2;
    for (size_t i = 0; i < text.n; i += 4) {
        if (!parse_four(text.p + i, i + 4 < text.n ? 3 : 3 - padding, out)) {
            out->len = before;
            return false;
        }
    }
    return true;
}
