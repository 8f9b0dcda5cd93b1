/* What only the store in a file does: room, locks, versions, audits; and 20,000 random
 * operations against the model. */
#include <sys/wait.h>

#include "store_file_rig.h"

/* ---------------------------------------------------------------- room */

START_TEST(above_max_size_less_the_reserve_puts_are_full)
{
    struct bed b;
    uint64_t keys[400];
    size_t n = 0;
    bed_open(&b, &kind_sqlite, 16 * MIB);
    for (; n < 400 && !stats(&b).full; n++) {
        keys[n] = put(&b, big, sizeof(big));
        bed_settle(&b);
    }
    ck_assert_uint_gt(n, 150); /* 12 MiB of 64 KiB each */
    ck_assert_uint_lt(n, 200);
    ck_assert_uint_le(stats(&b).bytes, 13 * MIB);
    buf_clear(&b.trace);
    put(&b, big, sizeof(big));
    TRACE_IS(&b, "unit full\n");
    struct store_stats before = stats(&b);
    for (size_t i = 0; i < 60; i++) { /* neither ends nor burials are refused; a put in the unit is */
        struct store_dead d = {.died_ms = 1, .reason = STR("x"), .record.key = keys[i]};
        struct store_dead fresh = {.died_ms = 1, .reason = STR("x"), .record = {.key = store_key(1, 0),
                                   .body = str_make(big, 1000)}};
        store_begin(b.st);
        store_bury(b.st, &d);
        store_bury(b.st, &fresh);
        store_then(b.st, on_unit, &b);
        store_commit(b.st);
        TRACE_IS(&b, "unit ok\n");
    }
    for (size_t i = 60; i < n; i++) {
        store_begin(b.st);
        store_end(b.st, keys[i], STORE_DONE);
        store_commit(b.st);
    }
    bed_settle(&b);
    ck_assert(!stats(&b).full);
    ck_assert_uint_eq(stats(&b).totals.accepted, before.totals.accepted + 60);
    ck_assert_uint_eq(stats(&b).totals.dead, 120);
    put(&b, big, sizeof(big));
    TRACE_IS(&b, "unit ok\n");
    bed_fini(&b);
}
END_TEST

static void count_chunks(void *arg, const struct store_history *found)
{
    ck_assert_int_eq(found->result, STORE_OK);
    *(size_t *)arg += found->count;
}

/* Notes are what gives way: the reserve is not for them. */
START_TEST(a_full_store_takes_no_notes)
{
    uint8_t filter[STORE_FILTER_BYTES] = {0};
    struct bed b;
    size_t found = 0;
    bed_open(&b, &kind_sqlite, 16 * MIB);
    for (int i = 0; i < 400 && !stats(&b).full; i++) {
        put(&b, big, sizeof(big));
        bed_settle(&b);
    }
    store_filter_add(filter, 77);
    for (uint64_t n = 1; n <= 30; n++) {
        store_history_put(b.st, &(struct store_chunk){.number = n, .data = str_make(big, 60000),
                                                      .filter = str_make(filter, sizeof(filter))}, 1000);
        bed_settle(&b);
    }
    store_history_find(b.st, 1, 77, count_chunks, &found);
    bed_settle(&b);
    ck_assert_uint_le(found, 2);
    ck_assert_uint_le(stats(&b).bytes, 13 * MIB);
    bed_fini(&b);
}
END_TEST

static off_t journal_size(const struct bed *b)
{
    char path[128];
    struct stat st;
    ck_assert_int_eq(stat(path_in(b->dir, "bellhop.db-wal", path), &st), 0);
    return st.st_size;
}

static void small_commits(struct bed *b, int n)
{
    for (int i = 0; i < n; i++) {
        put(b, "x", 1);
        bed_settle(b);
    }
}

