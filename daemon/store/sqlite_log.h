#pragma once
/* The event logs of store_sqlite: their tables, statements and books, kept as sqlite_counter.c keeps its own. */
#include "store/sqlite.h"

/* meta_crc: over what finds an entry (key, version, time); crc: over the rest. */
#define LOG_TABLES                                                                                              \
    "CREATE TABLE log(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first INTEGER, last INTEGER, "         \
    "bytes INTEGER, first_time INTEGER, last_time INTEGER, crc INTEGER);"                                       \
    "CREATE TABLE entry(id INTEGER PRIMARY KEY, time INTEGER, version INTEGER, meta_crc INTEGER, crc INTEGER, " \
    "key BLOB, route BLOB, subject BLOB, headers BLOB, body BLOB);"                                             \
    "CREATE INDEX entry_key ON entry(key) WHERE key IS NOT NULL;"

struct db_logs *logs_new(void);
void logs_free(struct db_logs *l); /* NULL is legal */
int logs_prepare(struct db *db);
int logs_load(struct db *db);      /* at opening */
void logs_each(const struct db *db, void (*fn)(void *arg, const struct store_log_row *row), void *arg);

int logs_write(struct db *db);     /* what has changed, before a commit */
void logs_settle(struct db *db, bool committed);
void logs_tell(const struct db *db, struct store_batch *b);

/* Does every append of the unit find the version it expects? If not, the one says so and *ok is false. */
int logs_check(struct db *db, const struct store_batch *b, const struct store_job *job, bool *ok);
int log_append(struct db *db, struct store_op *op);
int log_make(struct db *db, const struct store_batch *b, const struct store_job *job);
int log_load(struct db *db, const struct store_batch *b, struct store_job *job);
int log_trim(struct db *db, struct store_job *job);
/* Walks on over some entries of the logs, from w; what does not add up goes to findings. *over: there are no more. */
int logs_audit(struct db *db, struct audit_log *w, struct buf *findings, bool *over);
