/* The front: units and loads become jobs of the open batch. */
#include "store/store.h"

#include <assert.h>

#include "base/mem.h"
#include "store/internal.h"

#define OP_ALIGN sizeof(uint64_t)

static const size_t record_strings[RECORD_STRINGS] = {
    offsetof(struct store_record, route),      offsetof(struct store_record, subject),
    offsetof(struct store_record, headers),    offsetof(struct store_record, body),
    offsetof(struct store_record, as),         offsetof(struct store_record, first_error),
    offsetof(struct store_record, last_error),
};

struct str *record_string(struct store_record *r, size_t i)
{
    return (struct str *)(void *)((char *)r + record_strings[i]);
}

struct str *dead_string(struct store_dead *d, size_t i)
{
    return i < RECORD_STRINGS ? record_string(&d->record, i) : &d->reason;
}

struct store_batch *batch_new(void)
{
    return mem_zalloc(sizeof(struct store_batch));
}

static void free_answers(struct store_batch *b)
{
    for (size_t i = b->reported; i < batch_count(b); i++)
        answer_free(batch_job(b, i)->answer);
    b->reported = batch_count(b);
}

void batch_free(struct store_batch *b)
{
    if (b == NULL)
        return;
    free_answers(b);
    buf_fini(&b->ops);
    buf_fini(&b->jobs);
    buf_fini(&b->thens);
    buf_fini(&b->logs);
    mem_free(b);
}

void batch_retire(struct store *st, struct store_batch *b)
{
    free_answers(b);
    spares_give(&st->spares, &b->ops);
    spares_give(&st->spares, &b->jobs);
    spares_give(&st->spares, &b->thens);
    b->reported = 0;
    batch_free(b);
}

static struct store_batch *batch_open(struct store *st)
{
    struct store_batch *b = batch_new();
    spares_take(&st->spares, &b->thens);
    spares_take(&st->spares, &b->jobs);
    spares_take(&st->spares, &b->ops);
    return b;
}

/* Changes of a unit that is still open move along. */
struct store_batch *batch_take(struct store *st)
{
    struct store_batch *b = st->batch, *fresh = batch_open(st);
    b->next_seq = st->next_seq;
    b->time = st->time;
    if (st->depth > 0) {
        size_t thens = st->unit.then_at * sizeof(struct store_then);
        buf_put(&fresh->ops, buf_data(&b->ops) + st->unit.ops_at, b->ops.len - st->unit.ops_at);
        buf_put(&fresh->thens, buf_data(&b->thens) + thens, b->thens.len - thens);
        b->ops.len = st->unit.ops_at;
        b->thens.len = thens;
        st->unit.ops_at = st->unit.then_at = 0;
    }
    st->batch = fresh;
    return b;
}

void front_init(struct store *st, const struct store_ops *ops)
{
    st->ops = ops;
    st->batch = batch_new();
}

void front_fini(struct store *st)
{
    batch_free(st->batch);
    spares_fini(&st->spares);
    map_fini(&st->queues);
    for (size_t i = 0; i < st->opened_count; i++)
        mem_free(st->opened[i].name);
    mem_free(st->opened);
    logs_fini(st);
}

void job_add(struct store *st, const struct store_job *job)
{
    buf_put(&st->batch->jobs, job, sizeof(*job));
    st->ops->on_job(st);
}

/* ---------------------------------------------------------------- queues */

static void queue_key(struct buf *key, struct str name, bool service)
{
    buf_putc(key, service ? 's' : 'p');
    buf_str_put(key, name);
}

static uint32_t queue_number(const struct store *st, struct str key)
{
    return (uint32_t)(uintptr_t)map_get(&st->queues, key);
}

static void queue_add(struct store *st, struct str key)
{
    st->queue_count++;
    map_set(&st->queues, key, (void *)(uintptr_t)st->queue_count); // NOLINT(performance-no-int-to-ptr)
}

void front_add_queue(struct store *st, const struct store_queue_row *row)
{
    struct buf key = BUF_EMPTY;
    struct store_queue_row *copy;
    st->opened = mem_realloc(st->opened, (st->opened_count + 1) * sizeof(*st->opened));
    copy = &st->opened[st->opened_count++];
    *copy = *row;
    copy->name = mem_strndup(row->name, row->name_len);
    queue_key(&key, str_make(copy->name, copy->name_len), copy->service);
    queue_add(st, buf_str(&key));
    buf_fini(&key);
}

/* Before the unit, so that a unit that fails does not take it along. The bytes must not come between the
 * changes of the open unit: they move behind them. */
