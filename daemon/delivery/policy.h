#pragma once
/* Retry and back-off: pure functions of (policy, attempt, random number). */
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

/* ms until the attempt after `attempt` (1 = the first has just failed): delay * factor^(attempt-1),
 * at most max_delay; with full jitter a uniform share of it (never below 1 ms). random: any 64 bits. */
int64_t retry_delay_ms(const struct retry_conf *r, unsigned attempt, uint64_t random);

/* Is another attempt allowed after `attempt` of them have failed? */
bool retry_allowed(const struct retry_conf *r, unsigned attempt);

/* The longest time all attempts and the pauses between them can take; for `explain`. */
int64_t retry_worst_case_ms(const struct policy_conf *p);
