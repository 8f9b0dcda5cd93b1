#include "base/buf.h"

#include <endian.h>
#include <stdio.h>

#include "base/mem.h"

#define BUF_FIRST 256

void buf_wipe(struct buf *b)
{
    if (b->base != NULL)
        explicit_bzero(b->base, b->cap);
    buf_fini(b);
}

void buf_fini(struct buf *b)
{
    mem_free(b->base);
    *b = BUF_EMPTY;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    size_t end = b->off + b->len, need;
    if (b->base != NULL && b->cap - end >= n)
        return b->base + end;
    if (b->base != NULL && b->off > 0 && b->cap - b->len >= n && b->off >= b->len) {
        memmove(b->base, b->base + b->off, b->len);
        b->off = 0;
        return b->base + b->len;
    }
    if (__builtin_add_overflow(end, n, &need) || need > SIZE_MAX / 2) /* doubling would reach 0 */
        assert(!"buffer size overflows");
    size_t cap = b->cap > 0 ? b->cap : BUF_FIRST;
    while (cap < need)
        cap *= 2;
    b->base = mem_realloc(b->base, cap);
    b->cap = cap;
    return b->base + end;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->off += n;
    b->len -= n;
    if (b->len == 0)
        b->off = 0;
}

void buf_clear(struct buf *b)
{
    b->off = 0;
    b->len = 0;
}

void buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    assert(n >= 0);
    char *to = (char *)buf_reserve(b, (size_t)n + 1);
    vsnprintf(to, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buf_vprintf(b, fmt, args);
    va_end(args);
}

void buf_u64(struct buf *b, uint64_t value)
{
    char *to = (char *)buf_reserve(b, 20);
    b->len += (size_t)(bytes_u64(to, value) - to);
}

char *buf_cstr(struct buf *b)
{
    *buf_reserve(b, 1) = '\0';
    return (char *)buf_data(b);
}

char *buf_steal(struct buf *b)
{
    buf_cstr(b);
    if (b->off > 0)
        memmove(b->base, b->base + b->off, b->len + 1);
    char *text = (char *)b->base;
    *b = BUF_EMPTY;
    return text;
}

char *bytes_u64(char *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return bytes_copy(out, digits + at, sizeof(digits) - at);
}

/* Spreads 8 nibbles over 8 bytes, then turns each into its digit: no table, no branch. */
static uint64_t hex_word(uint64_t x)
{
    x = (x & 0xFFFF) << 32 | x >> 16;
    x = (x & UINT64_C(0x0000FF000000FF00)) >> 8 | (x & UINT64_C(0x000000FF000000FF)) << 16;
    x = (x & UINT64_C(0x00F000F000F000F0)) >> 4 | (x & UINT64_C(0x000F000F000F000F)) << 8;
    uint64_t letters = ((x + UINT64_C(0x0606060606060606)) >> 4) & UINT64_C(0x0101010101010101);
    return htole64(x + UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10));
}

char *bytes_hex64(char *out, uint64_t value)
{
    uint64_t words[2] = {hex_word(value >> 32), hex_word(value & 0xFFFFFFFF)};
    return bytes_copy(out, words, sizeof(words));
}
