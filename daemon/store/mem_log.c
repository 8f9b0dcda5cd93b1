#include "store/mem_log.h"

#include "base/mem.h"

static size_t log_count(const struct mem_log *l)
{
    return (size_t)(l->row.last + 1 - l->row.first);
}

void mem_logs_fini(struct mem_logs *l)
{
    for (size_t i = 0; i < l->count; i++) {
        for (size_t k = 0; k < log_count(&l->at[i]); k++)
            mem_free(l->at[i].entries[k]);
        mem_free(l->at[i].entries);
        mem_free(l->at[i].row.name);
    }
    mem_free(l->at);
}

void mem_log_make(struct mem_logs *l, struct str name)
{
    l->at = mem_realloc(l->at, (l->count + 1) * sizeof(*l->at));
    l->at[l->count++] = (struct mem_log){.row = {.name = str_dup(name), .name_len = name.n, .first = 1}};
}

static uint64_t version_of(const struct mem_log *l, struct str key)
{
    for (size_t i = log_count(l); i > 0; i--) {
        if (l->entries[i - 1]->version > 0 && str_eq(l->entries[i - 1]->key, key))
            return l->entries[i - 1]->version;
    }
    return 0;
}

static struct mem_log *log_of(const struct mem_logs *l, const struct store_op *op)
{
    return &l->at[store_queue_of(op->d.record.key) - 1];
}

bool mem_logs_check(const struct mem_logs *l, const struct store_batch *b, const struct store_job *job)
{
    for (size_t at = job->ops_at; at < job->ops_at + job->ops_len;) {
        size_t here = at;
        struct store_op *op = batch_op(b, &at);
        at += op_skips(op);
        if (op->kind != OP_APPEND || op->expected == STORE_ANY_VERSION)
            continue;
        uint64_t version = version_of(log_of(l, op), op->d.record.as) + appends_before(b, job, here);
        if (version == op->expected)
            continue;
        op->appended = (struct store_appended){.version = version, .mismatch = true};
        return false;
    }
    return true;
}

static struct store_entry *entry_new(const struct store_entry *from)
{
    struct store_entry *e = mem_alloc(sizeof(*e) + (size_t)entry_bytes(from)), copy = *from;
    char *p = (char *)(e + 1);
    *e = *from;
    for (size_t i = 0; i < ENTRY_STRINGS; i++) {
        entry_string(e, i)->p = p;
        p = bytes_str(p, *entry_string(&copy, i));
    }
    return e;
}

void mem_log_append(struct mem_logs *logs, struct store_op *op)
{
    struct mem_log *l = log_of(logs, op);
    size_t count = log_count(l);
    struct str key = op->d.record.as;
    op->appended.version = key.n > 0 ? version_of(l, key) + 1 : 0;
    op->appended.offset = ++l->row.last;
    if (op->d.record.accepted_ms < l->row.last_ms)
        op->d.record.accepted_ms = l->row.last_ms;
    struct store_entry e = entry_of(op);
    if (count == l->cap) {
        l->cap = l->cap > 0 ? l->cap * 2 : 16;
        l->entries = mem_realloc(l->entries, l->cap * sizeof(struct store_entry *));
    }
    l->entries[count] = entry_new(&e);
    l->row.bytes += entry_bytes(&e);
    l->row.last_ms = e.time_ms;
    if (count == 0)
        l->row.first_ms = e.time_ms;
    logs->entries++;
}

void mem_log_load(const struct mem_logs *logs, struct str key, struct store_job *job)
{
    const struct mem_log *l = &logs->at[job->log - 1];
    struct store_answer *a = job->answer;
    bool more = true;
    a->page.through = job->from;
    for (size_t i = 0; i < log_count(l) && more; i++) {
        const struct store_entry *e = l->entries[i];
        if (e->offset <= job->from || e->time_ms < job->now_ms || (key.n > 0 && !str_eq(key, e->key)))
            continue;
        more = a->page.count < job->limit;
        if (!more)
            break;
        a->page.through = e->offset;
        more = answer_entry(a, e);
    }
    a->page.at_end = more;
    if (more && l->row.last > a->page.through)
        a->page.through = l->row.last;
}

static bool is_old(const struct mem_log *l, size_t i, const struct store_job *job)
{
    return i < log_count(l) && (l->row.bytes > job->bytes || l->entries[i]->time_ms < job->now_ms);
}

void mem_log_trim(struct mem_logs *logs, struct store_job *job)
{
    struct mem_log *l = &logs->at[job->log - 1];
    size_t count = log_count(l), n = 0;
    while (n < job->limit && is_old(l, n, job)) {
        l->row.bytes -= entry_bytes(l->entries[n]);
        mem_free(l->entries[n++]);
    }
    job->answer->page.at_end = !is_old(l, n, job);
    for (size_t i = n; i < count; i++)
        l->entries[i - n] = l->entries[i];
    l->row.first += n;
    logs->entries -= n;
    if (job->now_ms == STORE_LOG_REMOVED && l->row.first > l->row.last)
        l->row.last_ms = 0;
    if (n < count)
        l->row.first_ms = l->entries[0]->time_ms;
}

void mem_logs_tell(const struct mem_logs *l, struct store_batch *b)
{
    buf_clear(&b->logs);
    for (size_t i = 0; i < l->count; i++)
        buf_put(&b->logs, &l->at[i].row, sizeof(l->at[i].row));
}
