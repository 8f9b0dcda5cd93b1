/* Files that were damaged or tampered with: what is put aside, what is left out, what is refused. */
#include <sys/wait.h>

#include "store_file_rig.h"

START_TEST(a_tampered_counter_is_found)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 0);
    put(&b, "A", 1);
    put(&b, "B", 1);
    audit_is(&b, "totals 2 2 0 0 0 0 0 0\n");
    close_store(&b);
    tamper(&b, "UPDATE counter SET value = value + 1, crc = book_crc(id, value + 1) WHERE id IN (0, 1)");
    sqlite_open(&b);
    audit_is(&b, "totals 3 3 0 0 0 0 0 0\nready: the books say 3, the file holds 2\n");
    close_store(&b);
    tamper(&b, "UPDATE counter SET value = value - 1, crc = book_crc(id, value - 1) WHERE id IN (0, 1);"
               "UPDATE counter SET value = 7, crc = book_crc(id, 7) WHERE id = 18");
    sqlite_open(&b);
    audit_is(&b, "totals 2 2 0 0 0 0 0 0\nqueue 1, ready: the books say 7, the file holds 2\n");
    close_store(&b);
    tamper(&b, "UPDATE counter SET value = 8 WHERE id = 18");
    refused_with(&b, "fail their checksums");
    tamper(&b, "UPDATE counter SET value = 7 WHERE id = 18; UPDATE queue SET name = 'r'");
    refused_with(&b, "fail their checksums");
    tamper(&b, "UPDATE queue SET name = 'q'");
    sqlite_open(&b);
    bed_fini(&b);
}
END_TEST

/* Every column of a live row and of a dead letter in turn. */
START_TEST(what_fails_its_checksum_is_put_aside)
{
    static const char *const changes[] = {
        "attempt = 9", "target = 9", "redrives = 9", "accepted = 9", "expires = 9", "crc = crc + 1",
        "state_crc = state_crc + 1", "route = 'x'", "subject = 'x'", "sent_as = 'x'", "first_error = 'x'",
        "last_error = 'x'", "headers = 'x'", "body = 'x'", "died = 9", "reason = 'x'",
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]) * 2; i++) {
        struct bed b;
        char sql[128];
        bool dead = i % 2 > 0;
        bed_open(&b, &kind_sqlite, 0);
        for (int k = 0; k < 3; k++) {
            struct store_dead d = {.died_ms = 1, .reason = STR("r"), .record.key = put(&b, "A", 1)};
            store_begin(b.st);
            store_bury(b.st, &d);
            store_commit(b.st);
            put(&b, "B", 1);
        }
        close_store(&b);
        buf_clear(&b.trace);
        snprintf(sql, sizeof(sql), "UPDATE %s SET %s WHERE %s", dead ? "dead" : "delivery", changes[i / 2],
                 dead ? "number = 2" : "key % 16 = 4");
        if (dead || i / 2 < 14)
            tamper(&b, sql);
        sqlite_open(&b);
        store_load(b.st, store_key(1, 0), 9, on_rows, &b);
        store_load_dead(b.st, 0, 9, on_rows, &b);
        bed_settle(&b);
        ck_assert_uint_eq(b.rows, dead || i / 2 < 14 ? 5 : 6);
        ck_assert_msg((strstr(buf_cstr(&b.trace), "quarantined 1") != NULL) == (b.rows == 5), "%s", sql);
        audit_is(&b, b.rows == 6 ? "totals 6 3 0 0 0 0 3 0\n" : dead ? "totals 6 3 0 0 0 0 2 1\n"
                                                                      : "totals 6 2 0 0 0 0 3 1\n");
        bed_fini(&b);
    }
}
END_TEST

/* ---------------------------------------------------------------- history */

static void on_chunks(void *arg, const struct store_history *found)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "found %s", result_name(found->result));
    for (size_t i = 0; i < found->count; i++)
        buf_printf(&b->trace, " %llu=" STR_FMT, (unsigned long long)found->chunks[i].number,
                   STR_ARG(found->chunks[i].data));
    buf_putc(&b->trace, '\n');
}

/* The others are found all the same. */
START_TEST(a_damaged_chunk_is_never_shown)
{
    static const char *const changes[] = {"data = 'twi'", "crc = crc + 1", "data = NULL", "filter = 'x'", "filter = NULL"};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        static const char *const texts[] = {"one", "two", "three"};
        uint8_t filter[STORE_FILTER_BYTES] = {0};
        struct bed b;
        char sql[128];
        bed_open(&b, &kind_sqlite, 0);
        store_filter_add(filter, 77);
        for (uint64_t n = 0; n < 3; n++)
            store_history_put(b.st, &(struct store_chunk){.number = n + 1, .data = str_of(texts[n]),
                                                          .filter = str_make(filter, sizeof(filter))}, 100);
        bed_settle(&b);
        close_store(&b);
        snprintf(sql, sizeof(sql), "UPDATE history SET %s WHERE number = 2", changes[i]);
        tamper(&b, sql);
        sqlite_open(&b);
        store_history_find(b.st, 1, 77, on_chunks, &b);
        TRACE_IS(&b, "found ok 1=one 3=three\n");
        bed_fini(&b);
    }
}
END_TEST

