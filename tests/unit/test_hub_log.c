/* Event logs in the core: nothing goes out before the append is on disk, a version that is not expected undoes
 * the whole unit, readers follow, replays are marked and not appended. */
#include "delivery/log.h"
#include "hub_rig.h"
#include "msg/headers.h"
#include "store/store_mem.h"

static struct store_disk *disk;
static struct store *store;
static struct buf trace;

static void run_store(void)
{
    while (store_mem_pending(store) > 0)
        store_mem_run(store, 1);
    sound();
}

/* math.*: best effort; shop: durable; edge.>: into the log alone. All into one log. */
static void routes_logged(void)
{
    routes_usual();
    for (size_t i = 0; i < plain->count; i++)
        plain->routes[i].log = (struct event_log_conf){.name = (char *)(uintptr_t)"events", .keep_ms = INT64_MAX,
                                                       .max_size = UINT64_MAX};
    plain->routes[1].durable = true;
    plain->routes[2].to_count = 0;
    routes_use();
}

static void life(void)
{
    set_up();
    store = store_mem_open(disk);
    hub_use_store(hub, store);
    routes_logged();
}

static void start(void)
{
    disk = store_disk_new(100000);
    life();
}

static void end(void)
{
    store_close(store);
    tear_down();
    store_disk_free(disk);
    buf_fini(&trace);
}

static uint64_t last_offset(void)
{
    struct store_log_view v;
    ck_assert(store_log_view(store, 1, &v));
    return v.last;
}

#define HEARD(text)                                                                                                    \
    do {                                                                                                               \
        ck_assert_str_eq(buf_cstr(&trace), text);                                                                      \
        buf_clear(&trace);                                                                                             \
    } while (0)

/* ---------------------------------------------------------------- appending */

START_TEST(nothing_goes_out_before_the_append_is_on_disk)
{
    struct ask a;
    publish("math.sum", "", &a);
    ck_assert_uint_eq(a.answers, 0);
    ck_assert_uint_eq(math.sent, 0);
    run_store();
    heard(&a, CODE_OK, ""); /* whatever becomes of the delivery */
    ck_assert_uint_eq(math.sent, 1);
    settle(&math, OUTCOME_REJECT, CODE_FAILED, "no");
    publish("edge.x", "", &a);
    run_store();
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(last_offset(), 2);
    ck_assert_uint_eq(edge.sent, 0);
    hub_purge(hub, &(struct dead_query){0}, false);
}
END_TEST

START_TEST(what_was_not_committed_is_not_acknowledged)
{
    struct ask a;
    publish("math.sum", "", &a);
    store_mem_crash(store, 0);
    ck_assert_uint_eq(a.answers, 0);
    hub_free(hub);
    life();
    run_store();
    ck_assert_uint_eq(last_offset(), 0);
    ck_assert_uint_eq(math.sent, 0);
}
END_TEST

START_TEST(a_failed_commit_delivers_nothing)
{
    struct ask a;
    store_mem_fault(store);
    publish("math.sum", "", &a);
    run_store();
    heard(&a, CODE_UNAVAILABLE, "unknown");
    ck_assert_uint_eq(math.sent, 0);
    ck_assert_int_eq(offer(MSG_EVENT, "edge.x", "", &a), CODE_UNAVAILABLE);
    all_over();
}
END_TEST

START_TEST(another_version_is_refused)
{
    struct ask a;
    publish("math.sum", "key: k\nexpected-version: 0\n", &a);
    run_store();
    heard(&a, CODE_OK, "");
    for (int durable = 0; durable < 2; durable++) {
        publish(durable ? "shop" : "math.sum", "key: k\nexpected-version: 4\n", &a);
        run_store();
        heard(&a, CODE_INVALID, "\"version\":1}");
    }
    ck_assert_uint_eq(math.sent + shop.sent, 1);
    ck_assert_uint_eq(last_offset(), 1);
    ck_assert_int_eq(offer(MSG_EVENT, "math.sum", "expected-version: 1\n", &a), CODE_INVALID); /* of which key? */
    settle_ok(&math);
    all_over();
}
END_TEST

