#pragma once
/*
 * What the subjects that came lately match: sources repeat a few, and a look here is a fraction of a search. One place
 * per hash; who aims at a place of others costs them time, and nothing else. Pure. A zeroed one is empty and valid.
 */
#include <stdint.h>

#include "base/str.h"
#include "route/subject.h"

#define RECENT_PLACES 64      /* a power of two */
#define RECENT_SUBJECT_MAX 48 /* longer ones are not kept */

struct recent_entry {
    uint32_t length; /* of the subject; 0 = free */
    uint32_t value;
    struct match how;
    char subject[RECENT_SUBJECT_MAX];
};

struct recent {
    struct recent_entry entries[RECENT_PLACES];
};

/* The place of a subject of 1 to RECENT_SUBJECT_MAX bytes; it may hold another one. */
static inline struct recent_entry *recent_place(struct recent *r, struct str subject)
{
    return &r->entries[str_spread(subject) >> 32 & (RECENT_PLACES - 1)];
}

static inline bool recent_is(const struct recent_entry *e, struct str subject)
{
    return str_eq(subject, str_make(e->subject, e->length));
}
