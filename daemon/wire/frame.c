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

/* Verbs of three letters, which most frames have: they and the blank behind them at once. */
static inline bool read_usual_verb(struct cursor *c, enum verb *out)
{
    static const struct {
        char text[4];
        enum verb verb;
    } usual[] = {{"PUB ", VERB_PUB}, {"REQ ", VERB_REQ}, {"REP ", VERB_REP}};
    if (c->end < 4)
        return false;
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
        if (memcmp(c->line, usual[i].text, 4) == 0) {
            *out = usual[i].verb;
            c->at = 4;
            return true;
        }
    }
    return false;
}

static enum frame_status read_verb(struct cursor *c, enum verb *out)
{
    size_t n = 0;
    if (read_usual_verb(c, out))
        return FRAME_OK;
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

static enum frame_status read_odd_number(struct cursor *c, uint64_t *out, bool last)
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

/* A decimal number and the blank (or, where last may end the line, the end) behind it. What is right
 * and of usual length is read here. */
static inline enum frame_status read_number(struct cursor *c, uint64_t *out, bool last)
{
    const char *from = c->line + c->at, *p = from;
    uint64_t value = 0;
    if (!c->whole) /* else the line feed ends the digits at the latest */
        return read_odd_number(c, out, last);
    for (unsigned digit; (digit = (unsigned)*p - '0') <= 9; p++)
        value = value * 10 + digit;
    size_t n = (size_t)(p - from);
    if (n == 0 || n > 18 || (n > 1 && *from == '0') || (*p != ' ' && (*p != '\n' || !last)))
        return read_odd_number(c, out, last);
    c->at = (size_t)(p - c->line) + (*p == ' ');
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

enum frame_status frame_parse(const uint8_t *p, size_t n, uint64_t body_max, struct frame *f,
                              struct frame_error *e)
{
    size_t line = n < FRAME_LINE_MAX ? n : FRAME_LINE_MAX;
    const uint8_t *lf = memchr(p, '\n', line);
    struct cursor c = {.line = (const char *)p, .end = lf != NULL ? (size_t)(lf - p) : line,
                       .whole = lf != NULL, .e = e};
    uint64_t headers = 0;
    enum frame_status s = read_line(&c, f, &headers);
    if (s == FRAME_MORE && line == FRAME_LINE_MAX)
        return bad(&c, FRAME_LINE_MAX, "a first line above 1,200 bytes");
    if (s != FRAME_OK)
        return s;
    size_t start = c.end + 1;
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

void frame_head(struct buf *out, const struct frame_line *l)
{
    char *start = (char *)buf_reserve(out, VERB_LONGEST + 3 * 21 + 2 + l->subject.n), *at;
    at = bytes_str(start, verbs[l->verb]);
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
    buf_commit(out, (size_t)(at - start));
}
