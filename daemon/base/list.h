#pragma once
/*
 * Intrusive doubly-linked list with a sentinel, and its count. A node is in one list at most;
 * list_remove() on a node that is in none is legal. Zeroed nodes are valid; heads need list_init().
 */
#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *prev, *next;
};

struct list {
    struct list_node head;
    size_t count;
};

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->head.prev = l->head.next = &l->head;
    l->count = 0;
}

static inline bool list_empty(const struct list *l)
{
    return l->count == 0;
}

static inline bool list_linked(const struct list_node *n)
{
    return n->next != NULL;
}

static inline void list_insert_before(struct list *l, struct list_node *at, struct list_node *n)
{
    n->prev = at->prev;
    n->next = at;
    at->prev->next = n;
    at->prev = n;
    l->count++;
}

static inline void list_push(struct list *l, struct list_node *n) /* at the end */
{
    list_insert_before(l, &l->head, n);
}

static inline void list_push_front(struct list *l, struct list_node *n)
{
    list_insert_before(l, l->head.next, n);
}

static inline void list_remove(struct list *l, struct list_node *n)
{
    if (n->next == NULL)
        return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->prev = n->next = NULL;
    l->count--;
}

static inline struct list_node *list_first(const struct list *l) /* or NULL */
{
    return l->count > 0 ? l->head.next : NULL;
}

static inline struct list_node *list_last(const struct list *l) /* or NULL */
{
    return l->count > 0 ? l->head.prev : NULL;
}

static inline struct list_node *list_next(const struct list *l, const struct list_node *n)
{
    return n->next != &l->head ? n->next : NULL;
}

/* Safe against removal of the current node. */
#define LIST_EACH(l, node)                                                                         \
    for (struct list_node *node = (l)->head.next, *node##_next = node->next; node != &(l)->head;   \
         node = node##_next, node##_next = node->next)
