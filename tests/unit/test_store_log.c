/* The contract of store_log.h, held by both stores: every case runs on each. */
#include "store/store_log.h"
#include "store_sqlite_rig.h"

static const struct kind *const kinds[] = {&kind_mem, &kind_sqlite};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void on_appended(void *arg, const struct store_appended *a)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "append %s offset=%llu version=%llu%s\n", result_name(a->result),
               (unsigned long long)a->offset, (unsigned long long)a->version, a->mismatch ? " mismatch" : "");
}

static void add(struct bed *b, uint32_t log, const char *key, const char *body, int64_t now_ms, uint64_t expected)
{
    store_append(b->st, &(struct store_append){
        .log = log, .expected = expected, .now_ms = now_ms, .key = str_of(key), .route = STR("orders"),
        .subject = STR("order.new"), .headers = STR("id: 1\n"), .body = str_of(body)}, on_appended, b);
}

static void append(struct bed *b, uint32_t log, const char *key, const char *body, int64_t now_ms, uint64_t expected)
{
    store_begin(b->st);
    add(b, log, key, body, now_ms, expected);
    store_commit(b->st);
}

static void append_plain(struct bed *b, uint32_t log, int count)
{
    char body[16];
    for (int i = 1; i <= count; i++) {
        snprintf(body, sizeof(body), "%d", i);
        append(b, log, "", body, 1000 + i * 10, STORE_ANY_VERSION);
    }
    bed_settle(b);
    buf_clear(&b->trace);
}

static void on_page(void *arg, const struct store_log_page *page)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "page %s %zu through=%llu%s damaged=%llu\n", result_name(page->result), page->count,
               (unsigned long long)page->through, page->at_end ? " end" : "", (unsigned long long)page->damaged);
    for (size_t i = 0; i < page->count; i++) {
        const struct store_entry *e = &page->entries[i];
        buf_printf(&b->trace, " %llu v%llu at %lld [" STR_FMT "] [" STR_FMT "] [" STR_FMT "] %zu [" STR_FMT "]\n",
                   (unsigned long long)e->offset, (unsigned long long)e->version, (long long)e->time_ms,
                   STR_ARG(e->key), STR_ARG(e->route), STR_ARG(e->subject), e->headers.n, STR_ARG(e->body));
    }
}

static void read_log(struct bed *b, uint32_t log, uint64_t after, int64_t since_ms, const char *key, uint32_t limit)
{
    store_load_log(b->st, &(struct store_log_query){.log = log, .after = after, .since_ms = since_ms,
                                                    .key = str_of(key), .limit = limit}, on_page, b);
}

static void trace_view(struct bed *b, uint32_t log)
{
    struct store_log_view v;
    ck_assert(store_log_view(b->st, log, &v));
    buf_printf(&b->trace, "log " STR_FMT " %llu..%llu bytes=%llu times=%lld..%lld\n", STR_ARG(v.name),
               (unsigned long long)v.first, (unsigned long long)v.last, (unsigned long long)v.bytes,
               (long long)v.first_ms, (long long)v.last_ms);
}

static void on_trimmed(void *arg, bool more)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "trimmed%s\n", more ? " more" : "");
}

static void trim(struct bed *b, uint32_t log, int64_t before_ms, uint64_t bytes, uint32_t limit)
{
    store_trim(b->st, &(struct store_trim){.log = log, .before_ms = before_ms, .bytes = bytes, .limit = limit},
               on_trimmed, b);
}

#define ENTRY(offset, version, time, key, body) \
    " " offset " v" version " at " time " [" key "] [orders] [order.new] 6 [" body "]\n"

