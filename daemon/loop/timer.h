#pragma once
/* One-shot timers of a loop. Cheap to move; never early, late by at most a turn. */
#include <stdint.h>

#include "loop/loop.h"

struct timer;

struct timer *timer_new(struct loop *l, loop_fn *fn, void *arg);
void timer_free(struct timer *t);                  /* stops it; NULL is legal; legal inside its callback */
void timer_at(struct timer *t, int64_t when_ms);   /* absolute, monotonic; replaces an earlier setting */
void timer_after(struct timer *t, int64_t delay_ms);
void timer_stop(struct timer *t);                  /* no callback afterwards */
