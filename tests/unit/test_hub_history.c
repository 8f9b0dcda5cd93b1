/* What is remembered of messages, in memory and in the store, and what is read back of it. */
#include "delivery/history.h"
#include "hub_store_rig.h"

static struct buf told;
static unsigned whole; /* how often a look into the store ended well */

static void limit(uint64_t history)
{
    hub_set_limits(hub, &(struct hub_limits){.memory = 64 << 20, .queue = 100000, .dead = 10, .history = history});
}

static void begin(void)
{
    disk = store_disk_new(1 << 30); /* an eighth of it may be history */
    life();
    limit(1 << 20);
}

static void finish(void)
{
    buf_fini(&told);
    end();
}

static void again(size_t jobs)
{
    crash(jobs);
    limit(1 << 20);
    run_store();
}

static const char *const names[PAST_EVENTS] = {"stored", "done", "failed", "retry", "released", "dead", "expired",
                                               "dropped", "duplicate", "redriven", "purged", "now"};

static void on_past(void *arg, const struct past *p)
{
    (void)arg;
    buf_printf(&told, "%s %u " STR_FMT "@" STR_FMT, names[p->event], p->attempt, STR_ARG(p->route), STR_ARG(p->to));
    if (p->cause.n > 0)
        buf_printf(&told, " (" STR_FMT ")", STR_ARG(p->cause));
    if (p->detail.n > 0)
        buf_printf(&told, " " STR_FMT, STR_ARG(p->detail));
    buf_puts(&told, p->told ? " told\n" : "\n");
    ck_assert(p->accepted_ms <= p->time_ms && p->sent_ms <= p->time_ms);
}

static void on_done(void *arg, bool complete)
{
    (void)arg;
    whole += complete;
}

static const char *why(const char *id)
{
    unsigned before = whole;
    buf_clear(&told);
    hub_why_stored(hub, &(struct why_ask){.id = str_of(id), .each = on_past, .done = on_done});
    ck_assert_uint_eq(told.len, 0); /* answered later */
    run_store();
    ck_assert_uint_eq(whole, before + 1);
    hub_why_now(hub, str_of(id), on_past, NULL);
    return buf_cstr(&told);
}

static void attempt_fails(struct fake *f, enum code code, const char *why_not)
{
    settle_with(f, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = 10,
                                       .reply = {.code = code, .body = str_of(why_not)}});
}

START_TEST(the_story_of_a_stored_one)
{
    publish("math.sum", "id: one\n", NULL);
    ck_assert_str_eq(why("one"), "now 1 math.*@math is handed over and not answered yet\n");
    attempt_fails(&math, CODE_FAILED, "no");
    pass(20);
    run_store();
    settle(&math, OUTCOME_HOLD, CODE_OK, "");
    pass(30);
    run_store();
    settle_ok(&math);
    run_store();
    const char *story = "retry 1 math.*@math failed: no\nreleased 2 math.*@math (failed)\ndone 2 math.*@math (released)\n";
    ck_assert_str_eq(why("one"), story);
    ck_assert_str_eq(why("on"), "");
    again(100); /* it was flushed to be read */
    ck_assert_str_eq(why("one"), story);
}
END_TEST

/* Dead, back again, and the configuration of its time. */
START_TEST(dead_and_redriven)
{
    publish("math.sum", "id: one\n", NULL);
    run_store();
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
    pass(HISTORY_FLUSH_MS); /* by itself */
    again(100);
    ck_assert_uint_eq(walk(DEAD_REDRIVE).count, 1);
    settle_ok(&math);
    ck_assert_str_eq(why("one"), "dead 1 math.*@math invalid: bad data\nredriven 1 math.*@math\n"
                                 "done 1 math.*@math (redrive)\n");
}
END_TEST

START_TEST(a_kill_loses_the_last_seconds_only)
{
    publish("math.sum", "id: one\n", NULL);
    run_store();
    settle_ok(&math);
    pass(HISTORY_FLUSH_MS);
    run_store();
    publish("math.sum", "id: two\n", NULL);
    run_store();
    settle_ok(&math);
    pass(HISTORY_FLUSH_MS - 1);
    run_store();
    again(100);
    ck_assert_str_eq(why("one"), "done 1 math.*@math\n");
    ck_assert_str_eq(why("two"), "");
}
END_TEST

/* It costs no commit of its own while nothing happens, and one for many notes. */
START_TEST(notes_are_written_together)
{
    struct store_stats before, after;
    char headers[32];
    pass(1);
    run_store();
    store_stats(store, &before);
    for (int i = 0; i < 300; i++) {
        snprintf(headers, sizeof(headers), "id: %d\n", i);
        publish("math.sum", headers, NULL);
        run_store();
        settle_ok(&math);
        run_store();
    }
    store_stats(store, &after);
    ck_assert_uint_eq(after.units - before.units, 600);
    pass(HISTORY_FLUSH_MS);
    ck_assert_uint_eq(store_mem_pending(store), 2); /* the chunk, and the word that it is there */
    run_store();
    pass(10 * HISTORY_FLUSH_MS);
    ck_assert_uint_eq(store_mem_pending(store), 0);
}
END_TEST

