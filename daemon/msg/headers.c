#include "msg/headers.h"

/* RFC 9110, section 5.6.2 (token): each of its characters in lower case, 0 for all others. */
const unsigned char header_token[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*', ['+'] = '+',
    ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`', ['|'] = '|', ['~'] = '~',
    ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7',
    ['8'] = '8', ['9'] = '9',
    ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h',
    ['I'] = 'i', ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p',
    ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x',
    ['Y'] = 'y', ['Z'] = 'z',
    ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h',
    ['i'] = 'i', ['j'] = 'j', ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p',
    ['q'] = 'q', ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x',
    ['y'] = 'y', ['z'] = 'z',
};

bool header_name_valid(struct str name)
{
    if (name.n == 0 || name.n > HEADER_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c == '\0' || header_token[c] != c)
            return false;
    }
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool header_value_valid(struct str value)
{
    return value.n == 0 || (!is_blank(value.p[0]) && !is_blank(value.p[value.n - 1]) && str_printable(value));
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
    const char *end = block->p + block->n, *colon = memchr(block->p, ':', block->n);
    if (colon == NULL || end - colon < 3)
        return false;
    const char *value = colon + 2, *line_end = memchr(value, '\n', (size_t)(end - value));
    if (line_end == NULL)
        return false;
    h->name = str_make(block->p, (size_t)(colon - block->p));
    h->value = str_make(value, (size_t)(line_end - value));
    *block = str_make(line_end + 1, (size_t)(end - line_end) - 1);
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
