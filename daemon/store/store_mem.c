/* The model: two sorted arrays of rows. It shares the front with store_sqlite and nothing else. */
#include "store/store_mem.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/internal.h"
#include "store/mem_log.h"

struct row {
    struct store_dead d; /* of a live row only its record */
    bool taken;          /* was delayed in this life: no load brings it */
    char bytes[];
};

struct rows { /* by rising number: a live row's key, a dead letter's number */
    struct row **at;
    size_t count, cap;
    bool dead;
};

struct seen { /* ids, sorted */
    struct seen_row {
        uint64_t id[2];
        int64_t until_ms;
    } *at;
    size_t count, cap;
};

struct history { /* by rising number */
    struct chunk {
        uint64_t number;
        struct buf bytes; /* filter and data */
    } *at;
    size_t count;
};

struct store_disk {
    struct history history;
    struct seen seen;
    uint64_t max_rows;
    struct rows live, dead;
    struct mem_logs logs;
    struct store_totals totals;
    struct store_queue_row *queues;
    size_t queue_count;
    uint64_t reserved; /* numbers below may have been given out */
    struct store_time time;
    uint64_t suspect_below;
    uint64_t burials;
    bool open, unclean;
};

struct store_mem {
    struct store base;
    struct store_disk *disk;
    size_t done; /* jobs of the open batch */
    bool fault;  /* the next commit fails */
    bool faulted;
};

/* ---------------------------------------------------------------- rows */

static struct row *row_new(const struct store_dead *d)
{
    struct store_dead from = *d;
    size_t n = 0;
    for (size_t i = 0; i < DEAD_STRINGS; i++)
        n += dead_string(&from, i)->n;
    struct row *row = mem_zalloc(sizeof(*row) + n);
    char *p = row->bytes;
    row->d = from;
    for (size_t i = 0; i < DEAD_STRINGS; i++) {
        dead_string(&row->d, i)->p = p;
        p = bytes_str(p, *dead_string(&from, i));
    }
    return row;
}

static uint64_t row_number(const struct rows *rows, size_t i)
{
    return rows->dead ? rows->at[i]->d.number : rows->at[i]->d.record.key;
}

