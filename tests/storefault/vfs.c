#include "vfs.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

struct file {
    sqlite3_file base;
    enum vfs_file id; /* VFS_FILES = of no interest */
    sqlite3_file *real; /* behind this struct */
};

struct logged {
    enum vfs_op op;
    enum vfs_file file;
    uint64_t at;
    size_t from, len; /* in `bytes` */
};

static struct {
    sqlite3_vfs *real;
    sqlite3_vfs vfs;
    struct vfs_fault fault;
    uint64_t counts[VFS_OPS], after_hit, syncs_after_hit, ballast_left;
    bool hit;
    bool hold, held;
    unsigned sync_us;
    bool no_checkpoints;
    int64_t skip_ms;
    bool recording;
    struct buf entries, bytes;
    int (*on_wal)(void *arg, sqlite3 *db, const char *name, int pages);
} g;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* ---------------------------------------------------------------- faults */

/* Room that the ballast gave back is used up by writes. */
static bool has_ballast_room(size_t n)
{
    if (g.fault.ballast == NULL || access(g.fault.ballast, F_OK) == 0 || g.ballast_left < n)
        return false;
    g.ballast_left -= n;
    return true;
}

static bool is_due(enum vfs_op op)
{
    uint64_t n = g.counts[op];
    return g.fault.nth > 0 && op == g.fault.op && (n == g.fault.nth || (g.fault.for_ever && n > g.fault.nth));
}

/* Counts the call; true: it is to fail. */
static bool fails(enum vfs_op op, size_t n)
{
    static const int errors[] = {EIO, EIO, ENOSPC, ENOSPC, EDQUOT, EFBIG};
    pthread_mutex_lock(&lock);
    g.counts[op]++;
    g.after_hit += g.hit && op != VFS_OPEN;
    g.syncs_after_hit += g.hit && op == VFS_SYNC;
    bool fail = is_due(op) && !has_ballast_room(n);
    g.hit |= fail;
    pthread_mutex_unlock(&lock);
    if (fail)
        errno = errors[g.fault.how]; /* what the default VFS says was the last error */
    return fail;
}

static void note(const struct file *f, enum vfs_op op, uint64_t at, struct str bytes)
{
    pthread_mutex_lock(&lock);
    if (g.recording && f->id != VFS_FILES) {
        buf_put(&g.entries, &(struct logged){op, f->id, at, g.bytes.len, bytes.n}, sizeof(struct logged));
        buf_put(&g.bytes, bytes.n > 0 ? bytes.p : "", bytes.n);
    }
    pthread_mutex_unlock(&lock);
}

/* ---------------------------------------------------------------- a file */

static struct file *file_of(sqlite3_file *base)
{
    return (struct file *)base;
}

static int on_close(sqlite3_file *base)
{
    sqlite3_file *real = file_of(base)->real;
    return real->pMethods->xClose(real);
}

static int on_read(sqlite3_file *base, void *to, int n, sqlite3_int64 at)
{
    sqlite3_file *real = file_of(base)->real;
    return real->pMethods->xRead(real, to, n, at);
}

static int write_real(struct file *f, const void *from, int n, sqlite3_int64 at)
{
    int rc = f->real->pMethods->xWrite(f->real, from, n, at);
    if (rc == SQLITE_OK)
        note(f, VFS_WRITE, (uint64_t)at, str_make(from, (size_t)n));
    return rc;
}

static int on_write(sqlite3_file *base, const void *from, int n, sqlite3_int64 at)
{
    struct file *f = file_of(base);
    if (f->id == VFS_FILES || !fails(VFS_WRITE, (size_t)n))
        return write_real(f, from, n, at);
    if (g.fault.how == VFS_SHORT || g.fault.how == VFS_FULL_SHORT)
        write_real(f, from, n / 2, at);
    return g.fault.how == VFS_FULL || g.fault.how == VFS_FULL_SHORT ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int on_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct file *f = file_of(base);
    if (f->id != VFS_FILES && fails(VFS_TRUNCATE, 0))
        return SQLITE_IOERR_TRUNCATE;
    int rc = f->real->pMethods->xTruncate(f->real, size);
    if (rc == SQLITE_OK)
        note(f, VFS_TRUNCATE, (uint64_t)size, STR_NONE);
    return rc;
}

