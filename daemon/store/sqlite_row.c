/* A row's columns and its two checksums: one over what never changes, one over what an update changes. */
#include "base/crc32c.h"
#include "store/sqlite.h"

enum column { /* behind the key */
    DUE, ATTEMPT, TARGET, REDRIVES, ACCEPTED, EXPIRES, CRC, STATE_CRC, ROUTE, SUBJECT, SENT_AS, FIRST_ERROR,
    LAST_ERROR, HEADERS, BODY, DIED, REASON /* the last two of dead letters only */
};

static uint32_t crc_words(const uint64_t *words, size_t n)
{
    return crc32c(0, words, n * sizeof(*words));
}

static uint32_t crc_str(uint32_t crc, struct str s)
{
    return crc32c(crc, s.p, s.n);
}

/* As they lie in one column: crashes came later, and most have none. */
static uint64_t attempts(const struct store_record *r)
{
    return (uint64_t)r->crashes << 32 | r->attempt;
}

/* Lengths go first, so that bytes cannot wander from one string to the next. */
static uint32_t row_crc(const struct store_dead *d)
{
    const struct store_record *r = &d->record;
    const uint64_t words[] = {r->key, (uint64_t)r->accepted_ms, (uint64_t)r->expires_ms, r->target,
                              r->redrives, r->route.n, r->subject.n, r->as.n, r->headers.n, r->body.n};
    uint32_t crc = crc_words(words, sizeof(words) / sizeof(words[0]));
    crc = crc_str(crc_str(crc_str(crc, r->route), r->subject), r->as);
    return crc_str(crc_str(crc, r->headers), r->body);
}

static uint32_t row_state_crc(const struct store_dead *d)
{
    const struct store_record *r = &d->record;
    const uint64_t words[] = {r->key, d->number, attempts(r), (uint64_t)d->died_ms, r->first_error.n,
                              r->last_error.n, d->reason.n};
    uint32_t crc = crc_words(words, sizeof(words) / sizeof(words[0]));
    return crc_str(crc_str(crc_str(crc, r->first_error), r->last_error), d->reason);
}

uint32_t book_crc(uint64_t id, uint64_t value, struct str name)
{
    const uint64_t words[] = {id, value};
    return crc_str(crc_words(words, 2), name);
}

static void bind_str(sqlite3_stmt *s, int at, struct str text)
{
    sqlite3_bind_blob64(s, at, text.n > 0 ? text.p : "", text.n, SQLITE_STATIC);
}

void row_bind(sqlite3_stmt *s, int at, struct store_dead *d)
{
    const struct store_record *r = &d->record;
    if (r->due_ms > 0)
        sqlite3_bind_int64(s, at + DUE, r->due_ms | (r->by_wall ? DUE_BY_WALL : 0));
    else
        sqlite3_bind_null(s, at + DUE);
    sqlite3_bind_int64(s, at + ATTEMPT, (int64_t)attempts(r));
    sqlite3_bind_int64(s, at + TARGET, r->target);
    sqlite3_bind_int64(s, at + REDRIVES, r->redrives);
    sqlite3_bind_int64(s, at + ACCEPTED, r->accepted_ms);
    sqlite3_bind_int64(s, at + EXPIRES, r->expires_ms);
    sqlite3_bind_int64(s, at + CRC, row_crc(d));
    sqlite3_bind_int64(s, at + STATE_CRC, row_state_crc(d));
    bind_str(s, at + ROUTE, r->route);
    bind_str(s, at + SUBJECT, r->subject);
    bind_str(s, at + SENT_AS, r->as);
    bind_str(s, at + FIRST_ERROR, r->first_error);
    bind_str(s, at + LAST_ERROR, r->last_error);
    bind_str(s, at + HEADERS, r->headers);
    bind_str(s, at + BODY, r->body);
    if (d->number == 0)
        return;
    sqlite3_bind_int64(s, at + DIED, d->died_ms);
    bind_str(s, at + REASON, d->reason);
}

