#pragma once
/*
 * Memory of messages that have ended, kept for those that come next from the same source: a bounded
 * list for each of a few sizes. Its messages may live longer than the source does; the pool goes with
 * whoever is last.
 */
#include <stddef.h>

#define MSG_POOL_BYTES (1u << 20) /* kept at most */

struct msg_pool;

struct msg_pool *msg_pool_new(void);
void msg_pool_close(struct msg_pool *p); /* by its owner, who takes nothing more; NULL is legal */

/* p NULL: from mem_alloc and back to it. A block goes back with the size it was taken with. */
void *msg_pool_take(struct msg_pool *p, size_t size);
void msg_pool_give(struct msg_pool *p, void *block, size_t size);