/* Where `number` is, or would be. */
static size_t rows_find(const struct rows *rows, uint64_t number)
{
    size_t low = 0, high = rows->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (row_number(rows, middle) < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct row **rows_get(const struct rows *rows, uint64_t number)
{
    size_t i = rows_find(rows, number);
    return i < rows->count && row_number(rows, i) == number ? &rows->at[i] : NULL;
}

static struct row *rows_add(struct rows *rows, const struct store_dead *d)
{
    size_t i = rows_find(rows, rows->dead ? d->number : d->record.key);
    assert(rows_get(rows, rows->dead ? d->number : d->record.key) == NULL);
    if (rows->count == rows->cap) {
        rows->cap = rows->cap > 0 ? rows->cap * 2 : 16;
        rows->at = mem_realloc(rows->at, rows->cap * sizeof(struct row *));
    }
    memmove(rows->at + i + 1, rows->at + i, (rows->count++ - i) * sizeof(struct row *));
    return rows->at[i] = row_new(d);
}

static void rows_remove(struct rows *rows, struct row **at)
{
    size_t behind = (size_t)(rows->at + --rows->count - at);
    mem_free(*at);
    memmove(at, at + 1, behind * sizeof(struct row *));
}

static void row_replace(struct row **at, const struct store_dead *d)
{
    struct row *row = row_new(d);
    row->taken = (*at)->taken;
    mem_free(*at);
    *at = row;
}

static void rows_free(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        mem_free(rows->at[i]);
    mem_free(rows->at);
}

/* ---------------------------------------------------------------- units */

static uint64_t *live_total(struct store_disk *d, int64_t due_ms)
{
    return due_ms > 0 ? &d->totals.delayed : &d->totals.ready;
}

static void live_add(struct store_disk *d, const struct store_dead *dead)
{
    struct row *row = rows_add(&d->live, dead);
    row->taken = row->d.record.due_ms > 0;
    ++*live_total(d, row->d.record.due_ms);
}

static void live_remove(struct store_disk *d, struct row **at)
{
    --*live_total(d, (*at)->d.record.due_ms);
    rows_remove(&d->live, at);
}

static void do_put(struct store_disk *d, struct store_op *op)
{
    d->totals.accepted++;
    live_add(d, &op->d);
}

static void do_end(struct store_disk *d, struct store_op *op)
{
    struct row **at = rows_get(&d->live, op->d.record.key);
    if (at == NULL)
        return;
    live_remove(d, at);
    ++*totals_at(&d->totals, totals_of_end(op->how));
}

static void set_errors(struct store_record *r, const struct store_record *from)
{
    if (from->first_error.n > 0)
        r->first_error = from->first_error;
    if (from->last_error.n > 0)
        r->last_error = from->last_error;
}

static void do_update(struct store_disk *d, struct store_op *op)
{
    const struct store_record *r = &op->d.record;
    struct row **at = rows_get(&d->live, r->key);
    if (at == NULL)
        return;
    struct store_dead changed = (*at)->d;
    --*live_total(d, changed.record.due_ms);
    ++*live_total(d, r->due_ms);
    changed.record.attempt = r->attempt;
    if (r->crashes > 0)
        changed.record.crashes = r->crashes;
    changed.record.due_ms = r->due_ms;
    changed.record.by_wall = false;
    set_errors(&changed.record, r);
    row_replace(at, &changed);
    (*at)->taken |= r->due_ms > 0;
}

static void do_bury(struct store_disk *d, struct store_op *op)
{
    struct store_dead dead = op->d;
    struct row **at = rows_get(&d->live, dead.record.key);
    bool stored = store_seq_of(dead.record.key) != 0;
    if (stored && at == NULL)
        return;
    if (stored) {
        dead.record = (*at)->d.record;
        set_errors(&dead.record, &op->d.record);
        if (op->d.record.attempt > dead.record.attempt)
            dead.record.attempt = op->d.record.attempt;
    } else {
        d->totals.accepted++;
    }
    dead.number = ++d->burials;
    dead.record.due_ms = 0;
    dead.record.by_wall = false;
    rows_add(&d->dead, &dead);
    d->totals.dead++;
    if (stored)
        live_remove(d, at);
}

static void do_redrive(struct store_disk *d, struct store_op *op)
{
    struct row **at = rows_get(&d->dead, op->d.number);
    if (at == NULL)
        return;
    struct store_dead live = (*at)->d;
    live.record.key = op->d.record.key;
    live.record.attempt = live.record.crashes = 0;
    live.record.redrives++;
    live.record.expires_ms = STORE_NEVER;
    live_add(d, &live);
    rows_remove(&d->dead, at);
    d->totals.dead--;
}

static void do_purge(struct store_disk *d, struct store_op *op)
{
    struct row **at = rows_get(&d->dead, op->d.number);
    if (at == NULL)
        return;
    rows_remove(&d->dead, at);
    d->totals.dead--;
    d->totals.dropped++;
}

static void do_edit(struct store_disk *d, struct store_op *op)
{
    struct row **at = rows_get(&d->dead, op->d.number);
    if (at == NULL)
        return;
    struct store_dead changed = (*at)->d;
    changed.record.subject = op->d.record.subject;
    changed.record.headers = op->d.record.headers;
    changed.record.body = op->d.record.body;
    row_replace(at, &changed);
}

static void do_move(struct store_disk *d, struct store_op *op)
{
    struct store_dead moved = op->d;
    struct row **at = rows_get(&d->live, moved.number);
    if (moved.number != 0 && at == NULL)
        return;
    if (at != NULL)
        live_remove(d, at);
    else
        d->totals.accepted++;
    moved.number = 0;
    live_add(d, &moved);
}

/* Below 0: the row comes before the id. */
static int seen_compare(const struct seen_row *row, const uint64_t id[2])
{
    size_t k = row->id[0] == id[0];
    return row->id[k] < id[k] ? -1 : row->id[k] > id[k];
}

/* Those whose time is over make room for what comes. */
static void seen_grow(struct seen *s, const struct once *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (s->at[i].until_ms > o->now_ms)
            s->at[kept++] = s->at[i];
    }
    s->count = kept;
    if (kept < s->cap / 2 || s->cap >= STORE_SEEN_MAX)
        return;
    s->cap = s->cap > 0 ? s->cap * 2 : 64;
    s->at = mem_realloc(s->at, s->cap * sizeof(*s->at));
}

static size_t seen_find(const struct seen *s, const uint64_t id[2])
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (seen_compare(&s->at[middle], id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_copy(const struct seen *s, const struct once *o)
{
    size_t i = seen_find(s, o->id);
    return i < s->count && seen_compare(&s->at[i], o->id) == 0 && seen_counts(o, s->at[i].until_ms);
}

/* Before the versions of a unit are checked: what is a copy expects none any more. */
static void mark_copies(const struct store_disk *d, const struct store_batch *b, const struct store_job *job)
{
    for (size_t at = job->ops_at; at < job->ops_at + job->ops_len;) {
        struct store_op *op = batch_op(b, &at);
        op->duplicate = op->kind == OP_ONCE && is_copy(&d->seen, &op->once);
        at += op_skips(op);
    }
}

static void do_once(struct store_disk *d, struct store_op *op)
{
    struct seen *s = &d->seen;
    if (s->count == s->cap)
        seen_grow(s, &op->once);
    size_t i = seen_find(s, op->once.id);
    bool found = i < s->count && seen_compare(&s->at[i], op->once.id) == 0;
    op->duplicate = found && seen_counts(&op->once, s->at[i].until_ms);
    if (op->duplicate || (!found && s->count == s->cap))
        return;
    if (!found)
        memmove(s->at + i + 1, s->at + i, (s->count++ - i) * sizeof(*s->at));
    s->at[i] = (struct seen_row){{op->once.id[0], op->once.id[1]}, seen_until(&op->once)};
}

static void do_append(struct store_disk *d, struct store_op *op)
{
    mem_log_append(&d->logs, op);
}

static uint64_t disk_rows(const struct store_disk *d)
{
    return d->live.count + d->dead.count + d->logs.entries;
}

static void do_unit(struct store_mem *m, struct store_batch *b, struct store_job *job)
{
    static void (*const ops[OP_KINDS])(struct store_disk *d, struct store_op *op) = {
        do_put, do_end, do_update, do_bury, do_redrive, do_purge, do_edit, do_append, do_move, do_once,
    };
    struct store_disk *d = m->disk;
    m->faulted |= m->fault;
    if (job->checks)
        mark_copies(d, b, job);
    if (m->faulted) {
        job->result = STORE_UNKNOWN;
    } else if (job->puts > 0 && disk_rows(d) + job->puts > d->max_rows) {
        job->result = STORE_FULL;
    } else if (job->checks && !mem_logs_check(&d->logs, b, job)) {
        job->result = STORE_CONFLICT;
    } else {
        d->reserved = seq_reserved(m->base.next_seq, d->reserved);
        d->time = time_kept(d->time, m->base.time);
        for (size_t at = job->ops_at; at < job->ops_at + job->ops_len;) {
            struct store_op *op = batch_op(b, &at);
            ops[op->kind](d, op);
            at += op_skips(op);
        }
        b->commits = 1;
    }
}

static void do_queue(struct store_mem *m, struct store_batch *b, struct store_job *job)
{
    struct store_disk *d = m->disk;
    if (m->faulted)
        return;
    if (job->kind == JOB_LOG) {
        mem_log_make(&d->logs, job_text(b, job));
        return;
    }
    d->queues = mem_realloc(d->queues, (d->queue_count + 1) * sizeof(*d->queues));
    d->queues[d->queue_count++] = (struct store_queue_row){
        .name = mem_strndup((const char *)buf_data(&b->ops) + job->ops_at, job->ops_len),
        .name_len = job->ops_len, .service = job->service};
}

static void history_forget(struct history *h, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_fini(&h->at[i].bytes);
    h->count -= count;
    memmove(h->at, h->at + count, h->count * sizeof(*h->at));
}

static struct chunk *history_chunk(struct history *h, uint64_t number)
{
    if (h->count > 0 && h->at[h->count - 1].number == number)
        return &h->at[h->count - 1];
    h->at = mem_realloc(h->at, (h->count + 1) * sizeof(*h->at));
    h->at[h->count] = (struct chunk){.number = number};
    return &h->at[h->count++];
}

static void do_history_put(struct store_mem *m, struct store_batch *b, struct store_job *job)
{
    struct history *h = &m->disk->history;
    size_t old = 0;
    if (m->faulted)
        return;
    struct chunk *c = history_chunk(h, job->from);
    buf_clear(&c->bytes);
    buf_put(&c->bytes, buf_data(&b->ops) + job->ops_at, job->ops_len);
    while (old < h->count && old < HISTORY_TRIM && h->at[old].number + job->hash <= job->from)
        old++;
    if (old > 0)
        history_forget(h, old);
}

/* ---------------------------------------------------------------- loads */

static void do_load(struct store_mem *m, struct store_job *job)
{
    const struct rows *rows = &m->disk->live;
    const struct store_rows *told = &job->answer->rows;
    for (size_t i = rows_find(rows, job->from + 1); i < rows->count && told->count < job->limit && !told->cut; i++) {
        const struct row *row = rows->at[i];
        if (store_queue_of(row->d.record.key) != store_queue_of(job->from))
            break;
        if (row->taken == job->taken && row->d.record.due_ms == 0)
            answer_record(job->answer, &row->d.record);
    }
}

static int row_by_due(const void *x, const void *y)
{
    const struct store_record *a = &(*(struct row *const *)x)->d.record;
    const struct store_record *b = &(*(struct row *const *)y)->d.record;
    if (a->by_wall != b->by_wall)
        return a->by_wall ? 1 : -1;
    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms ? -1 : 1;
    return a->key < b->key ? -1 : 1;
}

static void do_take_due(struct store_mem *m, struct store_job *job)
{
    const struct rows *rows = &m->disk->live;
    struct store_rows *told = &job->answer->rows;
    struct row **due = mem_calloc(rows->count, sizeof(struct row *));
    size_t n = 0, i = 0;
    for (size_t k = 0; k < rows->count; k++) {
        if (rows->at[k]->d.record.due_ms > 0)
            due[n++] = rows->at[k];
    }
    qsort(due, n, sizeof(struct row *), row_by_due);
    for (; i < n; i++) {
        struct store_record *r = &due[i]->d.record;
        bool over = r->due_ms <= (r->by_wall ? job->wall_ms : job->now_ms);
        int64_t *next = r->by_wall ? &told->next_wall_ms : &told->next_due_ms;
        if (!over || told->cut || told->count == job->limit) {
            *next = r->due_ms < *next ? r->due_ms : *next;
            continue;
        }
        answer_record(job->answer, r);
        r->due_ms = 0;
        r->by_wall = false;
        m->disk->totals.delayed--;
        m->disk->totals.ready++;
    }
    mem_free(due);
}

static void do_load_dead(struct store_mem *m, struct store_job *job)
{
    const struct rows *rows = &m->disk->dead;
    const struct store_rows *told = &job->answer->rows;
    for (size_t i = rows_find(rows, job->from + 1); i < rows->count && told->count < job->limit && !told->cut; i++)
        answer_dead(job->answer, &rows->at[i]->d);
}

static void do_history_find(struct store_mem *m, struct store_job *job)
{
    const struct history *h = &m->disk->history;
    uint32_t seen = 0;
    for (size_t i = 0; i < h->count && seen < job->limit; i++) {
        const uint8_t *filter = buf_data(&h->at[i].bytes);
        if (h->at[i].number < job->from)
            continue;
        if (store_filter_has(filter, job->hash))
            answer_chunk(job->answer, h->at[i].number,
                         str_make(filter + STORE_FILTER_BYTES, h->at[i].bytes.len - STORE_FILTER_BYTES));
        if (++seen == job->limit)
            job->answer->history.next = h->at[i].number + 1;
    }
}

static void do_audit(struct store_mem *m, struct store_job *job)
{
    struct store_totals *t = &job->answer->books;
    *t = m->disk->totals;
    if (t->ready + t->delayed != m->disk->live.count || t->dead != m->disk->dead.count || !totals_add_up(t))
        buf_puts(&job->answer->findings, "the model does not add up\n");
}

static void do_answer(struct store_mem *m, const struct store_batch *b, struct store_job *job)
{
    static void (*const loads[JOB_KINDS])(struct store_mem *m, struct store_job *job) = {
        [JOB_LOAD] = do_load, [JOB_TAKE_DUE] = do_take_due, [JOB_LOAD_DEAD] = do_load_dead,
        [JOB_AUDIT] = do_audit, [JOB_HISTORY_FIND] = do_history_find,
    };
    job->answer = answer_new();
    if (m->faulted) {
        job->result = STORE_UNKNOWN;
        buf_puts(&job->answer->findings, "the store is faulted\n");
        return;
    }
    if (job->kind == JOB_LOAD_LOG) {
        mem_log_load(&m->disk->logs, job_text(b, job), job);
        answer_close_log(job->answer);
    } else if (job->kind == JOB_TRIM) {
        mem_log_trim(&m->disk->logs, job);
    } else if (job->kind == JOB_HISTORY_FIND) {
        do_history_find(m, job);
        answer_close_chunks(job->answer);
    } else {
        loads[job->kind](m, job);
        answer_close(job->answer, job->kind == JOB_LOAD_DEAD);
    }
}

/* ---------------------------------------------------------------- life */

struct store_disk *store_disk_new(uint64_t max_rows)
{
    struct store_disk *d = mem_zalloc(sizeof(*d));
    d->max_rows = max_rows;
    d->dead.dead = true;
    return d;
}

void store_disk_free(struct store_disk *d)
{
    if (d == NULL)
        return;
    assert(!d->open);
    rows_free(&d->live);
    rows_free(&d->dead);
    for (size_t i = 0; i < d->queue_count; i++)
        mem_free(d->queues[i].name);
    mem_free(d->queues);
    mem_free(d->seen.at);
    if (d->history.count > 0)
        history_forget(&d->history, d->history.count);
    mem_free(d->history.at);
    mem_logs_fini(&d->logs);
    mem_free(d);
}

void store_disk_totals(const struct store_disk *d, struct store_totals *out)
{
    *out = d->totals;
}

static void mem_on_job(struct store *st)
{
    (void)st; /* until store_mem_run() */
}

static struct store_mem *mem_of(const struct store *st)
{
    return (struct store_mem *)(uintptr_t)st;
}

/* Only does them; returns how many of the open batch are done. */
static size_t mem_do(struct store_mem *m, size_t jobs)
{
    struct store_batch *b = m->base.batch;
    for (; jobs > 0 && m->done < batch_count(b); jobs--) {
        struct store_job *job = batch_job(b, m->done++);
        if (job->kind == JOB_UNIT)
            do_unit(m, b, job);
        else if (job->kind == JOB_QUEUE || job->kind == JOB_LOG)
            do_queue(m, b, job);
        else if (job->kind == JOB_HISTORY_PUT)
            do_history_put(m, b, job);
        else
            do_answer(m, b, job);
    }
    return m->done;
}

#define ROW_BYTES 4096 /* a row's share of the room, for those who think in bytes */

static uint64_t rows_left(const struct store_disk *d)
{
    uint64_t rows = disk_rows(d);
    return d->max_rows > rows ? d->max_rows - rows : 0;
}

static uint64_t room_of(const struct store_disk *d)
{
    uint64_t left = rows_left(d);
    return left < UINT64_MAX / ROW_BYTES ? left * ROW_BYTES : UINT64_MAX;
}

static bool room_is_low(const struct store_disk *d)
{
    return rows_left(d) <= d->max_rows / 8;
}

static void mem_state(const struct store_mem *m, struct store_batch *b)
{
    const struct store_disk *d = m->disk;
    b->totals = d->totals;
    b->bytes = disk_rows(d);
    b->burials = d->burials;
    b->seen = d->seen.count;
    mem_logs_tell(&d->logs, b);
    b->full = b->bytes >= d->max_rows;
    b->room = room_of(d);
    b->low = room_is_low(d);
    b->faulted = m->faulted;
    bytes_copy(b->why, "a commit failed", sizeof("a commit failed"));
}

size_t store_mem_run(struct store *st, size_t jobs)
{
    struct store_mem *m = mem_of(st);
    struct store_batch *b = st->batch;
    size_t before = m->done, end = mem_do(m, jobs);
    mem_state(m, b);
    front_report(st, b, end);
    if (b->reported == batch_count(b) && st->depth == 0) {
        buf_clear(&b->ops);
        buf_clear(&b->jobs);
        buf_clear(&b->thens);
        b->reported = m->done = 0;
    }
    return end - before;
}

size_t store_mem_pending(const struct store *st)
{
    return batch_count(st->batch) - mem_of(st)->done;
}

static void mem_free_all(struct store_mem *m, bool clean)
{
    m->disk->open = false;
    m->disk->unclean = !clean;
    front_fini(&m->base);
    mem_free(m);
}

void store_mem_crash(struct store *st, size_t jobs)
{
    struct store_mem *m = mem_of(st);
    mem_do(m, jobs);
    mem_free_all(m, false);
}

static bool mem_close(struct store *st)
{
    struct store_mem *m = mem_of(st);
    mem_do(m, SIZE_MAX);
    bool whole = !m->faulted;
    if (whole)
        m->disk->reserved = st->next_seq;
    if (whole)
        m->disk->time = time_kept(m->disk->time, st->time);
    mem_free_all(m, whole);
    return whole;
}

void store_mem_fault(struct store *st)
{
    mem_of(st)->fault = true;
}

/* Ready and delayed rows of each queue are counted here: the model keeps no books of them. */
static void mem_load_queues(struct store_mem *m)
{
    struct store_disk *d = m->disk;
    for (size_t i = 0; i < d->queue_count; i++)
        d->queues[i].ready = d->queues[i].delayed = 0;
    for (size_t i = 0; i < d->live.count; i++) {
        struct row *row = d->live.at[i];
        uint32_t queue = store_queue_of(row->d.record.key);
        row->taken = row->d.record.due_ms > 0;
        assert(queue >= 1 && queue <= d->queue_count);
        if (row->taken)
            d->queues[queue - 1].delayed++;
        else
            d->queues[queue - 1].ready++;
    }
    for (size_t i = 0; i < d->queue_count; i++)
        front_add_queue(&m->base, &d->queues[i]);
}

struct store *store_mem_open(struct store_disk *d)
{
    static const struct store_ops ops = {.on_job = mem_on_job, .close = mem_close};
    struct store_mem *m = mem_zalloc(sizeof(*m));
    assert(!d->open);
    m->disk = d;
    front_init(&m->base, &ops);
    mem_load_queues(m);
    for (size_t i = 0; i < d->logs.count; i++)
        front_add_log(&m->base, &d->logs.at[i].row);
    m->base.next_seq = d->reserved > 0 ? d->reserved : 1;
    m->base.key[0] = 1; /* the same in every life, and in every run */
    if (d->unclean)
        d->suspect_below = m->base.next_seq;
    m->base.stats = (struct store_stats){.totals = d->totals, .bytes = disk_rows(d),
                                         .max_bytes = d->max_rows, .unclean = d->unclean,
                                         .suspect_below = d->suspect_below, .history_next = 1,
                                         .time_ms = d->time.now_ms, .ahead_ms = d->time.ahead_ms};
    m->base.time = d->time;
    if (d->history.count > 0)
        m->base.stats.history_next = d->history.at[d->history.count - 1].number + 1;
    m->base.stats.full = m->base.stats.bytes >= d->max_rows;
    m->base.stats.room = room_of(d);
    m->base.stats.low = room_is_low(d);
    d->reserved = seq_reserved(m->base.next_seq, d->reserved);
    d->open = true;
    d->unclean = true;
    return &m->base;
}
