/* Durable deliveries in the core: accepted when the store has them, in order beyond the window, through crashes. */
#include "hub_store_rig.h"

START_TEST(accepted_when_committed)
{
    struct ask a;
    publish("math.sum", "", &a);
    ck_assert_uint_eq(a.answers, 0);
    ck_assert_uint_eq(math.sent, 0); /* committed before it is ready */
    run_store();
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_uint_eq(oldest(&math)->attempt, 1);
    ck_assert_ptr_null(oldest(&math)->redelivered);
    settle_ok(&math);
    run_store();
    ck_assert_uint_eq(totals().done, 1);
    ck_assert_uint_eq(totals().ready, 0);
    all_over();
}
END_TEST

START_TEST(acknowledged_survives)
{
    struct ask a;
    publish("math.sum", "id: one\n", &a);
    run_store();
    heard(&a, CODE_OK, "");
    crash(0);
    run_store();
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_msg(str_is(oldest(&math)->msg->id, "one"), "the same id");
    ck_assert_str_eq(oldest(&math)->redelivered, "crash");
    settle_ok(&math);
    run_store();
    ck_assert_uint_eq(totals().done, 1);
    all_over();
}
END_TEST

START_TEST(not_committed_is_not_acknowledged)
{
    struct ask a;
    publish("math.sum", "", &a);
    ck_assert_uint_eq(a.answers, 0);
    crash(0);
    run_store();
    ck_assert_uint_eq(math.sent, 0);
    ck_assert_uint_eq(totals().accepted, 0);
}
END_TEST

START_TEST(attempt_is_on_disk_before_the_next_hand_over)
{
    publish("math.sum", "", NULL);
    run_store();
    for (unsigned life_number = 1; life_number <= 3; life_number++) {
        crash(100);
        while (math.sent == 0)
            ck_assert_uint_gt(store_mem_run(store, 1), 0);
        ck_assert_uint_eq(oldest(&math)->attempt, life_number); /* and that number is on disk by now */
    }
    crash(100); /* three hand-overs on record, three attempts allowed */
    run_store();
    ck_assert_uint_eq(math.sent, 0);
    ck_assert_uint_eq(totals().dead, 1);
}
END_TEST

START_TEST(attempt_is_on_disk_before_the_retry)
{
    publish("math.sum", "", NULL);
    run_store();
    settle_with(&math, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = 10,
                                           .reply = {.code = CODE_FAILED, .body = STR("no")}});
    pass(20);
    ck_assert_uint_eq(math.sent, 1); /* its time has come, its first attempt is not on disk yet */
    run_store();
    ck_assert_uint_eq(math.sent, 2);
    ck_assert_uint_eq(oldest(&math)->attempt, 2);
    crash(100);
    run_store();
    ck_assert_uint_ge(oldest(&math)->attempt, 2);
}
END_TEST

/* S14: best effort is never in the store, and is gone with the process. */
START_TEST(best_effort_is_in_memory_only)
{
    struct ask a;
    end();
    disk = store_disk_new(100000);
    set_up();
    store = store_mem_open(disk);
    hub_use_store(hub, store);
    use_usual();
    publish("math.sum", "", &a);
    publish("shop", "", NULL);
    ck_assert_uint_eq(store_mem_pending(store), 0);
    settle_ok(&math);
    heard(&a, CODE_OK, "");
    run_store();
    ck_assert(totals().accepted == 0 && count_of(DELIVERY_DONE) == 1);
    crash(0);
    run_store();
    ck_assert(shop.sent == 0 && hub_live(hub) == 0);
}
END_TEST

START_TEST(released_is_marked_after_a_clean_stop)
{
    publish("math.sum", "", NULL);
    run_store();
    settle(&math, OUTCOME_HOLD, CODE_OK, "");
    run_store();
    stop_cleanly();
    run_store();
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_uint_eq(oldest(&math)->attempt, 1); /* given back: no attempt is counted, */
    ck_assert_str_eq(oldest(&math)->redelivered, "retry"); /* but somebody has seen it */
}
END_TEST

