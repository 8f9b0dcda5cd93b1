#include "wire/frame.h"

static const struct str verbs[VERB_COUNT] = {
    {"HELLO", 5}, {"PUB", 3},  {"REQ", 3},    {"OK", 2},     {"MORE", 4}, {"REP", 3},  {"ERR", 3}, {"SUB", 3},
    {"UNSUB", 5}, {"WAIT", 4}, {"CANCEL", 6}, {"CREDIT", 6}, {"PING", 4}, {"PONG", 4}, {"BYE", 3},
};

#define VERB_LONGEST 6

const char *verb_name(enum verb v)
{
    return verbs[v].p;
}

struct cursor {
    const char *line;
    size_t at, end; /* end: first byte that is not there, or the line feed */
    bool whole;     /* the line feed is there */
    struct frame_error *e;
};

static enum frame_status bad(struct cursor *c, size_t offset, const char *what)
{
    c->e->offset = offset;
    c->e->what = what;
    return FRAME_BAD;
}

static enum frame_status read_verb(struct cursor *c, enum verb *out)
{
    size_t n = 0;
    while (n < c->end && n <= VERB_LONGEST && c->line[n] >= 'A' && c->line[n] <= 'Z')
        n++;
    if (n == c->end && !c->whole && n <= VERB_LONGEST)
        return FRAME_MORE;
    if (n == 0 || n > VERB_LONGEST || n == c->end || c->line[n] != ' ')
        return bad(c, n <= VERB_LONGEST ? n : 0, "expected a verb in upper case and a blank");
    for (unsigned v = 0; v < VERB_COUNT; v++) {
        if (verbs[v].p[0] == c->line[0] && verbs[v].n == n && memcmp(verbs[v].p, c->line, n) == 0) {
            *out = (enum verb)v;
            c->at = n + 1;
            return FRAME_OK;
        }
    }
    return bad(c, 0, "unknown verb");
}

/* A decimal number and the blank (or, where last may end the line, the end) behind it. */
static enum frame_status read_number(struct cursor *c, uint64_t *out, bool last)
{
    uint64_t value = 0;
    size_t start = c->at, at = start;
    for (; at < c->end && c->line[at] >= '0' && c->line[at] <= '9'; at++) {
        if (at - start < 18)
            value = value * 10 + (uint64_t)(c->line[at] - '0');
        else if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(c->line[at] - '0'), &value))
            return bad(c, start, "a number above 64 bits");
    }
    if (at == c->end && !c->whole)
        return FRAME_MORE;
    if (at == start)
        return bad(c, at, "expected a decimal number");
    if (at - start > 1 && c->line[start] == '0')
        return bad(c, start, "a number with leading zeros");
    if (at == c->end && !last)
        return bad(c, at, "the line ends too early: VERB ID HLEN BLEN are needed");
    if (at < c->end && c->line[at] != ' ')
        return bad(c, at, "expected one blank behind the number");
    c->at = at < c->end ? at + 1 : at;
    *out = value;
    return FRAME_OK;
}

static enum frame_status read_subject(struct cursor *c, struct str *out, bool blank)
{
    struct str subject = str_make(c->line + c->at, c->end - c->at);
    if (subject.n > FRAME_SUBJECT_MAX)
        return bad(c, c->at, "a subject above 1,024 bytes");
    if (blank && subject.n == 0)
        return bad(c, c->at, "a blank at the end of the line");
    if (subject.n > 0 && !str_printable(subject))
        return bad(c, c->at, "a subject that is not UTF-8 without control characters");
    *out = subject.n > 0 ? subject : STR_NONE;
    return FRAME_OK;
}

static enum frame_status read_line(struct cursor *c, struct frame *f, uint64_t *headers)
{
    enum frame_status s = read_verb(c, &f->verb);
    if (s == FRAME_OK)
        s = read_number(c, &f->id, false);
    if (s == FRAME_OK)
        s = read_number(c, headers, false);
    if (s == FRAME_OK)
        s = read_number(c, &f->body_size, true);
    if (s == FRAME_OK && *headers > FRAME_HEADERS_MAX)
        return bad(c, 0, "headers above 64 KiB");
    if (s == FRAME_OK && f->body_size > FRAME_SKIP_MAX)
        return bad(c, 0, "a body above 1 GiB");
    if (s == FRAME_OK && !c->whole)
        return FRAME_MORE;
    return s == FRAME_OK ? read_subject(c, &f->subject, c->line[c->at - 1] == ' ') : s;
}

