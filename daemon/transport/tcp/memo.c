#include "transport/tcp/memo.h"

#include "base/buf.h"
#include "base/mem.h"

static size_t place_of(struct str pattern)
{
    return (size_t)(str_spread(pattern) >> 32) & (MEMO_PLACES - 1);
}

void memo_fini(struct memo *m)
{
    for (size_t i = 0; i < MEMO_PLACES; i++)
        mem_free(m->entries[i].text);
    *m = (struct memo){0};
}

struct str memo_get(const struct memo *m, struct str pattern)
{
    if (pattern.n > MEMO_PATTERN_MAX)
        return STR_NONE;
    const struct memo_entry *e = &m->entries[place_of(pattern)];
    if (e->text == NULL || !str_eq(pattern, str_make(e->text, e->pattern)))
        return STR_NONE;
    return str_make(e->text + e->pattern, e->subject);
}

void memo_put(struct memo *m, struct str pattern, struct str subject)
{
    if (pattern.n > MEMO_PATTERN_MAX)
        return;
    struct memo_entry *e = &m->entries[place_of(pattern)];
    mem_free(e->text);
    *e = (struct memo_entry){mem_alloc(pattern.n + subject.n), pattern.n, subject.n};
    bytes_str(bytes_str(e->text, pattern), subject);
}
