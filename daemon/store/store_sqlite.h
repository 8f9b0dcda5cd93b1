#pragma once
/*
 * The store in a SQLite file: WAL, synchronous=FULL, one writer thread of its own, group commit.
 * Nobody else includes sqlite3.h.
 *
 * Beside bellhop.db and its journal lie bellhop.ballast, room that is given back to a disk that is full
 * so that ends can still be recorded (puts are STORE_FULL until there is room for it again), and, after a
 * fault, bellhop.faulted, which makes the next start check the whole file. A file below 64 MiB is also
 * checked when its last process did not close it.
 */
#include "base/err.h"
#include "base/log.h"
#include "loop/loop.h"
#include "store/store.h"

struct store_options {
    const char *path;       /* a directory, made where absent (0700); the file in it is bellhop.db */
    uint64_t max_size;      /* bytes; puts are refused above it, less a reserve of 2 % (at least 4 MiB) */
    const char *vfs;        /* SQLite VFS by name (tests); NULL = the default */
};

/* NULL with err: what is wrong and what to do (another process holds it, wrong version, damaged,
 * not writable). The file is checked before anything is accepted. */
struct store *store_sqlite_open(struct loop *l, struct log *log, const struct store_options *o, struct err *err);
