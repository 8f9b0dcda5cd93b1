#pragma once
/*
 * Eight bytes at a time in a plain integer. In every mask a byte's top bit stands for that byte;
 * masks are in memory order from the lowest bit, whatever the machine's byte order, so that
 * swar_first() is the offset of the first flagged byte.
 */
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SWAR_HIGH UINT64_C(0x8080808080808080)
#define SWAR_ONES UINT64_C(0x0101010101010101)

static inline uint64_t swar_load(const void *p) /* 8 readable bytes */
{
    uint64_t word;
    __builtin_memcpy(&word, p, 8);
    return le64toh(word);
}

static inline uint64_t swar_repeat(uint8_t byte)
{
    return SWAR_ONES * byte;
}

static inline size_t swar_first(uint64_t mask) /* mask != 0 */
{
    return (size_t)__builtin_ctzll(mask) / 8;
}

/* Exactly the bytes that are zero: no false flag above a true one. */
static inline uint64_t swar_zeros(uint64_t word)
{
    return ~(((word & ~SWAR_HIGH) + ~SWAR_HIGH) | word | ~SWAR_HIGH);
}

/* Bytes that are not plain text in a JSON string: quote, backslash, control characters and all that
 * is not ASCII. Only the first flag is exact: a borrow may raise flags above it. */
static inline uint64_t swar_not_plain(uint64_t word)
{
    uint64_t quote = word ^ swar_repeat('"'), backslash = word ^ swar_repeat('\\');
    uint64_t control = word - swar_repeat(0x20);
    return (control | (quote - SWAR_ONES) | (backslash - SWAR_ONES) | word) & SWAR_HIGH;
}

/* Are `count` times 16 bytes at p plain text of a JSON string, all of them? As signed numbers the control characters
 * and all that is not ASCII are below the blank. */
static inline bool swar_plain(const uint8_t *p, size_t count)
{
    typedef int8_t v16 __attribute__((vector_size(16)));
    typedef uint64_t v2 __attribute__((vector_size(16)));
    v16 text, odd = {0};
    for (size_t i = 0; i < count; i++) {
        __builtin_memcpy(&text, p + 16 * i, sizeof(text));
        odd |= (text < ' ') | (text == '"') | (text == '\\');
    }
    v2 halves = (v2)odd;
    return (halves[0] | halves[1]) == 0;
}

/* The same without what is not ASCII: what a JSON string must escape. First flag exact. */
static inline uint64_t swar_escapes(uint64_t word)
{
    uint64_t quote = word ^ swar_repeat('"'), backslash = word ^ swar_repeat('\\');
    uint64_t control = word - swar_repeat(0x20);
    return (control | (quote - SWAR_ONES) | (backslash - SWAR_ONES)) & ~word & SWAR_HIGH;
}