START_TEST(the_oldest_make_room)
{
    char headers[32];
    for (int i = 0; i < 40000; i++) { /* of 32 bytes each: more than 16 chunks */
        snprintf(headers, sizeof(headers), "id: m%d\n", i);
        publish("math.sum", headers, NULL);
        run_store();
        settle_ok(&math);
        run_store();
    }
    ck_assert_str_eq(why("m39999"), "done 1 math.*@math\n");
    ck_assert_str_eq(why("m30000"), "done 1 math.*@math\n");
    ck_assert_str_eq(why("m0"), "");
    again(100);
    ck_assert_str_eq(why("m30000"), "done 1 math.*@math\n");
}
END_TEST

/* A store that does not answer is not buried in notes. */
START_TEST(a_slow_store_loses_notes_not_memory)
{
    for (int i = 0; i < 1000; i++) {
        publish("math.sum", "id: one\n", NULL);
        run_store();
    }
    for (int i = 0; i < 1000; i++) {
        settle(&math, OUTCOME_REJECT, CODE_INVALID, "bad data");
        hub_flush(hub);
    }
    ck_assert_uint_le(store_mem_pending(store), 1000 + 2 * 8); /* the burials, and eight chunks with their words */
    run_store();
    publish("math.sum", "id: two\n", NULL);
    run_store();
    settle_ok(&math);
    ck_assert_str_eq(why("two"), "done 1 math.*@math\n");
}
END_TEST

/* Best-effort ones that went well stay in memory; the others do not. */
START_TEST(light_and_kept)
{
    hub_free(hub);
    store_close(store);
    set_up();
    store = store_mem_open(disk);
    hub_use_store(hub, store);
    limit(1 << 20);
    use_usual();
    struct ask a;
    publish("math.sum", "id: well\n", NULL);
    settle_ok(&math);
    publish("math.sum", "id: badly\n", NULL);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "no");
    request("math.sum", "id: asked\n", &a);
    settle_ok(&math);
    request("math.sum", "id: asked in vain\n", &a);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "no");
    ck_assert_str_eq(why("well"), "done 1 math.*@math\n");
    ck_assert_str_eq(why("badly"), "dead 1 math.*@math invalid: no\n");
    ck_assert_str_eq(why("asked"), "done 1 math.*@math told\n");
    ck_assert_str_eq(why("asked in vain"), "failed 1 math.*@math invalid: no told\n");
    again(100);
    ck_assert_str_eq(why("well"), "");
    ck_assert_str_eq(why("badly"), "dead 1 math.*@math invalid: no\n");
}
END_TEST

START_TEST(without_a_store_all_is_in_memory_and_bounded)
{
    char headers[64];
    hub_free(hub);
    set_up();
    limit(1 << 20);
    use_usual();
    for (int i = 0; i < 100000; i++) {
        snprintf(headers, sizeof(headers), "id: %d\n", i);
        publish("math.sum", headers, NULL);
        settle_ok(&math);
    }
    buf_clear(&told);
    hub_why_now(hub, STR("99999"), on_past, NULL);
    hub_why_now(hub, STR("60000"), on_past, NULL);
    hub_why_now(hub, STR("0"), on_past, NULL);
    ck_assert_str_eq(buf_cstr(&told), "done 1 math.*@math\ndone 1 math.*@math\n");
}
END_TEST

/* The others, without a store: a ring of 64 chunks, and names are read where they were spelled out. */
START_TEST(what_went_wrong_is_bounded_in_memory)
{
    char headers[64];
    hub_free(hub);
    set_up();
    limit(1 << 20);
    use_usual();
    for (int i = 0; i < 50000; i++) { /* of more than 100 bytes each */
        snprintf(headers, sizeof(headers), "id: %d\n", i);
        publish("math.sum", headers, NULL);
        settle(&math, OUTCOME_REJECT, CODE_INVALID, "no");
    }
    buf_clear(&told);
    hub_why_now(hub, STR("49999"), on_past, NULL);
    hub_why_now(hub, STR("30000"), on_past, NULL);
    hub_why_now(hub, STR("0"), on_past, NULL);
    ck_assert_str_eq(buf_cstr(&told), "dead 1 math.*@math invalid: no\ndead 1 math.*@math invalid: no\n"
                                      "purged 1 math.*@math\n");
}
END_TEST

static void keep_past(void *arg, const struct past *p)
{
    *(struct past *)arg = *p;
    buf_printf(&told, STR_FMT "@" STR_FMT " by " STR_FMT "\n", STR_ARG(p->route), STR_ARG(p->to), STR_ARG(p->peer));
}

