/*
 * Which messages came already. The id is a hash, so that a damaged row is another id, of a message that will
 * not come; one whose time is damaged does not count (seen_counts()). So rows need no checksum.
 */
#include "store/sqlite.h"

#define TRIM_MORE 16 /* rows beyond twice what came: the table shrinks faster than it grows */

void seen_draw_key(struct db *db)
{
    uint64_t key[2];
    map_draw_key(key);
    counter_set(db, COUNTER_KEY, key[0] | 1); /* 0 = none yet */
    counter_set(db, COUNTER_KEY_END, key[1]);
}

static int seen_get(struct db *db, const struct once *o, bool *found, int64_t *until_ms)
{
    sqlite3_stmt *s = db_stmt(db, STMT_SEEN);
    sqlite3_bind_int64(s, 1, (int64_t)o->id[0]);
    sqlite3_bind_int64(s, 2, (int64_t)o->id[1]);
    int rc = sqlite3_step(s);
    *found = rc == SQLITE_ROW;
    if (*found)
        *until_ms = sqlite3_column_int64(s, 0);
    int end = sqlite3_reset(s);
    return rc == SQLITE_ROW ? SQLITE_OK : end;
}

static int look(struct db *db, struct store_op *op, bool *found)
{
    int64_t until_ms = 0;
    int rc = seen_get(db, &op->once, found, &until_ms);
    op->duplicate = rc == SQLITE_OK && *found && seen_counts(&op->once, until_ms);
    return rc;
}

int db_copy(struct db *db, struct store_op *op)
{
    bool found;
    return look(db, op, &found);
}

int db_once(struct db *db, struct store_op *op)
{
    sqlite3_stmt *s = db_stmt(db, STMT_SEEN_PUT);
    bool found;
    int rc = look(db, op, &found);
    if (rc != SQLITE_OK || op->duplicate)
        return rc;
    db->seen_new++;
    db->seen_now_ms = op->once.now_ms;
    counter_add(db, COUNTER_SEEN, !found);
    sqlite3_bind_int64(s, 1, (int64_t)op->once.id[0]);
    sqlite3_bind_int64(s, 2, (int64_t)op->once.id[1]);
    sqlite3_bind_int64(s, 3, seen_until(&op->once));
    return db_step(s);
}

/* Up to `most` rows of a statement that takes (bound, most), or (most) where bound is NULL. */
static int forget(struct db *db, enum stmt id, const int64_t *bound, uint64_t most)
{
    sqlite3_stmt *s = db_stmt(db, id);
    if (bound != NULL)
        sqlite3_bind_int64(s, 1, *bound);
    sqlite3_bind_int64(s, bound != NULL ? 2 : 1, (int64_t)most);
    int rc = db_step(s);
    if (rc == SQLITE_OK)
        counter_add(db, COUNTER_SEEN, -sqlite3_changes(db->sql));
    return rc;
}

static int evict(struct db *db, uint64_t most)
{
    uint64_t before = counter_get(db, COUNTER_SEEN);
    uint64_t above = before > db->seen_max ? before - db->seen_max : 0;
    int rc = above > 0 ? forget(db, STMT_SEEN_EVICT, NULL, above < most ? above : most) : SQLITE_OK;
    db->evicted += before - counter_get(db, COUNTER_SEEN);
    return rc;
}

int seen_trim(struct db *db)
{
    uint64_t most = db->seen_new * 2 + TRIM_MORE;
    int64_t now = db->seen_now_ms, ahead;
    if (db->seen_new == 0)
        return SQLITE_OK;
    if (__builtin_add_overflow(now, STORE_WINDOW_MAX, &ahead))
        ahead = INT64_MAX;
    int rc = forget(db, STMT_SEEN_EXPIRE, &now, most);
    if (rc == SQLITE_OK)
        rc = forget(db, STMT_SEEN_AHEAD, &ahead, most);
    return rc == SQLITE_OK ? evict(db, most) : rc;
}
