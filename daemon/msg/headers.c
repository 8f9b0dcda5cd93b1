#include "msg/headers.h"

#define NAME_MAX_BYTES 128

/* RFC 9110, section 5.6.2 (token) without upper case. */
static bool token_char(unsigned char c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && memchr(others, c, sizeof(others) - 1) != NULL);
}

bool header_name_valid(struct str name)
{
    if (name.n == 0 || name.n > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!token_char((unsigned char)name.p[i]))
            return false;
    }
    return true;
}

bool header_value_valid(struct str value)
{
    return str_printable(value) && str_eq(str_trim(value), value);
}

static const char *line_check(struct str line)
{
    const char *colon = line.n > 0 ? memchr(line.p, ':', line.n) : NULL;
    if (colon == NULL)
        return "a header line without a colon";
    size_t name = (size_t)(colon - line.p);
    if (!header_name_valid(str_make(line.p, name)))
        return "a header name that is no lower-case token";
    if (name + 1 >= line.n || line.p[name + 1] != ' ')
        return "a header without a blank behind its colon";
    if (!str_printable(str_make(line.p + name + 2, line.n - name - 2)))
        return "a header value that is not UTF-8 without control characters";
    return NULL;
}

bool headers_check(struct str block, const char **what, size_t *offset)
{
    size_t lines = 0, at = 0;
    *what = NULL;
    while (at < block.n && *what == NULL) {
        const char *end = memchr(block.p + at, '\n', block.n - at);
        size_t n = end != NULL ? (size_t)(end - block.p) - at : block.n - at;
        if (end == NULL)
            *what = "headers that do not end with a line feed";
        else if (++lines > HEADERS_MAX_LINES)
            *what = "more than 128 header lines";
        else
            *what = line_check(str_make(block.p + at, n));
        if (*what == NULL)
            at += n + 1;
    }
    *offset = at;
    return *what == NULL;
}

bool headers_next(struct str *block, struct header *h)
{
    if (block->n == 0)
        return false;
    struct str line = str_cut(block, '\n');
    h->name = str_cut(&line, ':');
    h->value = line.n > 0 ? str_make(line.p + 1, line.n - 1) : STR_NONE;
    return true;
}

struct str headers_get(struct str block, const char *name)
{
    struct header h;
    while (headers_next(&block, &h)) {
        if (str_is(h.name, name))
            return h.value;
    }
    return STR_NONE;
}
