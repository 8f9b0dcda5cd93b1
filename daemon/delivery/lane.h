#pragma once
/* A lane, for the two files that work on it: lane.c and durable_lane.c. */
#include "delivery/internal.h"
#include "delivery/order.h"

#define LANE_PARKED_MAX 64  /* stored ones in memory behind the one that is out … */
#define LANE_BLOCKED_MAX 4  /* … and while that one waits for its next attempt */

struct lane {
    struct delivery *out; /* or NULL */
    struct list parked;   /* struct delivery by lane_link */
    struct dest *dest;
    struct order *order;  /* that its key is one of */
    char *key;
    size_t key_len;
    uint64_t left;        /* on disk, of those that were read already */
    uint64_t left_from;   /* key of the first of them, or one before it */
    uint64_t asked_left, asked_through; /* feeding: how many there were, and up to where, when it was asked for */
    uint32_t reach;       /* rows of the next load */
    struct list_node hungry; /* in dest->hungry: some that were left may be parked now */
    bool feeding;         /* they are being read; it may not go away */
};

size_t lane_room(const struct lane *l); /* how many may be parked */
void lane_check(struct lane *l); /* frees it where nothing is in it */
bool lane_has(struct lane *l, const struct store_record *r);
