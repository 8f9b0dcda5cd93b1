#pragma once
/* A store of either kind, and a trace of what it answers: a line for each row, unit and audit. */
#include "base/buf.h"
#include "base/mem.h"
#include "rig.h"
#include "store/store_mem.h"

struct bed;

struct kind {
    const char *name;
    void (*open)(struct bed *b);
    void (*settle)(struct bed *b); /* until everything handed over is answered */
    void (*crash)(struct bed *b);  /* what was answered stays; the store is gone */
    void (*fini)(struct bed *b);
};

struct bed {
    const struct kind *kind;
    struct rig rig;
    struct store *st;
    struct store_disk *disk;
    uint64_t room; /* mem: rows; sqlite: bytes. 0 = plenty */
    char dir[64];
    struct buf trace;
    size_t rows;       /* of all loads */
    uint64_t last_key; /* of the last row loaded */
    int64_t next_due_ms, next_wall_ms;
};

static inline const char *result_name(enum store_result r)
{
    static const char *const names[] = {"ok", "full", "unknown", "conflict", "duplicate"};
    return names[r];
}

static inline void on_unit(void *arg, enum store_result result)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "unit %s\n", result_name(result));
}

static inline void trace_record(struct bed *b, const struct store_record *r)
{
    const struct str texts[] = {r->route, r->subject, r->headers, r->body, r->as, r->first_error, r->last_error};
    buf_printf(&b->trace, " %u:%llu due=%s%lld attempt=%u target=%u redrives=%u times=%lld,%lld",
               store_queue_of(r->key), (unsigned long long)store_seq_of(r->key), r->by_wall ? "wall " : "", (long long)r->due_ms, r->attempt,
               r->target, r->redrives, (long long)r->accepted_ms, (long long)r->expires_ms);
    if (r->crashes > 0)
        buf_printf(&b->trace, " crashes=%u", r->crashes);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        buf_puts(&b->trace, " [");
        buf_put(&b->trace, texts[i].p, texts[i].n < 40 ? texts[i].n : 40);
        buf_putc(&b->trace, ']');
    }
    buf_putc(&b->trace, '\n');
}

static inline void on_rows(void *arg, const struct store_rows *rows)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "rows %s %zu quarantined %llu\n", result_name(rows->result), rows->count,
               (unsigned long long)rows->quarantined);
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->dead != NULL)
            buf_printf(&b->trace, "dead %llu at %lld " STR_FMT, (unsigned long long)rows->dead[i].number,
                       (long long)rows->dead[i].died_ms, STR_ARG(rows->dead[i].reason));
        else
            b->last_key = rows->records[i].key;
        trace_record(b, rows->dead != NULL ? &rows->dead[i].record : &rows->records[i]);
    }
    b->rows += rows->count;
    b->next_due_ms = rows->next_due_ms;
    b->next_wall_ms = rows->next_wall_ms;
}

static inline void trace_totals(struct bed *b, const struct store_totals *t)
{
    const uint64_t values[] = {t->accepted, t->ready, t->delayed, t->done, t->expired, t->dropped, t->dead,
                               t->quarantined};
    buf_puts(&b->trace, "totals");
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        buf_printf(&b->trace, " %llu", (unsigned long long)values[i]);
    buf_putc(&b->trace, '\n');
    ck_assert_uint_eq(t->accepted, t->ready + t->delayed + t->done + t->expired + t->dropped + t->dead +
                                       t->quarantined);
}

static inline void on_audit(void *arg, const struct store_totals *books, struct str findings)
{
    struct bed *b = arg;
    trace_totals(b, books);
    buf_str_put(&b->trace, findings);
}

static inline void mem_open(struct bed *b)
{
    if (b->disk == NULL)
        b->disk = store_disk_new(b->room > 0 ? b->room : UINT64_MAX / 2);
    b->st = store_mem_open(b->disk);
}

static inline void mem_settle(struct bed *b)
{
    while (store_mem_run(b->st, SIZE_MAX) > 0)
        continue;
}

static inline void mem_crash(struct bed *b)
{
    store_mem_crash(b->st, 0);
    b->st = NULL;
}

static inline void mem_fini(struct bed *b)
{
    store_disk_free(b->disk);
}

static const struct kind kind_mem = {"mem", mem_open, mem_settle, mem_crash, mem_fini};

static inline void bed_open(struct bed *b, const struct kind *kind, uint64_t room)
{
    *b = (struct bed){.kind = kind, .room = room, .rig = rig_open()};
    kind->open(b);
}

static inline void bed_fini(struct bed *b)
{
    store_close(b->st);
    b->kind->fini(b);
    rig_close(&b->rig);
    buf_fini(&b->trace);
}

static inline void bed_reopen(struct bed *b)
{
    store_close(b->st);
    b->kind->open(b);
}

static inline void bed_settle(struct bed *b)
{
    b->kind->settle(b);
}

/* What was traced since the last call is this. */
#define TRACE_IS(b, text)                                                                          \
    do {                                                                                           \
        bed_settle(b);                                                                             \
        ck_assert_str_eq(buf_cstr(&(b)->trace), text);                                             \
        buf_clear(&(b)->trace);                                                                    \
    } while (0)

static inline void audit_is(struct bed *b, const char *text)
{
    bed_settle(b);
    buf_clear(&b->trace);
    store_audit(b->st, on_audit, b);
    TRACE_IS(b, text);
}
