/*
 * Calls that fail when they are told to, linked into a daemon of its own: every allocation (the executable's malloc is
 * its libraries' too) and every call that reaches the store's folder. tests/torture/world.py arms it and reads what
 * came of it in a file that both have mapped: BELLHOP_TORTURE names it, BELLHOP_TORTURE_STORE the folder.
 *
 * A sync that fails takes with it what was written since the last one, as kernels do which drop the dirty pages: what
 * a daemon goes on to promise all the same is gone after its restart.
 */
/* They would make other functions of what is defined here. */
#undef _FORTIFY_SOURCE
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FDS 4096
#define FRAMES 24

enum kind { ALLOCATION, STORE_CALL, ROOM_CALL, KINDS }; /* the last: store calls that want room on the disk */

struct control { /* world.py knows its layout */
    uint64_t armed, kind, fail_at, lasting, error;
    uint64_t failed, calls[KINDS];
    char call[64];
    char trace[4096]; /* lines of `object+offset`, the caller first */
};

struct piece { /* what a write that is not synced yet has replaced */
    struct piece *next;
    int fd;
    off_t at, size; /* size: of the whole file, before */
    size_t wrote, n;
    char old[];
};

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void __libc_free(void *p);

static struct control *control;
static const char *folder;
static bool stored[FDS];      /* descriptors of the store's files */
static struct piece *pieces;  /* newest first; the store's files are one thread's at a time */
static _Thread_local bool inside;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("BELLHOP_TORTURE");
    void *frames[1];
    int fd = path != NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    backtrace(frames, 1); /* loads what it needs, now and not when there is no memory */
    folder = getenv("BELLHOP_TORTURE_STORE");
    void *p = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    control = p != MAP_FAILED ? p : NULL;
}

/* ---------------------------------------------------------------- whether it fails */

__attribute__((noinline)) static void note(const char *call)
{
    void *frames[FRAMES];
    size_t at = 0;
    Dl_info info;
    inside = true;
    int count = backtrace(frames, FRAMES);
    for (int i = 1; i < count && at < sizeof(control->trace); i++) {
        bool known = dladdr(frames[i], &info) != 0 && info.dli_fname != NULL;
        at += (size_t)snprintf(control->trace + at, sizeof(control->trace) - at, "%s+0x%lx\n",
                               known ? info.dli_fname : "?",
                               (unsigned long)((char *)frames[i] - (known ? (char *)info.dli_fbase : 0)));
    }
    snprintf(control->call, sizeof(control->call), "%s", call);
    inside = false;
}

static bool counts_as(enum kind kind, const char *call)
{
    uint64_t n = __atomic_add_fetch(&control->calls[kind], 1, __ATOMIC_RELAXED);
    if (control->kind != kind || control->fail_at == 0 || n < control->fail_at ||
        (n > control->fail_at && !control->lasting))
        return false;
    if (__atomic_fetch_add(&control->failed, 1, __ATOMIC_RELAXED) == 0)
        note(call);
    return true;
}

static bool listening(void)
{
    return control != NULL && !inside && __atomic_load_n(&control->armed, __ATOMIC_ACQUIRE) != 0;
}

static bool allocation_fails(const char *call)
{
    if (!listening() || !counts_as(ALLOCATION, call))
        return false;
    errno = ENOMEM;
    return true;
}

static bool store_call_fails(const char *call, bool wants_room)
{
    if (!listening())
        return false;
    bool fails = counts_as(STORE_CALL, call);
    fails = (wants_room && counts_as(ROOM_CALL, call)) || fails;
    if (fails)
        errno = (int)control->error;
    return fails;
}

static bool is_stored(int fd)
{
    return fd >= 0 && fd < FDS && stored[fd];
}

static bool lies_in_store(const char *path)
{
    return folder != NULL && strncmp(path, folder, strlen(folder)) == 0;
}

/* ---------------------------------------------------------------- memory */

