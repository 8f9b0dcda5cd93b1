/* Dead letters in the store: sent again at a rate and as a canary. */
#include "hub_store_rig.h"
#include "msg/headers.h"

static struct dead_walked sum, last_moved;
static unsigned ended, moved;

static void on_done(void *arg, const struct dead_walked *s)
{
    (void)arg;
    sum = *s;
    ended++;
}

static void on_moved(void *arg, const struct dead_walked *s)
{
    (void)arg;
    last_moved = *s;
    moved++;
}

static struct dead_walk *redrive(int64_t pause_us, bool canary, size_t limit)
{
    struct dead_ask ask = {.action = DEAD_REDRIVE, .query.limit = limit, .pause_us = pause_us, .canary = canary,
                           .moved = on_moved, .done = on_done};
    ended = moved = 0;
    struct dead_walk *w = hub_dead_walk(hub, &ask);
    ck_assert_ptr_nonnull(w);
    return w;
}

static void all_fine(void)
{
    while (!list_empty(&math.held))
        settle_ok(&math);
}

/* Time in small steps, the store at each. Shorter than the time-out of what is out. */
static void go(int64_t ms)
{
    run_store();
    for (int64_t i = 0; i < ms; i++) {
        pass(1);
        run_store();
    }
}

/* The same, and what comes is answered. */
static void go_well(int64_t ms)
{
    for (int64_t i = 0; i < ms; i++) {
        all_fine();
        go(1);
    }
}

static void dead_letters(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char id[32];
        snprintf(id, sizeof(id), "id: d%u\n", i);
        publish("math.sum", id, NULL);
        run_store();
        settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
        run_store();
    }
    math.sent = 0;
    ck_assert_uint_eq(totals().dead, n);
}

static void fine(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        settle_ok(&math);
}

START_TEST(rate_is_kept)
{
    dead_letters(40);
    redrive(100000, false, 0); /* 10/s */
    go(5);
    ck_assert_uint_eq(math.sent, 1);
    go_well(1000);
    ck_assert_uint_eq(math.sent, 11);
    ck_assert(moved > 0 && last_moved.count > 5 && ended == 0);
    go_well(3000);
    ck_assert_uint_eq(math.sent, 40);
    ck_assert(ended == 1 && sum.count == 40 && !sum.stopped);
    all_over();
}
END_TEST

START_TEST(cancelled_between_two)
{
    dead_letters(20);
    struct dead_walk *w = redrive(100000, false, 0);
    go(450);
    ck_assert_uint_eq(math.sent, 5);
    hub_dead_walk_cancel(w);
    go_well(2000);
    ck_assert_uint_eq(math.sent, 5); /* what was done stays */
    ck_assert_uint_eq(ended, 0);
    ck_assert_uint_eq(walk(DEAD_REDRIVE).count, 15); /* and again is for the others */
    ck_assert_uint_eq(math.sent, 20);
    all_fine();
    run_store();
    ck_assert_uint_eq(totals().done, 20);
    all_over();
}
END_TEST

START_TEST(canary_in_three_batches)
{
    dead_letters(50);
    redrive(0, true, 0);
    go(20);
    ck_assert_uint_eq(math.sent, 1);
    fine(1);
    go(20);
    ck_assert_uint_eq(math.sent, 11);
    fine(9);
    go(20);
    ck_assert_uint_eq(math.sent, 11); /* one of them is still out */
    ck_assert(last_moved.count == 11 && ended == 0);
    fine(1);
    go(20);
    ck_assert_uint_eq(math.sent, 50);
    fine(39);
    go(20);
    ck_assert(ended == 1 && sum.count == 50 && sum.done == 50 && sum.bad == 0 && !sum.stopped && sum.left == 0);
    all_over();
}
END_TEST

