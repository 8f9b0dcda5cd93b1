#include "route/subject.h"

#include "wire/swar.h"

static bool put_end(struct subject *s, size_t end)
{
    if (s->count == MATCH_TOKENS_MAX) {
        s->more = true;
        return false;
    }
    s->end[s->count++] = (uint32_t)end;
    return true;
}

void subject_split(struct str text, struct subject *s)
{
    size_t i = 0;
    s->text = text;
    s->count = 0;
    s->more = false;
    if (is_object_subject(text))
        i = text.n;
    for (; i + 8 <= text.n; i += 8) {
        /* `.` and `/` are 0x2E and 0x2F: one bit apart. */
        uint64_t found = swar_zeros((swar_load(text.p + i) | SWAR_ONES) ^ swar_repeat('/'));
        for (; found != 0; found &= found - 1) {
            if (!put_end(s, i + swar_first(found)))
                return;
        }
    }
    for (; i < text.n; i++) {
        if (is_separator(text.p[i]) && !put_end(s, i))
            return;
    }
    put_end(s, text.n);
}

static void capture(struct captures *c, struct str text)
{
    if (c->count < sizeof(c->text) / sizeof(c->text[0]))
        c->text[c->count++] = text;
}

void match_captures(const struct subject *s, const struct match *m, struct captures *c)
{
    c->count = 0;
    for (uint32_t stars = m->stars; stars != 0; stars &= stars - 1)
        capture(c, subject_token(s, (size_t)__builtin_ctz(stars)));
    if (m->tail != MATCH_NONE)
        capture(c, subject_tail(s, m->tail));
}

struct str filter_cut(struct str *filter)
{
    struct str token = *filter;
    size_t i = 0;
    while (i < token.n && !is_separator(token.p[i]))
        i++;
    *filter = i < token.n ? str_make(token.p + i + 1, token.n - i - 1) : STR_NONE;
    token.n = i;
    return token;
}