START_TEST(a_request_is_not_appended)
{
    struct ask a;
    request("math.sum", "", &a);
    ck_assert_uint_eq(math.sent, 1);
    settle_ok(&math);
    ck_assert_int_eq(offer(MSG_REQUEST, "edge.x", "", &a), CODE_NO_ROUTE); /* into the log alone: nobody to ask */
    ck_assert_int_eq(offer(MSG_REQUEST, "math.sum", "key: k\nexpected-version: 0\n", &a), CODE_INVALID);
    run_store();
    ck_assert_uint_eq(last_offset(), 0);
}
END_TEST

/* Staged with an answer: the answer is undone with it, and the delivery comes again. */
START_TEST(another_version_undoes_the_unit_it_is_staged_in)
{
    struct ask a, b;
    publish("shop", "", NULL);
    run_store();
    for (unsigned again = 0; again < 2; again++) {
        hub_group_begin(hub);
        publish("edge.x", again ? "key: k\nexpected-version: 0\n" : "key: k\nexpected-version: 3\n", &a);
        publish("math.other", "", &b);
        settle_ok(&shop);
        hub_group_end(hub);
        run_store();
        heard(&a, again ? CODE_OK : CODE_INVALID, "");
        heard(&b, again ? CODE_OK : CODE_FAILED, "");
        ck_assert_uint_eq(last_offset(), again ? 3 : 1);
        ck_assert_uint_eq(math.sent, again);
        ck_assert_uint_eq(status_of(&shop).done, again);
        pass(2000);
        run_store();
        ck_assert_uint_eq(shop.held.count, !again);
    }
    settle_ok(&math);
    run_store();
    all_over();
}
END_TEST

START_TEST(a_destination_may_go_while_its_message_is_being_appended)
{
    struct fake visitor;
    struct ask a;
    fake_init(&visitor, "visitor", true);
    uint32_t subscription = hub_subscribe(hub, STR("math.>"), visitor.sink.dest);
    publish("math.sum", "", &a);
    hub_unsubscribe(hub, subscription);
    hub_retire(hub, visitor.sink.dest);
    run_store();
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_uint_eq(visitor.sent, 0);
    settle_ok(&math);
    all_over();
}
END_TEST

/* ---------------------------------------------------------------- reading */

static bool room;

static void on_entry(void *arg, const struct store_entry *e)
{
    (void)arg;
    buf_printf(&trace, "%llu ", (unsigned long long)e->offset);
}

static bool on_ready(void *arg)
{
    (void)arg;
    return room;
}

static void on_end(void *arg, const struct log_end *e)
{
    (void)arg;
    buf_printf(&trace, "end %llu%s ", (unsigned long long)e->next, e->failed ? " failed" : "");
}

static struct log_reader *read_from(uint64_t offset, bool follow)
{
    room = true;
    return hub_log_read(hub, &(struct log_ask){.name = STR("events"), .from = {.kind = LOG_OFFSET, .offset = offset},
                                               .follow = follow, .entry = on_entry, .ready = on_ready, .end = on_end});
}

static void append(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        publish("edge.x", "key: k\n", NULL);
    run_store();
}

START_TEST(a_follower_hears_of_each_append)
{
    append(3);
    struct log_reader *r = read_from(2, true);
    ck_assert_str_eq(buf_cstr(&trace), "");
    run_store();
    HEARD("2 3 ");
    append(2);
    HEARD("4 5 ");
    room = false;
    append(200);
    HEARD("");
    room = true;
    log_reader_resume(r);
    run_store();
    ck_assert_uint_eq(trace.len, 4 * 2 + 90 * 3 + 106 * 4); /* 6 … 205 */
    buf_clear(&trace);
    log_reader_cancel(r);
    append(1);
    HEARD("");
}
END_TEST

START_TEST(readers_end_as_they_were_asked_to)
{
    append(5);
    read_from(4, false);
    run_store();
    HEARD("4 5 end 6 ");
    hub_log_read(hub, &(struct log_ask){.name = STR("events"), .to = {.kind = LOG_OFFSET, .offset = 2},
                                        .entry = on_entry, .end = on_end});
    run_store();
    HEARD("1 2 end 3 ");
    ck_assert_ptr_null(hub_log_read(hub, &(struct log_ask){.name = STR("other"), .entry = on_entry, .end = on_end}));
    struct log_reader *r = read_from(1, false);
    log_reader_cancel(r); /* with its page on the way */
    run_store();
    HEARD("");
    read_from(1, true); /* nobody cancels it: the hub's end does */
    read_from(1, false);
    store_mem_fault(store);
    publish("edge.x", "", NULL);
    run_store();
    HEARD("1 2 3 4 5 1 2 3 4 5 end 6 ");
    read_from(1, false);
    run_store();
    HEARD("end 1 failed ");
}
END_TEST

