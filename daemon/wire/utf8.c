#include "wire/utf8.h"

/* RFC 3629, section 4: the first byte says how long the sequence is and what the second may be. */
struct lead {
    uint8_t length, second_low, second_high;
};

static const struct lead leads[] = {
    {1, 0, 0},          {2, 0x80, 0xBF}, {3, 0xA0, 0xBF}, {3, 0x80, 0xBF},
    {3, 0x80, 0x9F},    {4, 0x90, 0xBF}, {4, 0x80, 0xBF}, {4, 0x80, 0x8F},
};

static const uint8_t lead_kind[256] = { /* index into leads; 0 = begins no sequence */
    [0xC2 ... 0xDF] = 1, [0xE0] = 2,          [0xE1 ... 0xEC] = 3, [0xED] = 4,
    [0xEE ... 0xEF] = 3, [0xF0] = 5,          [0xF1 ... 0xF3] = 6, [0xF4] = 7,
};

enum utf8 utf8_step(const uint8_t *p, size_t n, size_t *length)
{
    *length = 1;
    if (p[0] < 0x80)
        return UTF8_GOOD;
    const struct lead *lead = &leads[lead_kind[p[0]]];
    if (lead->length == 1)
        return UTF8_BAD;
    uint8_t low = lead->second_low, high = lead->second_high;
    for (; *length < lead->length; ++*length) {
        if (*length == n)
            return UTF8_SHORT;
        if (p[*length] < low || p[*length] > high)
            return UTF8_BAD;
        low = 0x80;
        high = 0xBF;
    }
    return UTF8_GOOD;
}

size_t utf8_encode(uint32_t c, char out[static 4])
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t marks[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(marks[n] | c);
    return n;
}
