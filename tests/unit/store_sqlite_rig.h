#pragma once
/* The store in a file, as a kind of store_rig.h: in a folder of its own. */
#include <sys/stat.h>

#include "base/err.h"
#include "store/store_sqlite.h"
#include "store_rig.h"

#define PLENTY (UINT64_C(1) << 40)

static const char *const store_files[] = {"bellhop.db", "bellhop.db-wal", "bellhop.ballast", "bellhop.faulted", "bellhop.mark",
                                          "bellhop.db-wal.cut"};
#define STORE_FILES (sizeof(store_files) / sizeof(store_files[0]))

static inline const char *path_in(const char *dir, const char *file, char out[static 128])
{
    snprintf(out, 128, "%s/%s", dir, file);
    return out;
}

static inline void dir_make(char dir[static 64])
{
    /* In memory where there is such a file system: what is tested here does not hang on real syncs. */
    snprintf(dir, 64, "%s/bellhop-store-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static inline void dir_remove(const char *dir)
{
    char path[128];
    for (size_t i = 0; i < STORE_FILES; i++)
        unlink(path_in(dir, store_files[i], path));
    rmdir(dir);
}

static inline void file_copy(const char *from, const char *to)
{
    char bytes[65536];
    size_t n;
    FILE *in = fopen(from, "rb");
    if (in == NULL)
        return;
    FILE *out = fopen(to, "wb");
    ck_assert_ptr_nonnull(out);
    while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
        ck_assert_uint_eq(fwrite(bytes, 1, n, out), n);
    fclose(in);
    ck_assert_int_eq(fclose(out), 0);
}

/* What a kill -9 would leave: the files as they are, the database first (a checkpoint may be writing
 * to it what the journal holds). */
static inline void dir_copy(const char *from, const char *to)
{
    char a[128], b[128];
    for (size_t i = 0; i < STORE_FILES; i++)
        file_copy(path_in(from, store_files[i], a), path_in(to, store_files[i], b));
}

/* NULL with the first error in b->trace. */
static inline struct store *sqlite_try(struct bed *b, const char *vfs)
{
    struct err err = {0};
    struct store_options o = {.path = b->dir, .max_size = b->room > 0 ? b->room : PLENTY, .vfs = vfs};
    struct store *st = store_sqlite_open(b->rig.loop, b->rig.log, &o, &err);
    ck_assert_int_eq(st == NULL, err.count > 0);
    if (st == NULL)
        buf_printf(&b->trace, "%s", err.texts[0]);
    err_fini(&err);
    return st;
}

static inline void sqlite_open(struct bed *b)
{
    if (b->dir[0] == '\0')
        dir_make(b->dir);
    b->st = sqlite_try(b, NULL);
    ck_assert_msg(b->st != NULL, "%s", buf_cstr(&b->trace));
}

static inline void on_settled(void *arg, const struct store_rows *rows)
{
    (void)rows;
    *(bool *)arg = true;
}

static inline void on_settled_audit(void *arg, const struct store_totals *books, struct str findings)
{
    (void)books;
    (void)findings;
    *(bool *)arg = true;
}

/* A load is answered behind all that was asked for before, but audits: those are answered one after the other. A
 * unit may be open meanwhile. Twice, since callbacks may have asked for more. */
static inline void sqlite_settle(struct bed *b)
{
    for (int i = 0; i < 2; i++) {
        bool settled = false;
        store_load(b->st, store_key(1, 0), 0, on_settled, &settled);
        RIG_UNTIL(&b->rig, settled);
    }
    bool settled = false;
    store_audit(b->st, on_settled_audit, &settled);
    RIG_UNTIL(&b->rig, settled);
}

static inline void sqlite_crash(struct bed *b)
{
    char other[64];
    dir_make(other);
    dir_copy(b->dir, other);
    store_close(b->st);
    dir_remove(b->dir);
    memcpy(b->dir, other, sizeof(other));
    b->st = NULL;
}

static inline void sqlite_fini(struct bed *b)
{
    dir_remove(b->dir);
}

static const struct kind kind_sqlite = {"sqlite", sqlite_open, sqlite_settle, sqlite_crash, sqlite_fini};
