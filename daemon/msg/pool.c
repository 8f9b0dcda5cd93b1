#include "msg/pool.h"

#include <assert.h>
#include <stdbool.h>

#include "base/mem.h"

#define KINDS 2

static const size_t sizes[KINDS] = {640, 1664}; /* a body of 100 bytes and one of 1 KiB fit */

struct spare {
    struct spare *next;
};

struct msg_pool {
    size_t live;  /* blocks taken and not given back */
    size_t bytes; /* of the spares */
    bool closed;
    struct spare *spares[KINDS];
};

struct msg_pool *msg_pool_new(void)
{
    return mem_zalloc(sizeof(struct msg_pool));
}

static void pool_end(struct msg_pool *p)
{
    if (!p->closed || p->live > 0)
        return;
    for (size_t k = 0; k < KINDS; k++) {
        for (struct spare *s = p->spares[k], *next; s != NULL; s = next) {
            next = s->next;
            mem_free(s);
        }
    }
    mem_free(p);
}

void msg_pool_close(struct msg_pool *p)
{
    if (p == NULL)
        return;
    p->closed = true;
    pool_end(p);
}

/* KINDS: of none. */
static size_t kind_of(size_t size)
{
    size_t k = 0;
    while (k < KINDS && size > sizes[k])
        k++;
    return k;
}

void *msg_pool_take(struct msg_pool *p, size_t size)
{
    size_t k = kind_of(size);
    if (p == NULL)
        return mem_alloc(size);
    assert(!p->closed);
    p->live++;
    if (k == KINDS)
        return mem_alloc(size);
    struct spare *s = p->spares[k];
    if (s == NULL) {
        s = mem_alloc(sizes[k]);
    } else {
        p->spares[k] = s->next;
        p->bytes -= sizes[k];
    }
    mem_unpoison(s, size);
    mem_poison((char *)s + size, sizes[k] - size);
    return s;
}

void msg_pool_give(struct msg_pool *p, void *block, size_t size)
{
    size_t k = kind_of(size);
    struct spare *s = block;
    if (p == NULL || k == KINDS || p->closed || p->bytes + sizes[k] > MSG_POOL_BYTES) {
        mem_free(block);
    } else {
        mem_poison(s, sizes[k]);
        mem_unpoison(&s->next, sizeof(s->next));
        s->next = p->spares[k];
        p->spares[k] = s;
        p->bytes += sizes[k];
    }
    if (p == NULL)
        return;
    p->live--;
    pool_end(p);
}