START_TEST(suspects_stay_suspects_over_a_clean_stop)
{
    publish("math.sum", "", NULL);
    run_store();
    crash(100);
    set_up_down(&math, false);
    run_store();
    stop_cleanly();
    run_store();
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_ptr_nonnull(oldest(&math)->redelivered);
    ck_assert_str_eq(oldest(&math)->redelivered, "crash");
}
END_TEST

START_TEST(being_down_costs_no_attempt)
{
    publish("math.sum", "", NULL);
    set_up_down(&math, false);
    run_store();
    for (int i = 0; i < 10; i++) {
        store_mem_crash(store, 100);
        hub_free(hub);
        set_up();
        sink_set_up(&math.sink, false, "test");
        store = store_mem_open(disk);
        hub_use_store(hub, store);
        routes_durable();
        run_store();
    }
    set_up_down(&math, true);
    run_store();
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_uint_eq(oldest(&math)->attempt, 1);
}
END_TEST

START_TEST(backlog_in_order_and_bounded)
{
    char headers[32];
    math.room = 0;
    for (int i = 0; i < 5000; i++) {
        snprintf(headers, sizeof(headers), "id: %d\n", i);
        publish("math.sum", headers, NULL);
        if (i % 100 == 0)
            run_store();
    }
    run_store();
    ck_assert_uint_eq(count_of(DELIVERY_STORED) + count_of(DELIVERY_READY), 5000);
    ck_assert_uint_le(count_of(DELIVERY_READY), 1024);
    crash(0);
    math.room = 10;
    math.sink.core->ready(&math.sink);
    for (int i = 0; i < 5000; i++) {
        snprintf(headers, sizeof(headers), "%d", i);
        while (list_empty(&math.held))
            ck_assert_uint_gt(store_mem_run(store, 1), 0);
        ck_assert_msg(str_is(oldest(&math)->msg->id, headers), "in order: %d, not %.*s", i, STR_ARG(oldest(&math)->msg->id));
        settle_ok(&math);
        math.sink.core->ready(&math.sink);
        ck_assert_uint_le(count_of(DELIVERY_READY), 1024);
    }
    run_store();
    ck_assert_uint_eq(totals().done, 5000);
    all_over();
}
END_TEST

START_TEST(windows_leave_memory_to_others)
{
    hub_set_limits(hub, &(struct hub_limits){.memory = 1 << 20, .queue = 100, .dead = 100});
    math.room = edge.room = 0;
    for (int i = 0; i < 2000; i++) {
        ck_assert_int_eq(offer(MSG_EVENT, "math.sum", "", NULL), CODE_OK);
        ck_assert_int_eq(offer(MSG_EVENT, "edge.x", "", NULL), CODE_OK);
        if (i % 50 == 0)
            run_store();
    }
    run_store();
    ck_assert_uint_eq(count_of(DELIVERY_STORED) + count_of(DELIVERY_READY), 4000);
    ck_assert_uint_le(hub_memory(hub), (1 << 20) / 4 + 4096);
    math.room = edge.room = 100000;
    math.sink.core->ready(&math.sink);
    edge.sink.core->ready(&edge.sink);
    for (int i = 0; i < 2000; i++) {
        while (list_empty(&math.held) || list_empty(&edge.held))
            ck_assert_uint_gt(store_mem_run(store, 1), 0);
        settle_ok(&math);
        settle_ok(&edge);
    }
    run_store();
    ck_assert_uint_eq(totals().done, 4000);
    all_over();
}
END_TEST

START_TEST(long_pause_is_on_disk)
{
    publish("math.sum", "", NULL);
    run_store();
    settle_with(&math, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = 60000,
                                           .reply = {.code = CODE_FAILED, .body = STR("no")}});
    run_store();
    ck_assert_uint_eq(hub_live(hub), 0);
    ck_assert_uint_eq(count_of(DELIVERY_STORED), 1);
    pass(59000);
    run_store();
    ck_assert_uint_eq(math.sent, 1);
    pass(1100);
    run_store();
    ck_assert_uint_eq(math.sent, 2);
    ck_assert_uint_eq(oldest(&math)->attempt, 2);
}
END_TEST

