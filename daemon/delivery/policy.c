#include "delivery/policy.h"

static int64_t backoff_ms(const struct retry_conf *r, unsigned attempt)
{
    double delay = (double)r->delay_ms;
    for (unsigned i = 1; i < attempt && delay < (double)r->max_delay_ms; i++)
        delay *= r->factor;
    return delay < (double)r->max_delay_ms ? (int64_t)delay : r->max_delay_ms;
}

int64_t retry_delay_ms(const struct retry_conf *r, unsigned attempt, uint64_t random)
{
    int64_t delay = backoff_ms(r, attempt);
    if (r->jitter == JITTER_FULL)
        delay = (int64_t)(((unsigned __int128)random * ((uint64_t)delay + 1)) >> 64);
    return delay > 0 ? delay : 1;
}

bool retry_allowed(const struct retry_conf *r, unsigned attempt)
{
    return attempt < r->attempts;
}

int64_t retry_worst_case_ms(const struct policy_conf *p)
{
    int64_t total = 0;
    for (unsigned attempt = 1; attempt <= p->retry.attempts && attempt <= 1000; attempt++) {
        int64_t pause = attempt < p->retry.attempts ? backoff_ms(&p->retry, attempt) : 0;
        if (__builtin_add_overflow(total, p->timeout_ms, &total) ||
            __builtin_add_overflow(total, pause, &total))
            return INT64_MAX;
    }
    return total;
}
