#pragma once
/* Jobs from other threads to the loop: a queue and an eventfd. The only call here that another
 * thread may make is post_send(). */
#include "loop/loop.h"

struct post;

struct post *post_new(struct loop *l, void (*fn)(void *arg, void *job), void *arg);
void post_send(struct post *p, void *job); /* job is handed to fn on the loop, in order per sender */
void post_free(struct post *p); /* jobs still queued are handed to fn first; no sender may be left */
