#pragma once
/*
 * What a crash may leave, from the record of vfs.h: of each file all that was synced, and of what was written
 * since, write by write and chosen by a seed: all of it, none, or some of its 512-byte sectors, in any order.
 * Room that a lost write had added is zeros or rubbish.
 */
#include "vfs.h"

struct states;

struct states *states_new(void); /* of the record as it is; at its start */
void states_free(struct states *s);
bool states_next(struct states *s);      /* one entry on; false = that was the last */
size_t states_at(const struct states *s);  /* so many entries have happened */
size_t states_open(const struct states *s); /* so many of them are not synced */
/* Writes the files of one of the states at this point into dir. Seed 0: nothing unsynced is lost (a kill -9);
 * 1: all of it is; any other: chance. */
void states_write(const struct states *s, uint64_t seed, const char *dir);