/* A broker is told how long it lives (RabbitMQ: expiration). */
START_TEST(ttl_over_a_restart)
{
    publish("math.sum", "id: one\nttl: 1h\n", NULL);
    publish("math.sum", "id: two\n", NULL);
    run_store();
    ck_assert_int_eq(oldest(&math)->msg->ttl_ms, 3600000);
    pass(600);
    crash(100);
    run_store();
    ck_assert_int_eq(oldest(&math)->msg->ttl_ms, 3600000);
    settle_ok(&math);
    ck_assert_int_eq(oldest(&math)->msg->ttl_ms, -1);
    settle_ok(&math);
    run_store();
    all_over();
}
END_TEST

START_TEST(delayed_over_a_restart)
{
    struct ask a;
    publish("math.sum", "delay: 10s\n", &a);
    run_store();
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(math.sent, 0);
    crash(0);
    run_store();
    pass(8000);
    run_store();
    ck_assert_uint_eq(math.sent, 0);
    pass(2500);
    run_store();
    ck_assert_uint_eq(math.sent, 1);
    struct hub_counts c;
    hub_counts(hub, &c);
    ck_assert(c.drift[2] == 1 && c.drift_sum_ms == 500); /* the store was that slow */
    settle(&math, OUTCOME_RETRY, CODE_FAILED, "");
    pass(6000);
    run_store();
    hub_counts(hub, &c);
    ck_assert(math.sent == 2 && c.drift_sum_ms == 500); /* a retry is no delay */
}
END_TEST

/* 1024 are in memory; the others wait on disk, for as long as it takes, and are not written meanwhile. */
START_TEST(what_falls_due_behind_a_full_window_waits_without_writes)
{
    struct store_stats before, after;
    struct hub_counts c;
    limits(16 << 20, 100, 10);
    set_up_down(&math, false);
    for (int i = 0; i < 3000; i++)
        publish("math.sum", "delay: 10s\n", NULL);
    run_store();
    pass(10000);
    for (int i = 0; i < 20; i++) {
        run_store();
        pass(100);
    }
    ck_assert_uint_eq(status_of(&math).ready, 1024);
    ck_assert_uint_eq(status_of(&math).stored, 3000 - 1024);
    store_stats(store, &before);
    for (int i = 0; i < 60; i++) {
        pass(1000);
        run_store();
    }
    store_stats(store, &after);
    ck_assert_uint_eq(after.commits, before.commits);
    math.room = 10;
    set_up_down(&math, true);
    for (int i = 0; i < 3000; i++) {
        if (i % 7 == 0) /* some end while what is on disk is being read */
            run_store();
        settle_ok(&math);
    }
    run_store();
    hub_counts(hub, &c);
    ck_assert_uint_eq(c.state[DELIVERY_DONE], 3000);
    ck_assert_uint_eq(math.sent, 3000);
    ck_assert_uint_eq(c.drift[4] + c.drift[5], 3000);
    ck_assert_uint_eq(totals().ready + totals().delayed, 0);
    all_over();
}
END_TEST

START_TEST(what_waits_behind_a_full_window_survives)
{
    limits(16 << 20, 100, 10);
    set_up_down(&math, false);
    for (int i = 0; i < 1500; i++)
        publish("math.sum", "delay: 1s\n", NULL);
    run_store();
    pass(1000);
    for (int i = 0; i < 20; i++) {
        run_store();
        pass(10);
    }
    ck_assert_uint_eq(status_of(&math).stored, 1500 - 1024);
    crash(0);
    run_store();
    for (int i = 0; i < 1500; i++) {
        run_store();
        settle_ok(&math);
    }
    run_store();
    ck_assert_uint_eq(totals().done, 1500);
}
END_TEST