/* A sync of a file that has grown takes longer. */
START_TEST(small_commits_seldom_grow_the_journal)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 0);
    small_commits(&b, 2);
    off_t size = journal_size(&b);
    ck_assert_int_gt(size, 512 * 1024);
    small_commits(&b, 20); /* of 2 pages or 3 */
    ck_assert_int_eq(journal_size(&b), size);
    small_commits(&b, 30);
    ck_assert_int_ge(journal_size(&b), size + 512 * 1024);
    bed_fini(&b);
}
END_TEST

static off_t file_size(struct bed *b)
{
    struct stat st;
    char path[128];
    ck_assert_int_eq(stat(path_in(b->dir, "bellhop.db", path), &st), 0);
    return st.st_size;
}

/* Large ones that have come and gone, over 30 MiB of them. */
static void flood(struct bed *b)
{
    uint64_t keys[600];
    for (size_t i = 0; i < 600; i++)
        keys[i] = put(b, big, sizeof(big));
    bed_settle(b);
    rig_for(&b->rig, 50);
    ck_assert_int_gt(file_size(b), (off_t)(30 * MIB));
    store_begin(b->st);
    for (size_t i = 0; i < 600; i++)
        store_end(b->st, keys[i], STORE_DONE);
    store_commit(b->st);
}

START_TEST(the_file_shrinks_after_a_flood)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 0);
    flood(&b);
    for (int i = 0; i < 100 && file_size(&b) > (off_t)(10 * MIB); i++)
        rig_for(&b.rig, 100);
    ck_assert_int_le(file_size(&b), (off_t)(10 * MIB));
    bed_fini(&b);
}
END_TEST

/* A queue that is never still for a tenth of a second. */
START_TEST(the_file_shrinks_beside_steady_work)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 0);
    flood(&b);
    for (int i = 0; i < 1500 && file_size(&b) > (off_t)(10 * MIB); i++) {
        small_commits(&b, 1);
        rig_for(&b.rig, 10);
    }
    ck_assert_int_le(file_size(&b), (off_t)(10 * MIB));
    bed_fini(&b);
}
END_TEST

/* ---------------------------------------------------------------- who may open what */

