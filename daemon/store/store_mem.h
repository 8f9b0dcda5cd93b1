#pragma once
/*
 * The store in memory: the model that store_sqlite is compared with, and the disk of the simulator.
 * What would survive a crash is a `struct store_disk`; a store on it is one life of a process.
 */
#include "store/store.h"

struct store_disk;
struct store_disk *store_disk_new(uint64_t max_rows); /* puts above that many live and dead rows are FULL */
void store_disk_free(struct store_disk *d);           /* no store may be open on it */
void store_disk_totals(const struct store_disk *d, struct store_totals *out);

struct store *store_mem_open(struct store_disk *d); /* one at a time */
/* Does the oldest `jobs` of what was handed over (units and loads), then reports them. Returns how many
 * there were. */
size_t store_mem_run(struct store *st, size_t jobs);
size_t store_mem_pending(const struct store *st);
/* Commits the oldest `jobs` without a report, loses the rest, frees: a kill -9 at that moment. */
void store_mem_crash(struct store *st, size_t jobs);
void store_mem_fault(struct store *st); /* the next commit fails */