START_TEST(dead_letters_survive_and_come_back)
{
    publish("math.sum", "id: one\n", NULL);
    publish("math.sum", "id: two\n", NULL);
    run_store();
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    run_store();
    ck_assert_uint_eq(totals().dead, 2);
    crash(0);
    ck_assert_uint_eq(hub_dead_count(hub), 2);
    ck_assert_uint_eq(walk(DEAD_LIST).count, 2);
    ck_assert_uint_eq(walk(DEAD_REDRIVE).count, 2);
    ck_assert_uint_eq(math.sent, 2);
    ck_assert_uint_eq(oldest(&math)->attempt, 1);
    ck_assert_str_eq(oldest(&math)->redelivered, "redrive");
    ck_assert_msg(str_is(oldest(&math)->msg->id, "one"), "oldest first");
    settle_ok(&math);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "still bad");
    run_store();
    ck_assert_uint_eq(totals().done, 1);
    ck_assert_uint_eq(totals().dead, 1);
    ck_assert_uint_eq(walk(DEAD_PURGE).count, 1);
    ck_assert_uint_eq(totals().dead, 0);
    ck_assert_uint_eq(totals().dropped, 1);
    all_over();
}
END_TEST

START_TEST(dead_letters_do_not_come_back_for_ever)
{
    publish("math.sum", "", NULL);
    run_store();
    for (int i = 0; i < DEAD_REDRIVES_MAX; i++) {
        settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
        run_store();
        ck_assert_uint_eq(walk(DEAD_REDRIVE).count, 1);
    }
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    run_store();
    ck_assert_uint_eq(walk(DEAD_REDRIVE).count, 0);
    ck_assert_uint_eq(walk(DEAD_REDRIVE).skipped, 1);
}
END_TEST

static void disk_of(uint64_t rows)
{
    end();
    disk = store_disk_new(rows);
    life();
}

START_TEST(full_is_refused_and_settling_goes_on)
{
    struct ask a, b;
    disk_of(1);
    publish("math.sum", "", &a);
    run_store();
    publish("math.sum", "", &b);
    run_store();
    heard(&a, CODE_OK, "");
    heard(&b, CODE_OVERLOADED, "full");
    settle_ok(&math);
    run_store();
    publish("math.sum", "", &a);
    run_store();
    heard(&a, CODE_OK, "");
}
END_TEST

static void drops_oldest(uint64_t rows)
{
    struct hub_limits l = {.memory = 1 << 20, .queue = 100, .dead = 100, .store_drops = true};
    disk_of(rows);
    hub_set_limits(hub, &l);
}

/* S9: bounded; what is newest is kept, of the fullest destination the oldest go, what is in flight never does. */
START_TEST(drop_oldest_makes_room)
{
    drops_oldest(40);
    shop.room = 3;
    for (int i = 0; i < 8; i++)
        publish("shop", "", NULL);
    set_up_down(&math, false);
    run_store();
    for (int i = 0; i < 200; i++) {
        char id[32];
        snprintf(id, sizeof(id), "id: m%d\n", i);
        struct ask a;
        publish("math.sum", id, &a);
        run_store();
        heard(&a, CODE_OK, "");
        ck_assert_uint_le(totals().ready, 40);
    }
    struct store_totals t = totals();
    ck_assert_uint_eq(t.accepted, 208);
    ck_assert(t.ready > 25 && t.dropped + t.ready == 208);
    ck_assert_uint_eq(count_of(DELIVERY_DROPPED), t.dropped);
    ck_assert_uint_eq(shop.held.count, 3);
    make_room(&shop, 100);
    run_store();
    ck_assert_uint_eq(shop.sent, 8); /* it was not the fullest */
    set_up_down(&math, true);
    run_store();
    ck_assert_uint_eq(math.sent, t.ready - 8);
    char oldest_id[32];
    snprintf(oldest_id, sizeof(oldest_id), "m%u", 200 - math.sent);
    ck_assert_msg(str_is(oldest(&math)->msg->id, oldest_id), STR_FMT, STR_ARG(oldest(&math)->msg->id));
    for (size_t i = math.held.count; i > 0; i--)
        settle_ok(&math);
    for (size_t i = 0; i < 8; i++)
        settle_ok(&shop);
    run_store();
    all_over();
}
END_TEST