void job_add_with(struct store *st, struct store_job *job, struct str first, struct str second)
{
    struct buf *ops = &st->batch->ops;
    struct buf moved = BUF_EMPTY;
    job->ops_at = st->depth > 0 ? st->unit.ops_at : ops->len;
    job->ops_len = first.n + second.n;
    buf_put(&moved, buf_data(ops) + job->ops_at, ops->len - job->ops_at);
    ops->len = job->ops_at;
    buf_str_put(ops, first);
    buf_str_put(ops, second);
    buf_put(ops, (char[OP_ALIGN]){0}, (OP_ALIGN - ops->len % OP_ALIGN) % OP_ALIGN);
    st->unit.ops_at += ops->len - job->ops_at;
    buf_str_put(ops, buf_str(&moved));
    buf_fini(&moved);
    job_add(st, job);
}

uint32_t store_queue(struct store *st, struct str name, bool service)
{
    struct buf key = BUF_EMPTY;
    queue_key(&key, name, service);
    uint32_t queue = queue_number(st, buf_str(&key));
    if (queue == 0 && st->queue_count < STORE_QUEUES_MAX) {
        queue_add(st, buf_str(&key));
        job_add_named(st, &(struct store_job){.kind = JOB_QUEUE, .service = service, .from = st->queue_count}, name);
        queue = (uint32_t)st->queue_count;
    }
    buf_fini(&key);
    return queue;
}

uint64_t store_next_seq(struct store *st)
{
    return st->next_seq++;
}

uint64_t seq_reserved(uint64_t next, uint64_t reserved)
{
    return next + SEQ_BLOCK / 2 > reserved ? next + SEQ_BLOCK : reserved;
}

void store_each_queue(struct store *st, void (*fn)(void *arg, const struct store_queue_view *q), void *arg)
{
    for (size_t i = 0; i < st->opened_count; i++) {
        const struct store_queue_row *row = &st->opened[i];
        struct store_queue_view view = {
            .queue = (uint32_t)i + 1, .name = str_make(row->name, row->name_len), .service = row->service,
            .ready = row->ready, .delayed = row->delayed};
        fn(arg, &view);
    }
}

/* ---------------------------------------------------------------- units */

void store_begin(struct store *st)
{
    if (st->depth++ > 0)
        return;
    st->unit = (struct store_job){.kind = JOB_UNIT, .ops_at = st->batch->ops.len,
                                  .then_at = st->batch->thens.len / sizeof(struct store_then)};
}

void store_commit(struct store *st)
{
    assert(st->depth > 0);
    if (--st->depth > 0)
        return;
    assert(st->guard == 0);
    st->unit.ops_len = st->batch->ops.len - st->unit.ops_at;
    st->unit.thens = st->batch->thens.len / sizeof(struct store_then) - st->unit.then_at;
    if (st->unit.ops_len == 0 && st->unit.thens == 0)
        return;
    st->stats.pending_bytes += st->unit.ops_len;
    job_add(st, &st->unit);
}

void store_then(struct store *st, store_fn *fn, void *arg)
{
    assert(st->depth > 0);
    buf_put(&st->batch->thens, &(struct store_then){.fn = fn, .arg = arg, .guard = st->guard}, sizeof(struct store_then));
}

bool store_unit_puts(const struct store *st)
{
    return st->depth > 0 && st->unit.puts > 0;
}

void op_add(struct store *st, struct store_op *op)
{
    struct buf *to = &st->batch->ops;
    assert(st->depth > 0);
    if (op->d.record.due_ms > STORE_DUE_MAX)
        op->d.record.due_ms = STORE_DUE_MAX;
    buf_put(to, op, sizeof(*op));
    for (size_t i = 0; i < DEAD_STRINGS; i++)
        buf_str_put(to, *dead_string(&op->d, i));
    buf_put(to, (char[OP_ALIGN]){0}, (OP_ALIGN - to->len % OP_ALIGN) % OP_ALIGN);
}

struct store_op *batch_op(const struct store_batch *b, size_t *at)
{
    struct store_op *op = (struct store_op *)(void *)(buf_data(&b->ops) + *at);
    const char *p = (const char *)(op + 1);
    for (size_t i = 0; i < DEAD_STRINGS; i++) {
        struct str *s = dead_string(&op->d, i);
        s->p = p;
        p += s->n;
    }
    *at = (size_t)(p - (const char *)buf_data(&b->ops));
    *at += (OP_ALIGN - *at % OP_ALIGN) % OP_ALIGN;
    return op;
}

void store_once_begin(struct store *st, const struct store_once *o)
{
    assert(st->guard == 0);
    const uint64_t other[2] = {~st->key[0], ~st->key[1]};
    size_t at = st->batch->ops.len - st->unit.ops_at;
    op_add(st, &(struct store_op){.kind = OP_ONCE, .once = {.id = {map_hash(st->key, o->name), map_hash(other, o->name)},
                                                            .now_ms = o->now_ms, .window_ms = o->window_ms}});
    st->guard = at + 1;
}

