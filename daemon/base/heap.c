#include "base/heap.h"

#include <assert.h>

#include "base/mem.h"

void heap_fini(struct heap *h)
{
    mem_free(h->nodes);
    *h = (struct heap){0};
}

static void heap_place(struct heap *h, size_t at, struct heap_node *n)
{
    h->nodes[at] = n;
    n->index = at + 1;
}

static void sift_up(struct heap *h, size_t at, struct heap_node *n)
{
    while (at > 0 && h->nodes[(at - 1) / 2]->key > n->key) {
        heap_place(h, at, h->nodes[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_place(h, at, n);
}

static void sift_down(struct heap *h, size_t at, struct heap_node *n)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->nodes[child + 1]->key < h->nodes[child]->key)
            child++;
        if (h->nodes[child]->key >= n->key)
            break;
        heap_place(h, at, h->nodes[child]);
        at = child;
    }
    heap_place(h, at, n);
}

void heap_push(struct heap *h, struct heap_node *n, int64_t key)
{
    assert(n->index == 0);
    if (h->count == h->cap) {
        h->cap = h->cap > 0 ? h->cap * 2 : 64;
        h->nodes = mem_realloc(h->nodes, h->cap * sizeof(*h->nodes));
    }
    n->key = key;
    sift_up(h, h->count++, n);
}

void heap_take_out(struct heap *h, struct heap_node *n)
{
    size_t at = n->index - 1;
    assert(at < h->count && h->nodes[at] == n);
    struct heap_node *last = h->nodes[--h->count];
    n->index = 0;
    if (last == n)
        return;
    if (at > 0 && h->nodes[(at - 1) / 2]->key > last->key)
        sift_up(h, at, last);
    else
        sift_down(h, at, last);
}