/* The drops and what they make room for are in one batch, beyond the window too. */
START_TEST(drop_oldest_from_disk_and_over_a_crash)
{
    struct ask a;
    struct hub_limits l = {.memory = 64 << 20, .queue = 100, .dead = 100, .store_drops = true};
    drops_oldest(3000);
    hub_set_limits(hub, &l);
    set_up_down(&math, false);
    for (int i = 0; i < 6000; i++) {
        char id[32];
        snprintf(id, sizeof(id), "id: m%d\n", i);
        publish("math.sum", id, &a);
        run_store();
        heard(&a, CODE_OK, "");
    }
    struct store_totals t = totals();
    ck_assert(t.accepted == 6000 && t.ready > 2000 && t.ready <= 3000 && t.dropped == 6000 - t.ready);
    crash(0);
    run_store();
    char oldest_id[32];
    snprintf(oldest_id, sizeof(oldest_id), "m%llu", 6000 - (unsigned long long)t.ready);
    ck_assert_msg(str_is(oldest(&math)->msg->id, oldest_id), STR_FMT, STR_ARG(oldest(&math)->msg->id));
}
END_TEST

/* Nothing that may be dropped: refused, as without it. */
START_TEST(drop_oldest_drops_nothing_in_flight)
{
    struct ask a;
    drops_oldest(10);
    for (int i = 0; i < 10; i++)
        publish("math.sum", "", NULL);
    run_store();
    ck_assert_uint_eq(math.held.count, 10);
    publish("shop", "", &a);
    run_store();
    heard(&a, CODE_OVERLOADED, "full");
    ck_assert_uint_eq(totals().dropped, 0);
    for (size_t i = 0; i < 10; i++)
        settle_ok(&math);
    run_store();
    publish("shop", "", &a);
    run_store();
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(totals().done, 10);
}
END_TEST

START_TEST(failed_commit_promises_nothing)
{
    struct ask a, b;
    store_mem_fault(store);
    publish("math.sum", "", &a);
    run_store();
    heard(&a, CODE_UNAVAILABLE, "unknown");
    ck_assert_int_eq(offer(MSG_EVENT, "math.sum", "", &b), CODE_UNAVAILABLE);
    ck_assert_uint_eq(math.sent, 0);
}
END_TEST

START_TEST(outbox_all_or_nothing)
{
    struct ask staged;
    publish("math.sum", "", NULL);
    run_store();
    hub_group_begin(hub);
    publish("shop", "", &staged);
    settle_ok(&math);
    hub_group_end(hub);
    ck_assert_uint_eq(count_of(DELIVERY_DONE), 0); /* neither before both are on disk */
    crash(0);
    run_store();
    ck_assert_uint_eq(math.sent, 1); /* both are undone */
    ck_assert_uint_eq(shop.sent, 0);
    hub_group_begin(hub);
    publish("shop", "", &staged);
    settle_ok(&math);
    hub_group_end(hub);
    run_store();
    heard(&staged, CODE_OK, "");
    ck_assert_uint_eq(totals().done, 1);
    ck_assert_uint_eq(shop.sent, 1);
    settle_ok(&shop);
    run_store();
    all_over();
}
END_TEST

/* when_full: block. Nothing is on its way into the store: it is what ends there that makes room. */
START_TEST(blocked_source_goes_on_when_some_have_ended)
{
    disk_of(4);
    hub_set_limits(hub, &(struct hub_limits){.memory = 1 << 20, .queue = 100, .dead = 100, .store_blocks = true});
    for (int i = 0; i < 4; i++)
        publish("math.sum", "", NULL);
    run_store();
    ck_assert_int_eq(offer(MSG_EVENT, "math.sum", "", NULL), CODE_BUSY);
    settle_ok(&math);
    run_store();
    ck_assert_uint_eq(resumed, 1);
    publish("math.sum", "", NULL);
    run_store();
    ck_assert_uint_eq(math.sent, 5);
}
END_TEST

