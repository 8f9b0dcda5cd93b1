#include "base/map.h"

#include <assert.h>
#include <sys/random.h>

#include "base/mem.h"

#define MAP_FIRST 8

#define MAP_GONE ((char *)1) /* a deleted entry */

static uint64_t rotl(uint64_t x, unsigned n)
{
    return (x << n) | (x >> (64 - n));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

void map_draw_key(uint64_t key[2])
{
    if (getrandom(key, 2 * sizeof(uint64_t), 0) != (ssize_t)(2 * sizeof(uint64_t)))
        key[0] = (uint64_t)(uintptr_t)key; /* no randomness to be had: addresses are still hard to guess */
}

uint64_t map_hash(const uint64_t secret[2], struct str key)
{
    uint64_t v[4] = {secret[0] ^ UINT64_C(0x736f6d6570736575), secret[1] ^ UINT64_C(0x646f72616e646f6d),
                     secret[0] ^ UINT64_C(0x6c7967656e657261), secret[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)key.n << 56, word;
    size_t i = 0;
    for (; i + 8 <= key.n; i += 8) {
        __builtin_memcpy(&word, key.p + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (unsigned shift = 0; i < key.n; i++, shift += 8)
        last |= (uint64_t)(unsigned char)key.p[i] << shift;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int round = 0; round < 3; round++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_fini(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++) {
        if (m->entries[i].key != MAP_GONE)
            mem_free(m->entries[i].key);
    }
    mem_free(m->entries);
    *m = (struct map){0};
}

static struct map_entry *map_find(const struct map *m, struct str key, uint64_t hash)
{
    for (size_t i = hash & (m->cap - 1); m->cap > 0; i = (i + 1) & (m->cap - 1)) {
        struct map_entry *e = &m->entries[i];
        if (e->key == NULL)
            return NULL;
        if (e->hash == hash && e->key != MAP_GONE && str_eq(str_make(e->key, e->key_len), key))
            return e;
    }
    return NULL;
}

static void map_grow(struct map *m)
{
    struct map old = *m;
    m->cap = old.count * 2 >= MAP_FIRST ? old.cap * (old.count * 2 >= old.cap ? 2 : 1) : MAP_FIRST;
    m->entries = mem_calloc(m->cap, sizeof(*m->entries));
    m->used = m->count;
    for (size_t i = 0; i < old.cap; i++) {
        if (old.entries[i].key == NULL || old.entries[i].key == MAP_GONE)
            continue;
        size_t at = old.entries[i].hash & (m->cap - 1);
        while (m->entries[at].key != NULL)
            at = (at + 1) & (m->cap - 1);
        m->entries[at] = old.entries[i];
    }
    mem_free(old.entries);
}

void *map_get(const struct map *m, struct str key)
{
    if (m->count == 0)
        return NULL;
    struct map_entry *e = map_find(m, key, map_hash(m->key, key));
    return e != NULL ? e->value : NULL;
}

void *map_set(struct map *m, struct str key, void *value)
{
    assert(value != NULL);
    if (m->cap == 0)
        map_draw_key(m->key);
    uint64_t hash = map_hash(m->key, key);
    struct map_entry *e = map_find(m, key, hash);
    if (e != NULL) {
        void *before = e->value;
        e->value = value;
        return before;
    }
    if ((m->used + 1) * 4 > m->cap * 3)
        map_grow(m);
    size_t at = hash & (m->cap - 1);
    while (m->entries[at].key != NULL)
        at = (at + 1) & (m->cap - 1);
    m->entries[at] = (struct map_entry){hash, mem_strndup(key.p, key.n), key.n, value};
    m->count++;
    m->used++;
    return NULL;
}

void *map_remove(struct map *m, struct str key)
{
    struct map_entry *e = m->count > 0 ? map_find(m, key, map_hash(m->key, key)) : NULL;
    if (e == NULL)
        return NULL;
    void *value = e->value;
    mem_free(e->key);
    e->key = MAP_GONE;
    e->value = NULL;
    m->count--;
    return value;
}

struct map_entry *map_next(const struct map *m, size_t *i)
{
    while (*i < m->cap) {
        struct map_entry *e = &m->entries[(*i)++];
        if (e->key != NULL && e->key != MAP_GONE)
            return e;
    }
    return NULL;
}

/* Fibonacci hashing: consecutive ids land far apart, so that probing stays short. */
static size_t idmap_slot(const struct idmap *m, uint64_t id)
{
    return (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (m->cap - 1);
}

void idmap_fini(struct idmap *m)
{
    mem_free(m->entries);
    *m = (struct idmap){0};
}

/* The entry of id, or the free one where it would be. The table is not empty. */
static struct idmap_entry *idmap_find(const struct idmap *m, uint64_t id)
{
    assert(m->entries != NULL);
    for (size_t i = idmap_slot(m, id);; i = (i + 1) & (m->cap - 1)) {
        struct idmap_entry *e = &m->entries[i];
        if (e->value == NULL || e->id == id)
            return e;
    }
}

static void idmap_grow(struct idmap *m)
{
    struct idmap old = *m;
    m->cap = old.cap > 0 ? old.cap * 2 : MAP_FIRST;
    m->entries = mem_calloc(m->cap, sizeof(*m->entries));
    for (size_t i = 0; i < old.cap; i++) {
        if (old.entries[i].value != NULL)
            *idmap_find(m, old.entries[i].id) = old.entries[i];
    }
    mem_free(old.entries);
}

void *idmap_get(const struct idmap *m, uint64_t id)
{
    struct idmap_entry *e = m->count > 0 ? idmap_find(m, id) : NULL;
    return e != NULL ? e->value : NULL;
}

bool idmap_add(struct idmap *m, uint64_t id, void *value)
{
    assert(value != NULL);
    if ((m->count + 1) * 2 > m->cap)
        idmap_grow(m);
    struct idmap_entry *e = idmap_find(m, id);
    if (e->value != NULL)
        return false;
    *e = (struct idmap_entry){id, value};
    m->count++;
    return true;
}

void *idmap_remove(struct idmap *m, uint64_t id)
{
    struct idmap_entry *e = m->count > 0 ? idmap_find(m, id) : NULL;
    if (e == NULL || e->value == NULL)
        return NULL;
    void *value = e->value;
    m->count--;
    /* Backward-shift deletion: no tombstones, so that a long-lived map never slows down. */
    size_t hole = (size_t)(e - m->entries);
    for (size_t i = (hole + 1) & (m->cap - 1); m->entries[i].value != NULL; i = (i + 1) & (m->cap - 1)) {
        size_t home = idmap_slot(m, m->entries[i].id);
        if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
            m->entries[hole] = m->entries[i];
            hole = i;
        }
    }
    m->entries[hole].value = NULL;
    return value;
}

struct idmap_entry *idmap_next(const struct idmap *m, size_t *i)
{
    while (*i < m->cap) {
        struct idmap_entry *e = &m->entries[(*i)++];
        if (e->value != NULL)
            return e;
    }
    return NULL;
}
