#pragma once
/* UTF-8 (RFC 3629), one sequence at a time. Pure. */
#include <stddef.h>
#include <stdint.h>

enum utf8 {
    UTF8_GOOD,  /* a well-formed sequence */
    UTF8_BAD,   /* ill-formed: one U+FFFD in a decoder that replaces, as Node's does */
    UTF8_SHORT, /* well-formed so far, the text ends inside it */
};

/* Looks at the sequence at the start of p (n > 0). *length: its bytes; for UTF8_BAD and
 * UTF8_SHORT those of the longest part that could have begun a well-formed one (Unicode 15,
 * section 3.9). */
enum utf8 utf8_step(const uint8_t *p, size_t n, size_t *length);

/* The same where only well-formed text will do: the bytes of the sequence, or 0. */
static inline size_t utf8_length(const uint8_t *p, size_t n)
{
    size_t length;
    return utf8_step(p, n, &length) == UTF8_GOOD ? length : 0;
}

/* Writes a code point (at most U+10FFFF, no surrogate); returns the bytes written. */
size_t utf8_encode(uint32_t c, char out[static 4]);
