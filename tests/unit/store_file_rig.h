#pragma once
/* A store in a file that a test closes, tampers with and opens again. */
#include <fcntl.h>
#include <sqlite3.h>

#include "base/crc32c.h"
#include "base/rand.h"
#include "store/sqlite.h"
#include "store/store_log.h"
#include "store_sqlite_rig.h"

#define MIB (UINT64_C(1) << 20)

static char big[64 << 10];

static inline uint64_t put(struct bed *b, const char *body, size_t n)
{
    struct store_record r = {.key = store_key(store_queue(b->st, STR("q"), true), store_next_seq(b->st)),
                             .accepted_ms = 1, .expires_ms = STORE_NEVER, .route = STR("r"), .subject = STR("s"),
                             .body = str_make(body, n)};
    store_begin(b->st);
    store_put(b->st, &r);
    store_then(b->st, on_unit, b);
    store_commit(b->st);
    return r.key;
}

/* book_crc(id, value): the checksum of a counter. */
static inline void sql_book_crc(sqlite3_context *context, int count, sqlite3_value **values)
{
    const uint64_t words[] = {(uint64_t)sqlite3_value_int64(values[0]), (uint64_t)sqlite3_value_int64(values[1])};
    (void)count;
    sqlite3_result_int64(context, crc32c(0, words, sizeof(words)));
}

/* Runs SQL on the file of a store that is closed. */
static inline void tamper(struct bed *b, const char *sql)
{
    char path[128];
    sqlite3 *db = NULL;
    ck_assert_int_eq(sqlite3_open(path_in(b->dir, "bellhop.db", path), &db), SQLITE_OK);
    sqlite3_create_function(db, "book_crc", 2, SQLITE_UTF8, NULL, sql_book_crc, NULL, NULL);
    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

static inline void refused_with(struct bed *b, const char *text)
{
    buf_clear(&b->trace);
    ck_assert_ptr_null(sqlite_try(b, NULL));
    ck_assert_msg(strstr(buf_cstr(&b->trace), text) != NULL, "%s", buf_cstr(&b->trace));
    buf_clear(&b->trace);
}

static inline void close_store(struct bed *b)
{
    store_close(b->st);
    b->st = NULL;
}

static inline struct store_stats stats(struct bed *b)
{
    struct store_stats s;
    store_stats(b->st, &s);
    return s;
}