static void entries_come_in_order_with_offsets_and_versions(struct bed *b)
{
    uint32_t one = store_log(b->st, STR("one")), two = store_log(b->st, STR("two"));
    ck_assert_uint_eq(store_log(b->st, STR("one")), one);
    append(b, one, "k", "A", 1000, STORE_ANY_VERSION);
    append(b, two, "k", "B", 1001, STORE_ANY_VERSION);
    append(b, one, "", "C", 1002, STORE_ANY_VERSION);
    append(b, one, "k", "D", 500, STORE_ANY_VERSION); /* the clock went back */
    append(b, one, "l", "E", 1003, STORE_ANY_VERSION);
    TRACE_IS(b, "append ok offset=1 version=1\nappend ok offset=1 version=1\nappend ok offset=2 version=0\n"
                "append ok offset=3 version=2\nappend ok offset=4 version=1\n");
    read_log(b, one, 0, 0, "", 10);
    TRACE_IS(b, "page ok 4 through=4 end damaged=0\n" ENTRY("1", "1", "1000", "k", "A") ENTRY("2", "0", "1002", "", "C")
                ENTRY("3", "2", "1002", "k", "D") ENTRY("4", "1", "1003", "l", "E"));
    read_log(b, one, 1, 0, "k", 10);
    TRACE_IS(b, "page ok 1 through=4 end damaged=0\n" ENTRY("3", "2", "1002", "k", "D"));
    trace_view(b, one);
    TRACE_IS(b, "log one 1..4 bytes=347 times=1000..1003\n");
    audit_is(b, "totals 0 0 0 0 0 0 0 0\n");
}

static void a_log_is_read_page_by_page(struct bed *b)
{
    uint32_t log = store_log(b->st, STR("one"));
    append_plain(b, log, 5);
    read_log(b, log, 0, 0, "", 2);
    read_log(b, log, 2, 0, "", 2);
    read_log(b, log, 4, 0, "", 2);
    read_log(b, log, 5, 0, "", 2);
    TRACE_IS(b, "page ok 2 through=2 damaged=0\n" ENTRY("1", "0", "1010", "", "1") ENTRY("2", "0", "1020", "", "2")
                "page ok 2 through=4 damaged=0\n" ENTRY("3", "0", "1030", "", "3") ENTRY("4", "0", "1040", "", "4")
                "page ok 1 through=5 end damaged=0\n" ENTRY("5", "0", "1050", "", "5")
                "page ok 0 through=5 end damaged=0\n");
}

static void a_page_is_bounded_in_bytes(struct bed *b)
{
    static char big[200000];
    uint32_t log = store_log(b->st, STR("one"));
    memset(big, 'x', sizeof(big) - 1);
    for (int i = 0; i < 4; i++)
        append(b, log, "", big, 1000, STORE_ANY_VERSION);
    bed_settle(b);
    buf_clear(&b->trace);
    read_log(b, log, 0, 0, "", 100);
    bed_settle(b);
    ck_assert_msg(strncmp(buf_cstr(&b->trace), "page ok 2 through=2 damaged=0\n", 30) == 0, "%.40s", buf_cstr(&b->trace));
    buf_clear(&b->trace);
}

static void a_time_is_found(struct bed *b)
{
    static const int64_t times[] = {1, 1010, 1011, 1050, 1051};
    static const uint64_t first[] = {1, 1, 2, 5, 0};
    char want[64];
    uint32_t log = store_log(b->st, STR("one"));
    append_plain(b, log, 5);
    for (size_t i = 0; i < 5; i++) {
        read_log(b, log, 0, times[i], "", 1);
        bed_settle(b);
        snprintf(want, sizeof(want), first[i] > 0 ? "\n %llu v0" : "page ok 0 through=5 end", (unsigned long long)first[i]);
        ck_assert_msg(strstr(buf_cstr(&b->trace), want) != NULL, "%lld: %s", (long long)times[i], buf_cstr(&b->trace));
        buf_clear(&b->trace);
    }
    read_log(b, log, 3, 1010, "", 1); /* the later of the two */
    TRACE_IS(b, "page ok 1 through=4 damaged=0\n" ENTRY("4", "0", "1040", "", "4"));
}

