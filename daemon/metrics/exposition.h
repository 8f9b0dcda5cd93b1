#pragma once
/* Prometheus text format, version 0.0.4. Pure. */
#include <stdint.h>

#include "base/buf.h"

void metric_head(struct buf *out, const char *name, const char *type, const char *help);

/* One sample; label and value NULL = without a label. The value is escaped. */
void metric_u64(struct buf *out, const char *name, const char *label, const char *label_value, uint64_t value);
void metric_i64(struct buf *out, const char *name, const char *label, const char *label_value, int64_t value);

/* The samples of a histogram: _bucket, cumulative, as the format wants it; _sum; _count. */
struct metric_buckets {
    const uint64_t *count;  /* of each bucket alone */
    const int64_t *bounds;  /* of all but the last */
    size_t buckets;
    uint64_t sum;
};
void metric_histogram(struct buf *out, const char *name, const struct metric_buckets *b);