/* The unit that is refused takes nothing else along: what ended meanwhile has ended on disk too. */
START_TEST(refused_outbox_undoes_nothing_else)
{
    disk_of(2);
    math.room = 1;
    publish("math.sum", "", NULL);
    publish("math.sum", "ttl: 500ms\n", NULL);
    run_store();
    now_ms += 600; /* over, but nothing has looked yet */
    hub_group_begin(hub);
    publish("shop", "", NULL);
    settle_ok(&math);
    hub_group_end(hub);
    run_store(); /* no room for what was staged */
    ck_assert_uint_eq(count_of(DELIVERY_EXPIRED), totals().expired);
    pass(1000);
    run_store();
    ck_assert_uint_eq(totals().expired, 1);
}
END_TEST

static void touchy(void)
{
    plain->policy.breaker = (struct breaker_conf){.failures = 1, .open_for_ms = 10000, .probes = 1};
}

/* It has done what it was asked: that its outbox finds no room says nothing of it. */
START_TEST(a_full_store_does_not_open_the_breaker)
{
    adjust = touchy;
    disk_of(1);
    publish("math.sum", "", NULL);
    run_store();
    hub_group_begin(hub);
    publish("shop", "", NULL);
    settle_ok(&math);
    hub_group_end(hub);
    run_store(); /* no room for what was staged */
    ck_assert_uint_eq(totals().done, 0);
    ck_assert_str_eq(status_of(&math).breaker, "closed");
    pass(60000);
    ck_assert_uint_eq(math.sent, 2);
    adjust = NULL;
}
END_TEST

/* Draining: what is safe on disk stays there, and holds nobody else up. */
START_TEST(draining_hands_over_what_is_not_on_disk)
{
    struct ask a;
    math.room = 0;
    publish("math.sum", "", NULL);
    run_store();
    request("math.sum", "", &a);
    hub_drain(hub, true);
    make_room(&math, 5);
    ck_assert_uint_eq(math.sent, 1);
    ck_assert_int_eq(oldest(&math)->kind, MSG_REQUEST);
    settle_ok(&math);
    heard(&a, CODE_OK, "fine");
    ck_assert_uint_eq(hub_deliverable(hub), 0);
}
END_TEST

/* A request whose copies for others go to disk is one message. */
START_TEST(request_with_a_stored_copy_is_counted_once)
{
    struct ask a;
    struct hub_counts c;
    request("all", "", &a);
    run_store();
    hub_counts(hub, &c);
    ck_assert_uint_eq(c.messages, 1);
    ck_assert_uint_eq(c.accepted, 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_durable");
    TCase *t = tcase_create("durable");
    const TTest *const tests[] = {
        accepted_when_committed, acknowledged_survives, not_committed_is_not_acknowledged,
        attempt_is_on_disk_before_the_next_hand_over, attempt_is_on_disk_before_the_retry,
        best_effort_is_in_memory_only, windows_leave_memory_to_others, released_is_marked_after_a_clean_stop, suspects_stay_suspects_over_a_clean_stop, being_down_costs_no_attempt,
        backlog_in_order_and_bounded,
        long_pause_is_on_disk, ttl_over_a_restart, delayed_over_a_restart,
        what_falls_due_behind_a_full_window_waits_without_writes, what_waits_behind_a_full_window_survives, dead_letters_survive_and_come_back,
        dead_letters_do_not_come_back_for_ever, full_is_refused_and_settling_goes_on,
        drop_oldest_makes_room, drop_oldest_from_disk_and_over_a_crash, drop_oldest_drops_nothing_in_flight,
        failed_commit_promises_nothing, outbox_all_or_nothing,
        blocked_source_goes_on_when_some_have_ended, refused_outbox_undoes_nothing_else,
        a_full_store_does_not_open_the_breaker,
        draining_hands_over_what_is_not_on_disk, request_with_a_stored_copy_is_counted_once,
    };
    tcase_add_checked_fixture(t, start, end);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
