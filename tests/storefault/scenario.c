#include "scenario.h"

#include "store/store_log.h"

#include "base/rand.h"

#define ROWS_MAX 100000
#define TEXT_MAX 20000

/* ---------------------------------------------------------------- the steps */

struct step {
    struct store *st;
    struct rand rand;
    size_t number;
};

static uint64_t key_of(size_t step, size_t n)
{
    return store_key(1 + (uint32_t)(step + n) % SCENARIO_QUEUES, step * 4 + n + 1);
}

static uint64_t some_key(struct step *s)
{
    size_t step = rand_below(&s->rand, 3) > 0 && s->number > 6 ? s->number - 1 - rand_below(&s->rand, 6)
                                                               : rand_below(&s->rand, s->number + 1);
    return key_of(step, rand_below(&s->rand, 2));
}

/* Mostly short; letters only, so that a line is a row. */
static struct str some_text(struct step *s, char *out, size_t most)
{
    size_t n = rand_below(&s->rand, 5) == 0 ? rand_below(&s->rand, most) : rand_below(&s->rand, 60);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + rand_u64(&s->rand) % 26);
    return str_make(out, n);
}

static void step_put(struct step *s)
{
    static char texts[4][TEXT_MAX];
    size_t n = 1 + rand_below(&s->rand, 3);
    for (size_t i = 0; i < n; i++) {
        struct store_record r = {.key = key_of(s->number, i), .accepted_ms = (int64_t)s->number,
                                 .expires_ms = STORE_NEVER, .target = (uint32_t)i,
                                 .due_ms = rand_below(&s->rand, 6) == 0
                                               ? 1 + (int64_t)rand_below(&s->rand, 99) : 0};
        r.route = some_text(s, texts[0], 60);
        r.subject = some_text(s, texts[1], 60);
        r.headers = some_text(s, texts[2], 600);
        r.body = some_text(s, texts[3], TEXT_MAX);
        store_put(s->st, &r);
    }
}

static void step_end(struct step *s)
{
    for (uint64_t n = 1 + rand_below(&s->rand, 4); n > 0; n--)
        store_end(s->st, some_key(s), (enum store_end)rand_below(&s->rand, 3));
}

static void step_update(struct step *s)
{
    char text[60];
    int64_t due_ms = (int64_t)rand_below(&s->rand, 2) * 50;
    uint64_t key = some_key(s);
    struct str error = some_text(s, text, sizeof(text));
    store_update(s->st, &(struct store_change){key, (uint32_t)s->number, due_ms, error, error, (uint32_t)s->number % 3});
}

static void step_bury(struct step *s)
{
    char text[60];
    struct store_dead d = {.died_ms = 5, .reason = STR("refused"), .record.key = some_key(s)};
    d.record.last_error = some_text(s, text, sizeof(text));
    store_bury(s->st, &d);
}

static void step_bury_new(struct step *s)
{
    char text[600];
    struct store_dead d = {.died_ms = 6, .reason = STR("no_route"), .record = {.key = store_key(1, 0),
                           .expires_ms = STORE_NEVER, .subject = STR("s")}};
    d.record.body = some_text(s, text, sizeof(text));
    store_bury(s->st, &d);
}

static void step_dead(struct step *s)
{
    char text[60];
    uint64_t number = 1 + rand_below(&s->rand, s->number / 6 + 1), kind = rand_below(&s->rand, 3);
    struct str edited = some_text(s, text, sizeof(text));
    if (kind == 0)
        store_redrive(s->st, number, key_of(s->number, 3));
    else if (kind == 1)
        store_purge(s->st, number);
    else
        store_edit(s->st, number, edited, STR_NONE, edited);
}

static void step_move(struct step *s)
{
    char text[600];
    uint64_t from = rand_below(&s->rand, 4) > 0 ? some_key(s) : 0;
    struct store_record r = {.key = key_of(s->number, 2), .expires_ms = STORE_NEVER, .subject = STR("moved")};
    r.body = some_text(s, text, sizeof(text));
    store_move(s->st, from, &r);
}

static void on_appended(void *arg, const struct store_appended *a)
{
    (void)arg;
    (void)a;
}

