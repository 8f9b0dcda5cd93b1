#pragma once
/* Subjects and filters as tokens: what matcher.c and filter.c share. Pure. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "route/matcher.h"

/* The tokens of a subject, at most MATCH_TOKENS_MAX of them. */
struct subject {
    struct str text;
    uint32_t end[MATCH_TOKENS_MAX]; /* offset behind each token */
    size_t count;
    bool more; /* there are tokens beyond the last one here */
};

/* What matched: which tokens `*` stood for, and where `>` began (count of tokens before it). */
struct match {
    uint32_t stars; /* bit i: token i */
    uint32_t tail;  /* first token of `>`, or MATCH_NONE */
};

static inline bool is_separator(char c)
{
    return c == '.' || c == '/';
}

/* A NestJS object pattern: one token, whatever it holds. */
static inline bool is_object_subject(struct str text)
{
    return text.n > 0 && text.p[0] == '{';
}

/* text.n < 4 GiB */
void subject_split(struct str text, struct subject *s);

static inline struct str subject_token(const struct subject *s, size_t i)
{
    size_t from = i > 0 ? s->end[i - 1] + 1u : 0;
    return str_make(s->text.p + from, s->end[i] - from);
}

/* From token i to the end of the subject, with its separators. */
static inline struct str subject_tail(const struct subject *s, size_t i)
{
    size_t from = i > 0 ? s->end[i - 1] + 1u : 0;
    return str_make(s->text.p + from, s->text.n - from);
}

void match_captures(const struct subject *s, const struct match *m, struct captures *c);

/* Takes the first token off a filter that is no object pattern; filter->p is NULL behind the
 * last. */
struct str filter_cut(struct str *filter);
