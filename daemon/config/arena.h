#pragma once
/*
 * Memory that is freed all at once. What it hands out is zeroed, aligned for any type, and lives
 * until arena_free(), which wipes it first: configurations hold secrets.
 */
#include <stddef.h>

#include "base/str.h"

struct arena_chunk;

struct arena { /* zeroed = empty and valid */
    struct arena_chunk *chunks;
    char *at;
    size_t left;
};

void *arena_alloc(struct arena *a, size_t size);
char *arena_str(struct arena *a, struct str s); /* NUL-terminated copy */
void arena_free(struct arena *a);               /* empty again */
