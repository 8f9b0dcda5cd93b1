/* The contract of store.h, held by both stores: every case runs on each. */
#include "store_sqlite_rig.h"

static const struct kind *const kinds[] = {&kind_mem, &kind_sqlite};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct store_record record(uint64_t key, const char *body)
{
    return (struct store_record){.key = key, .accepted_ms = 1000, .expires_ms = STORE_NEVER, .route = STR("orders"),
                                 .subject = STR("orders.new"), .headers = STR("a: b"), .body = str_of(body)};
}

static uint64_t put_due(struct bed *b, uint32_t queue, const char *body, int64_t due_ms)
{
    struct store_record r = record(store_key(queue, store_next_seq(b->st)), body);
    r.due_ms = due_ms;
    store_begin(b->st);
    store_put(b->st, &r);
    store_commit(b->st);
    return r.key;
}

static uint64_t put(struct bed *b, uint32_t queue, const char *body)
{
    return put_due(b, queue, body, 0);
}

static void end(struct bed *b, uint64_t key, enum store_end how)
{
    store_begin(b->st);
    store_end(b->st, key, how);
    store_commit(b->st);
}

static void bury(struct bed *b, uint64_t key, struct str error)
{
    struct store_dead d = {.died_ms = 5000, .reason = STR("timeout"),
                           .record = {.key = key, .attempt = 3, .last_error = error}};
    store_begin(b->st);
    store_bury(b->st, &d);
    store_commit(b->st);
}

#define REST "times=1000,9223372036854775807 [orders] [orders.new] [a: b]"
#define ROW(key, due, attempt, body) " " key " due=" due " attempt=" attempt " target=0 redrives=0 " REST " [" body "] [] [] []\n"

static void rows_come_in_the_order_of_their_puts(struct bed *b)
{
    uint32_t one = store_queue(b->st, STR("one"), true), two = store_queue(b->st, STR("two"), true);
    ck_assert(one != 0 && two != 0 && one != two);
    ck_assert_uint_eq(store_queue(b->st, STR("one"), true), one);
    ck_assert_uint_ne(store_queue(b->st, STR("one"), false), one);
    put(b, one, "A");
    put(b, two, "B");
    put(b, one, "C");
    store_load(b->st, store_key(one, 0), 10, on_rows, b);
    TRACE_IS(b, "rows ok 2 quarantined 0\n" ROW("1:1", "0", "0", "A") ROW("1:3", "0", "0", "C"));
    store_load(b->st, store_key(two, 0), 10, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n" ROW("2:2", "0", "0", "B"));
    audit_is(b, "totals 3 3 0 0 0 0 0 0\n");
}

static void every_field_comes_back(struct bed *b)
{
    char big[9000];
    struct store_record r = {.key = store_key(store_queue(b->st, STR("q"), false), store_next_seq(b->st)),
                             .accepted_ms = 11, .expires_ms = 22, .due_ms = 0, .attempt = 4, .target = 5,
                             .redrives = 6, .route = STR("r"), .subject = STR("s"), .headers = STR("h\0h"),
                             .body = str_make(big, sizeof(big)), .as = STR("as"), .first_error = STR("e1"),
                             .last_error = STR("e2")};
    memset(big, 'x', sizeof(big));
    store_begin(b->st);
    store_put(b->st, &r);
    store_commit(b->st);
    memset(big, 'y', sizeof(big)); /* strings were copied at the call */
    store_load(b->st, store_key(1, 0), 1, on_rows, b);
    bed_settle(b);
    ck_assert_msg(strstr(buf_cstr(&b->trace), "1:1 due=0 attempt=4 target=5 redrives=6 times=11,22 [r] [s] [h") != NULL,
                  "%s", buf_cstr(&b->trace));
    ck_assert_ptr_nonnull(memmem(buf_data(&b->trace), b->trace.len, "h\0h] [xxxx", 10));
    ck_assert_ptr_nonnull(memmem(buf_data(&b->trace), b->trace.len, "[as] [e1] [e2]", 14));
}

static void a_queue_is_read_page_by_page(struct bed *b)
{
    char body[16];
    uint32_t queue = store_queue(b->st, STR("q"), true);
    for (int i = 0; i < 25; i++) {
        snprintf(body, sizeof(body), "%d", i);
        put(b, queue, body);
        put(b, store_queue(b->st, STR("other"), true), body);
    }
    b->last_key = store_key(queue, 0);
    for (size_t want = 10; want <= 30; want += 10) {
        store_load(b->st, b->last_key, 10, on_rows, b);
        bed_settle(b);
        ck_assert_uint_eq(b->rows, want > 25 ? 25 : want);
    }
    for (int i = 0; i < 25; i++) {
        snprintf(body, sizeof(body), "[%d]", i);
        ck_assert_ptr_nonnull(strstr(buf_cstr(&b->trace), body));
    }
}

static void a_load_sees_what_was_committed_before_it(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true);
    store_load(b->st, store_key(queue, 0), 10, on_rows, b);
    uint64_t key = put(b, queue, "A");
    store_load(b->st, store_key(queue, 0), 10, on_rows, b);
    end(b, key, STORE_DONE);
    store_load(b->st, store_key(queue, 0), 10, on_rows, b);
    TRACE_IS(b, "rows ok 0 quarantined 0\nrows ok 1 quarantined 0\n" ROW("1:1", "0", "0", "A")
                "rows ok 0 quarantined 0\n");
}

