#include "delivery/sched.h"

#include <assert.h>
#include <stddef.h>

void sched_init(struct sched *s)
{
    *s = (struct sched){0};
}

void sched_fini(struct sched *s)
{
    assert(s->heap.count == 0);
    heap_fini(&s->heap);
}

static struct list *lane_for(struct sched *s, int64_t span_ms)
{
    for (size_t i = 0; i < s->lane_count; i++) {
        if (s->lanes[i].span_ms == span_ms)
            return &s->lanes[i].list;
    }
    if (s->lane_count == SCHED_LANES)
        return NULL;
    s->lanes[s->lane_count].span_ms = span_ms;
    list_init(&s->lanes[s->lane_count].list);
    return &s->lanes[s->lane_count++].list;
}

void sched_set(struct sched *s, struct due *d, int64_t now, int64_t span_ms, bool regular)
{
    sched_clear(s, d);
    if (span_ms == SCHED_NEVER || __builtin_add_overflow(now, span_ms, &d->when_ms))
        return;
    d->lane = regular ? lane_for(s, span_ms) : NULL;
    if (d->lane != NULL)
        list_push(d->lane, &d->link);
    else
        heap_push(&s->heap, &d->heap, d->when_ms);
}

void sched_clear(struct sched *s, struct due *d)
{
    if (d->lane != NULL)
        list_remove(d->lane, &d->link);
    else
        heap_remove(&s->heap, &d->heap);
    d->lane = NULL;
}

static struct due *earliest(const struct sched *s)
{
    struct heap_node *top = heap_min(&s->heap);
    struct due *best = top != NULL ? CONTAINER_OF(top, struct due, heap) : NULL;
    for (size_t i = 0; i < s->lane_count; i++) {
        struct list_node *n = list_first(&s->lanes[i].list);
        struct due *d = n != NULL ? CONTAINER_OF(n, struct due, link) : NULL;
        if (d != NULL && (best == NULL || d->when_ms < best->when_ms))
            best = d;
    }
    return best;
}

int64_t sched_next(const struct sched *s)
{
    const struct due *d = earliest(s);
    return d != NULL ? d->when_ms : SCHED_NEVER;
}

struct due *sched_take(struct sched *s, int64_t now)
{
    struct due *d = earliest(s);
    if (d == NULL || d->when_ms > now)
        return NULL;
    sched_clear(s, d);
    return d;
}