static void step_append(struct step *s)
{
    static char texts[2][TEXT_MAX];
    static const struct str keys[] = {STR_NONE, STR("one"), STR("two")};
    for (uint64_t n = 1 + rand_below(&s->rand, 3); n > 0; n--) {
        struct store_append a = {.log = 1 + (uint32_t)rand_below(&s->rand, SCENARIO_LOGS), .expected = STORE_ANY_VERSION,
                                 .now_ms = 1 + (int64_t)s->number, .key = keys[rand_below(&s->rand, 3)],
                                 .route = STR("r")};
        a.subject = some_text(s, texts[0], 60);
        a.body = some_text(s, texts[1], TEXT_MAX);
        store_append(s->st, &a, on_appended, NULL);
    }
}

static void on_trimmed(void *arg, bool more)
{
    (void)arg;
    (void)more;
}

static void on_taken(void *arg, const struct store_rows *rows)
{
    (void)arg;
    (void)rows;
}

/* Between the steps: what a disk did may not make the books differ. */
static void on_audited(void *arg, const struct store_totals *books, struct str findings)
{
    (void)arg;
    (void)books;
    ck_assert_msg(findings.n == 0 || str_is(findings, "the store is faulted\n"), STR_FMT, STR_ARG(findings));
}

bool scenario_step(struct store *st, uint64_t seed, size_t number, store_fn *fn, void *arg)
{
    static void (*const kinds[])(struct step *s) = {
        step_put, step_put, step_put, step_put, step_put, step_put, step_put, step_put, step_end, step_end,
        step_end, step_update, step_bury, step_bury_new, step_dead, step_move, step_append, step_append, NULL,
    };
    struct step s = {.st = st, .number = number};
    rand_seed(&s.rand, seed * 1000003 + number);
    size_t chance = rand_below(&s.rand, sizeof(kinds) / sizeof(*kinds));
    void (*kind)(struct step *s) = number < 3 ? step_put : kinds[chance];
    store_queue(st, STR("service"), true);
    store_queue(st, STR("peer"), false);
    store_log(st, STR("events"));
    store_log(st, STR("facts"));
    if (kind == NULL)
        store_take_due(st, (struct store_when){(int64_t)rand_below(&s.rand, 99), 0}, 5, on_taken, NULL);
    if (number % 5 == 4)
        store_audit(st, on_audited, NULL);
    if (kind == NULL)
        store_trim(st, &(struct store_trim){.log = 1, .before_ms = (int64_t)number / 2, .bytes = 50000, .limit = 4},
                   on_trimmed, NULL);
    store_begin(st);
    if (kind != NULL)
        kind(&s);
    bool puts = store_unit_puts(st);
    store_then(st, fn, arg);
    store_commit(st);
    return puts;
}

/* ---------------------------------------------------------------- what is there */

struct description {
    struct buf *out;
    struct bed *bed;
    bool failed;
    uint64_t after; /* of a log */
    bool more;
};

static void describe_row(struct buf *out, const struct store_record *r)
{
    const struct str texts[] = {r->route, r->subject, r->headers, r->body, r->as, r->first_error,
                                r->last_error};
    buf_printf(out, "%lld|%u:%llu %u %u %u %lld,%lld", (long long)r->due_ms, store_queue_of(r->key),
               (unsigned long long)store_seq_of(r->key), r->attempt, r->target, r->redrives,
               (long long)r->accepted_ms, (long long)r->expires_ms);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        buf_putc(out, ' ');
        buf_str_put(out, texts[i]);
    }
    buf_putc(out, '\n');
}

static void on_live(void *arg, const struct store_rows *rows)
{
    struct description *d = arg;
    d->failed |= rows->result != STORE_OK;
    for (size_t i = 0; i < rows->count; i++)
        describe_row(d->out, &rows->records[i]);
}

static void on_dead(void *arg, const struct store_rows *rows)
{
    struct description *d = arg;
    d->failed |= rows->result != STORE_OK;
    for (size_t i = 0; i < rows->count; i++) {
        buf_printf(d->out, "0|dead %llu " STR_FMT " %lld ", (unsigned long long)rows->dead[i].number,
                   STR_ARG(rows->dead[i].reason), (long long)rows->dead[i].died_ms);
        describe_row(d->out, &rows->dead[i].record);
    }
}

