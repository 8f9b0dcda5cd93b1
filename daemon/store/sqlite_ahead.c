/*
 * The journal grows ahead of what is written to it: a sync of a file that has grown writes its inode too, a third of
 * the time of a small commit. Zeros are none of SQLite's frames: to it the journal ends where they begin. They are
 * written behind the answers, and synced by the next commit.
 */
#include <errno.h>

#include "store/sqlite.h"

#define AHEAD_STEP (512u << 10)
#define AHEAD_MOST (32u << 20) /* it is written from its start again at about that size */
#define SMALL_COMMIT (64u << 10) /* what a larger one syncs takes longer than the inode */

static int write_zeros(sqlite3_file *f, sqlite3_int64 from, sqlite3_int64 end)
{
    static const char zeros[32768];
    int rc = SQLITE_OK;
    errno = 0;
    for (; from < end && rc == SQLITE_OK; from += (sqlite3_int64)sizeof(zeros))
        rc = f->pMethods->xWrite(f, zeros, (int)sizeof(zeros), from);
    return rc == SQLITE_OK ? f->pMethods->xFileSize(f, &from) : rc; /* nothing of it is gathered any more */
}

static bool lacks_room(int rc)
{
    return rc == SQLITE_FULL || (rc == SQLITE_IOERR_WRITE && is_lack_of_room(errno));
}

void ahead_write(struct db *db)
{
    sqlite3_file *f = NULL;
    sqlite3_int64 size = 0;
    if (db->faulted || db->disk_full || db->ahead >= AHEAD_MOST ||
        sqlite3_file_control(db->sql, "main", SQLITE_FCNTL_JOURNAL_POINTER, (void *)&f) != SQLITE_OK ||
        f->pMethods == NULL || f->pMethods->xFileSize(f, &size) != SQLITE_OK || size <= db->ahead)
        return;
    bool small = size - db->ahead <= SMALL_COMMIT;
    db->ahead = small ? size + AHEAD_STEP : size;
    int rc = small ? write_zeros(f, size, db->ahead) : SQLITE_OK;
    if (lacks_room(rc))
        db->ahead = AHEAD_MOST; /* what little there is, is for commits */
    else if (rc != SQLITE_OK)
        db_fault(db, "writing the journal ahead failed");
}