static void ends_are_counted_once(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true);
    uint64_t keys[4];
    for (size_t i = 0; i < 4; i++)
        keys[i] = put_due(b, queue, "A", i == 1 ? 777 : 0);
    for (size_t i = 0; i < 3; i++)
        end(b, keys[i], (enum store_end)i);
    end(b, keys[0], STORE_EXPIRED);
    store_begin(b->st);
    store_update(b->st, &(struct store_change){keys[0], 2, 99, STR("e"), STR("e"), 0});
    store_commit(b->st);
    bury(b, keys[0], STR("e"));
    end(b, store_key(queue, 12345), STORE_DONE);
    audit_is(b, "totals 4 1 0 1 1 1 0 0\n");
}

static void crashes_stay_until_it_is_redriven(struct bed *b)
{
    uint64_t key = put(b, store_queue(b->st, STR("q"), true), "A");
    store_begin(b->st);
    store_update(b->st, &(struct store_change){.key = key, .attempt = 1, .crashes = 1});
    store_update(b->st, &(struct store_change){.key = key, .attempt = 2});
    store_commit(b->st);
    bed_settle(b);
    bed_reopen(b);
    buf_clear(&b->trace);
    store_load(b->st, store_key(1, 0), 1, on_rows, b);
    bed_settle(b);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&b->trace), "attempt=2 target=0 redrives=0"));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&b->trace), "crashes=1"));
    buf_clear(&b->trace);
    struct store_dead d = {.died_ms = 5, .reason = STR("x"), .record = {.key = key, .attempt = 2}};
    store_begin(b->st);
    store_bury(b->st, &d);
    store_redrive(b->st, 1, store_key(1, store_next_seq(b->st)));
    store_commit(b->st);
    store_load(b->st, store_key(1, 0), 1, on_rows, b);
    bed_settle(b);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&b->trace), "attempt=0 target=0 redrives=1"));
    ck_assert_ptr_null(strstr(buf_cstr(&b->trace), "crashes"));
}

