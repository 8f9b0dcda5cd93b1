/*
 * Two files beside the database. The ballast holds room that is given back to a full disk, so that
 * ends can still be recorded. The mark of a fault makes the next start check the whole file; the
 * database itself is not written any more after one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/sqlite.h"

#define BALLAST_RETRY_MS 1000

bool is_lack_of_room(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

int open_beside(const struct db *db, const char *name, int flags)
{
    struct buf path = BUF_EMPTY;
    buf_printf(&path, "%s/%s", db->dir, name);
    int fd = open(buf_cstr(&path), flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    buf_fini(&path);
    return fd;
}

static void remove_beside(const struct db *db, const char *name)
{
    struct buf path = BUF_EMPTY;
    buf_printf(&path, "%s/%s", db->dir, name);
    unlink(buf_cstr(&path));
    buf_fini(&path);
}

/* Not more than once a second while there is no room. */
bool ballast_make(struct db *db)
{
    int64_t now = clock_mono_ms();
    if (db->disk_full && now - db->ballast_tried_ms < BALLAST_RETRY_MS)
        return false;
    db->ballast_tried_ms = now;
    int fd = open_beside(db, "bellhop.ballast", O_RDWR | O_CREAT);
    bool made = fd >= 0 && posix_fallocate(fd, 0, BALLAST_BYTES) == 0;
    if (fd >= 0)
        close(fd);
    if (!made)
        remove_beside(db, "bellhop.ballast");
    db->disk_full = !made;
    return made;
}

void ballast_release(struct db *db)
{
    remove_beside(db, "bellhop.ballast");
    db->disk_full = true;
    db->ballast_tried_ms = clock_mono_ms();
}

void fault_mark(const struct db *db)
{
    int fd = open_beside(db, "bellhop.faulted", O_WRONLY | O_CREAT);
    if (fd >= 0)
        close(fd);
}

bool fault_marked(const struct db *db)
{
    int fd = open_beside(db, "bellhop.faulted", O_RDONLY);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

void fault_unmark(const struct db *db)
{
    remove_beside(db, "bellhop.faulted");
}