START_TEST(a_second_process_is_refused)
{
    struct bed b;
    int status;
    bed_open(&b, &kind_sqlite, 0);
    put(&b, "A", 1);
    bed_settle(&b);
    pid_t pid = fork();
    if (pid == 0) {
        struct bed other = {.rig = rig_open()};
        memcpy(other.dir, b.dir, sizeof(b.dir));
        struct store *st = sqlite_try(&other, NULL);
        bool told = strstr(buf_cstr(&other.trace), "another process holds it") != NULL;
        _exit(st == NULL && told ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    buf_clear(&b.trace);
    put(&b, "B", 1);
    TRACE_IS(&b, "unit ok\n");
    bed_fini(&b);
}
END_TEST

START_TEST(foreign_and_newer_files_are_refused)
{
    struct bed b;
    char path[128];
    bed_open(&b, &kind_sqlite, 0);
    close_store(&b);
    tamper(&b, "PRAGMA user_version=99");
    refused_with(&b, "newer bellhopd (version 99");
    tamper(&b, "PRAGMA user_version=1; PRAGMA application_id=7");
    refused_with(&b, "not a store of bellhopd");
    FILE *f = fopen(path_in(b.dir, "bellhop.db", path), "wb");
    for (int i = 0; i < 9000; i++)
        fputc('x', f);
    fclose(f);
    refused_with(&b, "not a store of bellhopd");
    bed_fini(&b);
}
END_TEST

START_TEST(folders_that_will_not_do_are_refused)
{
    struct bed b = {.kind = &kind_sqlite, .rig = rig_open()};
    char dir[64];
    dir_make(dir);
    snprintf(b.dir, sizeof(b.dir), "%.40s/a/b", dir);
    refused_with(&b, "cannot make the folder");
    snprintf(b.dir, sizeof(b.dir), "%.40s/a", dir);
    sqlite_open(&b); /* made where absent */
    struct stat st;
    ck_assert_int_eq(stat(b.dir, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    close_store(&b);
    chmod(b.dir, 0722);
    refused_with(&b, "others may write to it");
    chmod(b.dir, 0500);
    if (geteuid() != 0)
        refused_with(&b, "cannot be written");
    chmod(b.dir, 0700);
    dir_remove(b.dir);
    ck_assert_int_ge(open(b.dir, O_CREAT | O_WRONLY, 0600), 0);
    refused_with(&b, "not a folder");
    unlink(b.dir);
    memcpy(b.dir, dir, sizeof(dir));
    bed_fini(&b);
}
END_TEST

/* ---------------------------------------------------------------- crashes */

START_TEST(a_killed_process_loses_nothing_that_it_was_told)
{
    struct bed b = {.kind = &kind_sqlite, .rig = rig_open()};
    int status;
    dir_make(b.dir);
    for (int life = 1; life <= 3; life++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct bed mine = {.kind = &kind_sqlite, .rig = rig_open()};
            memcpy(mine.dir, b.dir, sizeof(b.dir));
            sqlite_open(&mine);
            for (int i = 0; i < 10; i++)
                put(&mine, "A", 1);
            sqlite_settle(&mine);
            _exit(strcmp(buf_cstr(&mine.trace), "unit ok\nunit ok\nunit ok\nunit ok\nunit ok\nunit ok\nunit ok\n"
                                                "unit ok\nunit ok\nunit ok\n"));
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
    }
    sqlite_open(&b);
    ck_assert(stats(&b).unclean);
    audit_is(&b, "totals 30 30 0 0 0 0 0 0\n");
    bed_reopen(&b);
    ck_assert(!stats(&b).unclean);
    bed_fini(&b);
}
END_TEST

START_TEST(a_close_in_the_turn_of_a_put_commits_it)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 0);
    put(&b, "A", 1);
    bed_reopen(&b); /* before the turn has ended */
    loop_turn(b.rig.loop, false);
    ck_assert_uint_eq(b.trace.len, 0);
    audit_is(&b, "totals 1 1 0 0 0 0 0 0\n");
    bed_fini(&b);
}
END_TEST

/* ---------------------------------------------------------------- ids on record */

static void once(struct bed *b, uint64_t id, int64_t now_ms, int64_t window_ms)
{
    store_begin(b->st);
    store_once_begin(b->st, &(struct store_once){.name = str_make(&id, sizeof(id)), .now_ms = now_ms, .window_ms = window_ms});
    store_then(b->st, on_unit, b);
    store_once_end(b->st);
    store_commit(b->st);
}

/* The clock stood ten years ahead for a while: those ids go too. */
START_TEST(ids_leave_when_their_time_is_over)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 0);
    for (uint64_t i = 0; i < 400; i++)
        once(&b, i, INT64_C(315360000000), 100);
    bed_settle(&b);
    ck_assert_uint_eq(stats(&b).seen, 400);
    for (uint64_t i = 400; i < 900; i++)
        once(&b, i, 1000, 100);
    bed_settle(&b);
    ck_assert_uint_eq(stats(&b).seen, 500);
    for (uint64_t i = 1000; i < 1050; i++) {
        once(&b, i, 2000, 100);
        bed_settle(&b); /* a commit each: a bounded step each */
        ck_assert_uint_gt(stats(&b).seen, i < 1010 ? 200 : 0);
    }
    ck_assert_uint_eq(stats(&b).seen, 50);
    ck_assert_uint_eq(stats(&b).seen_evicted, 0);
    bed_reopen(&b);
    ck_assert_uint_eq(stats(&b).seen, 50);
    buf_clear(&b.trace);
    audit_is(&b, "totals 0 0 0 0 0 0 0 0\n");
    bed_fini(&b);
}
END_TEST