static void an_update_changes_what_it_names(struct bed *b)
{
    uint64_t key = put(b, store_queue(b->st, STR("q"), true), "A");
    store_begin(b->st);
    store_update(b->st, &(struct store_change){key, 1, 0, STR("first"), STR("last"), 0});
    store_update(b->st, &(struct store_change){key, 2, 0, STR_NONE, STR("later"), 0});
    store_commit(b->st);
    store_load(b->st, store_key(1, 0), 1, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n 1:1 due=0 attempt=2 target=0 redrives=0 " REST " [A] [] [first] [later]\n");
    store_begin(b->st);
    store_update(b->st, &(struct store_change){key, 3, 400, STR_NONE, STR_NONE, 0});
    store_commit(b->st);
    store_load(b->st, store_key(1, 0), 1, on_rows, b);
    TRACE_IS(b, "rows ok 0 quarantined 0\n");
    audit_is(b, "totals 1 0 1 0 0 0 0 0\n");
}

static void what_is_due_is_handed_out_once_and_in_order(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true), other = store_queue(b->st, STR("r"), true);
    put_due(b, queue, "late", 300);
    put_due(b, other, "soon", 100);
    put_due(b, queue, "then", 200);
    put(b, queue, "now");
    store_load(b->st, store_key(queue, 0), 9, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n" ROW("1:4", "0", "0", "now"));
    store_take_due(b->st, (struct store_when){50, 0}, 9, on_rows, b);
    TRACE_IS(b, "rows ok 0 quarantined 0\n");
    ck_assert_int_eq(b->next_due_ms, 100);
    store_take_due(b->st, (struct store_when){1000, 0}, 2, on_rows, b);
    TRACE_IS(b, "rows ok 2 quarantined 0\n" ROW("2:2", "100", "0", "soon") ROW("1:3", "200", "0", "then"));
    ck_assert_int_eq(b->next_due_ms, 300);
    store_take_due(b->st, (struct store_when){299, 0}, 9, on_rows, b);
    store_load(b->st, store_key(queue, 0), 9, on_rows, b);
    TRACE_IS(b, "rows ok 0 quarantined 0\nrows ok 1 quarantined 0\n" ROW("1:4", "0", "0", "now"));
    audit_is(b, "totals 4 3 1 0 0 0 0 0\n");
    bed_reopen(b); /* what was in memory is ready again */
    store_load(b->st, store_key(queue, 0), 9, on_rows, b);
    TRACE_IS(b, "rows ok 2 quarantined 0\n" ROW("1:3", "0", "0", "then") ROW("1:4", "0", "0", "now"));
    store_take_due(b->st, (struct store_when){1000, 0}, 9, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n" ROW("1:1", "300", "0", "late"));
    ck_assert_int_eq(b->next_due_ms, STORE_NEVER);
}

static void put_by_wall(struct bed *b, uint32_t queue, const char *body, int64_t wall_ms)
{
    struct store_record r = record(store_key(queue, store_next_seq(b->st)), body);
    r.due_ms = wall_ms;
    r.by_wall = true;
    store_begin(b->st);
    store_put(b->st, &r);
    store_commit(b->st);
}

static void each_clock_has_its_own_that_are_due(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true);
    put_by_wall(b, queue, "wall", 300);
    put_due(b, queue, "far", STORE_NEVER - 1);
    uint64_t key = put_due(b, queue, "own", 400);
    put_by_wall(b, queue, "later", 500);
    audit_is(b, "totals 4 0 4 0 0 0 0 0\n");
    store_take_due(b->st, (struct store_when){399, 299}, 9, on_rows, b);
    TRACE_IS(b, "rows ok 0 quarantined 0\n");
    ck_assert(b->next_due_ms == 400 && b->next_wall_ms == 300);
    bed_reopen(b);
    store_take_due(b->st, (struct store_when){399, 300}, 9, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n" ROW("1:1", "wall 300", "0", "wall"));
    ck_assert(b->next_due_ms == 400 && b->next_wall_ms == 500);
    store_take_due(b->st, (struct store_when){1000, 1000}, 1, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n" ROW("1:3", "400", "0", "own"));
    ck_assert(b->next_due_ms == STORE_DUE_MAX && b->next_wall_ms == 500);
    store_begin(b->st);
    store_update(b->st, &(struct store_change){key, 1, 600, STR_NONE, STR_NONE, 0}); /* it goes by the store's */
    store_commit(b->st);
    store_take_due(b->st, (struct store_when){0, STORE_DUE_MAX}, 9, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n" ROW("1:4", "wall 500", "0", "later"));
    ck_assert(b->next_due_ms == 600 && b->next_wall_ms == STORE_NEVER);
    audit_is(b, "totals 4 2 2 0 0 0 0 0\n");
}

static void time_is(struct bed *b, int64_t time_ms, int64_t ahead_ms)
{
    struct store_stats s;
    store_stats(b->st, &s);
    ck_assert_msg(s.time_ms == time_ms && s.ahead_ms == ahead_ms, "%lld, %lld ahead", (long long)s.time_ms,
                  (long long)s.ahead_ms);
}

static void its_time_is_kept(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true);
    time_is(b, 0, 0);
    store_tell_time(b->st, (struct store_when){50000, 50100});
    put(b, queue, "A");
    bed_settle(b);
    store_tell_time(b->st, (struct store_when){50700, 50899}); /* no step */
    put(b, queue, "B");
    bed_settle(b);
    b->kind->crash(b);
    b->kind->open(b);
    time_is(b, 50700, -100);
    store_tell_time(b->st, (struct store_when){50701, 1}); /* the wall clock was set */
    put(b, queue, "C");
    bed_settle(b);
    store_tell_time(b->st, (struct store_when){90000, 1}); /* no commit comes behind it */
    b->kind->crash(b);
    b->kind->open(b);
    time_is(b, 50701, 50700);
    bed_reopen(b);
    time_is(b, 50701, 50700);
    store_tell_time(b->st, (struct store_when){50703, 2});
    bed_reopen(b);
    time_is(b, 50703, 50700);
}

static void a_delivery_dies_comes_back_and_is_purged(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true);
    uint64_t key = put(b, queue, "A");
    struct store_dead never = {.died_ms = 6000, .reason = STR("no_route"), .record = record(store_key(queue, 0), "N")};
    bury(b, key, STR("it broke"));
    store_begin(b->st);
    store_bury(b->st, &never);
    store_commit(b->st);
    audit_is(b, "totals 2 0 0 0 0 0 2 0\n");
    store_load_dead(b->st, 0, 1, on_rows, b);
    store_load_dead(b->st, 1, 9, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n"
                "dead 1 at 5000 timeout 1:1 due=0 attempt=3 target=0 redrives=0 " REST " [A] [] [] [it broke]\n"
                "rows ok 1 quarantined 0\n"
                "dead 2 at 6000 no_route 1:0 due=0 attempt=0 target=0 redrives=0 " REST " [N] [] [] []\n");
    store_begin(b->st);
    store_edit(b->st, 1, STR("orders.new"), STR("c: d"), STR("B"));
    store_redrive(b->st, 1, store_key(queue, store_next_seq(b->st)));
    store_redrive(b->st, 1, store_key(queue, store_next_seq(b->st)));
    store_purge(b->st, 2);
    store_purge(b->st, 2);
    store_commit(b->st);
    store_load(b->st, store_key(queue, 0), 9, on_rows, b);
    store_load_dead(b->st, 0, 9, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n 1:2 due=0 attempt=0 target=0 redrives=1 times=1000,9223372036854775807 "
                "[orders] [orders.new] [c: d] [B] [] [] [it broke]\nrows ok 0 quarantined 0\n");
    audit_is(b, "totals 2 1 0 0 0 1 0 0\n");
    bury(b, store_key(queue, 2), STR("again"));
    bed_reopen(b);
    store_load_dead(b->st, 2, 9, on_rows, b); /* numbers go on rising */
    TRACE_IS(b, "rows ok 1 quarantined 0\ndead 3 at 5000 timeout 1:2 due=0 attempt=3 target=0 redrives=1 "
                "times=1000,9223372036854775807 [orders] [orders.new] [c: d] [B] [] [] [again]\n");
}

static void one_takes_the_place_of_another(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true), grave = store_queue(b->st, STR("grave"), false);
    uint64_t key = put(b, queue, "A"), late = put_due(b, queue, "L", 777);
    struct store_record moved = record(store_key(grave, store_next_seq(b->st)), "M");
    struct store_record again = record(store_key(grave, store_next_seq(b->st)), "N");
    store_begin(b->st);
    store_move(b->st, key, &moved);
    store_move(b->st, key, &again); /* it is not there any more */
    store_move(b->st, late, &again);
    store_commit(b->st);
    store_load(b->st, store_key(queue, 0), 9, on_rows, b);
    store_load(b->st, store_key(grave, 0), 9, on_rows, b);
    TRACE_IS(b, "rows ok 0 quarantined 0\nrows ok 2 quarantined 0\n" ROW("2:3", "0", "0", "M") ROW("2:4", "0", "0", "N"));
    audit_is(b, "totals 2 2 0 0 0 0 0 0\n");
    struct store_record never = record(store_key(grave, store_next_seq(b->st)), "O");
    store_begin(b->st);
    store_move(b->st, 0, &never); /* of one that was never stored */
    store_commit(b->st);
    audit_is(b, "totals 3 3 0 0 0 0 0 0\n");
    bed_reopen(b);
    audit_is(b, "totals 3 3 0 0 0 0 0 0\n");
}

static void on_result(void *arg, enum store_result result)
{
    *(enum store_result *)arg = result;
}

static enum store_result put_big(struct bed *b, uint64_t key, enum store_result *result)
{
    static char big[200000];
    struct store_record r = record(key, "");
    memset(big, 'x', sizeof(big));
    r.body = str_make(big, sizeof(big));
    store_begin(b->st);
    store_put(b->st, &r);
    store_then(b->st, on_result, result);
    store_commit(b->st);
    return *result;
}

static void what_is_ended_makes_room_for_the_next_unit(struct bed *b)
{
    enum store_result first = STORE_OK, second = STORE_OK;
    const struct kind *kind = b->kind;
    struct store_stats s;
    uint64_t keys[200], n = 0;
    bed_fini(b);
    bed_open(b, kind, kind == &kind_mem ? 24 : 12 << 20);
    uint32_t queue = store_queue(b->st, STR("q"), true);
    bed_settle(b);
    store_stats(b->st, &s);
    ck_assert(!s.low && !s.full && s.room > 0);
    uint64_t room = s.room;
    for (bool was_low = false; first == STORE_OK && n < 200; was_low = s.low) {
        keys[n] = store_key(queue, store_next_seq(b->st));
        put_big(b, keys[n++], &first);
        bed_settle(b);
        store_stats(b->st, &s);
        ck_assert(first != STORE_OK || s.room < room);
        ck_assert_msg(first == STORE_OK || was_low, "full without having been low");
        room = s.room;
    }
    ck_assert(first == STORE_FULL && s.full && s.low && !s.disk_full && n > 10);
    n--;
    put_big(b, keys[n], &first); /* two, before what has room for one and the like is ended, and after */
    end(b, keys[0], STORE_DROPPED);
    end(b, keys[1], STORE_DROPPED);
    put_big(b, store_key(queue, store_next_seq(b->st)), &second);
    bed_settle(b);
    ck_assert_int_eq(first, STORE_FULL);
    ck_assert_int_eq(second, STORE_OK);
    char want[64];
    snprintf(want, sizeof(want), "totals %u %u 0 0 0 2 0 0\n", (unsigned)n + 1, (unsigned)n - 1);
    audit_is(b, want);
}

static void pairs_nest_and_callbacks_come_in_order(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true);
    struct store_record r = record(store_key(queue, store_next_seq(b->st)), "A");
    store_begin(b->st);
    ck_assert(!store_unit_puts(b->st));
    store_begin(b->st);
    store_put(b->st, &r);
    store_then(b->st, on_unit, b);
    store_commit(b->st);
    ck_assert(store_unit_puts(b->st));
    bed_settle(b);
    ck_assert_uint_eq(b->trace.len, 0);
    store_load(b->st, store_key(queue, 0), 9, on_rows, b); /* asked for before the unit is committed */
    ck_assert_uint_ne(store_queue(b->st, STR("made while a unit is open"), true), 0);
    store_then(b->st, on_unit, b);
    store_commit(b->st);
    TRACE_IS(b, "rows ok 0 quarantined 0\nunit ok\nunit ok\n");
    store_load(b->st, store_key(queue, 0), 9, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n" ROW("1:1", "0", "0", "A"));
    store_begin(b->st);
    store_then(b->st, on_unit, b); /* changes nothing, is told all the same */
    store_commit(b->st);
    TRACE_IS(b, "unit ok\n");
}

static void count_queue(void *arg, const struct store_queue_view *q)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "queue %u " STR_FMT " %d %llu %llu\n", q->queue, STR_ARG(q->name), q->service,
               (unsigned long long)q->ready, (unsigned long long)q->delayed);
}

