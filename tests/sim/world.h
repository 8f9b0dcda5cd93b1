#pragma once
/*
 * A world around the real core: a clock that moves only when told, destinations and askers that
 * do whatever chance says, and books of what everybody was told. Same seed, same trace.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What has to happen at least once over all seeds: a path that is never walked proves nothing. */
enum sight {
    SEEN_DONE, SEEN_RETRY, SEEN_REJECT, SEEN_HOLD, SEEN_TIMEOUT, SEEN_DEAD, SEEN_EXPIRED, SEEN_DROPPED,
    SEEN_BREAKER, SEEN_BUSY, SEEN_RESUMED, SEEN_NO_ROUTE, SEEN_NO_SERVICE, SEEN_UNAVAILABLE, SEEN_OVERLOADED,
    SEEN_STREAM, SEEN_EXTEND, SEEN_WITHDRAWN, SEEN_REDRIVE, SEEN_PURGE, SEEN_RELOAD, SEEN_SUBSCRIPTION,
    SEEN_RETIRED, SEEN_FAN_OUT, SEEN_REQUEST_OK, SEEN_REQUEST_ERROR, SEEN_STORED, SEEN_CRASH, SEEN_LOST_ACK,
    SEEN_REDELIVERED, SEEN_STORE_FULL, SEEN_STORE_FAULT, SEEN_OUTBOX, SEEN_ORDERED,
    SEEN_CLOCK, SEEN_CLOCK_WHILE_DOWN, SEEN_DELAYED, SEEN_DELAYED_OVER_LIFE, SEEN_DELIVER_AT, SEEN_PAUSE,
    SEEN_PAUSE_OVER_LIFE, SEEN_COPY, SEEN_COPY_LATER, SEEN_BURIED, SEEN_CANARY, SEEN_CANARY_STOPPED,
    SEEN_DROPPED_OLDEST, SIGHTS
};
extern const char *const sight_names[SIGHTS];

struct outcome_of_run {
    uint64_t trace;          /* a hash of everything that happened, in order */
    uint64_t seen[SIGHTS];
    uint64_t simulated_ms;
    const char *broken;      /* the invariant that did not hold, or NULL */
};

/* One life: some hundred steps of chance, then everything is healed and all has to end. */
void world_run(uint64_t seed, bool verbose, struct outcome_of_run *out);