START_TEST(above_their_limit_the_earliest_to_expire_goes)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 1 << 20); /* 2,048 of them */
    for (uint64_t i = 0; i < 3000; i++) {
        once(&b, i, 1000 + (int64_t)i, 100000);
        if (i % 100 == 0)
            bed_settle(&b);
    }
    bed_settle(&b);
    ck_assert_uint_eq(stats(&b).seen, 2048);
    ck_assert_uint_eq(stats(&b).seen_evicted, 952);
    buf_clear(&b.trace);
    once(&b, 952, 5000, 100000);
    once(&b, 951, 5000, 100000);
    TRACE_IS(&b, "unit duplicate\nunit ok\n");
    bed_fini(&b);
}
END_TEST

START_TEST(a_store_of_an_earlier_version_is_taken_over)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 0);
    put(&b, "A", 1);
    close_store(&b);
    tamper(&b, "DROP TABLE seen; DROP TABLE history; DELETE FROM counter WHERE id IN (13, 14, 15); PRAGMA user_version=2");
    sqlite_open(&b);
    buf_clear(&b.trace);
    once(&b, 1, 1, 10);
    once(&b, 1, 1, 10);
    TRACE_IS(&b, "unit ok\nunit duplicate\n");
    audit_is(&b, "totals 1 1 0 0 0 0 0 0\n");
    bed_fini(&b);
}
END_TEST

/* ---------------------------------------------------------------- against the model */

#define OPERATIONS 20000
#define LIVE_MAX 64

struct pair {
    struct bed beds[2];
    struct rand rand;
    uint64_t keys[LIVE_MAX]; /* some that were put; they may have ended */
    uint64_t deads;          /* burials tried */
    int64_t now_ms;
};

static struct str any_text(struct pair *p, char *out, size_t most)
{
    size_t n = rand_below(&p->rand, 8) == 0 ? rand_below(&p->rand, most) : rand_below(&p->rand, 20);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + rand_u64(&p->rand) % 26);
    return str_make(out, n);
}

static void put_any(struct pair *p, struct store *stores[2])
{
    static char texts[6][20000];
    uint64_t seq = store_next_seq(stores[0]);
    ck_assert_uint_eq(seq, store_next_seq(stores[1]));
    struct store_record r = {.key = store_key((uint32_t)rand_below(&p->rand, 4) + 1, seq),
                             .accepted_ms = (int64_t)rand_below(&p->rand, 1000), .expires_ms = STORE_NEVER,
                             .due_ms = rand_below(&p->rand, 4) == 0 ? (int64_t)rand_below(&p->rand, 1000) : 0,
                             .attempt = (uint32_t)rand_below(&p->rand, 3), .target = (uint32_t)rand_below(&p->rand, 3)};
    r.by_wall = r.due_ms > 0 && rand_below(&p->rand, 2) == 0;
    r.route = any_text(p, texts[0], 100);
    r.subject = any_text(p, texts[1], 100);
    r.headers = any_text(p, texts[2], 3000);
    r.body = any_text(p, texts[3], 20000);
    r.as = any_text(p, texts[4], 30);
    r.first_error = any_text(p, texts[5], 30);
    p->keys[rand_below(&p->rand, LIVE_MAX)] = r.key;
    for (size_t i = 0; i < 2; i++)
        store_put(stores[i], &r);
}

static void random_put(struct pair *p, struct store *stores[2])
{
    char name = (char)rand_below(&p->rand, 40);
    struct store_once once = {.name = str_make(&name, 1), .now_ms = p->now_ms += (int64_t)rand_below(&p->rand, 9),
                              .window_ms = (int64_t)rand_below(&p->rand, 1000) + 1};
    bool guard = rand_below(&p->rand, 4) == 0;
    for (size_t i = 0; guard && i < 2; i++)
        store_once_begin(stores[i], &once);
    put_any(p, stores);
    for (size_t i = 0; guard && i < 2; i++) {
        store_then(stores[i], on_unit, &p->beds[i]);
        store_once_end(stores[i]);
    }
}