static void all_is_there_after_a_close(struct bed *b)
{
    uint32_t one = store_queue(b->st, STR("one"), true), two = store_queue(b->st, STR("two"), false);
    put(b, one, "A");
    put_due(b, one, "B", 50);
    end(b, put(b, two, "C"), STORE_DONE);
    uint64_t seq = store_next_seq(b->st);
    bed_reopen(b);
    struct store_stats s;
    store_stats(b->st, &s);
    ck_assert(!s.unclean && !s.faulted && !s.full);
    ck_assert_uint_gt(store_next_seq(b->st), seq);
    ck_assert_uint_eq(store_queue(b->st, STR("two"), false), two);
    store_each_queue(b->st, count_queue, b);
    store_load(b->st, store_key(one, 0), 9, on_rows, b);
    TRACE_IS(b, "queue 1 one 1 1 1\nqueue 2 two 0 0 0\nrows ok 1 quarantined 0\n" ROW("1:1", "0", "0", "A"));
    audit_is(b, "totals 3 1 1 1 0 0 0 0\n");
}

static void what_was_handed_out_can_be_read_again(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true), other = store_queue(b->st, STR("r"), true);
    put_due(b, queue, "late", 300);
    put_due(b, other, "soon", 100);
    put_due(b, queue, "then", 200);
    put(b, queue, "now");
    uint64_t again = put_due(b, queue, "again", 200);
    store_take_due(b->st, (struct store_when){200, 0}, 9, on_rows, b);
    bed_settle(b);
    buf_clear(&b->trace);
    store_load_taken(b->st, store_key(queue, 0), 1, on_rows, b);
    store_load_taken(b->st, b->last_key, 9, on_rows, b);
    store_load_taken(b->st, store_key(other, 0), 9, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n" ROW("1:3", "0", "0", "then")
                "rows ok 0 quarantined 0\nrows ok 1 quarantined 0\n" ROW("2:2", "0", "0", "soon"));
    store_begin(b->st);
    store_update(b->st, &(struct store_change){again, 1, 500, STR_NONE, STR_NONE, 0}); /* delayed again */
    store_commit(b->st);
    store_begin(b->st);
    store_end(b->st, store_key(other, 2), STORE_DONE);
    store_commit(b->st);
    store_load_taken(b->st, store_key(queue, 0), 9, on_rows, b);
    store_load_taken(b->st, store_key(other, 0), 9, on_rows, b);
    TRACE_IS(b, "rows ok 1 quarantined 0\n" ROW("1:3", "0", "0", "then") "rows ok 0 quarantined 0\n");
    bed_reopen(b);
    store_load_taken(b->st, store_key(queue, 0), 9, on_rows, b);
    TRACE_IS(b, "rows ok 0 quarantined 0\n");
}

