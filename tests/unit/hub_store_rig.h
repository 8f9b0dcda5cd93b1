#pragma once
/* The rig of the core with a store in memory: lives that end, one after the other, on one disk. */
#include "hub_rig.h"
#include "store/store_mem.h"

static struct store_disk *disk;
static struct store *store;

static inline void run_store(void)
{
    while (store_mem_pending(store) > 0)
        store_mem_run(store, 1);
    sound();
}

static inline void routes_durable(void)
{
    routes_usual();
    for (size_t i = 0; i < plain->count; i++)
        plain->routes[i].durable = true;
    routes_use();
}

static void (*adjust)(void); /* what `plain` is before its routes are made; NULL = as it is */

static inline void life(void)
{
    set_up();
    if (adjust != NULL)
        adjust();
    store = store_mem_open(disk);
    hub_use_store(hub, store);
    routes_durable();
}

static inline void start(void)
{
    disk = store_disk_new(100000);
    life();
}

static inline void end(void)
{
    store_close(store);
    tear_down();
    store_disk_free(disk);
}

/* kill -9 after so many of the jobs that were handed over, and the next start. */
static inline void crash(size_t jobs)
{
    store_mem_crash(store, jobs);
    hub_free(hub); /* the process's memory; nothing of it reaches the disk */
    life();
}

static inline void stop_cleanly(void)
{
    store_close(store);
    hub_free(hub);
    life();
}

static inline struct store_totals totals(void)
{
    struct store_totals t;
    store_disk_totals(disk, &t);
    return t;
}

static inline void on_walked(void *arg, const struct dead_walked *sum)
{
    *(struct dead_walked *)arg = *sum;
}

static inline struct dead_walked walk(enum dead_action action)
{
    struct dead_walked sum = {.failed = true};
    struct dead_ask ask = {.action = action, .arg = &sum, .done = on_walked};
    ck_assert_ptr_nonnull(hub_dead_walk(hub, &ask));
    run_store();
    ck_assert(!sum.failed);
    return sum;
}