static void random_change(struct pair *p, struct store *stores[2])
{
    char text[3][64];
    uint64_t key = p->keys[rand_below(&p->rand, LIVE_MAX)], kind = rand_below(&p->rand, 11);
    uint64_t number = rand_below(&p->rand, p->deads + 2), some = rand_below(&p->rand, 3);
    uint64_t seq = store_next_seq(stores[0]);
    struct str a = any_text(p, text[0], 64), b = any_text(p, text[1], 64), c = any_text(p, text[2], 64);
    struct store_dead d = {.died_ms = 5, .reason = a, .record = {.key = some == 0 ? store_key(1, 0) : key, .body = b,
                           .attempt = (uint32_t)some, .last_error = c}};
    struct store_record moved = {.key = store_key(2, seq), .expires_ms = STORE_NEVER, .subject = a, .body = b};
    ck_assert_uint_eq(seq, store_next_seq(stores[1]));
    if (key == 0)
        return;
    p->deads += kind == 5;
    for (size_t i = 0; i < 2; i++) {
        struct store *st = stores[i];
        if (kind < 3)
            store_end(st, key, (enum store_end)some);
        else if (kind < 5)
            store_update(st, &(struct store_change){key, (uint32_t)number, some > 0 ? (int64_t)number * 7 : 0, a, b, (uint32_t)number % 3});
        else if (kind == 5)
            store_bury(st, &d);
        else if (kind == 6)
            store_redrive(st, number, store_key(1, seq));
        else if (kind == 7)
            store_purge(st, number);
        else if (kind == 8)
            store_move(st, some == 0 ? 0 : key, &moved);
        else
            store_edit(st, number, a, b, c);
    }
}

static void random_unit(struct pair *p, struct store *stores[2])
{
    size_t n = rand_below(&p->rand, 5);
    for (size_t i = 0; i < 2; i++)
        store_begin(stores[i]);
    for (size_t k = 0; k <= n; k++) {
        if (rand_below(&p->rand, 2) == 0)
            random_put(p, stores);
        else
            random_change(p, stores);
    }
    for (size_t i = 0; i < 2; i++) {
        store_then(stores[i], on_unit, &p->beds[i]);
        store_commit(stores[i]);
    }
}

static void random_load(struct pair *p, struct store *stores[2])
{
    uint64_t kind = rand_below(&p->rand, 4), queue = rand_below(&p->rand, 4) + 1;
    uint64_t after = p->keys[rand_below(&p->rand, LIVE_MAX)];
    struct store_when when = {(int64_t)rand_below(&p->rand, 1200), (int64_t)rand_below(&p->rand, 1200)};
    uint32_t limit = (uint32_t)rand_below(&p->rand, 20);
    for (size_t i = 0; i < 2; i++) {
        if (kind == 0)
            store_take_due(stores[i], when, limit, on_rows, &p->beds[i]);
        else if (kind == 1)
            store_load_dead(stores[i], after % 8, limit, on_rows, &p->beds[i]);
        else
            store_load(stores[i], kind == 2 ? after : store_key((uint32_t)queue, 0), limit, on_rows, &p->beds[i]);
    }
}

static void compare(struct pair *p, size_t operation)
{
    struct bed *b = p->beds;
    for (size_t i = 0; i < 2; i++) {
        store_audit(b[i].st, on_audit, &b[i]);
        bed_settle(&b[i]);
    }
    ck_assert_msg(str_eq(buf_str(&b[0].trace), buf_str(&b[1].trace)), "operation %zu\n%s\n----\n%s", operation,
                  buf_cstr(&b[0].trace), buf_cstr(&b[1].trace));
    ck_assert_int_eq(b[0].next_due_ms, b[1].next_due_ms);
    ck_assert_int_eq(b[0].next_wall_ms, b[1].next_wall_ms);
    buf_clear(&b[0].trace);
    buf_clear(&b[1].trace);
}

