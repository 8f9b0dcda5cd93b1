/* Event logs: the front, as store.c and report.c are of the deliveries. */
#include "store/store_log.h"

#include <assert.h>
#include <stddef.h>

#include "base/mem.h"
#include "store/internal.h"

#define PAGE_BYTES (256u << 10) /* a page ends with the entry that reaches it */

static const size_t entry_strings[ENTRY_STRINGS] = {
    offsetof(struct store_entry, key),     offsetof(struct store_entry, route), offsetof(struct store_entry, subject),
    offsetof(struct store_entry, headers), offsetof(struct store_entry, body),
};

struct str *entry_string(struct store_entry *e, size_t i)
{
    return (struct str *)(void *)((char *)e + entry_strings[i]);
}

uint64_t entry_bytes(const struct store_entry *e)
{
    return STORE_ENTRY_BYTES + e->key.n + e->route.n + e->subject.n + e->headers.n + e->body.n;
}

struct store_entry entry_of(const struct store_op *op)
{
    const struct store_record *r = &op->d.record;
    return (struct store_entry){.offset = op->appended.offset, .version = op->appended.version,
                                .time_ms = r->accepted_ms, .key = r->as, .route = r->route, .subject = r->subject,
                                .headers = r->headers, .body = r->body};
}

uint64_t appends_before(const struct store_batch *b, const struct store_job *unit, size_t op_at)
{
    size_t at = op_at;
    const struct store_op *op = batch_op(b, &at);
    uint64_t sum = 0;
    for (at = unit->ops_at; at < op_at;) {
        const struct store_op *before = batch_op(b, &at);
        at += op_skips(before);
        sum += before->kind == OP_APPEND && before->d.record.key == op->d.record.key &&
               str_eq(before->d.record.as, op->d.record.as);
    }
    return sum;
}

/* ---------------------------------------------------------------- the logs */

void front_add_log(struct store *st, const struct store_log_row *row)
{
    st->log_rows = mem_realloc(st->log_rows, (st->log_count + 1) * sizeof(*st->log_rows));
    struct store_log_row *copy = &st->log_rows[st->log_count++];
    *copy = *row;
    copy->name = mem_strndup(row->name, row->name_len);
    map_set(&st->logs, str_make(row->name, row->name_len),
            (void *)(uintptr_t)st->log_count); // NOLINT(performance-no-int-to-ptr)
}

void logs_fini(struct store *st)
{
    for (size_t i = 0; i < st->log_count; i++)
        mem_free(st->log_rows[i].name);
    mem_free(st->log_rows);
    map_fini(&st->logs);
}

uint32_t store_log(struct store *st, struct str name)
{
    uint32_t number = (uint32_t)(uintptr_t)map_get(&st->logs, name);
    if (number != 0 || st->log_count == STORE_LOGS_MAX)
        return number;
    char *text = str_dup(name);
    front_add_log(st, &(struct store_log_row){.name = text, .name_len = name.n, .first = 1});
    mem_free(text);
    job_add_named(st, &(struct store_job){.kind = JOB_LOG, .from = st->log_count}, name);
    return (uint32_t)st->log_count;
}

bool store_log_view(const struct store *st, uint32_t log, struct store_log_view *out)
{
    if (log == 0 || log > st->log_count)
        return false;
    const struct store_log_row *row = &st->log_rows[log - 1];
    *out = (struct store_log_view){.log = log, .name = str_make(row->name, row->name_len), .first = row->first,
                                   .last = row->last, .bytes = row->bytes, .first_ms = row->first_ms,
                                   .last_ms = row->last_ms};
    return true;
}

uint32_t store_log_count(const struct store *st)
{
    return (uint32_t)st->log_count;
}

/* Logs that were made since the batch was taken are behind its end. */
void logs_report(struct store *st, const struct store_batch *b)
{
    const struct store_log_row *rows = (const struct store_log_row *)(const void *)buf_data(&b->logs);
    size_t count = b->logs.len / sizeof(*rows);
    for (size_t i = 0; i < count && i < st->log_count; i++) {
        struct store_log_row *to = &st->log_rows[i];
        assert(rows != NULL);
        to->first = rows[i].first;
        to->last = rows[i].last;
        to->bytes = rows[i].bytes;
        to->first_ms = rows[i].first_ms;
        to->last_ms = rows[i].last_ms;
    }
}

/* ---------------------------------------------------------------- jobs */

void store_append(struct store *st, const struct store_append *a, store_appended_fn *fn, void *arg)
{
    struct store_op op = {.kind = OP_APPEND, .expected = a->key.n > 0 ? a->expected : STORE_ANY_VERSION,
                          .d.record = {.key = store_key(a->log, 0), .accepted_ms = a->now_ms, .as = a->key,
                                       .route = a->route, .subject = a->subject, .headers = a->headers,
                                       .body = a->body}};
    struct store_then then = {.appended = fn, .arg = arg, .op_at = st->batch->ops.len - st->unit.ops_at,
                              .guard = st->guard};
    assert(a->log >= 1 && a->log <= st->log_count);
    st->unit.puts++;
    st->unit.checks |= op.expected != STORE_ANY_VERSION;
    op_add(st, &op);
    buf_put(&st->batch->thens, &then, sizeof(then));
}

void store_load_log(struct store *st, const struct store_log_query *q, store_log_fn *fn, void *arg)
{
    job_add_named(st, &(struct store_job){.kind = JOB_LOAD_LOG, .log = q->log, .from = q->after,
                                          .now_ms = q->since_ms, .limit = q->limit, .on_page = fn, .arg = arg},
                  q->key);
}

void store_trim(struct store *st, const struct store_trim *t, void (*fn)(void *arg, bool more), void *arg)
{
    job_add_named(st, &(struct store_job){.kind = JOB_TRIM, .log = t->log, .now_ms = t->before_ms, .bytes = t->bytes,
                                          .limit = t->limit, .on_trimmed = fn, .arg = arg}, STR_NONE);
}

/* ---------------------------------------------------------------- answers */

bool answer_entry(struct store_answer *a, const struct store_entry *e)
{
    struct store_entry copy = *e;
    buf_put(&a->items, &copy, sizeof(copy));
    for (size_t i = 0; i < ENTRY_STRINGS; i++)
        buf_str_put(&a->bytes, *entry_string(&copy, i));
    a->page.count++;
    return a->bytes.len < PAGE_BYTES;
}

void answer_close_log(struct store_answer *a)
{
    const char *p = (const char *)buf_data(&a->bytes);
    struct store_entry *entries = (struct store_entry *)(void *)buf_data(&a->items);
    for (size_t i = 0; i < a->page.count; i++) {
        for (size_t k = 0; k < ENTRY_STRINGS; k++) {
            struct str *s = entry_string(&entries[i], k);
            s->p = p;
            p += s->n;
        }
    }
    a->page.entries = entries;
}

void log_report(const struct store_job *job)
{
    struct store_log_page *page = &job->answer->page;
    page->result = job->result;
    if (job->result != STORE_OK)
        page->count = 0;
    if (job->kind == JOB_TRIM)
        job->on_trimmed(job->arg, job->result == STORE_OK && !page->at_end);
    else
        job->on_page(job->arg, page);
}