static void what_was_told_survives_a_crash(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("one"), true);
    uint64_t seq, key = put(b, queue, "A");
    put_due(b, queue, "B", 50);
    bury(b, put(b, queue, "C"), STR("x"));
    store_take_due(b->st, (struct store_when){60, 0}, 1, on_rows, b);
    store_begin(b->st);
    store_update(b->st, &(struct store_change){key, 7, 0, STR_NONE, STR_NONE, 0});
    store_commit(b->st);
    bed_settle(b);
    buf_clear(&b->trace);
    seq = store_next_seq(b->st); /* given out, never stored */
    b->kind->crash(b);
    b->kind->open(b);
    struct store_stats s;
    store_stats(b->st, &s);
    ck_assert(s.unclean);
    ck_assert_uint_gt(store_next_seq(b->st), seq);
    store_load(b->st, store_key(queue, 0), 9, on_rows, b);
    TRACE_IS(b, "rows ok 2 quarantined 0\n" ROW("1:1", "0", "7", "A") ROW("1:2", "0", "0", "B"));
    audit_is(b, "totals 3 2 0 0 0 0 1 0\n");
}

/* ---------------------------------------------------------------- copies */

static void put_once(struct bed *b, uint64_t id, int64_t now_ms, const char *body)
{
    struct store_once once = {.name = str_make(&id, sizeof(id)), .now_ms = now_ms, .window_ms = 100};
    struct store_record r = record(store_key(store_queue(b->st, STR("q"), true), store_next_seq(b->st)), body);
    store_begin(b->st);
    store_once_begin(b->st, &once);
    store_put(b->st, &r);
    store_then(b->st, on_unit, b);
    store_once_end(b->st);
    store_commit(b->st);
}

