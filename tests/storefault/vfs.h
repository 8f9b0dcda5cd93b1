#pragma once
/*
 * A SQLite VFS named "fault" around the default one, for the tests of the store in a file. It fails what it is
 * told to fail, holds a sync up, and records every write, truncation, sync and removal, so that what a crash
 * may leave can be built (states.h). One store at a time; any thread.
 *
 * Wrapped at the link too (module.mk): posix_fallocate() (the ballast takes no room, and there is none while
 * the disk is full), clock_mono_ms() (vfs_skip_ms()) and sqlite3_wal_hook() (a journal looks VFS_WAL_SCALE
 * times as long as it is, so that the store checkpoints every 20 pages: every scenario has some; but where a test wants
 * none).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define VFS_NAME "fault"
#define VFS_WAL_SCALE 200

enum vfs_op { VFS_OPEN, VFS_WRITE, VFS_SYNC, VFS_TRUNCATE, VFS_DELETE, VFS_OPS };
enum vfs_file { VFS_DB, VFS_WAL, VFS_JOURNAL, VFS_FILES }; /* temporary files are left alone */

enum vfs_how {
    VFS_EIO,
    VFS_SHORT,     /* the first half is written, then EIO */
    VFS_FULL,      /* a write: SQLITE_FULL; a sync: its own error, with ENOSPC */
    VFS_FULL_SHORT, /* the first half is written, then SQLITE_FULL */
    VFS_QUOTA,      /* SQLITE_IOERR_WRITE with EDQUOT, as the default VFS has it */
    VFS_BIG         /* the same with EFBIG: no file may be so large (ulimit -f) */
};

struct vfs_fault {
    enum vfs_op op;
    uint64_t nth; /* counted from vfs_arm() on, from 1; 0 = none */
    enum vfs_how how;
    bool for_ever;       /* that one and all later ones of its kind; else once */
    const char *ballast; /* for_ever and full: not while this file is gone, for so many bytes: */
    uint64_t ballast_bytes;
};

void vfs_register(void);
void vfs_arm(const struct vfs_fault *fault); /* in place of the one before; counts start anew. NULL = none */
bool vfs_hit(void);                          /* has the fault come? */
uint64_t vfs_count(enum vfs_op op);          /* calls since vfs_arm() */
uint64_t vfs_changes_after_hit(void);        /* writes, syncs, truncations and removals asked for since */
uint64_t vfs_syncs_after_hit(void);          /* of them */

void vfs_hold_sync(void);      /* the next sync does not return … */
bool vfs_sync_is_held(void);
void vfs_release_sync(void);   /* … before this */
void vfs_hold_sync_after_this(void); /* the same, and the one after it does not */
void vfs_no_checkpoints(void);     /* in this process: journals look as long as they are */
void vfs_slow_syncs(unsigned us); /* each takes so long; 0 = as it comes */
void vfs_skip_ms(int64_t ms);  /* the monotonic clock goes forward */

struct vfs_entry {
    enum vfs_op op;
    enum vfs_file file;
    uint64_t at;      /* VFS_WRITE: where; VFS_TRUNCATE: the new size; VFS_DELETE: 1 = its folder was synced;
                         VFS_SYNC: how much of the record there was when it began: it covers no more */
    struct str bytes; /* VFS_WRITE */
};
void vfs_record(bool on);        /* on: an empty record */
size_t vfs_record_len(void);
/* Valid until vfs_record(true); no store may be open. */
struct vfs_entry vfs_record_at(size_t i);