START_TEST(random_operations_do_what_the_model_does)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    struct pair p = {0};
    uint64_t life = 0;
    rand_seed(&p.rand, 7);
    bed_open(&p.beds[0], &kind_mem, 0);
    bed_open(&p.beds[1], &kind_sqlite, 0);
    for (size_t q = 0; q < 4; q++)
        ck_assert_uint_eq(store_queue(p.beds[0].st, str_of(names[q]), true),
                          store_queue(p.beds[1].st, str_of(names[q]), true));
    for (size_t n = 0; n < OPERATIONS; n++) {
        struct store *stores[2] = {p.beds[0].st, p.beds[1].st};
        if (rand_below(&p.rand, 3) == 0)
            random_load(&p, stores);
        else
            random_unit(&p, stores);
        if (rand_below(&p.rand, 20) == 0)
            compare(&p, n);
        if (rand_below(&p.rand, 500) > 0)
            continue;
        compare(&p, n);
        life++;
        for (size_t i = 0; i < 2; i++) {
            if (life % 2 == 0)
                p.beds[i].kind->crash(&p.beds[i]);
            else
                close_store(&p.beds[i]);
            p.beds[i].kind->open(&p.beds[i]);
        }
    }
    compare(&p, OPERATIONS);
    ck_assert_uint_gt(life, 10);
    bed_fini(&p.beds[0]);
    bed_fini(&p.beds[1]);
}
END_TEST

/* ---------------------------------------------------------------- audits between commits */

#define MANY 30000

static void many_rows(struct pair *p)
{
    for (size_t n = 0; n < MANY; n++) {
        for (size_t i = 0; i < 2; i++) {
            struct store *st = p->beds[i].st;
            uint64_t seq = store_next_seq(st), key = store_key(1 + n % 4, seq);
            if (n % 100 == 0)
                store_begin(st);
            store_put(st, &(struct store_record){.key = key, .expires_ms = STORE_NEVER, .body = STR("many"),
                                                 .due_ms = n % 7 == 0 ? (int64_t)n : 0});
            if (n % 100 == 99)
                store_commit(st);
            p->keys[n * LIVE_MAX / MANY] = key;
        }
    }
    bed_settle(&p->beds[0]);
    bed_settle(&p->beds[1]);
}

struct answered {
    struct bed *bed;
    unsigned audits, units;
};

static void on_clean_audit(void *arg, const struct store_totals *books, struct str findings)
{
    struct answered *a = arg;
    ck_assert_msg(findings.n == 0, STR_FMT, STR_ARG(findings));
    ck_assert_uint_ge(books->accepted, MANY);
    a->audits++;
}

static void on_counted(void *arg, enum store_result result)
{
    struct answered *a = arg;
    ck_assert_int_eq(result, STORE_OK);
    a->units++;
}

/* Some of the old rows, on both sides of what has been counted, and new ones. */
static void change_while_it_runs(struct pair *p, struct store *stores[2], struct answered *a)
{
    unsigned want = a->units + 1;
    for (int i = 0; i < 5; i++)
        p->keys[rand_below(&p->rand, LIVE_MAX)] = store_key((uint32_t)rand_below(&p->rand, 4) + 1, 1 + rand_below(&p->rand, MANY));
    random_unit(p, stores);
    if (rand_below(&p->rand, 4) == 0)
        random_load(p, stores);
    store_begin(stores[1]);
    store_then(stores[1], on_counted, a);
    store_commit(stores[1]);
    RIG_UNTIL(&p->beds[1].rig, a->units >= want);
}

START_TEST(an_audit_goes_on_between_commits)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    struct pair p = {0};
    struct answered a = {&p.beds[1], 0, 0};
    rand_seed(&p.rand, 9);
    bed_open(&p.beds[0], &kind_mem, 0);
    bed_open(&p.beds[1], &kind_sqlite, 0);
    struct store *stores[2] = {p.beds[0].st, p.beds[1].st};
    for (size_t i = 0; i < 8; i++)
        store_queue(stores[i % 2], str_of(names[i / 2]), true);
    many_rows(&p);
    for (unsigned n = 1; n <= 5; n++) {
        store_audit(stores[1], on_clean_audit, &a);
        while (a.audits < n)
            change_while_it_runs(&p, stores, &a);
        compare(&p, n);
    }
    ck_assert_uint_ge(a.units, 15); /* some in the middle of each: how many is a matter of the machine */
    bed_fini(&p.beds[0]);
    bed_fini(&p.beds[1]);
}
END_TEST