static void only_the_first_copy_within_the_window_is_put(struct bed *b)
{
    put_once(b, 1, 1000, "A");
    put_once(b, 1, 1000, "A again"); /* of the same group commit */
    put_once(b, 2, 1000, "B");
    TRACE_IS(b, "unit ok\nunit duplicate\nunit ok\n");
    put_once(b, 1, 1099, "A once more");
    put_once(b, 1, 1100, "A anew"); /* its time is over, and begins again */
    put_once(b, 1, 1199, "A again");
    TRACE_IS(b, "unit duplicate\nunit ok\nunit duplicate\n");
    audit_is(b, "totals 3 3 0 0 0 0 0 0\n");
}

static void a_copy_is_known_after_a_close_and_a_crash(struct bed *b)
{
    put_once(b, 1, 1000, "A");
    TRACE_IS(b, "unit ok\n");
    bed_reopen(b);
    put_once(b, 1, 1050, "A");
    put_once(b, 2, 1050, "B");
    TRACE_IS(b, "unit duplicate\nunit ok\n");
    b->kind->crash(b);
    b->kind->open(b);
    put_once(b, 1, 1060, "A");
    put_once(b, 2, 1060, "B");
    TRACE_IS(b, "unit duplicate\nunit duplicate\n");
    audit_is(b, "totals 2 2 0 0 0 0 0 0\n");
}

