/* The disk misbehaves: a VFS under SQLite that fails one kind of call on demand. Faults by their rows
 * in the matrix: D1 full disk, D3 failing writes, D4 a sync that fails once, D5 one of a checkpoint, D6 a slow sync. */
#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <unistd.h>

#include "store_sqlite_rig.h"

enum fault { FAULT_NONE, FAULT_FULL, FAULT_WRITE, FAULT_SYNC, FAULT_DATABASE_SYNC, FAULT_SLOW_SYNC };

/* Shared with the store's thread. */
static atomic_int fault;
static atomic_int left;       /* the fault is over after so many calls; -1 = never */
static atomic_int room;       /* FAULT_FULL: writes that succeed once the ballast is gone */
static atomic_int writes, syncs, failed;
static char ballast[128];

struct shim_file {
    sqlite3_file base;
    sqlite3_file *real;
    bool database; /* not its journal */
};

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct shim_file *)f)->real;
}

static bool struck(enum fault kind)
{
    if (atomic_load(&fault) != (int)kind || atomic_load(&left) == 0)
        return false;
    if (atomic_load(&left) > 0)
        atomic_fetch_sub(&left, 1);
    atomic_fetch_add(&failed, 1);
    return true;
}

static int shim_close(sqlite3_file *f)
{
    int rc = real_of(f)->pMethods->xClose(real_of(f));
    free(real_of(f));
    return rc;
}

static int shim_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return real_of(f)->pMethods->xRead(real_of(f), p, n, at);
}

/* A full disk has room again for a few writes when a file goes. */
static bool disk_has_room(void)
{
    return access(ballast, F_OK) != 0 && atomic_fetch_sub(&room, 1) > 0;
}

static int shim_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    atomic_fetch_add(&writes, 1);
    if (atomic_load(&fault) == FAULT_FULL && !disk_has_room())
        return SQLITE_FULL;
    if (struck(FAULT_WRITE))
        return SQLITE_IOERR_WRITE;
    return real_of(f)->pMethods->xWrite(real_of(f), p, n, at);
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int shim_sync(sqlite3_file *f, int flags)
{
    atomic_fetch_add(&syncs, 1);
    if (struck(FAULT_SYNC) || (((struct shim_file *)f)->database && struck(FAULT_DATABASE_SYNC)))
        return SQLITE_IOERR_FSYNC;
    if (struck(FAULT_SLOW_SYNC))
        usleep(400000);
    return real_of(f)->pMethods->xSync(real_of(f), flags);
}

static int shim_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real_of(f)->pMethods->xFileSize(real_of(f), size);
}

static int shim_lock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int shim_unlock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int shim_reserved(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int shim_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int shim_sector(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int shim_traits(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 1, .xClose = shim_close, .xRead = shim_read, .xWrite = shim_write, .xTruncate = shim_truncate,
    .xSync = shim_sync, .xFileSize = shim_size, .xLock = shim_lock, .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_reserved, .xFileControl = shim_control, .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_traits,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    sqlite3_vfs *real = vfs->pAppData;
    struct shim_file *file = (struct shim_file *)f;
    file->base.pMethods = NULL;
    file->database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
    file->real = calloc(1, (size_t)real->szOsFile);
    int rc = real->xOpen(real, name, file->real, flags, out);
    if (rc == SQLITE_OK)
        file->base.pMethods = &shim_methods;
    else
        free(file->real);
    return rc;
}

static void shim_register(void)
{
    static sqlite3_vfs shim;
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);
    shim = *real;
    shim.zName = "shim";
    shim.szOsFile = sizeof(struct shim_file);
    shim.pAppData = real;
    shim.xOpen = shim_open;
    ck_assert_int_eq(sqlite3_vfs_register(&shim, 0), SQLITE_OK);
}

static void strike(enum fault kind, int times)
{
    atomic_store(&failed, 0);
    atomic_store(&left, times);
    atomic_store(&fault, (int)kind);
}

/* ---------------------------------------------------------------- */

static void on_fault(void *arg, const char *why)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "fault: %.*s\n", (int)strcspn(why, ":"), why);
}