START_TEST(canary_stops_when_one_fails)
{
    dead_letters(50);
    redrive(0, true, 0);
    go(20);
    fine(1);
    go(20);
    fine(4);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "still bad");
    go(20);
    ck_assert_uint_eq(ended, 0); /* five are out */
    fine(5);
    go(20);
    ck_assert_uint_eq(math.sent, 11);
    ck_assert(ended == 1 && sum.stopped && sum.count == 11 && sum.done == 10 && sum.bad == 1 && sum.left == 39);
    ck_assert_uint_eq(totals().dead, 40);
    redrive(0, true, 7);
    go(20);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "still bad");
    go(20);
    ck_assert(ended == 1 && sum.stopped && sum.count == 1 && sum.bad == 1 && sum.left == 6);
}
END_TEST

/* In the last batch too, a while after it went. */
START_TEST(canary_stops_in_the_rest)
{
    dead_letters(50);
    redrive(100000, true, 0);
    go(20);
    fine(1);
    go_well(1700);
    unsigned went = math.sent;
    ck_assert(went > 12 && went < 20);
    while (math.sent == went)
        go(1);
    went++;
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "still bad");
    go_well(2000);
    ck_assert_uint_eq(math.sent, went);
    ck_assert(ended == 1 && sum.stopped && sum.count == went && sum.bad == 1 && sum.left == 50 - went);
}
END_TEST

/* One that comes back is not sent twice by the walk that sent it. */
START_TEST(later_ones_are_not_of_the_walk)
{
    dead_letters(2);
    redrive(50000, false, 0);
    go(10);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "still bad");
    go(500);
    ck_assert(ended == 1 && sum.count == 2);
    ck_assert_uint_eq(math.sent, 2);
    ck_assert_uint_eq(totals().dead, 1);
}
END_TEST

START_TEST(one_change_at_a_time)
{
    struct dead_ask purge = {.action = DEAD_PURGE, .done = on_done};
    dead_letters(3);
    struct dead_walk *w = redrive(1000000, false, 0);
    go(10);
    ck_assert_ptr_null(hub_dead_walk(hub, &purge));
    hub_dead_walk_cancel(w);
    ck_assert_ptr_nonnull(hub_dead_walk(hub, &purge));
    run_store();
    ck_assert_uint_eq(sum.count, 2);
    redrive(1000000, true, 0); /* the hub goes while one is under way */
}
END_TEST

/* ---------------------------------------------------------------- dead_letter: {to: shop} */

static struct target_conf shop_target = {.name = (char *)(uintptr_t)"shop", .service = true};

static void to_shop(void)
{
    plain->policy.dead_letter_to = &shop_target;
}

static void start_moving(void)
{
    adjust = to_shop;
    start();
}

static void end_moving(void)
{
    adjust = NULL;
    end();
}

static void reason_has(const struct handover *h, const char *part)
{
    struct str reason = headers_get(h->msg->headers, "reason");
    ck_assert_msg(memmem(reason.p, reason.n, part, strlen(part)) != NULL, STR_FMT, STR_ARG(reason));
}

START_TEST(dead_goes_to_another_destination)
{
    publish("math.sum", "id: one\nx-mine: 7\nttl: 1h\n", NULL);
    run_store();
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad\ndata \t");
    run_store();
    const struct handover *h = oldest(&shop);
    ck_assert(str_is(h->msg->id, "one") && str_is(h->msg->source, "in") && str_is(h->subject, "math.sum"));
    ck_assert(str_is(headers_get(h->msg->headers, "x-mine"), "7") && str_is(h->msg->body, "body"));
    ck_assert_uint_eq(h->attempt, 1);
    reason_has(h, "invalid; route=math.*; destination=math; attempts=1; time=20");
    reason_has(h, "error=invalid: bad data");
    struct store_totals t = totals();
    ck_assert(t.accepted == 1 && t.ready == 1 && t.dead == 0 && t.dropped == 0);
    ck_assert_uint_eq(count_of(DELIVERY_DEAD), 0);
    settle_ok(&shop);
    run_store();
    ck_assert_uint_eq(totals().done, 1);
    all_over();
}
END_TEST

