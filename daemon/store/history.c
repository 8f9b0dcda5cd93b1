/* Chunks of notes: the calls, and the filter that tells which may hold a hash. */
#include "store/internal.h"

#define FILTER_BITS (STORE_FILTER_BYTES * 8)
#define FILTER_PROBES 4 /* 16 bits of the hash each */

void store_filter_add(uint8_t *filter, uint64_t hash)
{
    for (int i = 0; i < FILTER_PROBES; i++, hash >>= 16)
        filter[hash % FILTER_BITS / 8] |= (uint8_t)(1u << hash % 8);
}

bool store_filter_has(const uint8_t *filter, uint64_t hash)
{
    bool has = true;
    for (int i = 0; i < FILTER_PROBES; i++, hash >>= 16)
        has &= (filter[hash % FILTER_BITS / 8] >> hash % 8 & 1) != 0;
    return has;
}

void store_history_put(struct store *st, const struct store_chunk *c, uint64_t keep)
{
    struct store_job job = {.kind = JOB_HISTORY_PUT, .from = c->number, .hash = keep, .puts = 1};
    assert(c->filter.n == STORE_FILTER_BYTES && c->number > 0);
    job_add_with(st, &job, c->filter, c->data);
}

void store_history_find(struct store *st, uint64_t from, uint64_t hash, store_history_fn *fn, void *arg)
{
    job_add(st, &(struct store_job){.kind = JOB_HISTORY_FIND, .from = from, .hash = hash,
                                      .limit = HISTORY_STEP, .on_history = fn, .arg = arg});
}

void answer_chunk(struct store_answer *a, uint64_t number, struct str data)
{
    buf_put(&a->items, &(struct store_chunk){.number = number, .data = data}, sizeof(struct store_chunk));
    buf_str_put(&a->bytes, data);
    a->history.count++;
}

void answer_close_chunks(struct store_answer *a)
{
    const char *p = (const char *)buf_data(&a->bytes);
    struct store_chunk *chunks = (struct store_chunk *)(void *)buf_data(&a->items);
    for (size_t i = 0; i < a->history.count; i++) {
        chunks[i].data.p = p;
        p += chunks[i].data.n;
    }
    a->history.chunks = chunks;
}