START_TEST(an_audit_begins_anew_where_a_transaction_is_taken_back)
{
    struct db db = {0};
    audit_ask(&db.audit, &(struct store_job){.kind = JOB_AUDIT});
    db.audit.table = 1; /* all live rows were counted */
    counter_live(&db, store_key(1, 5), 0, +1);
    counters_settle(&db, true);
    ck_assert(db.audit.live[0] == 1 && db.audit.queues[1].live[0] == 1 && db.audit.table == 1);
    counter_live(&db, store_key(1, 6), 0, +1);
    counters_settle(&db, false);
    ck_assert(db.audit.running && db.audit.live[0] == 0 && db.audit.table == 0 && db.audit.queue_count == 0);
    db.audit.table = 1;
    counter_live(&db, store_key(1, 6), 9, +1);
    ck_assert(db.audit.queues[1].live[0] == 0 && db.audit.queues[1].live[1] == 1);
    db.audit.through = 7; /* of the dead letters */
    counter_dead(&db, 7, +1);
    counter_dead(&db, 8, +1); /* the walk will meet it */
    counter_quarantined(&db);
    ck_assert(db.audit.dead == 1 && db.audit.quarantined == 0);
    db.audit.table = 3;
    counter_dead(&db, 9, +1);
    counter_quarantined(&db);
    ck_assert(db.audit.dead == 2 && db.audit.quarantined == 1);
    db_close(&db);
}
END_TEST

START_TEST(an_audit_of_a_log_that_is_trimmed)
{
    struct audit a = {.running = true, .table = 3, .log = {.log = 2, .through = 10, .entries = 10, .bytes = 1000}};
    struct store_log_row before = {.first = 1, .last = 50, .bytes = 5000}, after = {.first = 5, .last = 50, .bytes = 4600};
    audit_trimmed(&a, 1, &before, &after); /* another one */
    ck_assert(a.log.entries == 10 && a.log.bytes == 1000);
    audit_trimmed(&a, 2, &before, &after); /* all that went was counted */
    ck_assert(a.log.entries == 6 && a.log.bytes == 600 && a.log.through == 10);
    before = after;
    after = (struct store_log_row){.first = 11, .last = 50, .bytes = 4000};
    audit_trimmed(&a, 2, &before, &after);
    ck_assert(a.log.entries == 0 && a.log.bytes == 0 && a.log.through == 10);
    before = after;
    after = (struct store_log_row){.first = 13, .last = 50, .bytes = 3800};
    audit_trimmed(&a, 2, &before, &after); /* beyond: anew */
    ck_assert(a.log.log == 2 && a.log.entries == 0 && a.log.through == 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store/sqlite");
    TCase *t = tcase_create("sqlite");
    const TTest *const tests[] = {
        above_max_size_less_the_reserve_puts_are_full, a_full_store_takes_no_notes, small_commits_seldom_grow_the_journal,
        the_file_shrinks_after_a_flood, the_file_shrinks_beside_steady_work, a_second_process_is_refused,
        foreign_and_newer_files_are_refused, folders_that_will_not_do_are_refused,
        a_killed_process_loses_nothing_that_it_was_told, a_close_in_the_turn_of_a_put_commits_it,
        ids_leave_when_their_time_is_over, above_their_limit_the_earliest_to_expire_goes,
        a_store_of_an_earlier_version_is_taken_over, random_operations_do_what_the_model_does,
        an_audit_goes_on_between_commits, an_audit_begins_anew_where_a_transaction_is_taken_back,
        an_audit_of_a_log_that_is_trimmed,
    };
    tcase_set_timeout(t, 120);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