void store_once_end(struct store *st)
{
    struct buf *ops = &st->batch->ops;
    size_t at = st->unit.ops_at + st->guard - 1;
    assert(st->guard != 0);
    struct store_op *op = batch_op(st->batch, &at);
    op->guarded = ops->len - at;
    st->guard = 0;
}

int64_t seen_until(const struct once *o)
{
    int64_t until;
    return __builtin_add_overflow(o->now_ms, o->window_ms, &until) ? INT64_MAX : until;
}

void store_put(struct store *st, const struct store_record *r)
{
    struct store_op op = {.kind = OP_PUT, .d.record = *r};
    st->unit.puts++;
    op_add(st, &op);
}

void store_end(struct store *st, uint64_t key, enum store_end how)
{
    struct store_op op = {.kind = OP_END, .how = how, .d.record.key = key};
    op_add(st, &op);
}

void store_update(struct store *st, const struct store_change *c)
{
    struct store_op op = {.kind = OP_UPDATE, .d.record = {.key = c->key, .attempt = c->attempt, .crashes = c->crashes, .due_ms = c->due_ms,
                                                          .first_error = c->first_error, .last_error = c->last_error}};
    op_add(st, &op);
}

void store_bury(struct store *st, const struct store_dead *d)
{
    struct store_op op = {.kind = OP_BURY, .d = *d};
    op_add(st, &op);
}

void store_move(struct store *st, uint64_t from, const struct store_record *r)
{
    struct store_op op = {.kind = OP_MOVE, .d = {.number = from, .record = *r}};
    op_add(st, &op);
}

void store_redrive(struct store *st, uint64_t number, uint64_t key)
{
    struct store_op op = {.kind = OP_REDRIVE, .d = {.number = number, .record.key = key}};
    op_add(st, &op);
}

void store_purge(struct store *st, uint64_t number)
{
    struct store_op op = {.kind = OP_PURGE, .d.number = number};
    op_add(st, &op);
}

void store_edit(struct store *st, uint64_t number, struct str subject, struct str headers, struct str body)
{
    struct store_op op = {.kind = OP_EDIT, .d = {.number = number, .record = {.subject = subject,
                                                 .headers = headers, .body = body}}};
    op_add(st, &op);
}

/* ---------------------------------------------------------------- loads */

void store_load(struct store *st, uint64_t after_key, uint32_t limit, store_rows_fn *fn, void *arg)
{
    job_add(st, &(struct store_job){.kind = JOB_LOAD, .from = after_key, .limit = limit,
                                    .on_rows = fn, .arg = arg});
}

void store_load_taken(struct store *st, uint64_t after_key, uint32_t limit, store_rows_fn *fn, void *arg)
{
    job_add(st, &(struct store_job){.kind = JOB_LOAD, .from = after_key, .limit = limit, .taken = true,
                                    .on_rows = fn, .arg = arg});
}

void store_take_due(struct store *st, struct store_when when, uint32_t limit, store_rows_fn *fn, void *arg)
{
    job_add(st, &(struct store_job){.kind = JOB_TAKE_DUE, .now_ms = when.now_ms, .wall_ms = when.wall_ms,
                                    .limit = limit, .on_rows = fn, .arg = arg});
}

void store_load_dead(struct store *st, uint64_t after, uint32_t limit, store_rows_fn *fn, void *arg)
{
    job_add(st, &(struct store_job){.kind = JOB_LOAD_DEAD, .from = after, .limit = limit,
                                    .on_rows = fn, .arg = arg});
}

void store_audit(struct store *st, store_audit_fn *fn, void *arg)
{
    job_add(st, &(struct store_job){.kind = JOB_AUDIT, .on_audit = fn, .arg = arg});
}

/* ---------------------------------------------------------------- state */

void store_tell_time(struct store *st, struct store_when when)
{
    st->time = (struct store_time){when.now_ms, when.now_ms - when.wall_ms};
}

void store_stats(const struct store *st, struct store_stats *out)
{
    *out = st->stats;
}

void store_on_fault(struct store *st, void (*on_fault)(void *arg, const char *why), void *arg)
{
    st->on_fault = on_fault;
    st->fault_arg = arg;
}

void store_on_report(struct store *st, void (*on_report)(void *arg), void *arg)
{
    st->on_report = on_report;
    st->report_arg = arg;
}

bool store_close(struct store *st)
{
    return st == NULL || st->ops->close(st);
}
