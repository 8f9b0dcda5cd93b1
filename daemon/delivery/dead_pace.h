#pragma once
/*
 * How fast dead letters are sent again, and whether it goes on: at a rate; and as a canary, which sends one,
 * then ten, then the rest, waits for what becomes of each of these batches, and stops where one fails. Pure.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"

#define PACE_PENDING_MAX 1024 /* of a canary: sent and not yet ended */

struct pace {             /* zeroed: as fast as it goes */
    int64_t pause_us;     /* between two; 0 = none */
    bool canary;
    int64_t next_us;      /* when the next one may go */
    size_t sent, done, failed;
    struct idmap pending; /* of a canary: keys */
};

void pace_fini(struct pace *p);
size_t pace_allows(const struct pace *p, int64_t now_ms); /* how many may go now */
/* When it allows none: ms until it does; -1 = when something has ended. */
int64_t pace_wait_ms(const struct pace *p, int64_t now_ms);
void pace_sent(struct pace *p, uint64_t key, int64_t now_ms);
bool pace_ended(struct pace *p, uint64_t key, bool well); /* false: it was none of these */
bool pace_stops(const struct pace *p);