static void open_shim(struct bed *b)
{
    shim_register();
    atomic_store(&fault, FAULT_NONE);
    *b = (struct bed){.kind = &kind_sqlite, .rig = rig_open()};
    log_set(b->rig.log, LOG_ERROR, LOG_TEXT);
    dir_make(b->dir);
    path_in(b->dir, "bellhop.ballast", ballast);
    b->st = sqlite_try(b, "shim");
    ck_assert_msg(b->st != NULL, "%s", buf_cstr(&b->trace));
    store_on_fault(b->st, on_fault, b);
}

static uint64_t put(struct bed *b, const char *body)
{
    struct store_record r = {.key = store_key(store_queue(b->st, STR("q"), true), store_next_seq(b->st)),
                             .expires_ms = STORE_NEVER, .body = str_of(body)};
    store_begin(b->st);
    store_put(b->st, &r);
    store_then(b->st, on_unit, b);
    store_commit(b->st);
    return r.key;
}

static void end(struct bed *b, uint64_t key)
{
    store_begin(b->st);
    store_end(b->st, key, STORE_DONE);
    store_then(b->st, on_unit, b);
    store_commit(b->st);
}

static struct store_stats stats(struct bed *b)
{
    struct store_stats s;
    store_stats(b->st, &s);
    return s;
}

/* S4, S5: unknown, told once, and final although the next sync or write would succeed. */
static void one_failure_is_final(enum fault kind)
{
    struct bed b;
    open_shim(&b);
    put(&b, "A");
    TRACE_IS(&b, "unit ok\n");
    strike(kind, 1);
    put(&b, "B");
    store_load(b.st, store_key(1, 0), 9, on_rows, &b);
    TRACE_IS(&b, "fault: a commit failed\nunit unknown\nrows unknown 0 quarantined 0\n");
    ck_assert_int_eq(atomic_load(&failed), 1);
    ck_assert(stats(&b).faulted);
    int before = atomic_load(&writes), synced = atomic_load(&syncs);
    put(&b, "C");
    end(&b, store_key(1, 1));
    audit_is(&b, "totals 0 0 0 0 0 0 0 0\nthe store is faulted\n");
    store_close(b.st);
    ck_assert_int_eq(atomic_load(&writes), before); /* nothing more reaches the disk, not by the close either */
    ck_assert_int_eq(atomic_load(&syncs), synced);
    b.st = sqlite_try(&b, NULL); /* a new start checks, then goes on; B may be there or not */
    ck_assert_msg(b.st != NULL, "%s", buf_cstr(&b.trace));
    ck_assert(stats(&b).unclean);
    buf_clear(&b.trace);
    store_load(b.st, store_key(1, 0), 9, on_rows, &b);
    bed_settle(&b);
    ck_assert(b.rows == 1 || b.rows == 2);
    put(&b, "D");
    bed_settle(&b);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&b.trace), "unit ok"));
    bed_fini(&b);
}

START_TEST(d3_a_failed_write_is_final)
{
    one_failure_is_final(FAULT_WRITE);
}
END_TEST

START_TEST(d4_a_failed_sync_is_final)
{
    one_failure_is_final(FAULT_SYNC);
}
END_TEST

START_TEST(d4_a_failed_sync_of_the_close_is_told)
{
    struct bed b;
    open_shim(&b);
    put(&b, "A");
    strike(FAULT_SYNC, 1);
    ck_assert(!store_close(b.st));
    sqlite_open(&b);
    put(&b, "B");
    ck_assert(store_close(b.st));
    b.st = NULL;
    bed_fini(&b);
}
END_TEST

START_TEST(d5_a_failed_checkpoint_is_final)
{
    static char body[64 << 10];
    struct bed b;
    open_shim(&b);
    memset(body, 'x', sizeof(body) - 1);
    for (int i = 0; i < 460; i++)
        put(&b, body);
    bed_settle(&b);
    buf_clear(&b.trace);
    strike(FAULT_DATABASE_SYNC, 1);
    for (int i = 0; i < 100; i++)
        put(&b, body); /* above 4,000 pages in the journal */
    RIG_UNTIL(&b.rig, stats(&b).faulted);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&b.trace), "unit ok\nfault: a checkpoint failed\n"));
    buf_clear(&b.trace);
    put(&b, "A");
    TRACE_IS(&b, "unit unknown\n");
    store_close(b.st);
    sqlite_open(&b); /* the journal still holds all of it */
    audit_is(&b, "totals 560 560 0 0 0 0 0 0\n");
    bed_fini(&b);
}
END_TEST

