#include "frame.h"

#include <string.h>

#include "bellhop.h"

struct verb_name {
    char text[8];
    size_t len;
};

#define VERB(name) [BELLHOP_VERB_##name] = { #name, sizeof #name - 1 }
static const struct verb_name verb_names[BELLHOP_VERB_COUNT] = {
    VERB(HELLO), VERB(PUB), VERB(REQ), VERB(OK), VERB(MORE), VERB(REP), VERB(ERR), VERB(SUB),
    VERB(UNSUB), VERB(WAIT), VERB(CANCEL), VERB(CREDIT), VERB(PING), VERB(PONG), VERB(BYE),
};

/* A place in the frame's line. */
struct cursor {
    const char *p;
    const char *end; /* the LF */
};

static bool verb_read(struct cursor *c, enum bellhop_verb *verb)
{
    size_t left = (size_t)(c->end - c->p);
    for (int v = 0; v < BELLHOP_VERB_COUNT; v++) {
        const struct verb_name *n = &verb_names[v];
        if (left > n->len && c->p[n->len] == ' ' && memcmp(c->p, n->text, n->len) == 0) {
            *verb = (enum bellhop_verb)v;
            c->p += n->len;
            return true;
        }
    }
    return false;
}

/* SP 1*DIGIT, refusing what does not fit 64 bits. */
static bool number_read(struct cursor *c, uint64_t *out)
{
    if (c->p == c->end || *c->p != ' ')
        return false;
    const char *start = ++c->p;
    uint64_t n = 0;
    for (; c->p < c->end && (unsigned)(*c->p - '0') < 10; c->p++) {
        unsigned digit = (unsigned)(*c->p - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = n;
    return c->p > start;
}

static bool subject_read(struct cursor *c, struct bellhop_frame *f)
{
    f->subject = NULL;
    f->subject_len = 0;
    if (c->p == c->end)
        return true;
    if (*c->p != ' ')
        return false;
    f->subject = c->p + 1;
    f->subject_len = (size_t)(c->end - f->subject);
    return f->subject_len <= BELLHOP_SUBJECT_MAX && bellhop_text_is_valid(f->subject, f->subject_len);
}

static const char *line_read(struct cursor *c, size_t body_max, struct bellhop_frame *f)
{
    uint64_t hlen, blen;
    if (!verb_read(c, &f->verb))
        return "unknown verb";
    if (!number_read(c, &f->id))
        return "bad id";
    if (!number_read(c, &hlen) || hlen > BELLHOP_HEADERS_MAX)
        return "bad header length";
    if (!number_read(c, &blen) || blen > body_max)
        return "bad body length";
    if (!subject_read(c, f))
        return "bad subject";
    f->headers_len = (size_t)hlen;
    f->body_len = (size_t)blen;
    return NULL;
}

enum bellhop_parse bellhop_frame_parse(const char *data, size_t len, size_t body_max, struct bellhop_frame *f,
                                       const char **why)
{
    f->size = 0;
    const char *lf = memchr(data, '\n', len < BELLHOP_LINE_MAX ? len : BELLHOP_LINE_MAX);
    if (lf == NULL) {
        *why = "line too long";
        return len < BELLHOP_LINE_MAX ? BELLHOP_PARSE_MORE : BELLHOP_PARSE_BAD;
    }
    struct cursor c = { data, lf };
    *why = line_read(&c, body_max, f);
    if (*why != NULL)
        return BELLHOP_PARSE_BAD;
    f->headers = lf + 1;
    f->body = f->headers + f->headers_len;
    f->size = (size_t)(f->headers - data) + f->headers_len + f->body_len;
    return f->size <= len ? BELLHOP_PARSE_FRAME : BELLHOP_PARSE_MORE;
}

char *bellhop_number_write(char *out, uint64_t n)
{
    char digits[20];
    size_t used = 0;
    do {
        digits[used++] = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    while (used > 0)
        *out++ = digits[--used];
    return out;
}

static char *field_write(char *out, uint64_t n)
{
    *out = ' ';
    return bellhop_number_write(out + 1, n);
}

size_t bellhop_frame_line(char *out, const struct bellhop_frame *f)
{
    const struct verb_name *n = &verb_names[f->verb];
    memcpy(out, n->text, n->len);
    char *p = field_write(out + n->len, f->id);
    p = field_write(p, f->headers_len);
    p = field_write(p, f->body_len);
    if (f->subject != NULL) {
        *p++ = ' ';
        memcpy(p, f->subject, f->subject_len);
        p += f->subject_len;
    }
    *p++ = '\n';
    return (size_t)(p - out);
}

/* Length of the well-formed sequence at s (RFC 3629: no overlong forms, no surrogates), 0 when there is none. */
static size_t sequence_len(const unsigned char *s, size_t left)
{
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || outside ? 0 : n;
}

bool bellhop_text_is_valid(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < len) {
        if (s[i] >= 0x20 && s[i] < 0x7f) {
            i++;
            continue;
        }
        size_t n = s[i] < 0x80 ? 0 : sequence_len(s + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}