static void another_version_refuses_the_whole_unit(struct bed *b)
{
    uint32_t log = store_log(b->st, STR("one")), queue = store_queue(b->st, STR("q"), true);
    append(b, log, "k", "A", 1000, 0);
    append(b, log, "k", "B", 1000, 0);
    append(b, log, "k", "C", 1000, 1);
    TRACE_IS(b, "append ok offset=1 version=1\nappend conflict offset=0 version=1 mismatch\nappend ok offset=2 version=2\n");
    store_begin(b->st);
    store_put(b->st, &(struct store_record){.key = store_key(queue, store_next_seq(b->st)), .expires_ms = STORE_NEVER});
    add(b, log, "k", "D", 1000, 2);
    add(b, log, "l", "E", 1000, STORE_ANY_VERSION);
    add(b, log, "k", "F", 1000, 2);
    store_then(b->st, on_unit, b);
    store_commit(b->st);
    TRACE_IS(b, "append conflict offset=0 version=0\nappend conflict offset=0 version=0\n"
                "append conflict offset=0 version=3 mismatch\nunit conflict\n");
    store_begin(b->st);
    add(b, log, "k", "D", 1000, 2);
    add(b, log, "k", "F", 1000, 3);
    store_commit(b->st);
    TRACE_IS(b, "append ok offset=3 version=3\nappend ok offset=4 version=4\n");
    audit_is(b, "totals 0 0 0 0 0 0 0 0\n");
}

static void retention_takes_the_oldest_in_steps(struct bed *b)
{
    uint32_t log = store_log(b->st, STR("one"));
    append_plain(b, log, 8); /* of 64 + 22 bytes each */
    trim(b, log, 1030, UINT64_MAX, 10);
    trim(b, log, 0, 86 * 5, 10);
    TRACE_IS(b, "trimmed\ntrimmed\n");
    trace_view(b, log);
    TRACE_IS(b, "log one 4..8 bytes=430 times=1040..1080\n");
    trim(b, log, 5000, UINT64_MAX, 2);
    trim(b, log, 5000, UINT64_MAX, 3);
    TRACE_IS(b, "trimmed more\ntrimmed\n");
    append(b, log, "", "x", 1000, STORE_ANY_VERSION);
    TRACE_IS(b, "append ok offset=9 version=0\n"); /* an offset is never given twice */
    read_log(b, log, 0, 0, "", 10);
    TRACE_IS(b, "page ok 1 through=9 end damaged=0\n" ENTRY("9", "0", "1080", "", "x"));
    audit_is(b, "totals 0 0 0 0 0 0 0 0\n");
}

static bool removed(struct bed *b, uint32_t log)
{
    struct store_log_view v;
    bed_settle(b);
    ck_assert(store_log_view(b->st, log, &v));
    return store_log_removed(&v);
}

static void a_removed_log_is_known_as_one(struct bed *b)
{
    uint32_t log = store_log(b->st, STR("one")), other = store_log(b->st, STR("two"));
    append_plain(b, log, 8);
    append(b, other, "k", "x", 1000, STORE_ANY_VERSION);
    trim(b, log, 5000, UINT64_MAX, 10);
    ck_assert(!removed(b, log)); /* it has been trimmed empty */
    trim(b, log, STORE_LOG_REMOVED, 0, 10);
    ck_assert(removed(b, log) && !removed(b, other));
    trim(b, other, STORE_LOG_REMOVED, 0, 10);
    bed_reopen(b);
    ck_assert(removed(b, log) && removed(b, other));
    buf_clear(&b->trace);
    append(b, other, "k", "y", 1000, STORE_ANY_VERSION);
    TRACE_IS(b, "append ok offset=2 version=1\n");
    ck_assert(!removed(b, other));
    append(b, log, "", "x", 1000, STORE_ANY_VERSION);
    TRACE_IS(b, "append ok offset=9 version=0\n");
    audit_is(b, "totals 0 0 0 0 0 0 0 0\n");
}