START_TEST(d1_a_full_disk_refuses_puts_and_records_ends)
{
    struct bed b;
    open_shim(&b);
    uint64_t keys[3] = {put(&b, "A"), put(&b, "B"), put(&b, "C")};
    TRACE_IS(&b, "unit ok\nunit ok\nunit ok\n");
    atomic_store(&room, 1000);
    strike(FAULT_FULL, -1);
    put(&b, "D");
    end(&b, keys[0]);
    put(&b, "E");
    end(&b, keys[1]);
    TRACE_IS(&b, "unit full\nunit ok\nunit full\nunit ok\n");
    ck_assert(stats(&b).full && !stats(&b).faulted);
    ck_assert_int_ne(access(ballast, F_OK), 0);
    end(&b, keys[2]);
    put(&b, "F");
    TRACE_IS(&b, "unit ok\nunit full\n");
    strike(FAULT_NONE, 0);
    RIG_UNTIL(&b.rig, !stats(&b).full); /* by itself, once there is room for the ballast */
    ck_assert_int_eq(access(ballast, F_OK), 0);
    put(&b, "G");
    TRACE_IS(&b, "unit ok\n");
    audit_is(&b, "totals 4 1 0 3 0 0 0 0\n");
    bed_fini(&b);
}
END_TEST

START_TEST(d1_no_room_even_for_an_end_is_a_fault)
{
    struct bed b;
    open_shim(&b);
    uint64_t key = put(&b, "A");
    TRACE_IS(&b, "unit ok\n");
    atomic_store(&room, 0);
    strike(FAULT_FULL, -1);
    end(&b, key);
    TRACE_IS(&b, "fault: no room even for what ends\nunit unknown\n");
    strike(FAULT_NONE, 0);
    store_close(b.st);
    sqlite_open(&b);
    audit_is(&b, "totals 1 1 0 0 0 0 0 0\n");
    bed_fini(&b);
}
END_TEST

START_TEST(d6_the_loop_goes_on_while_a_sync_takes_long)
{
    struct bed b;
    open_shim(&b);
    put(&b, "A");
    TRACE_IS(&b, "unit ok\n");
    strike(FAULT_SLOW_SYNC, 1);
    int64_t start = clock_mono_ms();
    put(&b, "B");
    rig_for(&b.rig, 100);
    ck_assert_int_lt(clock_mono_ms() - start, 350);
    ck_assert_uint_eq(b.trace.len, 0); /* S1: not told before its sync */
    ck_assert_uint_gt(stats(&b).pending_bytes, 0);
    TRACE_IS(&b, "unit ok\n");
    ck_assert_int_ge(stats(&b).slowest_commit_ms, 390);
    ck_assert_uint_eq(stats(&b).pending_bytes, 0);
    bed_fini(&b);
}
END_TEST

START_TEST(s1_every_unit_told_was_synced)
{
    struct bed b;
    open_shim(&b);
    for (int i = 0; i < 20; i++) {
        int before = atomic_load(&syncs);
        put(&b, "A");
        TRACE_IS(&b, "unit ok\n");
        ck_assert_int_gt(atomic_load(&syncs), before);
    }
    bed_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store/faults");
    TCase *t = tcase_create("faults");
    const TTest *const tests[] = {
        d3_a_failed_write_is_final, d4_a_failed_sync_is_final, d4_a_failed_sync_of_the_close_is_told,
        d5_a_failed_checkpoint_is_final,
        d1_a_full_disk_refuses_puts_and_records_ends,
        d1_no_room_even_for_an_end_is_a_fault, d6_the_loop_goes_on_while_a_sync_takes_long,
        s1_every_unit_told_was_synced,
    };
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