/* ---------------------------------------------------------------- event logs */

static void on_appended(void *arg, const struct store_appended *a)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "append %s %llu v%llu\n", result_name(a->result), (unsigned long long)a->offset,
               (unsigned long long)a->version);
}

static void append(struct bed *b, uint64_t expected)
{
    store_begin(b->st);
    store_append(b->st, &(struct store_append){
        .log = store_log(b->st, STR("l")), .expected = expected, .now_ms = 5, .key = STR("k"), .route = STR("r"),
        .subject = STR("s"), .headers = STR("h"), .body = STR("body")}, on_appended, b);
    store_commit(b->st);
}

static void on_page(void *arg, const struct store_log_page *page)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "page %zu damaged %llu:", page->count, (unsigned long long)page->damaged);
    for (size_t i = 0; i < page->count; i++)
        buf_printf(&b->trace, " %llu", (unsigned long long)page->entries[i].offset);
    buf_putc(&b->trace, '\n');
}

/* Every column of an entry in turn. It is left out and named; versions go on as if it were whole. */
START_TEST(a_damaged_entry_is_never_shown)
{
    static const char *const changes[] = {"time = 9", "version = 9", "meta_crc = 1", "crc = 1", "route = 'x'",
                                          "subject = 'x'", "headers = 'x'", "body = 'x'", "version = 9, body = 'x'"};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct bed b;
        char sql[128];
        bed_open(&b, &kind_sqlite, 0);
        for (int k = 0; k < 3; k++)
            append(&b, STORE_ANY_VERSION);
        bed_settle(&b);
        close_store(&b);
        buf_clear(&b.trace);
        snprintf(sql, sizeof(sql), "UPDATE entry SET %s WHERE id %% 16 = 3", changes[i]);
        tamper(&b, sql);
        sqlite_open(&b);
        append(&b, 3);
        store_load_log(b.st, &(struct store_log_query){.log = 1, .limit = 9}, on_page, &b);
        TRACE_IS(&b, "append ok 4 v4\npage 3 damaged 1: 1 2 4\n");
        bed_settle(&b);
        store_audit(b.st, on_audit, &b);
        bed_settle(&b);
        ck_assert_msg(strstr(buf_cstr(&b.trace), "log l, damaged entries: the books say 0, the file holds 1\n") != NULL, "%s",
                      buf_cstr(&b.trace));
        bed_fini(&b);
    }
}
END_TEST

START_TEST(the_books_of_a_log_are_held_against_it)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 0);
    append(&b, 0);
    append(&b, 1);
    bed_settle(&b);
    close_store(&b);
    tamper(&b, "DELETE FROM entry WHERE id % 16 = 2");
    sqlite_open(&b);
    audit_is(&b, "totals 0 0 0 0 0 0 0 0\nlog l, entries: the books say 2, the file holds 1\n"
                 "log l, bytes: the books say 144, the file holds 72\n");
    close_store(&b);
    tamper(&b, "UPDATE log SET last = 1");
    refused_with(&b, "fail their checksums");
    tamper(&b, "UPDATE log SET last = 2, name = 'm'");
    refused_with(&b, "fail their checksums");
    tamper(&b, "UPDATE log SET name = 'l'");
    sqlite_open(&b);
    bed_fini(&b);
}
END_TEST

START_TEST(a_file_of_version_1_is_taken_over)
{
    struct bed b;
    bed_open(&b, &kind_sqlite, 0);
    put(&b, "A", 1);
    bed_settle(&b);
    close_store(&b);
    buf_clear(&b.trace);
    tamper(&b, "DROP TABLE entry; DROP TABLE log; DROP TABLE seen; DROP TABLE history; PRAGMA user_version=1");
    sqlite_open(&b);
    append(&b, 0);
    TRACE_IS(&b, "append ok 1 v1\n");
    audit_is(&b, "totals 1 1 0 0 0 0 0 0\n");
    bed_fini(&b);
}
END_TEST

START_TEST(a_damaged_page_is_refused_after_an_unclean_stop)
{
    struct bed b;
    char path[128];
    bed_open(&b, &kind_sqlite, 0);
    for (int i = 0; i < 50; i++)
        put(&b, big, 3000);
    bed_reopen(&b);
    bed_settle(&b);
    b.kind->crash(&b);
    int fd = open(path_in(b.dir, "bellhop.db", path), O_RDWR);
    for (off_t page = 9; page < 20; page++)
        ck_assert_int_eq(pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, page * 8192), 8);
    close(fd);
    refused_with(&b, "damaged");
    bed_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store/damage");
    TCase *t = tcase_create("damage");
    const TTest *const tests[] = {
        a_tampered_counter_is_found,
        what_fails_its_checksum_is_put_aside,
        a_damaged_chunk_is_never_shown,
        a_damaged_entry_is_never_shown,
        the_books_of_a_log_are_held_against_it,
        a_file_of_version_1_is_taken_over,
        a_damaged_page_is_refused_after_an_unclean_stop,
    };
    tcase_set_timeout(t, 120);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
