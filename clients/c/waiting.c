#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Ids are a counter, so id & mask spreads them perfectly: no hash function needed. */
static struct bellhop_waiting **bucket_of(const struct bellhop_waiting_map *map, uint64_t id)
{
    return &map->buckets[id & map->mask];
}

static bool map_grow(struct bellhop_waiting_map *map)
{
    size_t size = map->buckets == NULL ? 64 : (map->mask + 1) * 2;
    struct bellhop_waiting_map bigger = *map;
    bigger.buckets = calloc(size, sizeof *bigger.buckets);
    bigger.mask = size - 1;
    if (bigger.buckets == NULL)
        return false;
    for (size_t i = 0; map->buckets != NULL && i <= map->mask; i++) {
        struct bellhop_waiting *w = map->buckets[i];
        while (w != NULL) {
            struct bellhop_waiting *next = w->next;
            struct bellhop_waiting **to = bucket_of(&bigger, w->id);
            w->next = *to;
            *to = w;
            w = next;
        }
    }
    free(map->buckets);
    bigger.sweep = 0;
    *map = bigger;
    return true;
}

bool bellhop_waiting_add(struct bellhop_waiting_map *map, struct bellhop_waiting entry)
{
    bool full = map->buckets == NULL || map->count > map->mask;
    if (full && !map_grow(map))
        return false;
    struct bellhop_waiting *w = map->spare;
    if (w != NULL)
        map->spare = w->next;
    else if ((w = malloc(sizeof *w)) == NULL)
        return false;
    struct bellhop_waiting **at = bucket_of(map, entry.id);
    *w = entry;
    w->next = *at;
    *at = w;
    if (map->count++ == 0)
        map->earliest_ms = INT64_MAX;
    if (entry.deadline_ms > 0 && entry.deadline_ms < map->earliest_ms)
        map->earliest_ms = entry.deadline_ms;
    if (entry.deadline_ms > 0 && entry.deadline_ms < map->sweep_earliest_ms)
        map->sweep_earliest_ms = entry.deadline_ms;
    return true;
}

static void entry_take(struct bellhop_waiting_map *map, struct bellhop_waiting **at, struct bellhop_waiting *out)
{
    struct bellhop_waiting *w = *at;
    *out = *w;
    *at = w->next;
    w->next = map->spare;
    map->spare = w;
    map->count--;
}

bool bellhop_waiting_get(struct bellhop_waiting_map *map, uint64_t id, bool take, struct bellhop_waiting *out)
{
    if (map->count == 0)
        return false;
    struct bellhop_waiting **at = bucket_of(map, id);
    while (*at != NULL && (*at)->id != id)
        at = &(*at)->next;
    if (*at == NULL)
        return false;
    if (take)
        entry_take(map, at, out);
    else
        *out = **at;
    return true;
}

/* Goes on with the sweep where the last call stopped: a callback between two calls may add entries, hence sweep_earliest_ms
 * in the map. At most one sweep per time-out passed, because earliest_ms is only ever a lower bound: adding and answering
 * stay free of any ordering work. */
bool bellhop_waiting_pop(struct bellhop_waiting_map *map, int64_t now_ms, struct bellhop_waiting *out)
{
    if (map->sweep == 0) {
        if (map->count == 0 || (now_ms != INT64_MAX && map->earliest_ms > now_ms))
            return false;
        map->sweep_earliest_ms = INT64_MAX;
    }
    for (; map->count > 0 && map->sweep <= map->mask; map->sweep++) {
        for (struct bellhop_waiting **at = &map->buckets[map->sweep]; *at != NULL; at = &(*at)->next) {
            int64_t deadline = (*at)->deadline_ms > 0 ? (*at)->deadline_ms : INT64_MAX;
            if (deadline <= now_ms) {
                entry_take(map, at, out);
                return true;
            }
            if (deadline < map->sweep_earliest_ms)
                map->sweep_earliest_ms = deadline;
        }
    }
    map->sweep = 0;
    map->earliest_ms = map->sweep_earliest_ms;
    return false;
}

void bellhop_waiting_fini(struct bellhop_waiting_map *map)
{
    struct bellhop_waiting gone;
    while (bellhop_waiting_pop(map, INT64_MAX, &gone))
        ;
    while (map->spare != NULL) {
        struct bellhop_waiting *next = map->spare->next;
        free(map->spare);
        map->spare = next;
    }
    free(map->buckets);
    memset(map, 0, sizeof *map);
}
