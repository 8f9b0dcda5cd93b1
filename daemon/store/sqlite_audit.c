/* Counts every row and holds the books against it. Reads the whole file: commits wait for it. */
#include <stdio.h>

#include "base/mem.h"
#include "store/sqlite.h"
#include "store/sqlite_log.h"

struct count {
    uint64_t live[2]; /* ready, delayed */
};

struct audit {
    struct db *db;
    struct store_answer *answer;
    struct count *queues; /* by number */
    size_t queue_count;
    struct store_totals found;
};

static int prepare(struct db *db, const char *sql, sqlite3_stmt **s)
{
    return sqlite3_prepare_v2(db->sql, sql, -1, s, NULL);
}

static int finish(sqlite3_stmt *s, int rc)
{
    int end = sqlite3_finalize(s);
    return rc == SQLITE_DONE ? SQLITE_OK : end;
}

static void differ(struct audit *a, const char *what, uint64_t books, uint64_t found)
{
    if (books != found)
        buf_printf(&a->answer->findings, "%s: the books say %llu, the file holds %llu\n", what,
                   (unsigned long long)books, (unsigned long long)found);
}

/* Bit 17 and above of the queue would be a damaged key: such rows show as a difference of the totals. */
static int count_live(struct audit *a)
{
    sqlite3_stmt *s = NULL;
    int rc = prepare(a->db, "SELECT key >> 46, due IS NOT NULL AND due > 0, count(*) FROM delivery "
                            "GROUP BY 1, 2", &s);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(s);
        if (rc != SQLITE_ROW)
            break;
        uint64_t queue = (uint64_t)sqlite3_column_int64(s, 0), n = (uint64_t)sqlite3_column_int64(s, 2);
        bool delayed = sqlite3_column_int(s, 1) != 0;
        *(delayed ? &a->found.delayed : &a->found.ready) += n;
        if (queue < a->queue_count)
            a->queues[queue].live[delayed] += n;
    }
    return finish(s, rc);
}

static int count_rows(struct audit *a, const char *sql, uint64_t *out)
{
    sqlite3_stmt *s = NULL;
    int rc = prepare(a->db, sql, &s);
    if (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        *out = (uint64_t)sqlite3_column_int64(s, 0);
        rc = SQLITE_DONE;
    }
    return finish(s, rc);
}

static void compare_queues(struct audit *a)
{
    char what[64];
    for (size_t q = 1; q < a->queue_count; q++) {
        for (size_t delayed = 0; delayed < 2; delayed++) {
            snprintf(what, sizeof(what), "queue %zu, %s", q, delayed ? "delayed" : "ready");
            differ(a, what, counter_get(a->db, COUNTER_QUEUES + q * 2 + delayed), a->queues[q].live[delayed]);
        }
    }
}

static void compare(struct audit *a)
{
    struct store_totals *books = &a->answer->books;
    differ(a, "ready", books->ready, a->found.ready);
    differ(a, "delayed", books->delayed, a->found.delayed);
    differ(a, "dead", books->dead, a->found.dead);
    differ(a, "quarantined", books->quarantined, a->found.quarantined);
    differ(a, "accepted", books->accepted, books->ready + books->delayed + books->done + books->expired +
                                               books->dropped + books->dead + books->quarantined);
    compare_queues(a);
}

int db_audit(struct db *db, struct store_job *job)
{
    size_t queues = db->counter_count > COUNTER_QUEUES ? (db->counter_count - COUNTER_QUEUES) / 2 : 0;
    struct audit a = {.db = db, .answer = job->answer, .queue_count = queues};
    a.queues = mem_calloc(queues, sizeof(*a.queues));
    counters_totals(db, &job->answer->books);
    int rc = count_live(&a);
    if (rc == SQLITE_OK)
        rc = count_rows(&a, "SELECT count(*) FROM dead", &a.found.dead);
    if (rc == SQLITE_OK)
        rc = count_rows(&a, "SELECT count(*) FROM quarantine", &a.found.quarantined);
    if (rc == SQLITE_OK)
        compare(&a);
    if (rc == SQLITE_OK)
        rc = logs_audit(db, &job->answer->findings);
    mem_free(a.queues);
    return rc;
}
