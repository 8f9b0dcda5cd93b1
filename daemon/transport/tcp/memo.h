#pragma once
/*
 * The subjects of patterns that came lately. Clients repeat a few patterns, and a pattern's canonical
 * form takes longer than all else that is done to its frame. Bounded: one place per hash; who aims at
 * a place of others costs them time, and nothing else. Pure. A zeroed one is empty and valid.
 */
#include <stdint.h>

#include "base/str.h"

#define MEMO_PLACES 64      /* a power of two */
#define MEMO_PATTERN_MAX 256

struct memo_entry {
    char *text; /* pattern and subject; NULL = free */
    size_t pattern, subject; /* bytes */
};

struct memo {
    struct memo_entry entries[MEMO_PLACES];
};

void memo_fini(struct memo *m);

/* The subject put for exactly these bytes, valid until the next memo_put; {NULL, 0} = not known. */
struct str memo_get(const struct memo *m, struct str pattern);

/* Takes the place of another; a pattern that is too long is not kept. subject is not empty. */
void memo_put(struct memo *m, struct str pattern, struct str subject);
