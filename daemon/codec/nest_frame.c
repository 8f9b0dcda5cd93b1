/* The frame of NestJS's TCP transport; see nest.h. */
#include "codec/nest.h"
#include "wire/swar.h"
#include "wire/utf8.h"

#define LENGTH_DIGITS_MAX 10

static enum nest_frame bad(const char **what, const char *text)
{
    *what = text;
    return NEST_BAD;
}

static enum nest_frame parse_head(struct nest_framer *f, const uint8_t *p, size_t n,
                                  uint64_t limit_units, const char **what)
{
    uint64_t units = 0;
    size_t i = 0;
    for (; i < n && p[i] != '#'; i++) {
        if (p[i] < '0' || p[i] > '9')
            return bad(what, i > 0 ? "no '#' behind the length" : "the length is not a number");
        if (i > 0 && p[0] == '0')
            return bad(what, "the length begins with 0");
        if (i == LENGTH_DIGITS_MAX)
            return bad(what, "the length has more than 10 digits");
        units = units * 10 + (uint64_t)(p[i] - '0');
    }
    if (i == n)
        return NEST_MORE;
    if (units == 0)
        return bad(what, i == 0 ? "no length before '#'" : "the length is 0");
    if (units > limit_units)
        return bad(what, "the frame is longer than the limit");
    *f = (struct nest_framer){.head = i + 1, .units = units};
    return NEST_FRAME;
}

/* Bytes at the start of p that are ASCII, at most n; looked at 32 at a time. */
static size_t ascii_run(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        uint64_t any = swar_load(p + i) | swar_load(p + i + 8);
        any |= swar_load(p + i + 16) | swar_load(p + i + 24);
        if ((any & SWAR_HIGH) != 0)
            break;
    }
    for (; i + 8 <= n; i += 8) {
        uint64_t high = swar_load(p + i) & SWAR_HIGH;
        if (high != 0)
            return i + swar_first(high);
    }
    if (n >= 8) { /* the last eight, of which the first are known to be ASCII */
        uint64_t high = swar_load(p + n - 8) & SWAR_HIGH;
        return high != 0 ? n - 8 + swar_first(high) : n;
    }
    while (i < n && p[i] < 0x80)
        i++;
    return i;
}

/* Counts a run of characters that are not ASCII, as Node decodes them: a sequence of four bytes
 * is a surrogate pair, ill-formed bytes are one U+FFFD. False where the bytes end inside one. */
static bool count_wide(struct nest_framer *f, const uint8_t *p, size_t n)
{
    while (f->counted_units < f->units && f->counted_bytes < n && p[f->counted_bytes] >= 0x80) {
        size_t length;
        enum utf8 form = utf8_step(p + f->counted_bytes, n - f->counted_bytes, &length);
        if (form == UTF8_SHORT)
            return false;
        f->counted_bytes += length;
        f->counted_units += form == UTF8_GOOD && length == 4 ? 2 : 1;
    }
    return true;
}

/* Counts on until the frame's units are there (true) or the bytes are used up. */
static bool count_units(struct nest_framer *f, const uint8_t *p, size_t n)
{
    while (f->counted_units < f->units) {
        uint64_t want = f->units - f->counted_units;
        size_t left = n - f->counted_bytes;
        size_t run = ascii_run(p + f->counted_bytes, left < want ? left : (size_t)want);
        f->counted_bytes += run;
        f->counted_units += run;
        if (run == want)
            break;
        if (run == left || !count_wide(f, p, n))
            return false;
    }
    return true;
}

enum nest_frame nest_frame_next(struct nest_framer *f, struct str in, uint64_t limit_units,
                                struct nest_found *out)
{
    const uint8_t *p = (const uint8_t *)in.p;
    if (f->head == 0) {
        enum nest_frame head = parse_head(f, p, in.n, limit_units, &out->what);
        if (head != NEST_FRAME)
            return head;
    }
    if (!count_units(f, p + f->head, in.n - f->head))
        return NEST_MORE;
    if (f->counted_units > f->units)
        return bad(&out->what, "the length ends inside a character");
    out->json = str_make(p + f->head, f->counted_bytes);
    out->used = f->head + f->counted_bytes;
    *f = (struct nest_framer){0};
    return NEST_FRAME;
}

/* In valid UTF-8 each byte that does not continue a character is a unit, and the lead of a sequence
 * of four bytes (1111xxxx) is one more. */
uint64_t nest_units(struct str utf8)
{
    const uint8_t *p = (const uint8_t *)utf8.p;
    size_t i = ascii_run(p, utf8.n), units = utf8.n;
    for (; i + 8 <= utf8.n; i += 8) {
        uint64_t word = swar_load(p + i);
        if ((word & SWAR_HIGH) == 0)
            continue;
        uint64_t continues = word & ~(word << 1) & SWAR_HIGH;
        uint64_t fours = word & (word << 1) & (word << 2) & (word << 3) & SWAR_HIGH;
        units -= (size_t)__builtin_popcountll(continues);
        units += (size_t)__builtin_popcountll(fours);
    }
    for (; i < utf8.n; i++) {
        units -= (p[i] & 0xC0) == 0x80;
        units += p[i] >= 0xF0;
    }
    return units;
}

void nest_frame_head(struct buf *out, struct str json)
{
    buf_u64(out, nest_units(json));
    buf_putc(out, '#');
}