/* It stays until somebody sees to it: no broker may let it expire. */
static void lives_on(void)
{
    publish("math.sum", "ttl: 1h\n", NULL);
    run_store();
    ck_assert_int_eq(oldest(&math)->msg->ttl_ms, 3600000);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    run_store();
    ck_assert_int_eq(oldest(&shop)->msg->ttl_ms, -1);
    settle_ok(&shop);
    run_store();
    all_over();
}

START_TEST(a_dead_letter_has_no_ttl)
{
    lives_on();
    end();
    disk = store_disk_new(1);
    set_up(); /* and without a store */
    to_shop();
    routes_usual();
    routes_use();
    store = store_mem_open(disk); /* for what the rig does with it */
    lives_on();
}
END_TEST

/* S11: the end of the one and the beginning of the other are one step. */
START_TEST(moved_in_one_step)
{
    publish("math.sum", "id: one\n", NULL);
    run_store();
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    ck_assert_uint_eq(shop.sent, 0); /* not before it is on disk */
    crash(0);
    run_store();
    ck_assert(math.sent == 1 && shop.sent == 0);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    crash(2); /* its queue, and the step */
    run_store();
    ck_assert(math.sent == 0 && shop.sent == 1);
    reason_has(oldest(&shop), "attempts=1");
    ck_assert_uint_eq(totals().accepted, 1);
    settle_ok(&shop);
    run_store();
    all_over();
}
END_TEST

/* As a service's answer comes: with what it staged, in one unit. */
START_TEST(moved_within_a_group)
{
    for (int i = 0; i < 3; i++) {
        publish("math.sum", "", NULL);
        run_store();
        hub_group_begin(hub);
        settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
        hub_group_end(hub);
        run_store();
        ck_assert_int_eq(shop.sent, i + 1);
    }
    while (!list_empty(&shop.held))
        settle_ok(&shop);
    run_store();
    ck_assert_uint_eq(totals().done, 3);
    all_over();
}
END_TEST

/* No loop: what dies there too is kept, and comes back to there. */
START_TEST(dies_there_too)
{
    publish("math.sum", "", NULL);
    publish("shop", "", NULL); /* and one whose own destination it is */
    run_store();
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    run_store();
    settle(&shop, OUTCOME_REJECT, CODE_INVALID, "bad goods");
    run_store();
    ck_assert_uint_eq(shop.held.count, 2);
    settle(&shop, OUTCOME_REJECT, CODE_FAILED, "no");
    settle(&shop, OUTCOME_REJECT, CODE_FAILED, "no");
    run_store();
    ck_assert_uint_eq(totals().dead, 2);
    crash(0);
    ck_assert_uint_eq(walk(DEAD_REDRIVE).count, 2);
    ck_assert(math.sent == 0 && shop.sent == 2);
    settle(&shop, OUTCOME_REJECT, CODE_FAILED, "no");
    settle_ok(&shop);
    run_store();
    ck_assert(totals().dead == 1 && totals().done == 1);
    all_over();
}
END_TEST

/* A dead letter does not need room: it moves while the store refuses what is new. */
START_TEST(moves_when_the_store_is_full)
{
    end();
    disk = store_disk_new(1);
    life();
    publish("math.sum", "", NULL);
    run_store();
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    run_store();
    ck_assert_uint_eq(shop.sent, 1);
    ck_assert_uint_eq(offer(MSG_EVENT, "math.sum", "", NULL), CODE_OK);
    run_store();
    ck_assert_uint_eq(totals().accepted, 1);
}
END_TEST

/* ---------------------------------------------------------------- who is told, and when: routes that are not durable */

static void start_plain(void)
{
    disk = store_disk_new(100000);
    set_up();
    store = store_mem_open(disk);
    hub_use_store(hub, store);
    use_usual();
}

static void kept(const struct ask *a, enum code code)
{
    heard(a, code, "");
    ck_assert(a->kept);
}

