/* What only the store in memory does: room by rows, a crash at any job, a commit that fails. */
#include "store_rig.h"

static uint64_t put(struct store *st, uint32_t queue, struct bed *b)
{
    struct store_record r = {.key = store_key(queue, store_next_seq(st)), .expires_ms = STORE_NEVER};
    store_begin(st);
    store_put(st, &r);
    store_then(st, on_unit, b);
    store_commit(st);
    return r.key;
}

START_TEST(puts_above_its_rows_are_full)
{
    struct bed b;
    bed_open(&b, &kind_mem, 2);
    uint32_t queue = store_queue(b.st, STR("q"), true);
    uint64_t key = put(b.st, queue, &b);
    struct store_dead d = {.reason = STR("r"), .record.key = put(b.st, queue, &b)};
    put(b.st, queue, &b);
    TRACE_IS(&b, "unit ok\nunit ok\nunit full\n");
    store_begin(b.st);
    store_bury(b.st, &d);
    store_end(b.st, key, STORE_DONE);
    store_then(b.st, on_unit, &b);
    store_commit(b.st);
    put(b.st, queue, &b);
    TRACE_IS(&b, "unit ok\nunit ok\n");
    audit_is(&b, "totals 3 1 0 1 0 0 1 0\n");
    bed_fini(&b);
}
END_TEST

START_TEST(a_crash_keeps_the_jobs_before_it)
{
    for (size_t jobs = 0; jobs <= 4; jobs++) { /* the queue is the first */
        struct bed b;
        struct store_totals t;
        bed_open(&b, &kind_mem, 0);
        uint32_t queue = store_queue(b.st, STR("q"), true);
        for (int i = 0; i < 3; i++)
            put(b.st, queue, &b);
        ck_assert_uint_eq(store_mem_pending(b.st), 4);
        store_mem_crash(b.st, jobs);
        store_disk_totals(b.disk, &t);
        ck_assert_uint_eq(t.accepted, jobs > 0 ? jobs - 1 : 0);
        ck_assert_uint_eq(b.trace.len, 0);
        mem_open(&b);
        bed_fini(&b);
    }
}
END_TEST

static void put_once(struct store *st, uint32_t queue, struct bed *b)
{
    store_begin(st);
    store_once_begin(st, &(struct store_once){.name = STR("one"), .now_ms = 1, .window_ms = 10});
    put(st, queue, b);
    store_once_end(st);
    store_commit(st);
}

/* S1: the second copy of one that was refused is a first one. */
START_TEST(what_was_refused_is_not_on_record)
{
    struct bed b;
    bed_open(&b, &kind_mem, 1);
    uint32_t queue = store_queue(b.st, STR("q"), true);
    uint64_t key = put(b.st, queue, &b);
    put_once(b.st, queue, &b);
    put_once(b.st, queue, &b);
    TRACE_IS(&b, "unit ok\nunit full\nunit full\n");
    store_begin(b.st);
    store_end(b.st, key, STORE_DONE);
    store_commit(b.st);
    put_once(b.st, queue, &b);
    TRACE_IS(&b, "unit ok\n");
    bed_fini(&b);
}
END_TEST

static void on_fault(void *arg, const char *why)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "fault: %s\n", why);
}

START_TEST(a_failed_commit_is_final)
{
    struct bed b;
    bed_open(&b, &kind_mem, 0);
    uint32_t queue = store_queue(b.st, STR("q"), true);
    store_on_fault(b.st, on_fault, &b);
    put(b.st, queue, &b);
    bed_settle(&b);
    store_mem_fault(b.st);
    put(b.st, queue, &b);
    put(b.st, queue, &b);
    store_load(b.st, store_key(queue, 0), 9, on_rows, &b);
    TRACE_IS(&b, "unit ok\nfault: a commit failed\nunit unknown\nunit unknown\nrows unknown 0 quarantined 0\n");
    put(b.st, queue, &b);
    TRACE_IS(&b, "unit unknown\n");
    bed_reopen(&b);
    audit_is(&b, "totals 1 1 0 0 0 0 0 0\n");
    bed_fini(&b);
}
END_TEST

static void put_again(void *arg, enum store_result result)
{
    struct bed *b = arg;
    on_unit(arg, result);
    if (b->trace.len < 100)
        put(b->st, 1, b);
}

START_TEST(a_callback_may_ask_for_more)
{
    struct bed b;
    bed_open(&b, &kind_mem, 0);
    store_queue(b.st, STR("q"), true);
    store_begin(b.st);
    store_then(b.st, put_again, &b);
    store_commit(b.st);
    ck_assert_uint_eq(store_mem_run(b.st, 2), 2);
    ck_assert_uint_eq(store_mem_pending(b.st), 1);
    TRACE_IS(&b, "unit ok\nunit ok\n");
    bed_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store/mem");
    TCase *t = tcase_create("mem");
    const TTest *const tests[] = {
        what_was_refused_is_not_on_record, puts_above_its_rows_are_full, a_crash_keeps_the_jobs_before_it, a_failed_commit_is_final,
        a_callback_may_ask_for_more,
    };
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
