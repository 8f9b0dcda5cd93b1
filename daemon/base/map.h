#pragma once
/*
 * Two hash maps. `struct map` is keyed by bytes (SipHash-1-3 with a key of its own, so that
 * strangers cannot aim collisions); it copies its keys. `struct idmap` is keyed by uint64 ids
 * (linear probing; ids are mostly consecutive). Neither owns its values. Zeroed maps are empty
 * and valid; an empty map holds no memory until its first insertion.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct map_entry {
    uint64_t hash;
    char *key; /* NUL-terminated copy; NULL = free, MAP_GONE inside map.c = deleted */
    size_t key_len;
    void *value;
};

struct map {
    struct map_entry *entries;
    size_t count, used, cap; /* cap is a power of two or 0 */
    uint64_t key[2];         /* drawn at the first insertion */
};

/* SipHash-1-3 under a secret key, and a fresh key from the kernel: for tables that map does not fit. */
uint64_t map_hash(const uint64_t key[2], struct str bytes);
void map_draw_key(uint64_t key[2]);

void map_fini(struct map *m);                          /* frees keys and table, not the values */
void *map_get(const struct map *m, struct str key);    /* value or NULL */
void *map_set(struct map *m, struct str key, void *value); /* returns the value replaced, or NULL; value != NULL */
void *map_remove(struct map *m, struct str key);       /* the value removed, or NULL */

/* for (size_t i = 0; (e = map_next(&m, &i)) != NULL;) … in no particular order; the map may not
 * change meanwhile except by removal of the current key. */
struct map_entry *map_next(const struct map *m, size_t *i);

struct idmap_entry {
    uint64_t id;
    void *value; /* NULL = free */
};

struct idmap {
    struct idmap_entry *entries;
    size_t count, cap;
};

void idmap_fini(struct idmap *m);
void *idmap_get(const struct idmap *m, uint64_t id);
bool idmap_add(struct idmap *m, uint64_t id, void *value); /* false when the id is there already */
void *idmap_remove(struct idmap *m, uint64_t id);          /* the value removed, or NULL */
struct idmap_entry *idmap_next(const struct idmap *m, size_t *i);
