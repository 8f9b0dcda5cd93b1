#pragma once
/*
 * What became of each message: a note of some 100 bytes for each attempt that failed and where a delivery ends, 32 bytes
 * where it ended well at once. Taking one costs a copy into memory, no call of the system.
 *
 *     of stored deliveries, and of all that went wrong      --chunk full, or after a while--> the store, bounded
 *     of best-effort deliveries that just went well: light.h
 *
 * Without a store they stay in memory, the oldest goes. A process that is killed loses those that are not in the
 * store yet: of the last HISTORY_FLUSH_MS.
 *
 * A chunk is read by itself: names are spelled out once in each, and a number from then on.
 */
#include "base/buf.h"
#include "delivery/hub.h"

#define HISTORY_CHUNK 65536
#define HISTORY_RING 64 /* chunks in memory where there is no store: 4 MiB */
#define HISTORY_FLUSH_MS 5000

struct history;
struct delivery;

struct history *history_new(struct hub *h);
void history_free(struct history *t); /* what is not flushed is lost; NULL is legal */
void history_limit(struct history *t, uint64_t bytes); /* on disk; 0 = no notes are taken */
void history_flush(struct history *t);

/* Of a delivery, before it leaves its state. pause_ms: of PAST_RETRY, until the next attempt. detail: why; may be empty. */
void history_note(const struct delivery *v, enum past_event event, int64_t pause_ms, struct str detail);
/* Of a dead letter that comes back or is purged. */
void history_note_dead(struct hub *h, const struct dead_letter *d, enum past_event event, const char *detail);

/* Every note of this id in a chunk, in order. What is no chunk is read up to where it stops being one. */
void history_read(struct str chunk, struct str id, past_fn *fn, void *arg);

/* Multiplied and folded in two lanes, sixteen bytes at a time. Not for tables that a stranger could flood. */
static inline uint64_t history_hash(struct str id)
{
    uint64_t a = id.n * UINT64_C(0x9E3779B97F4A7C15), b = UINT64_C(0xC2B2AE3D27D4EB4F), word[2];
    for (; id.n >= sizeof(word); id = str_make(id.p + sizeof(word), id.n - sizeof(word))) {
        bytes_copy((char *)word, id.p, sizeof(word));
        a = (a ^ word[0]) * UINT64_C(0xFF51AFD7ED558CCD);
        b = (b ^ word[1]) * UINT64_C(0xC4CEB9FE1A85EC53);
        a ^= a >> 29;
        b ^= b >> 31;
    }
    word[0] = word[1] = 0;
    bytes_str((char *)word, id);
    a = (a ^ word[0] ^ b >> 32) * UINT64_C(0xFF51AFD7ED558CCD);
    b = (b ^ word[1] ^ a >> 32) * UINT64_C(0xC4CEB9FE1A85EC53);
    return a ^ b ^ b >> 29;
}
/* The same in what is in memory and does not go to the store. */
void history_each(const struct history *t, struct str id, past_fn *fn, void *arg);
