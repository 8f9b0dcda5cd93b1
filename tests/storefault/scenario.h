#pragma once
/*
 * A life of a store in steps, each a unit (or a taking of what is due) that a seed determines, and what a
 * store holds as a text. The model (store_mem) says what it has to hold after any of them.
 */
#include "../unit/store_sqlite_rig.h"

#define SCENARIO_QUEUES 2
#define SCENARIO_LOGS 2

/* Asks for the step; fn(arg, result) is told how it ended. Whether it puts anything. */
bool scenario_step(struct store *st, uint64_t seed, size_t step, store_fn *fn, void *arg);

/* Everything that a store which was just opened holds: a line for each row ("due|the rest"), the totals, the
 * audit's findings. Takes what is due. Empty when a load failed. */
void scenario_describe(struct bed *b, struct buf *out);

/* What a store holds after those of the first n steps that were done (NULL = all of them). */
void scenario_expect(uint64_t seed, const bool *done, size_t n, struct buf *out);

/* Fills b with a store in dir through this VFS; b->st is NULL where it was refused, b->trace says why. */
void scenario_open(struct bed *b, const char *dir, const char *vfs);
void scenario_close(struct bed *b); /* the files stay */
void scenario_remove(const char *dir);
