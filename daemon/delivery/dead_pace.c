#include "delivery/dead_pace.h"

#define CATCH_UP_US 100000 /* what was missed is made up for so far back */

void pace_fini(struct pace *p)
{
    idmap_fini(&p->pending);
}

/* A batch ends at one, at eleven, and never again. */
static size_t batch_left(const struct pace *p)
{
    size_t end = p->sent == 0 ? 1 : 11;
    bool between = p->sent == 1 || p->sent == 11;
    if (between && p->pending.count > 0)
        return 0;
    if (p->sent < 11)
        return end - p->sent;
    return p->pending.count < PACE_PENDING_MAX ? PACE_PENDING_MAX - p->pending.count : 0;
}

static size_t rate_allows(const struct pace *p, int64_t now_ms)
{
    int64_t late_us = now_ms * 1000 - p->next_us;
    if (p->pause_us == 0)
        return SIZE_MAX;
    return late_us >= 0 ? 1 + (size_t)((late_us < CATCH_UP_US ? late_us : CATCH_UP_US) / p->pause_us) : 0;
}

size_t pace_allows(const struct pace *p, int64_t now_ms)
{
    size_t batch = p->canary ? batch_left(p) : SIZE_MAX, rate = rate_allows(p, now_ms);
    return batch < rate ? batch : rate;
}

int64_t pace_wait_ms(const struct pace *p, int64_t now_ms)
{
    if (p->canary && batch_left(p) == 0)
        return -1;
    int64_t span_us = p->next_us - now_ms * 1000;
    return span_us > 0 ? (span_us + 999) / 1000 : 0;
}

void pace_sent(struct pace *p, uint64_t key, int64_t now_ms)
{
    int64_t from = now_ms * 1000 - CATCH_UP_US;
    p->sent++;
    p->next_us = (p->sent == 1 ? now_ms * 1000 : p->next_us > from ? p->next_us : from) + p->pause_us;
    if (p->canary)
        idmap_add(&p->pending, key, p);
}

bool pace_ended(struct pace *p, uint64_t key, bool well)
{
    if (p->pending.count == 0 || idmap_remove(&p->pending, key) == NULL)
        return false;
    ++*(well ? &p->done : &p->failed);
    return true;
}

bool pace_stops(const struct pace *p)
{
    return p->canary && p->failed > 0;
}
