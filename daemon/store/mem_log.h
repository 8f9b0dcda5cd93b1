#pragma once
/* The event logs of store_mem: an array of entries per log. */
#include "store/internal.h"

struct mem_log {
    struct store_log_row row;
    struct store_entry **entries; /* of first … last; strings behind each */
    size_t cap;
};

struct mem_logs { /* zeroed = none; number 1 is at 0 */
    struct mem_log *at;
    size_t count;
    uint64_t entries; /* of all */
};

void mem_logs_fini(struct mem_logs *l);
void mem_log_make(struct mem_logs *l, struct str name);
/* Does every append of the unit find the version it expects? False: the one that does not says so. */
bool mem_logs_check(const struct mem_logs *l, const struct store_batch *b, const struct store_job *job);
void mem_log_append(struct mem_logs *l, struct store_op *op);
void mem_log_load(const struct mem_logs *l, struct str key, struct store_job *job); /* into its answer */
void mem_log_trim(struct mem_logs *l, struct store_job *job);
void mem_logs_tell(const struct mem_logs *l, struct store_batch *b);