/* A guard holds what is inside it, and nothing else of its unit. */
static void a_guard_is_part_of_a_unit(struct bed *b)
{
    uint32_t queue = store_queue(b->st, STR("q"), true);
    uint64_t key = put(b, queue, "before");
    put_once(b, 1, 1000, "A");
    TRACE_IS(b, "unit ok\n");
    for (uint64_t id = 1; id <= 2; id++) {
        store_begin(b->st);
        store_end(b->st, key + id - 1, STORE_DONE);
        put_once(b, id, 1001, "in");
        ck_assert_uint_ne(store_queue(b->st, id == 1 ? STR("made") : STR("in between"), true), 0);
        put_once(b, id, 1001, "in again");
        struct store_record r = record(store_key(queue, store_next_seq(b->st)), "out");
        store_put(b->st, &r);
        bed_settle(b); /* what is open moves to another batch */
        store_then(b->st, on_unit, b);
        store_commit(b->st);
    }
    TRACE_IS(b, "unit duplicate\nunit duplicate\nunit ok\nunit ok\nunit duplicate\nunit ok\n");
    audit_is(b, "totals 5 3 0 2 0 0 0 0\n");
}

/* A clock that was set back must not make a message wait for it: it comes again, which is allowed. */
static void a_record_from_the_future_does_not_count(struct bed *b)
{
    put_once(b, 1, 1000000, "A");
    put_once(b, 1, 1000, "A");
    put_once(b, 1, 1001, "A");
    TRACE_IS(b, "unit ok\nunit ok\nunit duplicate\n");
}

static void a_window_may_have_no_end(struct bed *b)
{
    struct store_once once = {.name = STR("one"), .now_ms = INT64_MAX - 5, .window_ms = 100};
    for (int i = 0; i < 2; i++) {
        store_begin(b->st);
        store_once_begin(b->st, &once);
        store_then(b->st, on_unit, b);
        store_once_end(b->st);
        store_commit(b->st);
    }
    TRACE_IS(b, "unit ok\nunit duplicate\n");
}

/* ---------------------------------------------------------------- history */

static void chunk_put(struct bed *b, uint64_t number, uint64_t hash, const char *data)
{
    uint8_t filter[STORE_FILTER_BYTES] = {0};
    store_filter_add(filter, hash);
    store_history_put(b->st, &(struct store_chunk){.number = number, .data = str_of(data),
                                                   .filter = str_make(filter, sizeof(filter))}, 100);
}

static void on_history(void *arg, const struct store_history *found)
{
    struct bed *b = arg;
    buf_printf(&b->trace, "%s next %llu:", result_name(found->result), (unsigned long long)found->next);
    for (size_t i = 0; i < found->count; i++)
        buf_printf(&b->trace, " %llu=" STR_FMT, (unsigned long long)found->chunks[i].number,
                   STR_ARG(found->chunks[i].data));
    buf_putc(&b->trace, '\n');
}

