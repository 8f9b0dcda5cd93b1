#pragma once
/*
 * A circuit breaker per destination. Pure: takes `now`.
 *
 *     closed --failures in a row--> open --open_for over--> half-open --success--> closed
 *                                    ^                          |
 *                                    +---------- failure -------+
 *
 * Open lets nothing through; half-open lets `probes` through at a time.
 */
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker { /* zeroed = closed */
    enum breaker_state state;
    uint64_t failures; /* in a row */
    uint64_t probes;   /* in flight while half-open */
    int64_t until_ms;  /* open: when it turns half-open */
};

/* May one more be sent at `now`? Turns open into half-open when its time is over. */
bool breaker_allows(struct breaker *b, const struct breaker_conf *c, int64_t now);
void breaker_sent(struct breaker *b);
void breaker_success(struct breaker *b);
/* The peer failed (time-out, lost connection, unavailable). true when this opened the breaker. */
bool breaker_failure(struct breaker *b, const struct breaker_conf *c, int64_t now);
void breaker_unsent(struct breaker *b); /* ended without telling anything (released, cancelled) */
const char *breaker_name(enum breaker_state s);