/* The same for a line that is whole, right and of a usual verb, as nearly all are: in a fraction of the time. */

static inline const char *usual_verb(const char *p, enum verb *out)
{
    static const struct {
        const char *text;
        enum verb verb;
    } usual[] = {{"PUB ", VERB_PUB}, {"REQ ", VERB_REQ}, {"REP ", VERB_REP}};
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
        *out = usual[i].verb;
        if (memcmp(p, usual[i].text, 4) == 0)
            return p + 4;
    }
    *out = VERB_OK;
    return memcmp(p, "OK ", 3) == 0 ? p + 3 : NULL;
}

/* The byte behind it: a line feed ends it at the latest. NULL: none, or no usual one. */
static inline const char *usual_number(const char *p, uint64_t *out)
{
    const char *from = p;
    uint64_t digit = (uint64_t)(unsigned char)*p - '0', value = digit;
    if (digit > 9)
        return NULL;
    p++;
    if (digit == 0) { /* a digit behind it is not the blank that has to be there */
        *out = 0;
        return p;
    }
    for (; (digit = (uint64_t)(unsigned char)*p - '0') <= 9; p++)
        value = value * 10 + digit;
    *out = value;
    return p - from <= 18 ? p : NULL;
}

static bool usual_line(const char *p, const char *lf, struct frame *f, uint64_t *headers)
{
    if (lf - p < 8 || (p = usual_verb(p, &f->verb)) == NULL)
        return false;
    if ((p = usual_number(p, &f->id)) == NULL || *p != ' ' || (p = usual_number(p + 1, headers)) == NULL || *p != ' ' ||
        (p = usual_number(p + 1, &f->body_size)) == NULL)
        return false;
    f->subject = STR_NONE;
    if (p < lf) {
        f->subject = str_make(p + 1, (size_t)(lf - p) - 1);
        if (*p != ' ' || f->subject.n == 0 || f->subject.n > FRAME_SUBJECT_MAX || !str_printable(f->subject))
            return false;
    }
    return *headers <= FRAME_HEADERS_MAX && f->body_size <= FRAME_SKIP_MAX;
}

__attribute__((cold, noinline)) static enum frame_status careful_line(struct str line, const char *lf, struct frame *f,
                                                                      uint64_t *headers, struct frame_error *e)
{
    struct cursor c = {.line = line.p, .end = lf != NULL ? (size_t)(lf - line.p) : line.n, .whole = lf != NULL, .e = e};
    enum frame_status s = read_line(&c, f, headers);
    return s == FRAME_MORE && line.n == FRAME_LINE_MAX ? bad(&c, line.n, "a first line above 1,200 bytes") : s;
}

enum frame_status frame_parse(const uint8_t *p, size_t n, uint64_t body_max, struct frame *f,
                              struct frame_error *e)
{
    struct str line = str_make(p, n < FRAME_LINE_MAX ? n : FRAME_LINE_MAX);
    const char *lf = memchr(line.p, '\n', line.n);
    uint64_t headers = 0;
    if (lf == NULL || !usual_line(line.p, lf, f, &headers)) {
        enum frame_status s = careful_line(line, lf, f, &headers, e);
        if (s != FRAME_OK)
            return s;
    }
    size_t start = (size_t)(lf - line.p) + 1;
    if (n - start < headers)
        return FRAME_MORE;
    f->headers = str_make(p + start, headers);
    f->size = start + headers;
    f->body = STR_NONE;
    if (f->body_size > body_max)
        return FRAME_BIG;
    if (n - f->size < f->body_size)
        return FRAME_MORE;
    f->body = str_make(p + f->size, f->body_size);
    f->size += f->body_size;
    return FRAME_OK;
}

char *frame_line_put(char *to, const struct frame_line *l)
{
    char *at = bytes_str(to, verbs[l->verb]);
    *at++ = ' ';
    at = bytes_u64(at, l->id);
    *at++ = ' ';
    at = bytes_u64(at, l->headers);
    *at++ = ' ';
    at = bytes_u64(at, l->body);
    if (l->subject.n > 0) {
        *at++ = ' ';
        at = bytes_str(at, l->subject);
    }
    *at++ = '\n';
    return at;
}

void frame_head(struct buf *out, const struct frame_line *l)
{
    char *start = (char *)buf_reserve(out, FRAME_LINE_ROOM + l->subject.n);
    buf_commit(out, (size_t)(frame_line_put(start, l) - start));
}
