#pragma once
/*
 * Intrusive binary min-heap by an int64 key (a time in ms). A zeroed node is in no heap.
 * Push of a rising key is O(1); removal of any node O(log n).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    size_t index; /* 1-based place in the heap; 0 = in none */
};

struct heap {
    struct heap_node **nodes;
    size_t count, cap;
};

void heap_fini(struct heap *h); /* does not touch the nodes */
void heap_push(struct heap *h, struct heap_node *n, int64_t key);
void heap_take_out(struct heap *h, struct heap_node *n); /* heap_remove() of one that is in it */

static inline struct heap_node *heap_min(const struct heap *h) /* or NULL */
{
    return h->count > 0 ? h->nodes[0] : NULL;
}

static inline bool heap_linked(const struct heap_node *n)
{
    return n->index != 0;
}

static inline void heap_remove(struct heap *h, struct heap_node *n) /* legal when in none */
{
    if (heap_linked(n))
        heap_take_out(h, n);
}
