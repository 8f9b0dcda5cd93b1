#include "transport/tcp/memo.h"

#include "base/buf.h"
#include "base/mem.h"
#include "wire/swar.h"

#define SPREAD UINT64_C(0x9E3779B97F4A7C15)

static size_t place_of(struct str pattern)
{
    uint64_t hash = pattern.n;
    const char *p = pattern.p;
    size_t left = pattern.n;
    for (; left >= 8; left -= 8, p += 8)
        hash = (hash ^ swar_load(p)) * SPREAD;
    for (; left > 0; left--, p++)
        hash = (hash ^ (unsigned char)*p) * SPREAD;
    return (size_t)(hash >> 32) & (MEMO_PLACES - 1);
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
