#pragma once
/*
 * Best-effort deliveries that ended well at their first attempt: 32 bytes each, in memory only, since they are the ones that
 * come by the million. Their ids are hashed, their subjects are not kept.
 */
#include "delivery/hub.h"

#define LIGHT_CHUNKS 32     /* the oldest goes */
#define LIGHT_ENTRIES 2048  /* of a chunk: 2 MiB in all */

struct light;
struct delivery;

struct light *light_new(void);
void light_free(struct light *l); /* NULL is legal */
void light_note(struct light *l, const struct delivery *v, int64_t now_ms, bool told);

struct light_ask {
    past_fn *fn;
    void *arg;
};
/* Those whose id has this history_hash(). offset_ms: wall clock minus monotonic. */
void light_each(const struct light *l, uint64_t hash, int64_t offset_ms, const struct light_ask *ask);
