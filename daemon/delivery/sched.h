#pragma once
/*
 * What is due, or how long may one sleep? Knows nothing of deliveries. Most times are "now plus the
 * policy's time-out": those wait in lanes, one per length of time, each in order by itself, at O(1);
 * the others in a heap.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"

#define SCHED_LANES 16
#define SCHED_NEVER INT64_MAX

struct due { /* zeroed = not scheduled */
    struct heap_node heap;
    struct list_node link;
    struct list *lane;
    int64_t when_ms;
    unsigned char kind; /* the owner's: what this is embedded in */
};

struct sched {
    struct heap heap;
    struct {
        int64_t span_ms;
        struct list list;
    } lanes[SCHED_LANES];
    size_t lane_count;
};

void sched_init(struct sched *s);
void sched_fini(struct sched *s); /* nothing may be scheduled any more */

/* Moves d to now + span. regular: many others have this very span. span SCHED_NEVER unschedules. */
void sched_set(struct sched *s, struct due *d, int64_t now, int64_t span_ms, bool regular);
void sched_clear(struct sched *s, struct due *d); /* legal when not scheduled */

int64_t sched_next(const struct sched *s);             /* earliest time, or SCHED_NEVER */
struct due *sched_take(struct sched *s, int64_t now);  /* removes and returns one that is due, or NULL */