START_TEST(old_entries_go)
{
    plain_new();
    ROUTE("edge.>", &edge);
    plain->routes[0].log = (struct event_log_conf){.name = (char *)(uintptr_t)"events", .keep_ms = 10000, .max_size = UINT64_MAX};
    routes_use();
    append(3);
    pass(9000);
    run_store();
    append(2);
    pass(2500);
    run_store();
    read_from(1, false);
    run_store();
    HEARD("4 5 end 6 ");
    while (edge.held.count > 0)
        settle_ok(&edge);
}
END_TEST

/* ---------------------------------------------------------------- replay */

static void on_progress(void *arg, const struct replay_sum *s)
{
    (void)arg;
    (void)s;
}

static void on_replayed(void *arg, const struct replay_sum *s)
{
    (void)arg;
    buf_printf(&trace, "replayed %llu skipped %llu%s%s", (unsigned long long)s->count, (unsigned long long)s->skipped,
               s->stopped != NULL ? " " : "", s->stopped != NULL ? s->stopped : "");
}

static struct replay *replay(struct replay_ask ask)
{
    ask.log.name = STR("events");
    ask.progress = on_progress;
    ask.done = on_replayed;
    return hub_replay(hub, &ask);
}

static void work(int64_t ms)
{
    for (int i = 0; i < 6; i++) {
        pass(i == 0 ? ms : 0);
        run_store();
    }
}

START_TEST(s12_a_replay_is_marked_and_not_appended)
{
    publish("math.sum", "id: one\nkey: k\nexpected-version: 0\n", NULL);
    publish("shop", "id: two\n", NULL);
    publish("edge.x", "", NULL);
    run_store();
    settle_ok(&math);
    settle_ok(&shop);
    run_store();
    replay((struct replay_ask){.dry_run = true});
    work(0);
    HEARD("replayed 2 skipped 1");
    ck_assert_uint_eq(math.sent, 1);
    replay((struct replay_ask){0});
    work(0);
    HEARD("replayed 2 skipped 1");
    ck_assert_uint_eq(last_offset(), 3);
    for (int i = 0; i < 2; i++) {
        struct fake *f = i == 0 ? &math : &shop;
        ck_assert(str_is(oldest(f)->msg->id, i == 0 ? "one" : "two"));
        ck_assert(str_is(headers_get(oldest(f)->msg->headers, "replayed"), "yes"));
        settle_ok(f);
    }
    struct store_totals t;
    run_store();
    store_disk_totals(disk, &t);
    ck_assert_uint_eq(t.accepted, 2); /* shop, both times */
    all_over();
}
END_TEST

/* What is sent again because its OK was lost is no conflict, and is appended once; a replay is no copy. */
START_TEST(a_copy_is_not_appended_and_a_replay_is_no_copy)
{
    struct ask a;
    plain_new();
    ROUTE("shop", &shop);
    plain->routes[0].durable = true;
    plain->routes[0].log = (struct event_log_conf){.name = (char *)(uintptr_t)"events", .keep_ms = INT64_MAX,
                                                   .max_size = UINT64_MAX};
    plain->routes[0].dedupe = (struct dedupe_conf){.by = (char *)(uintptr_t)"id", .window_ms = 60000};
    routes_use();
    for (int i = 0; i < 3; i++) {
        publish("shop", "id: one\nkey: k\nexpected-version: 0\n", &a);
        run_store();
        heard(&a, CODE_OK, "");
        ck_assert_uint_eq(last_offset(), 1);
        ck_assert_uint_eq(shop.sent, 1);
    }
    publish("shop", "id: two\nkey: k\nexpected-version: 0\n", &a);
    run_store();
    heard(&a, CODE_INVALID, "\"version\":1}");
    publish("shop", "id: two\nkey: k\nexpected-version: 1\n", &a); /* what was refused was no first */
    run_store();
    heard(&a, CODE_OK, "");
    hub_group_begin(hub); /* a copy and another one of its key in one unit */
    publish("shop", "id: one\nkey: k\nexpected-version: 0\n", &a);
    publish("shop", "id: three\nkey: k\nexpected-version: 2\n", NULL);
    hub_group_end(hub);
    run_store();
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(last_offset(), 3);
    ck_assert_uint_eq(shop.sent, 3);
    replay((struct replay_ask){0});
    work(0);
    HEARD("replayed 3 skipped 0");
    ck_assert_uint_eq(shop.sent, 6);
    while (shop.held.count > 0)
        settle_ok(&shop);
    run_store();
    all_over();
}
END_TEST

