#pragma once
/*
 * The store in a SQLite file: WAL, synchronous=FULL, one writer thread of its own, group commit.
 * Nobody else includes sqlite3.h.
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