static void wait_while_held(void)
{
    pthread_mutex_lock(&lock);
    g.held = g.hold;
    g.hold = false;
    while (g.held)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* Beside it the store may write on. */
static uint64_t sync_begins(const struct file *f)
{
    uint64_t covered = vfs_record_len();
    if (f->id == VFS_FILES)
        return covered;
    wait_while_held();
    if (g.sync_us > 0)
        usleep(g.sync_us);
    return covered;
}

static int on_sync(sqlite3_file *base, int flags)
{
    struct file *f = file_of(base);
    uint64_t covered = sync_begins(f);
    if (f->id != VFS_FILES && fails(VFS_SYNC, 0))
        return SQLITE_IOERR_FSYNC;
    int rc = f->real->pMethods->xSync(f->real, flags);
    if (rc == SQLITE_OK)
        note(f, VFS_SYNC, covered, STR_NONE);
    return rc;
}

static int on_size(sqlite3_file *base, sqlite3_int64 *size)
{
    sqlite3_file *real = file_of(base)->real;
    return real->pMethods->xFileSize(real, size);
}

static int on_lock(sqlite3_file *base, int level)
{
    sqlite3_file *real = file_of(base)->real;
    return real->pMethods->xLock(real, level);
}

static int on_unlock(sqlite3_file *base, int level)
{
    sqlite3_file *real = file_of(base)->real;
    return real->pMethods->xUnlock(real, level);
}

static int on_check_lock(sqlite3_file *base, int *out)
{
    sqlite3_file *real = file_of(base)->real;
    return real->pMethods->xCheckReservedLock(real, out);
}

static int on_control(sqlite3_file *base, int op, void *arg)
{
    sqlite3_file *real = file_of(base)->real;
    return real->pMethods->xFileControl(real, op, arg);
}

static int on_sector(sqlite3_file *base)
{
    sqlite3_file *real = file_of(base)->real;
    return real->pMethods->xSectorSize(real);
}

static int on_traits(sqlite3_file *base)
{
    sqlite3_file *real = file_of(base)->real;
    return real->pMethods->xDeviceCharacteristics(real);
}

/* Version 1: neither shared memory nor mapped files, of which the store uses none. */
static const sqlite3_io_methods methods = {
    .iVersion = 1, .xClose = on_close, .xRead = on_read, .xWrite = on_write, .xTruncate = on_truncate,
    .xSync = on_sync, .xFileSize = on_size, .xLock = on_lock, .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_lock, .xFileControl = on_control, .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_traits,
};

/* ---------------------------------------------------------------- the VFS */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static enum vfs_file id_of(const char *name)
{
    static const char *const ends[] = {".db", ".db-wal", ".db-journal"};
    for (size_t i = 0; i < VFS_FILES && name != NULL; i++)
        if (ends_with(name, ends[i]))
            return (enum vfs_file)i;
    return VFS_FILES;
}

static int on_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *base, int flags, int *out)
{
    struct file *f = file_of(base);
    (void)vfs;
    *f = (struct file){.id = id_of(name), .real = (sqlite3_file *)(void *)(f + 1)};
    if (f->id != VFS_FILES && fails(VFS_OPEN, 0))
        return SQLITE_CANTOPEN;
    int rc = g.real->xOpen(g.real, name, f->real, flags, out);
    if (rc == SQLITE_OK)
        f->base.pMethods = &methods;
    return rc;
}

static int on_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    struct file f = {.id = id_of(name)};
    (void)vfs;
    if (fails(VFS_DELETE, 0))
        return SQLITE_IOERR_DELETE;
    int rc = g.real->xDelete(g.real, name, sync);
    if (rc == SQLITE_OK)
        note(&f, VFS_DELETE, sync != 0, STR_NONE);
    return rc;
}

void vfs_register(void)
{
    g.real = sqlite3_vfs_find(NULL);
    g.vfs = *g.real;
    g.vfs.szOsFile = (int)sizeof(struct file) + g.real->szOsFile;
    g.vfs.zName = VFS_NAME;
    g.vfs.pNext = NULL;
    g.vfs.xOpen = on_open;
    g.vfs.xDelete = on_delete;
    sqlite3_vfs_register(&g.vfs, 0);
}

/* ---------------------------------------------------------------- what the tests say */