START_TEST(a_replay_keeps_its_pace_and_waits_for_room)
{
    limits(1 << 20, 5, 100);
    math.room = 0;
    for (int i = 0; i < 5; i++)
        publish("math.sum", "", NULL);
    run_store();
    make_room(&math, 1000);
    while (math.held.count > 0)
        settle_ok(&math);
    replay((struct replay_ask){.pause_us = 100000});
    work(0);
    ck_assert_uint_eq(math.held.count, 1);
    work(250);
    ck_assert_uint_eq(math.held.count, 3);
    work(200);
    ck_assert_uint_eq(math.held.count, 5);
    work(0);
    HEARD("replayed 5 skipped 0");
    while (math.held.count > 0)
        settle_ok(&math);
    replay((struct replay_ask){.pause_us = 100000});
    work(0);
    ck_assert_uint_eq(math.held.count, 1);
    now_ms += 900; /* the process stood still: no flood after it */
    work(10);
    ck_assert_uint_eq(math.held.count, 2);
    settle_ok(&math); /* before its time-out */
    work(350);
    HEARD("replayed 5 skipped 0");
    while (math.held.count > 0)
        settle_ok(&math);
    math.room = 0;
    limits(1 << 20, 3, 100);
    replay((struct replay_ask){0});
    work(10);
    ck_assert_uint_eq(status_of(&math).ready, 3);
    HEARD("");
    make_room(&math, 1000);
    work(10);
    HEARD("replayed 5 skipped 0");
    ck_assert_uint_eq(math.held.count, 5);
    while (math.held.count > 0)
        settle_ok(&math);
    all_over();
}
END_TEST

START_TEST(a_replay_ends_with_whoever_asked_and_with_the_daemon)
{
    publish("math.sum", "", NULL);
    run_store();
    settle_ok(&math);
    struct replay *r = replay((struct replay_ask){.pause_us = 1000000});
    replay_cancel(r);
    work(3000);
    r = replay((struct replay_ask){.pause_us = 1000000});
    run_store();
    replay_cancel(r);
    work(3000);
    HEARD("");
    ck_assert_uint_eq(math.held.count, 0);
    replay((struct replay_ask){.pause_us = 1000000});
    run_store();
    hub_drain(hub, true);
    work(3000);
    HEARD("replayed 0 skipped 0 the daemon is shutting down");
    hub_drain(hub, false);
    replay((struct replay_ask){.pause_us = 1000000}); /* the hub's end */
    run_store();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub log");
    TCase *t = tcase_create("log");
    tcase_add_checked_fixture(t, start, end);
    tcase_add_test(t, nothing_goes_out_before_the_append_is_on_disk);
    tcase_add_test(t, what_was_not_committed_is_not_acknowledged);
    tcase_add_test(t, a_failed_commit_delivers_nothing);
    tcase_add_test(t, another_version_is_refused);
    tcase_add_test(t, a_request_is_not_appended);
    tcase_add_test(t, another_version_undoes_the_unit_it_is_staged_in);
    tcase_add_test(t, a_destination_may_go_while_its_message_is_being_appended);
    tcase_add_test(t, a_follower_hears_of_each_append);
    tcase_add_test(t, readers_end_as_they_were_asked_to);
    tcase_add_test(t, old_entries_go);
    tcase_add_test(t, s12_a_replay_is_marked_and_not_appended);
    tcase_add_test(t, a_copy_is_not_appended_and_a_replay_is_no_copy);
    tcase_add_test(t, a_replay_keeps_its_pace_and_waits_for_room);
    tcase_add_test(t, a_replay_ends_with_whoever_asked_and_with_the_daemon);
    suite_add_tcase(s, t);
    return run_suite(s);
}
