#pragma once
/*
 * Borrowed pieces of text or bytes (a pointer and a length, no NUL needed), and the parsers of
 * the units that users write. Pure; nothing here allocates unless its name ends in _dup.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p /* for printf's %.*s; only for bounded text */

static inline struct str str_of(const char *z)
{
    return (struct str){z, z != NULL ? strlen(z) : 0};
}

static inline struct str str_make(const void *p, size_t n)
{
    return (struct str){p, n};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_is(struct str a, const char *z)
{
    return str_eq(a, str_of(z));
}

/* A text of 1 to 8 bytes in one word: each of its bytes at least once and blanks, so that two of one length are equal as
 * their words are. */
static inline uint64_t str_word(struct str s)
{
    uint32_t ends[2];
    if (s.n < 4)
        return UINT64_C(0x2020202020000000) | (uint64_t)(unsigned char)s.p[0] << 16 |
               (uint64_t)(unsigned char)s.p[s.n / 2] << 8 | (unsigned char)s.p[s.n - 1];
    __builtin_memcpy(&ends[0], s.p, 4);
    __builtin_memcpy(&ends[1], s.p + s.n - 4, 4);
    return (uint64_t)ends[0] << 32 | ends[1];
}

/* A quick hash for small caches, the high bits the best. Not for tables that a stranger could flood. */
static inline uint64_t str_spread(struct str s)
{
    uint64_t hash = s.n, word;
    if (s.n == 0)
        return 0;
    for (size_t i = 0; i + 8 < s.n; i += 8) {
        __builtin_memcpy(&word, s.p + i, 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    }
    word = str_word(s.n > 8 ? str_make(s.p + s.n - 8, 8) : s);
    return (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
}

bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
int str_cmp(struct str a, struct str b);       /* byte order, like strcmp */
struct str str_trim(struct str s);             /* without spaces and tabs at both ends */
char *str_dup(struct str s);                   /* NUL-terminated copy; the caller's */

/* Cut `*s` at the first `sep`: returns what stands before it and leaves the rest in `*s`
 * (STR_NONE when there was no further separator). */
struct str str_cut(struct str *s, char sep);

/* Unsigned decimal without sign, blank or leading zeros (except "0"); at most 20 digits. */
bool str_parse_u64(struct str s, uint64_t *out);

/* "250ms" "5s" "2m" "1h30m" "7d" in milliseconds; units in falling order, no bare number.
 * At most 10 years. */
bool str_parse_duration(struct str s, int64_t *out_ms);

/* "64KiB" "4MiB" "1GiB" "512B" in bytes; no bare number. At most 1 EiB. */
bool str_parse_size(struct str s, uint64_t *out_bytes);
/* `50/s` `30/m` `1/h`, 1 to 1,000,000 of them: the time between two. */
bool str_parse_rate(struct str s, int64_t *out_pause_us);

/* RFC 3339 with a zone ("2026-01-31T08:00:00Z", "…08:00:00.250+01:00") in ms since 1970; not before 1970. */
bool str_parse_time(struct str s, int64_t *out_wall_ms);

/* The inverse of duration and size, shortest exact form ("1h30m", "1500ms", "64KiB", "100B");
 * `out` takes at most 32 bytes with its NUL. Returns out. */
const char *str_format_duration(int64_t ms, char out[static 32]);
const char *str_format_size(uint64_t bytes, char out[static 32]);

/* Valid UTF-8 (no surrogates, no overlong form, at most U+10FFFF). */
bool str_utf8(struct str s);

/* Valid UTF-8 without control characters (U+0000–U+001F, U+007F): legal in subjects and headers. */
bool str_printable(struct str s);

/* Levenshtein distance, capped at `max` + 1; both texts are cut at 64 bytes. For "did you mean". */
unsigned str_distance(struct str a, struct str b, unsigned max);
