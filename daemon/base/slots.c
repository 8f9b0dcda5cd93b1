#include "base/slots.h"

#include <assert.h>

#include "base/mem.h"

#define SLOTS_FIRST 8

void slots_fini(struct slots *s)
{
    mem_free(s->slots);
    *s = (struct slots){0};
}

/* Ids that lie apart in the small table lie apart in the larger one. */
static void slots_grow(struct slots *s)
{
    struct slots old = *s;
    s->cap = old.cap > 0 ? old.cap * 2 : SLOTS_FIRST;
    s->slots = mem_calloc(s->cap, sizeof(*s->slots));
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i].value != NULL)
            s->slots[old.slots[i].id & (s->cap - 1)] = old.slots[i];
    }
    mem_free(old.slots);
}

/* At least half of the places are free: over a round of the table one id is left out per id given. */
uint64_t slots_add(struct slots *s, void *value)
{
    struct slot *slot;
    assert(value != NULL);
    if ((s->count + 1) * 2 > s->cap)
        slots_grow(s);
    do {
        slot = &s->slots[++s->last & (s->cap - 1)];
    } while (slot->value != NULL);
    *slot = (struct slot){s->last, value};
    s->count++;
    return s->last;
}

struct slot *slots_next(const struct slots *s, size_t *i)
{
    while (*i < s->cap) {
        struct slot *slot = &s->slots[(*i)++];
        if (slot->value != NULL)
            return slot;
    }
    return NULL;
}
