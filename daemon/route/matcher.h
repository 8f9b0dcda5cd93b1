#pragma once
/*
 * Matching of subjects against filters. Pure. A subject is tokens separated by `.` (or `/`, which
 * means the same); in a filter `*` is exactly one token and a final `>` one or more. A subject that
 * begins with `{` (a NestJS object pattern in canonical form) is one token, whatever it holds.
 * Filters without wildcards cost one hash look-up; the others a trie, by tokens of the subject and
 * not by the number of filters. Wildcard filters have at most MATCH_TOKENS_MAX tokens, so a subject
 * with more of them is matched by exact filters and by those that end in `>`. Tokens of a subject
 * may be empty (`*` takes an empty one); an empty subject matches nothing. Wildcard characters in a
 * subject are plain text.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define MATCH_TOKENS_MAX 32
#define MATCH_NONE UINT32_MAX

struct matcher;

struct captures { /* what the wildcards stood for, left to right; `>` is one capture */
    struct str text[9];
    size_t count;
};

struct matcher *matcher_new(void);
void matcher_free(struct matcher *m);

/* A filter is valid when its tokens are not empty, `*` and `>` stand alone in their token, `>`
 * is the last, and one with wildcards has at most MATCH_TOKENS_MAX tokens. An object pattern is
 * one literal token; its canonical form is the caller's (nest_subject_text). *why (static text)
 * says what is wrong; may be NULL. */
bool filter_valid(struct str filter, const char **why);

/* Adds a filter with its value (lower = earlier; below MATCH_NONE). Several values per filter
 * are kept. filter is valid; it is copied. */
void matcher_add(struct matcher *m, struct str filter, uint32_t value);
bool matcher_remove(struct matcher *m, struct str filter, uint32_t value); /* false: not there */
size_t matcher_count(const struct matcher *m);

/* The lowest value of all filters that match, or MATCH_NONE. c may be NULL; slices of subject. What the subjects
 * that came lately match is remembered until a filter comes or goes. */
uint32_t matcher_first(struct matcher *m, struct str subject, struct captures *c);

/* Every value that matches, in no particular order; each (filter, value) once. fn must not
 * change m. */
void matcher_all(const struct matcher *m, struct str subject, void (*fn)(void *arg, uint32_t value),
                 void *arg);

/* Does one filter match one subject? Fills c (may be NULL). For rare use. */
bool filter_matches(struct str filter, struct str subject, struct captures *c);

/* Does every subject that `narrow` can match also match `wide`? For "this route can never
 * match". */
bool filter_covers(struct str wide, struct str narrow);

/* Appends the template with {1} … {9} replaced; the result may be too long for a subject. Valid
 * templates name no capture above `captures`; braces around anything else are text. In a
 * template that is a JSON object the captures' `"` and `\` are escaped, so that they stay inside
 * their strings. */
bool template_valid(struct str template, size_t captures, const char **why);
void template_expand(struct str template, const struct captures *c, struct buf *out);
size_t filter_wildcards(struct str filter); /* how many captures it makes */
