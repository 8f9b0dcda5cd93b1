#include "base/buf.h"

#include <stdio.h>

#include "base/mem.h"

#define BUF_FIRST 256

void bytes_wipe(const void *p, size_t n)
{
    if (n > 0)
        explicit_bzero((void *)(uintptr_t)p, n);
}

void buf_secret(struct buf *b)
{
    b->secret = true;
}

void buf_wipe(struct buf *b)
{
    b->secret = true;
    buf_fini(b);
}

void buf_fini(struct buf *b)
{
    if (b->secret)
        bytes_wipe(b->base, b->cap);
    mem_free(b->base);
    *b = BUF_EMPTY;
}

/* realloc() would leave a copy. */
static void move(struct buf *b, size_t cap)
{
    uint8_t *base = mem_alloc(cap);
    if (b->base != NULL) {
        bytes_copy((char *)base, b->base, b->off + b->len);
        bytes_wipe(b->base, b->cap);
        mem_free(b->base);
    }
    b->base = base;
}

uint8_t *buf_grow(struct buf *b, size_t n)
{
    size_t end = b->off + b->len, need;
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
    if (b->secret)
        move(b, cap);
    else
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
    if (b->secret)
        bytes_wipe(b->base, b->cap);
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

void buf_i64(struct buf *b, int64_t value)
{
    if (value < 0)
        buf_putc(b, '-');
    buf_u64(b, value < 0 ? -(uint64_t)value : (uint64_t)value);
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

static const uint64_t powers[20] = { /* of ten; [0] is never asked for */
    0, UINT64_C(10), UINT64_C(100), UINT64_C(1000), UINT64_C(10000), UINT64_C(100000), UINT64_C(1000000),
    UINT64_C(10000000), UINT64_C(100000000), UINT64_C(1000000000), UINT64_C(10000000000),
    UINT64_C(100000000000), UINT64_C(1000000000000), UINT64_C(10000000000000), UINT64_C(100000000000000),
    UINT64_C(1000000000000000), UINT64_C(10000000000000000), UINT64_C(100000000000000000),
    UINT64_C(1000000000000000000), UINT64_C(10000000000000000000),
};

/* log10(2) is close to 1233 / 4096: right, or one too few. */
static size_t digits_of(uint64_t value)
{
    size_t bits = 64 - (size_t)__builtin_clzll(value), least = bits * 1233 >> 12;
    return least + (value >= powers[least]);
}

#define TEN(d) {d, '0'}, {d, '1'}, {d, '2'}, {d, '3'}, {d, '4'}, {d, '5'}, {d, '6'}, {d, '7'}, {d, '8'}, {d, '9'}

static const char pairs[100][2] = {
    TEN('0'), TEN('1'), TEN('2'), TEN('3'), TEN('4'), TEN('5'), TEN('6'), TEN('7'), TEN('8'), TEN('9'),
};

char *bytes_long_u64(char *out, uint64_t value)
{
    if (value >= 100 && value < 1000) { /* as most lengths are */
        *out = (char)('0' + value / 100);
        return bytes_copy(out + 1, pairs[value % 100], 2);
    }
    char *end = out + digits_of(value), *at = end;
    for (; value >= 100; value /= 100) {
        at -= 2;
        bytes_copy(at, pairs[value % 100], 2);
    }
    if (value >= 10)
        bytes_copy(out, pairs[value], 2);
    else
        *out = (char)('0' + value);
    return end;
}
