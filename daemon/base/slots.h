#pragma once
/*
 * Values under ids that the table gives out itself, in rising order from 1: what we count, while
 * struct idmap holds what others count. An id has one place, its low bits, so that finding it is one
 * look; an id whose place is taken is left out. Owns no value. A zeroed one is empty and valid.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slot {
    uint64_t id;
    void *value; /* NULL = free */
};

struct slots {
    struct slot *slots;
    size_t count, cap; /* cap is a power of two or 0, count at most half of it */
    uint64_t last;     /* the id given out last */
};

void slots_fini(struct slots *s);
uint64_t slots_add(struct slots *s, void *value); /* its id; value != NULL */

static inline void *slots_get(const struct slots *s, uint64_t id) /* NULL where there is none */
{
    if (s->count == 0)
        return NULL;
    const struct slot *slot = &s->slots[id & (s->cap - 1)];
    return slot->id == id ? slot->value : NULL;
}

static inline void *slots_take(struct slots *s, uint64_t id) /* removes it */
{
    void *value = slots_get(s, id);
    if (value == NULL)
        return NULL;
    s->slots[id & (s->cap - 1)].value = NULL;
    s->count--;
    return value;
}

/* As map_next(): in no particular order; the table may not change meanwhile except by taking. */
struct slot *slots_next(const struct slots *s, size_t *i);