void vfs_arm(const struct vfs_fault *fault)
{
    pthread_mutex_lock(&lock);
    g.fault = fault != NULL ? *fault : (struct vfs_fault){0};
    memset(g.counts, 0, sizeof(g.counts));
    g.after_hit = g.syncs_after_hit = 0;
    g.hit = false;
    g.ballast_left = g.fault.ballast_bytes;
    pthread_mutex_unlock(&lock);
}

static uint64_t read_locked(const uint64_t *value)
{
    pthread_mutex_lock(&lock);
    uint64_t out = *value;
    pthread_mutex_unlock(&lock);
    return out;
}

static bool flag_locked(const bool *value)
{
    pthread_mutex_lock(&lock);
    bool out = *value;
    pthread_mutex_unlock(&lock);
    return out;
}

bool vfs_hit(void)
{
    return flag_locked(&g.hit);
}

uint64_t vfs_count(enum vfs_op op)
{
    return read_locked(&g.counts[op]);
}

uint64_t vfs_changes_after_hit(void)
{
    return read_locked(&g.after_hit);
}

uint64_t vfs_syncs_after_hit(void)
{
    return read_locked(&g.syncs_after_hit);
}

void vfs_no_checkpoints(void)
{
    g.no_checkpoints = true;
}

void vfs_slow_syncs(unsigned us)
{
    g.sync_us = us;
}

void vfs_hold_sync(void)
{
    pthread_mutex_lock(&lock);
    g.hold = true;
    pthread_mutex_unlock(&lock);
}

bool vfs_sync_is_held(void)
{
    return flag_locked(&g.held);
}

void vfs_release_sync(void)
{
    pthread_mutex_lock(&lock);
    g.held = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void vfs_hold_sync_after_this(void)
{
    pthread_mutex_lock(&lock);
    g.hold = true;
    g.held = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void vfs_skip_ms(int64_t ms)
{
    pthread_mutex_lock(&lock);
    g.skip_ms += ms;
    pthread_mutex_unlock(&lock);
}

void vfs_record(bool on)
{
    pthread_mutex_lock(&lock);
    g.recording = on;
    if (on) {
        buf_fini(&g.entries);
        buf_fini(&g.bytes);
    }
    pthread_mutex_unlock(&lock);
}

size_t vfs_record_len(void)
{
    pthread_mutex_lock(&lock);
    size_t n = g.entries.len / sizeof(struct logged);
    pthread_mutex_unlock(&lock);
    return n;
}

struct vfs_entry vfs_record_at(size_t i)
{
    const struct logged *e = (const struct logged *)(const void *)buf_data(&g.entries) + i;
    return (struct vfs_entry){.op = e->op, .file = e->file, .at = e->at,
                              .bytes = str_make(buf_data(&g.bytes) + e->from, e->len)};
}

/* ---------------------------------------------------------------- wrapped at the link */

int __wrap_posix_fallocate(int fd, off_t at, off_t n);
int64_t __real_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void);
void *__real_sqlite3_wal_hook(sqlite3 *db, int (*fn)(void *, sqlite3 *, const char *, int), void *arg);
void *__wrap_sqlite3_wal_hook(sqlite3 *db, int (*fn)(void *, sqlite3 *, const char *, int), void *arg);

int __wrap_posix_fallocate(int fd, off_t at, off_t n)
{
    (void)fd;
    (void)at;
    (void)n;
    pthread_mutex_lock(&lock);
    bool full = g.hit && g.fault.for_ever && g.fault.how >= VFS_FULL;
    pthread_mutex_unlock(&lock);
    return full ? ENOSPC : 0;
}

int64_t __wrap_clock_mono_ms(void)
{
    pthread_mutex_lock(&lock);
    int64_t skip_ms = g.skip_ms;
    pthread_mutex_unlock(&lock);
    return __real_clock_mono_ms() + skip_ms;
}

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    return g.on_wal(arg, db, name, g.no_checkpoints ? pages : pages * VFS_WAL_SCALE);
}

void *__wrap_sqlite3_wal_hook(sqlite3 *db, int (*fn)(void *, sqlite3 *, const char *, int), void *arg)
{
    g.on_wal = fn;
    return __real_sqlite3_wal_hook(db, on_wal, arg);
}
