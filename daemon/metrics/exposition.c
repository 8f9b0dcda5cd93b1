#include "metrics/exposition.h"

#include <inttypes.h>

void metric_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_name(struct buf *out, const char *name, const char *label, const char *label_value)
{
    buf_puts(out, name);
    if (label == NULL)
        return;
    buf_putc(out, '{');
    buf_puts(out, label);
    buf_puts(out, "=\"");
    for (const char *p = label_value;; p++) {
        size_t plain = strcspn(p, "\\\"\n");
        buf_put(out, p, plain);
        p += plain;
        if (*p == '\0')
            break;
        buf_putc(out, '\\');
        buf_putc(out, *p != '\n' ? *p : 'n');
    }
    buf_puts(out, "\"}");
}

void metric_u64(struct buf *out, const char *name, const char *label, const char *label_value, uint64_t value)
{
    put_name(out, name, label, label_value); /* by hand: there may be thousands of destinations */
    buf_putc(out, ' ');
    buf_u64(out, value);
    buf_putc(out, '\n');
}

void metric_i64(struct buf *out, const char *name, const char *label, const char *label_value, int64_t value)
{
    put_name(out, name, label, label_value);
    buf_putc(out, ' ');
    buf_i64(out, value);
    buf_putc(out, '\n');
}

void metric_histogram(struct buf *out, const char *name, const struct metric_buckets *b)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < b->buckets; i++) {
        sum += b->count[i];
        if (i < b->buckets - 1)
            buf_printf(out, "%s_bucket{le=\"%" PRId64 "\"} %" PRIu64 "\n", name, b->bounds[i], sum);
    }
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %" PRIu64 "\n%s_count %" PRIu64 "\n", name, sum, name, b->sum,
               name, sum);
}
