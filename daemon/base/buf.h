#pragma once
/*
 * A growable byte buffer with a consumable front, and the only raw memcpy of the daemon.
 * An empty one holds no memory. Offsets stay valid across growth, pointers do not.
 */
#include <assert.h>
#include <endian.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

struct buf {
    uint8_t *base; /* allocation, or NULL */
    size_t off;    /* first live byte */
    size_t len;    /* live bytes */
    size_t cap;    /* size of the allocation */
    bool secret;   /* see buf_secret() */
};

#define BUF_EMPTY ((struct buf){NULL, 0, 0, 0, false})

static inline uint8_t *buf_data(const struct buf *b)
{
    return b->base != NULL ? b->base + b->off : NULL;
}

static inline struct str buf_str(const struct buf *b)
{
    return str_make(buf_data(b), b->len);
}

void bytes_wipe(const void *p, size_t n);                 /* overwrites a secret where it lies; p may be NULL with n = 0 */
/* From now on until buf_fini(): nothing of what b holds stays behind where it grows, is cleared or ends. Before the
 * secret is put there. */
void buf_secret(struct buf *b);
void buf_wipe(struct buf *b);                             /* buf_fini for secrets: overwritten first */
void buf_fini(struct buf *b);                             /* frees; the buffer is empty again */
uint8_t *buf_grow(struct buf *b, size_t n) __attribute__((returns_nonnull)); /* buf_reserve, where there is no room yet */
void buf_consume(struct buf *b, size_t n);                /* drop n bytes of the front; n <= len */
void buf_clear(struct buf *b);                            /* len = 0, memory kept */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list args);
void buf_u64(struct buf *b, uint64_t value);              /* decimal */
void buf_i64(struct buf *b, int64_t value);
char *buf_cstr(struct buf *b);                            /* adds a NUL behind the data (not counted); borrowed */
char *buf_steal(struct buf *b);                           /* NUL-terminated copy-free hand-over; the caller's; b is empty */

/* Room for n bytes at the end; then buf_commit. */
__attribute__((returns_nonnull)) static inline uint8_t *buf_reserve(struct buf *b, size_t n)
{
    size_t end = b->off + b->len;
    return b->base != NULL && b->cap - end >= n ? b->base + end : buf_grow(b, n);
}

static inline void buf_commit(struct buf *b, size_t n)
{
    b->len += n;
}

static inline void buf_put(struct buf *b, const void *p, size_t n)
{
    uint8_t *to = buf_reserve(b, n);
    assert(n == 0 || p != NULL);
    if (n > 0)
        memcpy(to, p, n);
    b->len += n;
}

static inline void buf_str_put(struct buf *b, struct str s)
{
    buf_put(b, s.p, s.n);
}

static inline void buf_puts(struct buf *b, const char *z)
{
    buf_put(b, z, strlen(z));
}

static inline void buf_putc(struct buf *b, char c)
{
    *buf_reserve(b, 1) = (uint8_t)c;
    b->len++;
}

/* Raw copy into memory that the caller has sized; returns the byte after the copy. */
static inline char *bytes_copy(char *to, const void *from, size_t n)
{
    if (n > 0)
        memcpy(to, from, n);
    return to + n;
}

static inline char *bytes_str(char *to, struct str s)
{
    return bytes_copy(to, s.p, s.n);
}

char *bytes_long_u64(char *out, uint64_t value); /* bytes_u64() of two digits and more */

/* Decimal digits of value into `out` (room for 20); returns the byte after the last digit. */
static inline char *bytes_u64(char *out, uint64_t value)
{
    if (value >= 10)
        return bytes_long_u64(out, value);
    *out = (char)('0' + value);
    return out + 1;
}

/* 16 lower-case hex digits, all at once: high and low nibbles side by side, then each into its digit.
 * Returns the byte after the last one. */
static inline char *bytes_hex64(char *out, uint64_t value)
{
    typedef int8_t v16 __attribute__((vector_size(16)));
    typedef uint64_t v2 __attribute__((vector_size(16)));
    const uint64_t low = UINT64_C(0x0F0F0F0F0F0F0F0F), bytes = htobe64(value);
    v16 highs = (v16)(v2){(bytes >> 4) & low}, lows = (v16)(v2){bytes & low};
    v16 nibbles = __builtin_shufflevector(highs, lows, 0, 16, 1, 17, 2, 18, 3, 19,
                                          4, 20, 5, 21, 6, 22, 7, 23);
    v16 digits = nibbles + '0' + ((nibbles > 9) & ('a' - '0' - 10));
    return bytes_copy(out, &digits, sizeof(digits));
}
