#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"

#define DISTANCE_MAX 64
#define DURATION_MAX_MS (INT64_C(3660) * 24 * 3600 * 1000)
#define SIZE_MAX_BYTES (UINT64_C(1) << 60)

struct unit {
    const char *name;
    uint64_t value;
};

static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};
static const struct unit size_units[] = {
    {"GiB", UINT64_C(1) << 30}, {"MiB", UINT64_C(1) << 20}, {"KiB", UINT64_C(1) << 10}, {"B", 1},
};

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq(str_make(s.p, prefix.n), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && str_eq(str_make(s.p + (s.n - suffix.n), suffix.n), suffix);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    if (order != 0)
        return order;
    return a.n < b.n ? -1 : a.n > b.n;
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_make(s.p + 1, s.n - 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

char *str_dup(struct str s)
{
    return mem_strndup(s.p, s.n);
}

struct str str_cut(struct str *s, char sep)
{
    const char *at = s->n > 0 ? memchr(s->p, sep, s->n) : NULL;
    struct str head = *s;
    if (at == NULL) {
        *s = STR_NONE;
        return head;
    }
    head.n = (size_t)(at - s->p);
    *s = str_make(at + 1, s->n - head.n - 1);
    return head;
}

bool str_parse_u64(struct str s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.n == 0 || s.n > 20 || (s.n > 1 && s.p[0] == '0'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
        if (digit > 9 || (i == 19 && (value > UINT64_MAX / 10 || (value == UINT64_MAX / 10 && digit > UINT64_MAX % 10))))
            return false; /* only the last of 20 can overflow */
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* One "number unit" group at the start of *s; units are tried from index `first` on. */
static bool parse_group(struct str *s, const struct unit *units, size_t count, size_t *first,
                        uint64_t *out)
{
    size_t digits = 0, letters;
    while (digits < s->n && s->p[digits] >= '0' && s->p[digits] <= '9')
        digits++;
    for (letters = digits; letters < s->n && (s->p[letters] < '0' || s->p[letters] > '9');)
        letters++;
    uint64_t number;
    if (!str_parse_u64(str_make(s->p, digits), &number))
        return false;
    for (size_t i = *first; i < count; i++) {
        if (!str_is(str_make(s->p + digits, letters - digits), units[i].name))
            continue;
        *first = i + 1;
        *s = str_make(s->p + letters, s->n - letters);
        return !__builtin_mul_overflow(number, units[i].value, out);
    }
    return false;
}

bool str_parse_duration(struct str s, int64_t *out_ms)
{
    uint64_t total = 0, part;
    size_t unit = 0;
    if (s.n == 0)
        return false;
    while (s.n > 0) {
        if (!parse_group(&s, duration_units, 5, &unit, &part) ||
            __builtin_add_overflow(total, part, &total) || total > (uint64_t)DURATION_MAX_MS)
            return false;
    }
    *out_ms = (int64_t)total;
    return true;
}

bool str_parse_size(struct str s, uint64_t *out_bytes)
{
    size_t unit = 0;
    uint64_t value;
    if (!parse_group(&s, size_units, 4, &unit, &value) || s.n > 0 || value > SIZE_MAX_BYTES)
        return false;
    *out_bytes = value;
    return true;
}

bool str_parse_rate(struct str s, int64_t *out_pause_us)
{
    static const struct {
        char unit;
        int64_t us;
    } units[] = {{'s', 1000000}, {'m', 60000000}, {'h', 3600000000}};
    uint64_t n;
    struct str count = str_cut(&s, '/');
    if (!str_parse_u64(count, &n) || n == 0 || n > 1000000 || s.n != 1)
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (s.p[0] != units[i].unit)
            continue;
        *out_pause_us = units[i].us / (int64_t)n;
        return true;
    }
    return false;
}

const char *str_format_duration(int64_t ms, char out[static 32])
{
    size_t used = 0;
    uint64_t left = ms > 0 ? (uint64_t)ms : 0;
    if (left < 10000 && left % 1000 != 0) {
        snprintf(out, 32, "%" PRIu64 "ms", left);
        return out;
    }
    snprintf(out, 32, "0s");
    for (size_t i = 0; i < 5 && used < 32; i++) {
        uint64_t n = left / duration_units[i].value;
        left %= duration_units[i].value;
        if (n > 0)
            used += (size_t)snprintf(out + used, 32 - used, "%" PRIu64 "%s", n,
                                     duration_units[i].name);
    }
    return out;
}

const char *str_format_size(uint64_t bytes, char out[static 32])
{
    for (size_t i = 0; i < 4; i++) {
        if (bytes >= size_units[i].value && bytes % size_units[i].value == 0) {
            snprintf(out, 32, "%" PRIu64 "%s", bytes / size_units[i].value, size_units[i].name);
            return out;
        }
    }
    snprintf(out, 32, "%" PRIu64 "B", bytes);
    return out;
}

/* Length of the sequence that starts at p, or 0 where it is not well-formed (RFC 3629, section 4). */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
    unsigned char low = 0x80, high = 0xBF;
    size_t length;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        length = 2;
    else if (p[0] >= 0xE0 && p[0] <= 0xEF)
        length = 3;
    else if (p[0] >= 0xF0 && p[0] <= 0xF4)
        length = 4;
    else
        return 0;
    if (p[0] == 0xE0)
        low = 0xA0;
    else if (p[0] == 0xED)
        high = 0x9F;
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F;
    if (n < length || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return length;
}

static bool ascii8(const unsigned char *p)
{
    uint64_t word;
    __builtin_memcpy(&word, p, 8);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

bool str_utf8(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        if (i + 8 <= s.n && ascii8(p + i)) {
            i += 8;
        } else if (p[i] < 0x80) {
            i++;
        } else {
            size_t length = utf8_sequence(p + i, s.n - i);
            if (length == 0)
                return false;
            i += length;
        }
    }
    return true;
}

static uint64_t load(const unsigned char *p)
{
    uint64_t word;
    __builtin_memcpy(&word, p, sizeof(word));
    return word;
}

/* Not 0 where one of eight bytes is no printable ASCII. */
static uint64_t odd_bytes(uint64_t word)
{
    const uint64_t high = UINT64_C(0x8080808080808080), low = word & ~high;
    uint64_t fine = (low + UINT64_C(0x6060606060606060)) &            /* from the blank on */
                    ((low ^ ~high) + UINT64_C(0x7F7F7F7F7F7F7F7F)); /* not DEL */
    return (~fine | word) & high;
}

static bool no_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F)
            return false;
    }
    return true;
}

