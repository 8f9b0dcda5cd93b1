#include "store/sqlite_gather.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define GATHERED_MAX (124u << 10) /* the default VFS takes less than 128 KiB at a time */

struct gather {
    sqlite3_vfs vfs; /* first */
    sqlite3_vfs *real;
    char name[32];
    struct gathered *journal;
    bool defers, owes;
    struct gathered *file; /* whose bytes lie in here */
    sqlite3_int64 at;
    int n;
    char bytes[GATHERED_MAX];
};

struct gathered {
    sqlite3_file base; /* first */
    struct gather *gather;
    sqlite3_file *real;
    bool gathers;
    bool headed; /* its first bytes were written and not synced yet */
    int fd; /* of the database, for a hint; never closed before the other: POSIX locks would go with it. Else -1 */
};

static struct gathered *gathered_of(sqlite3_file *f)
{
    return (struct gathered *)(void *)f;
}

static sqlite3_file *real_of(sqlite3_file *f)
{
    return gathered_of(f)->real;
}

/* What could not be written is forgotten: the transaction ends with this error. */
static int flush(struct gathered *f)
{
    struct gather *g = f->gather;
    int n = g->file == f ? g->n : 0;
    if (n == 0)
        return SQLITE_OK;
    g->n = 0;
    int rc = f->real->pMethods->xWrite(f->real, g->bytes, n, g->at);
    if (rc == SQLITE_OK && f->fd >= 0)
        sync_file_range(f->fd, g->at, n, SYNC_FILE_RANGE_WRITE);
    return rc;
}

static int flush_other(struct gather *g, const struct gathered *f, int n, sqlite3_int64 at)
{
    bool follows = g->file == f && g->at + g->n == at && g->n + n <= (int)GATHERED_MAX;
    return follows || g->file == NULL ? SQLITE_OK : flush(g->file);
}

static int on_write(sqlite3_file *base, const void *p, int n, sqlite3_int64 at)
{
    struct gathered *f = gathered_of(base);
    struct gather *g = f->gather;
    int rc = flush_other(g, f, n, at);
    if (rc != SQLITE_OK)
        return rc;
    f->headed |= at == 0;
    if (!f->gathers || n > (int)GATHERED_MAX)
        return f->real->pMethods->xWrite(f->real, p, n, at);
    if (g->n == 0) {
        g->file = f;
        g->at = at;
    }
    bytes_copy(g->bytes + g->n, p, (size_t)n);
    g->n += n;
    return SQLITE_OK;
}

static int on_close(sqlite3_file *base)
{
    struct gathered *f = gathered_of(base);
    int rc = flush(f), end = f->real->pMethods->xClose(f->real);
    if (f->gather->file == f)
        f->gather->file = NULL;
    if (f->gather->journal == f)
        f->gather->journal = NULL;
    if (f->fd >= 0)
        close(f->fd);
    return rc == SQLITE_OK ? end : rc;
}

static int on_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    int rc = flush(gathered_of(f));
    return rc == SQLITE_OK ? real_of(f)->pMethods->xRead(real_of(f), p, n, at) : rc;
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    int rc = flush(gathered_of(f));
    return rc == SQLITE_OK ? real_of(f)->pMethods->xTruncate(real_of(f), size) : rc;
}

static int on_sync(sqlite3_file *base, int flags)
{
    struct gathered *f = gathered_of(base);
    struct gather *g = f->gather;
    bool headed = f->headed;
    int rc = flush(f);
    f->headed = false;
    if (rc != SQLITE_OK || headed || f != g->journal || !g->defers)
        return rc == SQLITE_OK ? f->real->pMethods->xSync(f->real, flags) : rc;
    g->owes = true;
    return SQLITE_OK;
}

static int on_size(sqlite3_file *f, sqlite3_int64 *size)
{
    int rc = flush(gathered_of(f));
    return rc == SQLITE_OK ? real_of(f)->pMethods->xFileSize(real_of(f), size) : rc;
}

static int on_lock(sqlite3_file *f, int lock)
{
    return real_of(f)->pMethods->xLock(real_of(f), lock);
}

static int on_unlock(sqlite3_file *f, int lock)
{
    int rc = flush(gathered_of(f)), end = real_of(f)->pMethods->xUnlock(real_of(f), lock);
    return rc == SQLITE_OK ? end : rc;
}

static int on_reserved(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int on_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int on_sector_size(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int on_characteristics(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

/* Version 1: neither shared memory nor a mapped file is used. */
static const sqlite3_io_methods methods = {
    .iVersion = 1, .xClose = on_close, .xRead = on_read, .xWrite = on_write, .xTruncate = on_truncate,
    .xSync = on_sync, .xFileSize = on_size, .xLock = on_lock, .xUnlock = on_unlock,
    .xCheckReservedLock = on_reserved, .xFileControl = on_control, .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_characteristics,
};

/* SQLite goes on with a file that it can only read; we do not. */
static int refuse_read_only(struct gathered *f)
{
    f->real->pMethods->xClose(f->real);
    f->real->pMethods = NULL;
    return SQLITE_CANTOPEN;
}

static int on_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *base, int flags, int *out)
{
    struct gather *g = (struct gather *)(void *)vfs;
    struct gathered *f = gathered_of(base);
    bool database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
    *f = (struct gathered){.gather = g, .real = (sqlite3_file *)(void *)(f + 1), .fd = -1,
                           .gathers = database || (flags & SQLITE_OPEN_WAL) != 0};
    int got = flags;
    int rc = g->real->xOpen(g->real, name, f->real, flags, &got);
    if (rc == SQLITE_OK && (flags & SQLITE_OPEN_READWRITE) != 0 && (got & SQLITE_OPEN_READONLY) != 0)
        rc = refuse_read_only(f);
    if (out != NULL)
        *out = got;
    if (f->real->pMethods != NULL)
        base->pMethods = &methods;
    if (rc == SQLITE_OK && (flags & SQLITE_OPEN_WAL) != 0)
        g->journal = f;
    if (rc == SQLITE_OK && database)
        f->fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return rc;
}

struct gather *gather_new(const char *vfs)
{
    sqlite3_vfs *real = sqlite3_vfs_find(vfs);
    if (real == NULL)
        return NULL;
    struct gather *g = mem_zalloc(sizeof(*g));
    g->real = real;
    g->vfs = *real;
    snprintf(g->name, sizeof(g->name), "gather-%p", (void *)g);
    g->vfs.zName = g->name;
    g->vfs.pNext = NULL;
    g->vfs.szOsFile = (int)sizeof(struct gathered) + real->szOsFile;
    g->vfs.xOpen = on_open;
    sqlite3_vfs_register(&g->vfs, 0);
    return g;
}

void gather_free(struct gather *g)
{
    if (g == NULL)
        return;
    sqlite3_vfs_unregister(&g->vfs);
    mem_free(g);
}

void gather_defer(struct gather *g, bool on)
{
    g->defers = on;
}

bool gather_owes(struct gather *g)
{
    bool owes = g->owes;
    g->owes = false;
    return owes;
}

int gather_sync(struct gather *g)
{
    sqlite3_file *real = g->journal->real;
    return real->pMethods->xSync(real, SQLITE_SYNC_NORMAL);
}

const char *gather_name(const struct gather *g)
{
    return g->name;
}