void *malloc(size_t size)
{
    return allocation_fails("malloc") ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return allocation_fails("calloc") ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    return allocation_fails("realloc") ? NULL : __libc_realloc(p, size);
}

/* ---------------------------------------------------------------- what a sync that fails takes with it */

static void remember(int fd, size_t wrote, off_t at)
{
    struct stat st = {0};
    fstat(fd, &st);
    size_t n = at >= st.st_size ? 0 : st.st_size - at < (off_t)wrote ? (size_t)(st.st_size - at) : wrote;
    struct piece *p = __libc_malloc(sizeof(*p) + n);
    *p = (struct piece){.next = pieces, .fd = fd, .at = at, .size = st.st_size, .wrote = wrote, .n = n};
    pieces = p;
    if (n > 0)
        syscall(SYS_pread64, fd, p->old, n, at);
}

static void take_back(const struct piece *p)
{
    if (p->n > 0)
        syscall(SYS_pwrite64, p->fd, p->old, p->n, p->at);
    if (p->at + (off_t)p->wrote > p->size)
        syscall(SYS_ftruncate, p->fd, p->size);
}

static void settle(int fd, bool lost)
{
    for (struct piece **at = &pieces; *at != NULL;) {
        struct piece *p = *at;
        if (p->fd != fd) {
            at = &p->next;
            continue;
        }
        if (lost)
            take_back(p);
        *at = p->next;
        __libc_free(p);
    }
}

/* ---------------------------------------------------------------- the store's files */

int open(const char *path, int flags, ...)
{
    bool ours = lies_in_store(path);
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (ours && store_call_fails("open", (flags & O_CREAT) != 0))
        return -1;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && fd < FDS)
        stored[fd] = ours;
    return fd;
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int close(int fd)
{
    if (is_stored(fd)) {
        settle(fd, false);
        stored[fd] = false;
    }
    return (int)syscall(SYS_close, fd);
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
    return is_stored(fd) && store_call_fails("pread", false) ? -1 : syscall(SYS_pread64, fd, p, n, at);
}

ssize_t pread64(int fd, void *p, size_t n, off_t at) __attribute__((alias("pread")));

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    if (!is_stored(fd))
        return syscall(SYS_pwrite64, fd, p, n, at);
    if (store_call_fails("pwrite", true))
        return -1;
    remember(fd, n, at);
    return syscall(SYS_pwrite64, fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) __attribute__((alias("pwrite")));

int fdatasync(int fd)
{
    bool fails = is_stored(fd) && store_call_fails("fdatasync", false);
    if (is_stored(fd))
        settle(fd, fails);
    return fails ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    bool fails = is_stored(fd) && store_call_fails("fsync", false);
    if (is_stored(fd))
        settle(fd, fails);
    return fails ? -1 : (int)syscall(SYS_fsync, fd);
}

int ftruncate(int fd, off_t size)
{
    return is_stored(fd) && store_call_fails("ftruncate", false) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));

int posix_fallocate(int fd, off_t at, off_t n)
{
    if (is_stored(fd) && store_call_fails("posix_fallocate", true))
        return errno;
    return syscall(SYS_fallocate, fd, 0, at, n) == 0 ? 0 : errno;
}

int posix_fallocate64(int fd, off_t at, off_t n) __attribute__((alias("posix_fallocate")));

int unlink(const char *path)
{
    return lies_in_store(path) && store_call_fails("unlink", false) ? -1 : (int)syscall(SYS_unlink, path);
}

int mkdir(const char *path, mode_t mode)
{
    return lies_in_store(path) && store_call_fails("mkdir", true) ? -1
                                                                  : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

ssize_t sendfile(int to, int from, off_t *at, size_t n)
{
    return is_stored(to) && store_call_fails("sendfile", true) ? -1 : syscall(SYS_sendfile, to, from, at, n);
}

ssize_t sendfile64(int to, int from, off_t *at, size_t n) __attribute__((alias("sendfile")));
