/* The way back: what the jobs of a batch came to is told on the loop, in the order it was asked for. */
#include <stddef.h>
#include <stdio.h>

#include "base/mem.h"
#include "store/internal.h"

static const struct {
    size_t offset;
    const char *name;
} totals[TOTALS] = {
    {offsetof(struct store_totals, accepted), "accepted"}, {offsetof(struct store_totals, ready), "ready"},
    {offsetof(struct store_totals, delayed), "delayed"},   {offsetof(struct store_totals, done), "done"},
    {offsetof(struct store_totals, expired), "expired"},
    {offsetof(struct store_totals, dropped), "dropped"},
    {offsetof(struct store_totals, dead), "dead"},
    {offsetof(struct store_totals, quarantined), "quarantined"},
};

uint64_t *totals_at(struct store_totals *t, size_t i)
{
    return (uint64_t *)(void *)((char *)t + totals[i].offset);
}

const char *totals_name(size_t i)
{
    return totals[i].name;
}

bool totals_add_up(const struct store_totals *t)
{
    uint64_t ended = t->done + t->expired + t->dropped + t->dead + t->quarantined;
    return t->accepted == t->ready + t->delayed + ended;
}

size_t totals_of_end(enum store_end how)
{
    static const uint8_t total[] = {TOTAL_DONE, TOTAL_EXPIRED, TOTAL_DROPPED};
    return total[how];
}

struct store_answer *answer_new(void)
{
    struct store_answer *a = mem_zalloc(sizeof(*a));
    a->rows.next_due_ms = a->rows.next_wall_ms = STORE_NEVER;
    return a;
}

void answer_free(struct store_answer *a)
{
    if (a == NULL)
        return;
    buf_fini(&a->items);
    buf_fini(&a->bytes);
    buf_fini(&a->findings);
    mem_free(a);
}

static void count_row(struct store_answer *a)
{
    a->rows.count++;
    a->rows.cut = a->bytes.len >= STORE_ROWS_BYTES;
}

void batch_fail_from(struct store_batch *b, size_t from)
{
    for (size_t i = from; i < batch_count(b); i++) {
        struct store_job *job = batch_job(b, i);
        job->result = STORE_UNKNOWN;
        if (!job_answers(job->kind))
            continue;
        answer_free(job->answer);
        job->answer = answer_new();
        buf_puts(&job->answer->findings, "the store is faulted\n");
    }
}

void batch_fail(struct store_batch *b, const char *why)
{
    batch_fail_from(b, 0);
    b->faulted = true;
    snprintf(b->why, sizeof(b->why), "%s", why);
}

void answer_record(struct store_answer *a, const struct store_record *r)
{
    struct store_record copy = *r;
    buf_put(&a->items, &copy, sizeof(copy));
    for (size_t i = 0; i < RECORD_STRINGS; i++)
        buf_str_put(&a->bytes, *record_string(&copy, i));
    count_row(a);
}

void answer_dead(struct store_answer *a, const struct store_dead *d)
{
    struct store_dead copy = *d;
    buf_put(&a->items, &copy, sizeof(copy));
    for (size_t i = 0; i < DEAD_STRINGS; i++)
        buf_str_put(&a->bytes, *dead_string(&copy, i));
    count_row(a);
}

/* The buffer has stopped moving: now the strings can point into it. */
void answer_close(struct store_answer *a, bool dead)
{
    const char *p = (const char *)buf_data(&a->bytes);
    struct store_dead *letters = (struct store_dead *)(void *)buf_data(&a->items);
    struct store_record *records = (struct store_record *)(void *)buf_data(&a->items);
    for (size_t i = 0; i < a->rows.count; i++) {
        for (size_t k = 0; k < (dead ? DEAD_STRINGS : RECORD_STRINGS); k++) {
            struct str *s = dead ? dead_string(&letters[i], k) : record_string(&records[i], k);
            s->p = p;
            p += s->n;
        }
    }
    a->rows.records = dead ? NULL : records;
    a->rows.dead = dead ? letters : NULL;
}

/* Nothing of the unit was written where it did not end well: then its result says more. */
static enum store_result result_of(struct store_batch *b, const struct store_job *job, size_t guard)
{
    size_t at = job->ops_at + guard - 1;
    if (guard == 0 || job->result != STORE_OK)
        return job->result;
    return batch_op(b, &at)->duplicate ? STORE_DUPLICATE : STORE_OK;
}

static void report_unit(struct store *st, struct store_batch *b, const struct store_job *job)
{
    st->stats.units++;
    st->stats.pending_bytes -= job->ops_len;
    for (size_t i = job->then_at; i < job->then_at + job->thens; i++) {
        struct store_then then = ((struct store_then *)(void *)buf_data(&b->thens))[i];
        size_t at = job->ops_at + then.op_at;
        struct store_appended told = then.appended != NULL ? batch_op(b, &at)->appended : (struct store_appended){0};
        told.result = result_of(b, job, then.guard);
        if (then.appended != NULL)
            then.appended(then.arg, &told);
        else
            then.fn(then.arg, told.result);
    }
}

static void report_answer(const struct store_job *job)
{
    struct store_answer *a = job->answer;
    a->rows.result = job->result;
    a->history.result = job->result;
    if (job->result != STORE_OK)
        a->rows.count = a->history.count = a->history.next = 0;
    if (job->kind == JOB_HISTORY_FIND)
        job->on_history(job->arg, &a->history);
    else if (job->kind == JOB_AUDIT)
        job->on_audit(job->arg, &a->books, buf_str(&a->findings));
    else if (job->kind == JOB_LOAD_LOG || job->kind == JOB_TRIM)
        log_report(job);
    else
        job->on_rows(job->arg, &a->rows);
    answer_free(a);
}

static void report_state(struct store *st, struct store_batch *b)
{
    st->stats.totals = b->totals;
    st->stats.bytes = b->bytes;
    st->stats.burials = b->burials;
    st->stats.full = b->full;
    st->stats.room = b->room;
    st->stats.low = b->low;
    st->stats.disk_full = b->disk_full;
    st->stats.faulted = b->faulted;
    st->stats.seen = b->seen;
    st->stats.seen_evicted = b->evicted;
    st->stats.commits += b->commits;
    b->commits = 0;
    logs_report(st, b);
    if (b->took_ms > st->stats.slowest_commit_ms)
        st->stats.slowest_commit_ms = b->took_ms;
    if (!b->faulted || st->fault_told)
        return;
    st->fault_told = true;
    if (st->on_fault != NULL)
        st->on_fault(st->fault_arg, b->why);
}

/* The callbacks may add jobs to this very batch (the store in memory reports its open one), so that
 * its arrays may move: a job is copied first. */
void front_report(struct store *st, struct store_batch *b, size_t end)
{
    report_state(st, b);
    while (b->reported < end) {
        struct store_job job = *batch_job(b, b->reported++);
        if (job.kind == JOB_UNIT)
            report_unit(st, b, &job);
        else if (job_answers(job.kind))
            report_answer(&job);
    }
    if (st->on_report != NULL)
        st->on_report(st->report_arg);
}