bool str_printable(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    uint64_t odd = 0;
    if (s.n == 0)
        return true;
    if (s.n < 8) {
        odd = odd_bytes(str_word(s));
    } else {
        for (size_t i = 0; i + 8 < s.n; i += 8)
            odd |= odd_bytes(load(p + i));
        odd |= odd_bytes(load(p + s.n - 8));
    }
    return odd == 0 || (no_control(s) && str_utf8(s));
}

/* ".250" as 250; digits beyond the third are cut off. */
static const char *parse_fraction(const char *p, int64_t *ms)
{
    *ms = 0;
    if (*p != '.')
        return p;
    int64_t unit = 100;
    const char *digits = ++p;
    for (; *p >= '0' && *p <= '9'; p++) {
        *ms += (*p - '0') * unit;
        unit /= 10;
    }
    return p > digits ? p : NULL;
}

bool str_parse_time(struct str s, int64_t *out_wall_ms)
{
    char text[40];
    int64_t fraction;
    struct tm tm = {0};
    if (s.n >= sizeof(text))
        return false;
    snprintf(text, sizeof(text), "%.*s", (int)s.n, s.p);
    const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (p == NULL || (p = parse_fraction(p, &fraction)) == NULL || (*p != 'Z' && *p != '+' && *p != '-'))
        return false;
    p = strptime(p, "%z", &tm);
    if (p == NULL || *p != '\0')
        return false;
    long offset = tm.tm_gmtoff;
    *out_wall_ms = ((int64_t)timegm(&tm) - offset) * 1000 + fraction;
    return *out_wall_ms >= 0;
}

unsigned str_distance(struct str a, struct str b, unsigned max)
{
    unsigned row[DISTANCE_MAX + 1];
    size_t an = a.n < DISTANCE_MAX ? a.n : DISTANCE_MAX;
    size_t bn = b.n < DISTANCE_MAX ? b.n : DISTANCE_MAX;
    for (size_t j = 0; j <= bn; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= an; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= bn; j++) {
            unsigned replace = diagonal + (a.p[i - 1] != b.p[j - 1]);
            diagonal = row[j];
            unsigned insert = row[j - 1] + 1, erase = row[j] + 1;
            row[j] = insert < erase ? insert : erase;
            row[j] = row[j] < replace ? row[j] : replace;
        }
    }
    return row[bn] <= max ? row[bn] : max + 1;
}
