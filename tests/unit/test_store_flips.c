/* D9: single bits of the file flipped. An altered message is never handed out: each that is loaded is
 * byte for byte what was put; and a start that refuses says that the file is damaged. FLIPS=3000 for more. */
#include <fcntl.h>

#include "base/rand.h"
#include "store_sqlite_rig.h"

#define ROWS 120

static char body_of_row[ROWS][1200];
static size_t body_len[ROWS];

static void make_rows(struct bed *b, struct rand *r)
{
    uint32_t queue = store_queue(b->st, STR("q"), true);
    store_begin(b->st);
    for (size_t i = 0; i < ROWS; i++) {
        body_len[i] = i % 10 == 0 ? 1200 : 100 + rand_below(r, 300);
        for (size_t k = 0; k < body_len[i]; k++)
            body_of_row[i][k] = (char)rand_u64(r);
        struct store_record record = {.key = store_key(queue, store_next_seq(b->st)), .expires_ms = STORE_NEVER,
                                      .accepted_ms = (int64_t)i, .route = STR("orders"), .subject = STR("orders.new"),
                                      .due_ms = i % 5 == 0 ? 100 : 0, .body = str_make(body_of_row[i], body_len[i])};
        store_put(b->st, &record);
        struct store_dead d = {.died_ms = 1, .reason = STR("timeout"), .record.key = record.key};
        if (i % 7 == 0)
            store_bury(b->st, &d);
    }
    store_commit(b->st);
}

static size_t shown, altered, aside, unread;

static void check_record(const struct store_record *r)
{
    size_t i = (size_t)r->accepted_ms;
    bool same = i < ROWS && str_eq(r->body, str_make(body_of_row[i], body_len[i])) && str_is(r->route, "orders") &&
                str_is(r->subject, "orders.new") && store_queue_of(r->key) == 1 && store_seq_of(r->key) == i + 1;
    shown++;
    altered += !same;
}

static void on_flipped(void *arg, const struct store_rows *rows)
{
    (void)arg;
    unread += rows->result != STORE_OK;
    aside += rows->quarantined;
    for (size_t i = 0; i < rows->count; i++)
        check_record(rows->dead != NULL ? &rows->dead[i].record : &rows->records[i]);
}

static void flip(const char *dir, uint64_t bit)
{
    char path[128], byte;
    int fd = open(path_in(dir, "bellhop.db", path), O_RDWR);
    ck_assert_int_eq(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
    byte = (char)(byte ^ (1 << bit % 8));
    ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
    close(fd);
}

/* True when it opened. A fault while loading makes the next start look closer; it refuses or goes on. */
static bool one_life(struct bed *b)
{
    b->st = sqlite_try(b, NULL);
    if (b->st == NULL) {
        ck_assert_msg(strstr(buf_cstr(&b->trace), "damaged") != NULL || strstr(buf_cstr(&b->trace), "not a store") != NULL ||
                          strstr(buf_cstr(&b->trace), "newer") != NULL, "%s", buf_cstr(&b->trace));
        return false;
    }
    store_load(b->st, store_key(1, 0), 1000, on_flipped, b);
    store_take_due(b->st, (struct store_when){1000, 0}, 1000, on_flipped, b);
    store_load_dead(b->st, 0, 1000, on_flipped, b);
    bed_settle(b);
    store_close(b->st);
    b->st = NULL;
    return true;
}

START_TEST(d9_a_flipped_bit_never_alters_a_message)
{
    const char *wanted = getenv("FLIPS");
    size_t flips = wanted != NULL ? strtoul(wanted, NULL, 10) : 500, refused = 0;
    struct bed b;
    struct stat st;
    struct rand r;
    char whole[64], path[128];
    rand_seed(&r, 9);
    bed_open(&b, &kind_sqlite, 0);
    log_set(b.rig.log, LOG_ERROR, LOG_TEXT);
    make_rows(&b, &r);
    store_close(b.st);
    memcpy(whole, b.dir, sizeof(whole));
    ck_assert_int_eq(stat(path_in(whole, "bellhop.db", path), &st), 0);
    dir_make(b.dir);
    for (size_t i = 0; i < flips; i++) {
        dir_copy(whole, b.dir);
        flip(b.dir, rand_below(&r, (uint64_t)st.st_size * 8));
        if (one_life(&b))
            one_life(&b);
        refused += b.trace.len > 0;
        buf_clear(&b.trace);
        dir_remove(b.dir);
        mkdir(b.dir, 0700);
    }
    printf("%zu flips: %zu rows shown, %zu altered, %zu put aside, %zu loads failed, %zu times refused\n", flips, shown,
           altered, aside, unread, refused);
    ck_assert_uint_eq(altered, 0);
    ck_assert_uint_gt(shown, flips * ROWS / 2);
    ck_assert_uint_gt(aside, flips / 10);
    dir_remove(whole);
    bed_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store/flips");
    TCase *t = tcase_create("flips");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, d9_a_flipped_bit_never_alters_a_message);
    suite_add_tcase(s, t);
    return run_suite(s);
}