START_TEST(told_when_it_is_on_disk)
{
    struct ask a, b;
    publish("math.sum", "", &a);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    ck_assert_uint_eq(a.answers, 0);
    ck_assert_uint_eq(hub_deliverable(hub), 1); /* a drain waits for it */
    run_store();
    heard(&a, CODE_INVALID, "bad data");
    kept(&a, CODE_INVALID);
    ck_assert_uint_eq(totals().dead, 1);
    publish("math.sum", "", &b);
    settle_ok(&math);
    heard(&b, CODE_OK, "");
    ck_assert(!b.kept);
    ck_assert_uint_eq(hub_deliverable(hub), 0);
}
END_TEST

START_TEST(of_several_the_last_one_tells)
{
    struct ask a;
    publish("all", "", &a);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "first");
    run_store();
    settle_ok(&shop);
    ck_assert_uint_eq(a.answers, 0);
    settle(&edge, OUTCOME_REJECT, CODE_FAILED, "second");
    ck_assert_uint_eq(a.answers, 0);
    run_store();
    heard(&a, CODE_INVALID, "first");
    kept(&a, CODE_INVALID);
}
END_TEST

START_TEST(one_that_expired_is_nowhere)
{
    struct ask a;
    make_room(&shop, 0);
    publish("all", "ttl: 500ms\n", &a);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "");
    settle_ok(&edge);
    run_store();
    pass(600);
    heard(&a, CODE_INVALID, "");
    ck_assert(!a.kept);
}
END_TEST

START_TEST(what_could_not_be_stored_is_upstreams)
{
    struct ask a;
    publish("math.sum", "", &a);
    store_mem_fault(store);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "");
    run_store();
    heard(&a, CODE_OVERLOADED, "could not be stored");
    ck_assert(!a.kept);
}
END_TEST

START_TEST(nobody_asks_any_more)
{
    struct ask a, b;
    publish("math.sum", "", &a);
    publish("math.sum", "", &b);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "");
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "");
    withdraw(&a);
    run_store();
    ck_assert_uint_eq(a.answers, 0);
    kept(&b, CODE_INVALID);
    publish("math.sum", "", &a);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, ""); /* the process ends before the store answers */
    publish("all", "", &b);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, ""); /* likewise, with others of it out */
}
END_TEST

START_TEST(dropped_by_the_policy)
{
    struct ask a;
    plain_new();
    plain->policy.dead_letter = false;
    use_usual();
    publish("math.sum", "", &a);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "");
    heard(&a, CODE_INVALID, "");
    ck_assert(!a.kept);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_dead");
    TCase *t = tcase_create("dead");
    const TTest *const tests[] = {
        rate_is_kept, cancelled_between_two, canary_in_three_batches, canary_stops_when_one_fails,
        canary_stops_in_the_rest, later_ones_are_not_of_the_walk, one_change_at_a_time,
    };
    tcase_add_checked_fixture(t, start, end);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    const TTest *const moving[] = {
        dead_goes_to_another_destination, a_dead_letter_has_no_ttl, moved_in_one_step, moved_within_a_group, dies_there_too, moves_when_the_store_is_full,
    };
    t = tcase_create("moving");
    tcase_add_checked_fixture(t, start_moving, end_moving);
    for (size_t i = 0; i < sizeof(moving) / sizeof(moving[0]); i++)
        tcase_add_test(t, moving[i]);
    suite_add_tcase(s, t);
    const TTest *const telling[] = {
        told_when_it_is_on_disk, of_several_the_last_one_tells, one_that_expired_is_nowhere,
        what_could_not_be_stored_is_upstreams, nobody_asks_any_more, dropped_by_the_policy,
    };
    t = tcase_create("telling");
    tcase_add_checked_fixture(t, start_plain, end);
    for (size_t i = 0; i < sizeof(telling) / sizeof(telling[0]); i++)
        tcase_add_test(t, telling[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
