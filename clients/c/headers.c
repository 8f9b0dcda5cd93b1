#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bellhop.h"
#include "frame.h"

#define NAME_MAX_BYTES 128

static bool name_is_valid(const char *name, size_t len)
{
    static const char token[] = "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
    return len > 0 && len <= NAME_MAX_BYTES && strspn(name, token) == len;
}

static bool headers_reserve(struct bellhop_headers *h, size_t more)
{
    if (h->cap - h->len >= more)
        return true;
    size_t cap = h->cap == 0 ? 256 : h->cap;
    while (cap - h->len < more)
        cap *= 2;
    char *data = realloc(h->data, cap);
    if (data == NULL)
        return false;
    h->data = data;
    h->cap = cap;
    return true;
}

static int headers_check(const struct bellhop_headers *h, size_t name_len, size_t value_len)
{
    if (h->lines >= BELLHOP_HEADERS_LINES || name_len > BELLHOP_HEADERS_MAX || value_len > BELLHOP_HEADERS_MAX)
        return -EMSGSIZE;
    return h->len + name_len + value_len + 3 > BELLHOP_HEADERS_MAX ? -EMSGSIZE : 0;
}

int bellhop_headers_add(struct bellhop_headers *h, const char *name, const char *value)
{
    size_t name_len = strlen(name);
    size_t value_len = strlen(value);
    if (h->error != 0)
        return h->error;
    if (!name_is_valid(name, name_len) || !bellhop_text_is_valid(value, value_len))
        return h->error = -EINVAL;
    h->error = headers_check(h, name_len, value_len);
    if (h->error != 0)
        return h->error;
    if (!headers_reserve(h, name_len + value_len + 3))
        return h->error = -ENOMEM;
    char *p = h->data + h->len;
    memcpy(p, name, name_len);
    memcpy(p + name_len, ": ", 2);
    memcpy(p + name_len + 2, value, value_len);
    p[name_len + 2 + value_len] = '\n';
    h->len += name_len + value_len + 3;
    h->lines++;
    return 0;
}

void bellhop_headers_clear(struct bellhop_headers *h)
{
    h->len = 0;
    h->lines = 0;
    h->error = 0;
}

void bellhop_headers_fini(struct bellhop_headers *h)
{
    free(h->data);
    memset(h, 0, sizeof *h);
}

static bool line_split(const char *line, size_t len, struct bellhop_header *out)
{
    const char *colon = memchr(line, ':', len);
    if (colon == NULL || colon == line)
        return false;
    const char *end = line + len;
    const char *value = colon + 1;
    if (value < end && *value == ' ')
        value++;
    out->name = line;
    out->name_len = (size_t)(colon - line);
    out->value = value;
    out->value_len = (size_t)(end - value);
    return true;
}

bool bellhop_header_next(const char *block, size_t len, size_t *pos, struct bellhop_header *out)
{
    while (*pos < len) {
        const char *line = block + *pos;
        const char *lf = memchr(line, '\n', len - *pos);
        size_t line_len = lf != NULL ? (size_t)(lf - line) : len - *pos;
        *pos += line_len + (lf != NULL ? 1 : 0);
        if (line_split(line, line_len, out))
            return true;
    }
    return false;
}

bool bellhop_header_find(const char *block, size_t len, const char *name, struct bellhop_header *out)
{
    size_t name_len = strlen(name);
    size_t pos = 0;
    while (bellhop_header_next(block, len, &pos, out))
        if (out->name_len == name_len && memcmp(out->name, name, name_len) == 0)
            return true;
    memset(out, 0, sizeof *out);
    return false;
}

struct unit {
    char text[3];
    size_t len;
    int64_t ms;
};

static const struct unit units[] = { /* ms before m: the longer name wins */
    { "ms", 2, 1 },      { "s", 1, 1000 },       { "m", 1, 60 * 1000 },
    { "h", 1, 3600000 }, { "d", 1, 24 * 3600000 },
};

static const struct unit *unit_read(const char *p, size_t left)
{
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (left >= units[i].len && memcmp(p, units[i].text, units[i].len) == 0)
            return &units[i];
    return NULL;
}

int64_t bellhop_duration_ms(const char *text, size_t len)
{
    const int64_t max = INT64_C(1) << 50; /* some 35,000 years: no sum of two such parts overflows */
    int64_t total = 0;
    size_t i = 0;
    if (len == 0)
        return -1;
    while (i < len) {
        int64_t n = 0;
        size_t start = i;
        for (; i < len && (unsigned)(text[i] - '0') < 10 && n < max; i++)
            n = n * 10 + (text[i] - '0');
        const struct unit *u = i > start ? unit_read(text + i, len - i) : NULL;
        if (u == NULL || n > max / u->ms || total > max)
            return -1;
        total += n * u->ms;
        i += u->len;
    }
    return total;
}
