/* The books. Changed in memory while a transaction runs; what has changed is written once, before its
 * commit, and taken back when there is none. */
#include "base/mem.h"
#include "store/sqlite.h"

static struct counter *counter_at(struct db *db, size_t id)
{
    if (id >= db->counter_count) {
        size_t count = id + id / 2 + COUNTER_QUEUES;
        db->counters = mem_realloc(db->counters, count * sizeof(*db->counters));
        db->dirty = mem_realloc(db->dirty, count * sizeof(*db->dirty));
        for (size_t i = db->counter_count; i < count; i++)
            db->counters[i] = (struct counter){0};
        db->counter_count = count;
    }
    return &db->counters[id];
}

uint64_t counter_get(const struct db *db, size_t id)
{
    return id < db->counter_count ? db->counters[id].now : 0;
}

void counter_set(struct db *db, size_t id, uint64_t value)
{
    struct counter *c = counter_at(db, id);
    if (!c->dirty)
        db->dirty[db->dirty_count++] = id;
    c->dirty = true;
    c->now = value;
}

void counter_add(struct db *db, size_t id, int by)
{
    counter_set(db, id, counter_get(db, id) + (uint64_t)(int64_t)by);
}

struct store_time counters_time(const struct db *db)
{
    return (struct store_time){(int64_t)counter_get(db, COUNTER_TIME), (int64_t)counter_get(db, COUNTER_AHEAD)};
}

void counters_set_time(struct db *db, struct store_time time)
{
    counter_set(db, COUNTER_TIME, (uint64_t)time.now_ms);
    counter_set(db, COUNTER_AHEAD, (uint64_t)time.ahead_ms);
}

void counters_load(struct db *db, size_t id, uint64_t value)
{
    struct counter *c = counter_at(db, id);
    c->now = c->stored = value;
}

int counters_write(struct db *db)
{
    sqlite3_stmt *s = db_stmt(db, STMT_COUNTER);
    int rc = SQLITE_OK;
    for (size_t i = 0; i < db->dirty_count && rc == SQLITE_OK; i++) {
        const struct counter *c = &db->counters[db->dirty[i]];
        if (c->now == c->stored)
            continue;
        sqlite3_bind_int64(s, 1, (int64_t)db->dirty[i]);
        sqlite3_bind_int64(s, 2, (int64_t)c->now);
        sqlite3_bind_int64(s, 3, book_crc(db->dirty[i], c->now, STR_NONE));
        rc = db_step(s);
    }
    return rc;
}

void counters_settle(struct db *db, bool committed)
{
    for (size_t i = 0; i < db->dirty_count; i++) {
        struct counter *c = &db->counters[db->dirty[i]];
        c->dirty = false;
        if (committed)
            c->stored = c->now;
        else
            c->now = c->stored;
    }
    db->dirty_count = 0;
    if (!committed && db->audit.running)
        audit_anew(&db->audit);
}

size_t counter_of_queue(uint64_t key, bool delayed)
{
    return COUNTER_QUEUES + (size_t)store_queue_of(key) * 2 + delayed;
}

void counter_live(struct db *db, uint64_t key, int64_t due_ms, int by)
{
    counter_add(db, due_ms > 0 ? TOTAL_DELAYED : TOTAL_READY, by);
    counter_add(db, counter_of_queue(key, due_ms > 0), by);
    audit_live(&db->audit, key, due_ms > 0, by);
}

void counter_dead(struct db *db, uint64_t number, int by)
{
    counter_add(db, TOTAL_DEAD, by);
    audit_dead(&db->audit, number, by);
}

void counter_quarantined(struct db *db)
{
    counter_add(db, TOTAL_QUARANTINED, +1);
    audit_quarantined(&db->audit);
}

void counters_totals(const struct db *db, struct store_totals *out)
{
    for (size_t i = 0; i < TOTALS; i++)
        *totals_at(out, i) = counter_get(db, i);
}
