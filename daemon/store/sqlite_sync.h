#pragma once
/*
 * Who syncs the journal. While batches come one by one the store's thread does it itself; where the next one waits
 * already, another thread does, and the store's goes on to write that one:
 *
 *     store's thread   write 1 | write 2 | write 3 …
 *     syncer                   | sync 1: answers of 1 | sync 2, 3: answers of 2, 3 …
 *
 * Answers come in order, each after a sync that began when its commit had been written. Never two syncs at a time: the
 * kernel tells an error to one of them only. A sync that fails is final (S5): what it was for and what comes behind it is
 * unknown.
 */
#include "store/internal.h"

struct gather;
struct syncer;

/* done(arg, first): batches that are answered now: what they wrote is synced, or failed (they say so); on either thread. */
struct syncer *syncer_new(struct gather *g, void (*done)(void *arg, struct store_batch *first), void *arg); /* or NULL */
void syncer_free(struct syncer *y); /* what is under way is done first; NULL is legal */
/* A list of batches, the first of which may owe a sync. here: by the calling thread, where nothing else is under way. */
void syncer_put(struct syncer *y, struct store_batch *first, bool here);
bool syncer_is_idle(struct syncer *y); /* nothing is under way */
void syncer_drain(struct syncer *y); /* until it is */
const char *syncer_failed(struct syncer *y); /* why, or NULL */
