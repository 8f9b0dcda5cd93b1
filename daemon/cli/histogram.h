#pragma once
/* Latencies in buckets that grow with the value: 1.6 % wide at any size, in constant memory. */
#include <stdint.h>

#define HISTOGRAM_BUCKETS 4096

struct histogram { /* zeroed = empty */
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t count;
    int64_t max;
};

void histogram_add(struct histogram *h, int64_t value); /* below 0 counts as 0 */
/* The value that a share of 0..1 of all values is not above; 0 when empty. */
int64_t histogram_share(const struct histogram *h, double share);