static void on_page(void *arg, const struct store_log_page *page)
{
    struct description *d = arg;
    d->failed |= page->result != STORE_OK || page->damaged > 0;
    d->more = !d->failed && !page->at_end;
    d->after = page->through;
    for (size_t i = 0; i < page->count; i++) {
        const struct store_entry *e = &page->entries[i];
        buf_printf(d->out, "0|entry %llu v%llu at %lld ", (unsigned long long)e->offset, (unsigned long long)e->version,
                   (long long)e->time_ms);
        buf_str_put(d->out, e->key);
        buf_putc(d->out, ' ');
        buf_str_put(d->out, e->subject);
        buf_putc(d->out, ' ');
        buf_str_put(d->out, e->body);
        buf_putc(d->out, '\n');
    }
}

static void describe_logs(struct bed *b, struct description *d)
{
    for (uint32_t log = 1; log <= store_log_count(b->st); log++) {
        d->after = 0;
        d->more = true;
        while (d->more) {
            store_load_log(b->st, &(struct store_log_query){.log = log, .after = d->after, .limit = ROWS_MAX}, on_page, d);
            bed_settle(b);
        }
    }
}

static void on_books(void *arg, const struct store_totals *t, struct str findings)
{
    struct description *d = arg;
    buf_printf(d->out, "totals %llu %llu %llu %llu %llu %llu %llu %llu\n", (unsigned long long)t->accepted,
               (unsigned long long)t->ready, (unsigned long long)t->delayed, (unsigned long long)t->done,
               (unsigned long long)t->expired, (unsigned long long)t->dropped, (unsigned long long)t->dead,
               (unsigned long long)t->quarantined);
    buf_str_put(d->out, findings);
}

void scenario_describe(struct bed *b, struct buf *out)
{
    struct description d = {.out = out, .bed = b};
    for (uint32_t queue = 1; queue <= SCENARIO_QUEUES; queue++)
        store_load(b->st, store_key(queue, 0), ROWS_MAX, on_live, &d);
    store_load_dead(b->st, 0, ROWS_MAX, on_dead, &d);
    describe_logs(b, &d);
    store_audit(b->st, on_books, &d);
    bed_settle(b);
    store_take_due(b->st, (struct store_when){STORE_DUE_MAX, 0}, ROWS_MAX, on_live, &d);
    bed_settle(b);
    if (d.failed)
        buf_clear(out);
}

static void on_step(void *arg, enum store_result result)
{
    (void)arg;
    ck_assert_int_eq(result, STORE_OK);
}

void scenario_expect(uint64_t seed, const bool *done, size_t n, struct buf *out)
{
    struct bed b;
    bed_open(&b, &kind_mem, 0);
    for (size_t i = 0; i < n; i++)
        if (done == NULL || done[i])
            scenario_step(b.st, seed, i, on_step, NULL);
    bed_settle(&b);
    b.kind->crash(&b);
    b.kind->open(&b);
    scenario_describe(&b, out);
    bed_fini(&b);
}

/* ---------------------------------------------------------------- files */

/* Thousands of stores that fail need not be heard of. */
static struct rig quiet_rig(void)
{
    struct rig r = {.log = log_new(LOG_ERROR, LOG_TEXT, "/dev/null")};
    r.loop = loop_new(r.log);
    r.tick = timer_new(r.loop, rig_on_tick, NULL);
    return r;
}

void scenario_open(struct bed *b, const char *dir, const char *vfs)
{
    *b = (struct bed){.kind = &kind_sqlite, .rig = quiet_rig()};
    snprintf(b->dir, sizeof(b->dir), "%s", dir);
    b->st = sqlite_try(b, vfs);
}

void scenario_close(struct bed *b)
{
    store_close(b->st);
    rig_close(&b->rig);
    buf_fini(&b->trace);
}

void scenario_remove(const char *dir)
{
    char path[128];
    unlink(path_in(dir, "bellhop.db-journal", path));
    dir_remove(dir);
}