static void logs_survive_a_close_and_a_crash(struct bed *b)
{
    uint32_t log = store_log(b->st, STR("one"));
    append(b, log, "k", "A", 1000, STORE_ANY_VERSION);
    append(b, log, "k", "B", 1001, STORE_ANY_VERSION);
    trim(b, log, 1001, UINT64_MAX, 9);
    bed_reopen(b);
    buf_clear(&b->trace);
    ck_assert_uint_eq(store_log_count(b->st), 1);
    ck_assert_uint_eq(store_log(b->st, STR("one")), log);
    trace_view(b, log);
    append(b, log, "k", "C", 1002, 2);
    TRACE_IS(b, "log one 2..2 bytes=87 times=1001..1001\nappend ok offset=3 version=3\n");
    b->kind->crash(b);
    b->kind->open(b);
    read_log(b, log, 0, 0, "k", 9);
    TRACE_IS(b, "page ok 2 through=3 end damaged=0\n" ENTRY("2", "2", "1001", "k", "B") ENTRY("3", "3", "1002", "k", "C"));
    audit_is(b, "totals 0 0 0 0 0 0 0 0\n");
}

static void a_log_and_a_page_may_be_asked_for_inside_a_unit(struct bed *b)
{
    uint32_t one = store_log(b->st, STR("one"));
    store_begin(b->st);
    add(b, one, "k", "A", 1000, STORE_ANY_VERSION);
    uint32_t two = store_log(b->st, STR("another"));
    read_log(b, one, 0, 0, "k", 9);
    add(b, two, "k", "B", 1000, 0);
    store_commit(b->st);
    read_log(b, two, 0, 0, "", 9);
    TRACE_IS(b, "page ok 0 through=0 end damaged=0\nappend ok offset=1 version=1\nappend ok offset=1 version=1\n"
                "page ok 1 through=1 end damaged=0\n" ENTRY("1", "1", "1000", "k", "B"));
}

static void append_once(struct bed *b, uint32_t log, const char *name, uint64_t expected)
{
    store_begin(b->st);
    store_once_begin(b->st, &(struct store_once){.name = str_of(name), .now_ms = 1000, .window_ms = 500});
    add(b, log, "k", name, 1000, expected);
    store_once_end(b->st);
    store_commit(b->st);
}

static void a_copy_appends_nothing_and_expects_nothing(struct bed *b)
{
    uint32_t log = store_log(b->st, STR("one"));
    append_once(b, log, "A", 0);
    append_once(b, log, "A", 0);
    append_once(b, log, "B", 0);
    append_once(b, log, "B", 1);
    TRACE_IS(b, "append ok offset=1 version=1\nappend duplicate offset=0 version=0\n"
                "append conflict offset=0 version=1 mismatch\nappend ok offset=2 version=2\n");
    audit_is(b, "totals 0 0 0 0 0 0 0 0\n");
}

typedef void case_fn(struct bed *b);
static case_fn *const cases[] = {
    entries_come_in_order_with_offsets_and_versions, a_log_is_read_page_by_page, a_page_is_bounded_in_bytes,
    a_time_is_found, another_version_refuses_the_whole_unit, retention_takes_the_oldest_in_steps, a_removed_log_is_known_as_one,
    a_copy_appends_nothing_and_expects_nothing, logs_survive_a_close_and_a_crash, a_log_and_a_page_may_be_asked_for_inside_a_unit,
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

START_TEST(contract)
{
    struct bed b;
    bed_open(&b, kinds[(size_t)_i / CASES], 0);
    cases[(size_t)_i % CASES](&b);
    bed_fini(&b);
}
END_TEST

START_TEST(a_full_store_refuses_appends_and_still_trims)
{
    struct bed b;
    bed_open(&b, &kind_mem, 3);
    uint32_t log = store_log(b.st, STR("one"));
    append_plain(&b, log, 3);
    append(&b, log, "", "x", 1000, STORE_ANY_VERSION);
    trim(&b, log, 1020, UINT64_MAX, 9);
    append(&b, log, "", "y", 1040, STORE_ANY_VERSION);
    TRACE_IS(&b, "append full offset=0 version=0\ntrimmed\nappend ok offset=4 version=0\n");
    bed_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store log");
    TCase *t = tcase_create("contract");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, contract, 0, (int)(KINDS * CASES));
    tcase_add_test(t, a_full_store_refuses_appends_and_still_trims);
    suite_add_tcase(s, t);
    return run_suite(s);
}