/* As most are when they come. */
bool row_is_plain(const struct store_dead *d)
{
    const struct store_record *r = &d->record;
    return d->number == 0 && r->due_ms <= 0 && (r->attempt | r->crashes | r->target | r->redrives) == 0 &&
           (r->as.n | r->first_error.n | r->last_error.n) == 0;
}

void row_bind_plain(sqlite3_stmt *s, const struct store_dead *d)
{
    const struct store_record *r = &d->record;
    sqlite3_bind_int64(s, 1, (int64_t)r->key);
    sqlite3_bind_int64(s, 2, r->accepted_ms);
    sqlite3_bind_int64(s, 3, r->expires_ms);
    sqlite3_bind_int64(s, 4, row_crc(d));
    sqlite3_bind_int64(s, 5, row_state_crc(d));
    bind_str(s, 6, r->route);
    bind_str(s, 7, r->subject);
    bind_str(s, 8, r->headers);
    bind_str(s, 9, r->body);
}

void row_bind_state(sqlite3_stmt *s, int at, struct store_dead *d)
{
    sqlite3_bind_int64(s, at, (int64_t)attempts(&d->record));
    bind_str(s, at + 1, d->record.first_error);
    bind_str(s, at + 2, d->record.last_error);
    sqlite3_bind_int64(s, at + 3, row_state_crc(d));
}

static struct str column_str(sqlite3_stmt *s, int at)
{
    const void *p = sqlite3_column_blob(s, at);
    return str_make(p, p != NULL ? (size_t)sqlite3_column_bytes(s, at) : 0);
}

static void read_columns(sqlite3_stmt *s, int at, struct store_record *r)
{
    r->due_ms = sqlite3_column_int64(s, at + DUE) & STORE_DUE_MAX;
    r->by_wall = (sqlite3_column_int64(s, at + DUE) & DUE_BY_WALL) != 0;
    uint64_t attempts = (uint64_t)sqlite3_column_int64(s, at + ATTEMPT);
    r->attempt = (uint32_t)attempts;
    r->crashes = (uint32_t)(attempts >> 32);
    r->target = (uint32_t)sqlite3_column_int64(s, at + TARGET);
    r->redrives = (uint32_t)sqlite3_column_int64(s, at + REDRIVES);
    r->accepted_ms = sqlite3_column_int64(s, at + ACCEPTED);
    r->expires_ms = sqlite3_column_int64(s, at + EXPIRES);
    r->route = column_str(s, at + ROUTE);
    r->subject = column_str(s, at + SUBJECT);
    r->as = column_str(s, at + SENT_AS);
    r->first_error = column_str(s, at + FIRST_ERROR);
    r->last_error = column_str(s, at + LAST_ERROR);
    r->headers = column_str(s, at + HEADERS);
    r->body = column_str(s, at + BODY);
}

static bool row_is_whole(sqlite3_stmt *s, int at, const struct store_dead *d)
{
    return sqlite3_column_int64(s, at + CRC) == row_crc(d) &&
           sqlite3_column_int64(s, at + STATE_CRC) == row_state_crc(d);
}

bool row_read(sqlite3_stmt *s, struct store_dead *d)
{
    *d = (struct store_dead){.record.key = (uint64_t)sqlite3_column_int64(s, 0)};
    read_columns(s, 1, &d->record);
    return row_is_whole(s, 1, d);
}

bool row_read_dead(sqlite3_stmt *s, struct store_dead *d)
{
    *d = (struct store_dead){.number = (uint64_t)sqlite3_column_int64(s, 0),
                             .record.key = (uint64_t)sqlite3_column_int64(s, 1)};
    read_columns(s, 2, &d->record);
    d->died_ms = sqlite3_column_int64(s, 2 + DIED);
    d->reason = column_str(s, 2 + REASON);
    return row_is_whole(s, 2, d);
}
