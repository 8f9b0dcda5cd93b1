#include "delivery/breaker.h"

bool breaker_allows(struct breaker *b, const struct breaker_conf *c, int64_t now)
{
    if (b->state == BREAKER_CLOSED)
        return true;
    if (b->state == BREAKER_OPEN) {
        if (now < b->until_ms)
            return false;
        b->state = BREAKER_HALF_OPEN;
        b->probes = 0;
    }
    return b->probes < c->probes;
}

void breaker_sent(struct breaker *b)
{
    if (b->state == BREAKER_HALF_OPEN)
        b->probes++;
}

void breaker_success(struct breaker *b)
{
    *b = (struct breaker){.state = BREAKER_CLOSED};
}

bool breaker_failure(struct breaker *b, const struct breaker_conf *c, int64_t now)
{
    b->failures++;
    if (b->state == BREAKER_OPEN || (b->state == BREAKER_CLOSED && b->failures < c->failures))
        return false;
    b->state = BREAKER_OPEN;
    b->until_ms = now + c->open_for_ms;
    b->probes = 0;
    return true;
}

void breaker_unsent(struct breaker *b)
{
    if (b->state == BREAKER_HALF_OPEN && b->probes > 0)
        b->probes--;
}

const char *breaker_name(enum breaker_state s)
{
    static const char *const names[] = {"closed", "open", "half-open"};
    return names[s];
}
