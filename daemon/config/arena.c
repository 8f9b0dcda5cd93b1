#include "config/arena.h"

#include <stdalign.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define CHUNK_MIN ((size_t)4 << 10)
#define CHUNK_MAX ((size_t)1 << 20)

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    alignas(max_align_t) char bytes[];
};

static void arena_grow(struct arena *a, size_t size)
{
    size_t want = a->chunks != NULL ? a->chunks->size * 2 : CHUNK_MIN;
    want = want < CHUNK_MAX ? want : CHUNK_MAX;
    want = want > size ? want : size;
    struct arena_chunk *chunk = mem_zalloc(sizeof(*chunk) + want);
    chunk->next = a->chunks;
    chunk->size = want;
    a->chunks = chunk;
    a->at = chunk->bytes;
    a->left = want;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t align = alignof(max_align_t);
    size_t need = (size + align - 1) / align * align;
    if (need > a->left)
        arena_grow(a, need);
    void *p = a->at;
    a->at += need;
    a->left -= need;
    return p;
}

char *arena_str(struct arena *a, struct str s)
{
    char *copy;
    size_t need = s.n + 1;
    /* Texts need no alignment: pack them at the far end of the chunk. */
    if (need > a->left)
        arena_grow(a, need);
    copy = a->at + a->left - need;
    a->left -= need;
    *bytes_str(copy, s) = '\0';
    return copy;
}

void arena_free(struct arena *a)
{
    struct arena_chunk *chunk = a->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        explicit_bzero(chunk->bytes, chunk->size);
        mem_free(chunk);
        chunk = next;
    }
    *a = (struct arena){0};
}