static void chunks_are_found_by_hash_and_the_oldest_go(struct bed *b)
{
    struct store_stats s;
    store_begin(b->st); /* while a unit is open, and before it */
    struct store_record r = record(store_key(store_queue(b->st, STR("q"), true), store_next_seq(b->st)), "A");
    store_put(b->st, &r);
    chunk_put(b, 1, 77, "one");
    store_commit(b->st);
    chunk_put(b, 2, UINT64_MAX, "two");
    chunk_put(b, 3, 77, "three");
    chunk_put(b, 3, 77, "three, and more");
    store_history_find(b->st, 1, 77, on_history, b);
    store_history_find(b->st, 2, 77, on_history, b);
    store_history_find(b->st, 1, 78, on_history, b);
    TRACE_IS(b, "ok next 0: 1=one 3=three, and more\nok next 0: 3=three, and more\nok next 0:\n");
    bed_reopen(b);
    store_stats(b->st, &s);
    ck_assert_uint_eq(s.history_next, 4);
    for (uint64_t n = 4; n <= 102; n++)
        chunk_put(b, n, n == 64 || n == 65 ? 77 : 5, "x");
    store_history_find(b->st, 1, 77, on_history, b); /* 1 and 2 are gone; 3 … 66 */
    store_history_find(b->st, 67, 77, on_history, b);
    TRACE_IS(b, "ok next 67: 3=three, and more 64=x 65=x\nok next 0:\n");
    chunk_put(b, 500, 5, "y"); /* a few at a time */
    store_history_find(b->st, 1, 77, on_history, b);
    TRACE_IS(b, "ok next 75: 64=x 65=x\n");
    audit_is(b, "totals 1 1 0 0 0 0 0 0\n");
}

/* Whatever the limit of rows: memory is bounded, and nothing is passed over. */
static void large_rows_come_a_few_at_a_time(struct bed *b)
{
    uint32_t q = store_queue(b->st, STR("q"), true);
    char *big = mem_alloc(400001);
    memset(big, 'x', 400000);
    big[400000] = '\0';
    for (int i = 0; i < 5; i++)
        put(b, q, big);
    for (int i = 0; i < 5; i++)
        put_due(b, q, big, 100 + i);
    store_load(b->st, store_key(q, 0), 100, on_rows, b);
    bed_settle(b);
    ck_assert_uint_eq(b->rows, 3); /* the third reaches 1 MiB */
    store_load(b->st, b->last_key, 100, on_rows, b);
    bed_settle(b);
    ck_assert_uint_eq(b->rows, 5);
    store_take_due(b->st, (struct store_when){200, 0}, 100, on_rows, b);
    bed_settle(b);
    ck_assert_uint_eq(b->rows, 8);
    ck_assert_int_eq(b->next_due_ms, 103);
    store_take_due(b->st, (struct store_when){200, 0}, 100, on_rows, b);
    bed_settle(b);
    ck_assert_uint_eq(b->rows, 10);
    for (uint64_t seq = 1; seq <= 5; seq++)
        bury(b, store_key(q, seq), STR_NONE);
    store_load_dead(b->st, 0, 100, on_rows, b);
    bed_settle(b);
    ck_assert_uint_eq(b->rows, 13);
    store_load_dead(b->st, 3, 100, on_rows, b);
    bed_settle(b);
    ck_assert_uint_eq(b->rows, 15);
    buf_clear(&b->trace);
    audit_is(b, "totals 10 5 0 0 0 0 5 0\n");
    mem_free(big);
}

typedef void case_fn(struct bed *b);
static case_fn *const cases[] = {
    rows_come_in_the_order_of_their_puts, every_field_comes_back, a_queue_is_read_page_by_page,
    a_load_sees_what_was_committed_before_it, ends_are_counted_once, an_update_changes_what_it_names,
    crashes_stay_until_it_is_redriven,
    what_is_due_is_handed_out_once_and_in_order, what_was_handed_out_can_be_read_again, each_clock_has_its_own_that_are_due, its_time_is_kept, a_delivery_dies_comes_back_and_is_purged, one_takes_the_place_of_another,
    what_is_ended_makes_room_for_the_next_unit,
    pairs_nest_and_callbacks_come_in_order, all_is_there_after_a_close, what_was_told_survives_a_crash,
    only_the_first_copy_within_the_window_is_put, a_copy_is_known_after_a_close_and_a_crash, a_guard_is_part_of_a_unit,
    large_rows_come_a_few_at_a_time, chunks_are_found_by_hash_and_the_oldest_go, a_record_from_the_future_does_not_count, a_window_may_have_no_end,
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

START_TEST(contract)
{
    struct bed b;
    bed_open(&b, kinds[(size_t)_i / CASES], 0);
    cases[(size_t)_i % CASES](&b);
    bed_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store");
    TCase *t = tcase_create("contract");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, contract, 0, (int)(KINDS * CASES));
    suite_add_tcase(s, t);
    return run_suite(s);
}
