#include "cli/histogram.h"

#define SUB_BITS 6
#define SUB_COUNT (1u << SUB_BITS)

/* Values below 64 have a bucket each; above, each power of two has 64. */
static unsigned bucket_of(uint64_t v)
{
    if (v < SUB_COUNT)
        return (unsigned)v;
    unsigned shift = (unsigned)(63 - __builtin_clzll(v)) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (unsigned)((v >> shift) & (SUB_COUNT - 1));
}

static int64_t bucket_value(unsigned i)
{
    if (i < SUB_COUNT)
        return i;
    unsigned shift = (i >> SUB_BITS) - 1;
    return (int64_t)((uint64_t)(SUB_COUNT + (i & (SUB_COUNT - 1))) << shift);
}

void histogram_add(struct histogram *h, int64_t value)
{
    if (value < 0)
        value = 0;
    h->buckets[bucket_of((uint64_t)value)]++;
    h->count++;
    if (value > h->max)
        h->max = value;
}

int64_t histogram_share(const struct histogram *h, double share)
{
    uint64_t rank = (uint64_t)((double)h->count * share + 0.5);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && h->count > 0; i++) {
        seen += h->buckets[i];
        if (seen >= rank && seen > 0)
            return bucket_value(i);
    }
    return h->max;
}