/* Of a light one, and of one that goes to the store: when, by whom, under which configuration. */
START_TEST(when_and_by_whom)
{
    struct holder holder = {.text = "pid 7"};
    for (int stored = 0; stored < 2; stored++) {
        struct past p = {.event = PAST_EVENTS};
        hub_free(hub);
        store_close(store);
        set_up();
        store = store_mem_open(disk);
        hub_use_store(hub, store);
        limit(1 << 20);
        use_usual();
        plain_new();
        (stored ? routes_durable : use_usual)();
        make_room(&math, 0);
        publish("math.sum", "id: one\n", NULL);
        run_store();
        pass(30);
        make_room(&math, 1000);
        oldest(&math)->holder = &holder;
        pass(50);
        settle_ok(&math);
        run_store();
        pass(20);
        buf_clear(&told);
        hub_why_stored(hub, &(struct why_ask){.id = STR("one"), .each = keep_past, .done = on_done, .arg = &p});
        run_store();
        hub_why_now(hub, STR("one"), keep_past, &p);
        ck_assert_str_eq(buf_cstr(&told), "math.*@math by pid 7\n");
        ck_assert_int_eq(p.event, PAST_DONE);
        ck_assert_int_eq(p.time_ms, rig_wall(NULL) - 20);
        ck_assert_int_eq(p.sent_ms, rig_wall(NULL) - 70);
        ck_assert_int_eq(p.accepted_ms, rig_wall(NULL) - 100);
        ck_assert_uint_eq(p.generation, 2);
        ck_assert(p.stored == (stored == 1) && !p.request);
    }
}
END_TEST

/* Whatever the limit says. */
START_TEST(an_eighth_of_a_small_store)
{
    struct store_disk *small = store_disk_new(8 * 2 * HISTORY_CHUNK); /* its stats speak of rows as bytes: two chunks */
    char headers[32];
    hub_free(hub);
    store_close(store);
    set_up();
    store = store_mem_open(small);
    hub_use_store(hub, store);
    limit(1 << 30);
    routes_durable();
    for (int i = 0; i < 8000; i++) { /* about four */
        snprintf(headers, sizeof(headers), "id: m%d\n", i);
        publish("math.sum", headers, NULL);
        run_store();
        settle_ok(&math);
        run_store();
    }
    ck_assert_str_eq(why("m7999"), "done 1 math.*@math\n");
    ck_assert_str_eq(why("m0"), "");
    store_close(store);
    hub_free(hub);
    store_disk_free(small);
    life();
}
END_TEST

START_TEST(off_is_off)
{
    limit(0);
    publish("math.sum", "id: one\n", NULL);
    run_store();
    settle_ok(&math);
    pass(HISTORY_FLUSH_MS);
    ck_assert_str_eq(why("one"), "");
    limit(1 << 20);
    publish("math.sum", "id: two\n", NULL);
    run_store();
    settle_ok(&math);
    ck_assert_str_eq(why("two"), "done 1 math.*@math\n");
}
END_TEST

/* What is not over when it is asked for, and an asker who goes. */
START_TEST(cancelled_and_freed)
{
    publish("math.sum", "id: one\n", NULL);
    ck_assert_uint_eq(store_mem_pending(store), 2); /* its queue is new */
    buf_clear(&told);
    hub_why_now(hub, STR("one"), on_past, NULL);
    ck_assert_str_eq(buf_cstr(&told), "now 0 math.*@math waits for the store\n");
    struct why_ask ask = {.id = STR("one"), .each = on_past, .done = on_done};
    hub_why_cancel(hub_why_stored(hub, &ask));
    run_store();
    ck_assert_uint_eq(whole, 0);
    hub_why_stored(hub, &ask); /* never answered: the process ends */
}
END_TEST

static void count(void *arg, const struct past *p)
{
    ck_assert(p->event < PAST_EVENTS);
    ++*(unsigned *)arg;
}

/* Whatever the bytes are. */
START_TEST(garbage_is_no_chunk)
{
    char chunk[4096];
    struct rand r;
    rand_seed(&r, 3);
    for (int i = 0; i < 20000; i++) {
        size_t n = rand_below(&r, sizeof(chunk));
        unsigned found = 0;
        for (size_t k = 0; k < n; k++)
            chunk[k] = (char)(rand_below(&r, 3) == 0 ? rand_u64(&r) : 0);
        history_read(str_make(chunk, n), STR_NONE, count, &found);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_history");
    TCase *t = tcase_create("history");
    const TTest *const tests[] = {
        the_story_of_a_stored_one, dead_and_redriven, a_kill_loses_the_last_seconds_only, notes_are_written_together,
        the_oldest_make_room, a_slow_store_loses_notes_not_memory, light_and_kept,
        without_a_store_all_is_in_memory_and_bounded, what_went_wrong_is_bounded_in_memory, when_and_by_whom,
        an_eighth_of_a_small_store, off_is_off, cancelled_and_freed, garbage_is_no_chunk,
    };
    tcase_add_checked_fixture(t, begin, finish);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
