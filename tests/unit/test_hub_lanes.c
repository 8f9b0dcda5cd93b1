/* Order with a backlog on disk: a lane that is held up does not hold up others, and its order is kept. */
#include "base/rand.h"
#include "hub_store_rig.h"
#include "msg/headers.h"

static void patient(void)
{
    plain->policy.retry.attempts = 100000;
    plain->policy.retry.max_delay_ms = 400;
    plain->policy.timeout_ms = 3600000;
}

static void use_order(bool strict)
{
    struct hub_limits l = {.memory = 64 << 20, .queue = 100, .dead = 100};
    hub_set_limits(hub, &l);
    hub_set_order(math.sink.dest, "key", strict);
}

static void start_lanes(void)
{
    adjust = patient;
    start();
}

static void end_lanes(void)
{
    adjust = NULL;
    end();
}

static void publish_key(const char *key, unsigned number)
{
    char headers[64];
    snprintf(headers, sizeof(headers), "id: %s-%u\nkey: %s\n", key, number, key);
    publish("math.x", headers, NULL);
}

static void publish_many(const char *key, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        publish_key(key, i);
        if (i % 50 == 0)
            run_store();
    }
    run_store();
}

/* The number behind the key of what is held at this place; its key in *key. */
static unsigned number_of(const struct handover *h, char *key)
{
    char *id = str_dup(h->msg->id);
    unsigned number;
    ck_assert_int_eq(sscanf(id, "%c-%u", key, &number), 2);
    mem_free(id);
    return number;
}

/* Settles all that is held, in order, but those of this key, which fail; how many of the others there were. */
static unsigned serve_others(char failing, unsigned next[256])
{
    unsigned served = 0;
    for (size_t n = math.held.count; n > 0; n--) {
        char key;
        unsigned number = number_of(oldest(&math), &key);
        if (key == failing) {
            settle(&math, OUTCOME_RETRY, CODE_FAILED, "not yet");
            continue;
        }
        ck_assert_uint_eq(number, next[(unsigned char)key]++);
        settle_ok(&math);
        served++;
    }
    run_store();
    return served;
}

static void serve_all(unsigned next[256], unsigned want)
{
    for (unsigned served = 0, idle = 0; served < want; idle++) {
        unsigned n = serve_others('\0', next);
        idle = n > 0 ? 0 : idle;
        served += n;
        ck_assert_msg(idle < 1000, "%u of %u", served, want);
        if (n == 0)
            pass(10);
        run_store();
    }
}

/* Large ones come from disk a few at a time: fewer than were asked for does not mean that there are no more. */
START_TEST(large_ones_that_a_lane_left_on_disk_come_back)
{
    unsigned next[256] = {0};
    struct buf headers = BUF_EMPTY;
    use_order(true);
    math.room = 1;
    for (unsigned i = 0; i < 150; i++) {
        buf_clear(&headers);
        buf_printf(&headers, "id: a-%u\nkey: a\nfill: %060000d\n", i, 0);
        publish("math.x", buf_cstr(&headers), NULL);
        run_store();
    }
    buf_fini(&headers);
    ck_assert_uint_gt(status_of(&math).stored, 40);
    serve_all(next, 150);
    ck_assert_uint_eq(next['a'], 150);
    run_store();
    all_over();
}
END_TEST

START_TEST(a_blocked_key_does_not_fill_the_window)
{
    unsigned next[256] = {0};
    use_order(true);
    set_up_down(&math, false);
    publish_many("a", 0, 5000);
    publish_many("b", 0, 300);
    set_up_down(&math, true);
    for (int i = 0; next['b'] < 300; i++) {
        ck_assert_msg(i < 5000, "b is at %u", next['b']);
        serve_others('a', next);
        pass(20);
        run_store();
    }
    ck_assert_uint_eq(next['a'], 0);
    ck_assert(status_of(&math).parked <= 1024 && hub_memory(hub) < 4 << 20);
    serve_all(next, 5000);
    ck_assert_uint_eq(next['a'], 5000);
    run_store();
    all_over();
    ck_assert_uint_eq(totals().done, 5300);
}
END_TEST

/* More than the window would hold; some of them fell due and cannot be left on disk again. */
START_TEST(many_blocked_keys)
{
    unsigned next[256] = {0}, b = 0, done = 0;
    use_order(true);
    set_up_down(&math, false);
    for (char k = '0'; k < '0' + 45; k++) {
        for (unsigned i = 0; i < 40; i++) {
            char headers[64], key[2] = {k, '\0'};
            snprintf(headers, sizeof(headers), "id: %c-%u\nkey: %c\ndelay: 2s\n", k, 1000 + i, k);
            publish_key(key, i);
            if (i < 20)
                publish("math.x", headers, NULL);
        }
        run_store();
    }
    publish_many("b", 0, 200);
    set_up_down(&math, true);
    for (int i = 0; b < 200 || i < 250; i++) {
        if (i == 200)
            publish_many("c", 0, 100); /* the window is full: on disk */
        ck_assert_msg(i < 2000, "b is at %u", b);
        for (size_t n = math.held.count; n > 0; n--) {
            char key;
            unsigned number = number_of(oldest(&math), &key);
            if (key == 'b')
                ck_assert_uint_eq(number, b++);
            done += key == 'c';
            next['c'] += key == 'c';
            settle(&math, key == 'b' || key == 'c' ? OUTCOME_OK : OUTCOME_RETRY, key == 'b' || key == 'c' ? CODE_OK : CODE_FAILED, "");
        }
        run_store();
        pass(20);
        run_store();
        ck_assert_uint_eq(count_of(DELIVERY_DROPPED), 0);
    }
    for (int i = 0; done < 45 * 60 + 100; i++) {
        ck_assert_msg(i < 20000, "%u done", done);
        for (size_t n = math.held.count; n > 0; n--, done++) {
            char key;
            unsigned number = number_of(oldest(&math), &key);
            ck_assert_msg(number >= 1000 || number == next[(unsigned char)key]++, "%c-%u", key, number);
            settle_ok(&math);
        }
        run_store();
        pass(10);
        run_store();
    }
    all_over();
}
END_TEST

/* In flight for long, in the relaxed order too; and new ones come meanwhile. */
START_TEST(a_slow_key_does_not_fill_the_window)
{
    unsigned next[256] = {0};
    use_order(false);
    publish_many("a", 0, 3000);
    struct handover *slow = oldest(&math); /* a-0 */
    list_remove(&math.held, &slow->link);
    publish_many("b", 0, 100);
    for (int i = 0; next['b'] < 100; i++) {
        ck_assert_msg(i < 5000, "b is at %u", next['b']);
        serve_others('\0', next);
    }
    publish_many("a", 3000, 3100);
    publish_many("b", 100, 200);
    for (int i = 0; next['b'] < 200; i++) {
        ck_assert_msg(i < 5000, "b is at %u", next['b']);
        serve_others('\0', next);
    }
    ck_assert_uint_eq(math.sent, 201);
    list_push_front(&math.held, &slow->link);
    serve_all(next, 3100);
    run_store();
    all_over();
}
END_TEST

/* The limit: so far is read over what a blocked key has left, and no farther, until it moves on. */
START_TEST(reads_ahead_so_far)
{
    unsigned next[256] = {0};
    use_order(true);
    publish_many("a", 0, 17500);
    publish_many("b", 0, 20);
    for (int i = 0; i < 200; i++) {
        serve_others('a', next);
        pass(20);
        run_store();
    }
    ck_assert_uint_eq(next['b'], 0);
    for (int i = 0; next['b'] < 20; i++) {
        ck_assert_msg(i < 20000, "b is at %u", next['b']);
        serve_others('\0', next);
        pass(10);
        run_store();
    }
    ck_assert_uint_lt(next['a'], 2000);
    serve_all(next, 17500 - next['a']);
    all_over();
}
END_TEST

START_TEST(a_blocked_key_over_a_crash)
{
    unsigned next[256] = {0};
    use_order(true);
    publish_many("a", 0, 3000);
    publish_many("b", 0, 100);
    for (int i = 0; i < 20; i++) {
        serve_others('a', next);
        pass(50);
        run_store();
    }
    crash(1);
    use_order(true);
    next['b'] = 0;
    for (int i = 0; i < 100; i++) { /* what b has been served is served no more */
        run_store();
        pass(50);
        for (size_t n = math.held.count; n > 0; n--) {
            char key;
            unsigned number = number_of(oldest(&math), &key);
            ck_assert(number >= next[(unsigned char)key]);
            next[(unsigned char)key] = number + 1;
            settle_ok(&math);
        }
    }
    ck_assert_uint_le(next['a'], 3000);
    run_store();
    serve_all(next, (unsigned)totals().ready);
    ck_assert(next['a'] == 3000 && next['b'] == 100);
    run_store();
    all_over();
}
END_TEST

/* The next one in hand that is of this key. */
static void bring(char key)
{
    char k = '\0';
    for (size_t n = math.held.count; n > 0 && k != key; n--) {
        struct handover *h = oldest(&math);
        number_of(h, &k);
        if (k == key)
            break;
        list_remove(&math.held, &h->link);
        list_push(&math.held, &h->link);
    }
    ck_assert_int_eq(k, key);
}

/* What is parked goes back to disk for the others, while what stands behind it there is on its way already. */
START_TEST(a_lane_that_fails_while_it_is_read)
{
    unsigned next[256] = {0};
    use_order(true);
    set_up_down(&math, false);
    publish_many("a", 0, 150);
    for (char key[2] = "b"; key[0] <= 'r'; key[0]++)
        publish_many(key, 0, 80);
    set_up_down(&math, true);
    for (; next['a'] < 40; next['a']++) {
        bring('a');
        settle_ok(&math);
    }
    bring('a');
    settle(&math, OUTCOME_RETRY, CODE_FAILED, "not yet");
    pass(1000); /* it is ready again before anything is read or written */
    run_store();
    serve_all(next, 150 + 17 * 80 - 40);
    ck_assert_uint_eq(next['a'], 150);
    run_store();
    all_over();
}
END_TEST

/* A key by another rule from now on: what the lanes had left is still theirs. */
START_TEST(an_order_that_changes)
{
    unsigned next[256] = {0};
    use_order(true);
    publish_many("a", 0, 2000);
    publish_many("b", 0, 50);
    for (int i = 0; next['b'] < 50 && i < 1000; i++) {
        serve_others('a', next);
        pass(20);
        run_store();
    }
    hub_set_order(math.sink.dest, "header:key", true); /* no order between its lanes and those of before */
    publish_many("c", 0, 50);
    for (int i = 0; totals().done < 2100 && i < 20000; i++) {
        while (!list_empty(&math.held))
            settle_ok(&math);
        run_store();
        pass(10);
    }
    ck_assert_uint_eq(totals().done, 2100);
    hub_set_order(math.sink.dest, NULL, false);
    run_store();
    all_over();
}
END_TEST

/* Any keys, any failures: in order within each, and all of them. */
START_TEST(random_keys_in_order)
{
    struct rand r;
    unsigned put[256] = {0}, next[256] = {0}, total = 0;
    rand_seed(&r, (uint64_t)_i + 1);
    use_order(true);
    unsigned keys = 1 + (unsigned)rand_below(&r, 25);
    if (_i % 2 == 1) { /* some begin with a backlog, which is read while the first ones fail */
        set_up_down(&math, false);
        for (unsigned n = 0; n < 4000; n++, total++) {
            char key[2] = {(char)('a' + rand_below(&r, 1 + keys / 4)), '\0'};
            publish_key(key, put[(unsigned char)key[0]]++);
            if (n % 50 == 0)
                run_store();
        }
        run_store();
        crash(1);
        use_order(true);
    }
    for (unsigned turn = 0; turn < 4000; turn++) {
        char key[2] = {(char)('a' + rand_below(&r, rand_below(&r, 3) == 0 ? keys : 1 + keys / 8)), '\0'};
        for (unsigned n = turn < 2000 ? (unsigned)rand_below(&r, 6) : 0; n > 0; n--, total++)
            publish_key(key, put[(unsigned char)key[0]]++);
        if (rand_below(&r, 3) > 0)
            store_mem_run(store, 1 + rand_below(&r, 20));
        for (size_t n = rand_below(&r, 4); n > 0 && math.held.count > 0; n--) {
            char k;
            unsigned number = number_of(oldest(&math), &k);
            ck_assert_msg(number == next[(unsigned char)k], "%c-%u, not %u", k, number, next[(unsigned char)k]);
            bool fails = rand_below(&r, k == 'a' ? 2 : 20) == 0;
            next[(unsigned char)k] += !fails;
            settle(&math, fails ? OUTCOME_RETRY : OUTCOME_OK, fails ? CODE_FAILED : CODE_OK, "");
        }
        pass((int64_t)rand_below(&r, 30));
    }
    run_store();
    unsigned done = 0;
    for (size_t k = 0; k < 256; k++)
        done += next[k];
    serve_all(next, total - done);
    ck_assert_int_eq(memcmp(put, next, sizeof(put)), 0);
    run_store();
    all_over();
    ck_assert_uint_eq(totals().done, total);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub_lanes");
    TCase *t = tcase_create("lanes");
    const TTest *const tests[] = {
        large_ones_that_a_lane_left_on_disk_come_back, a_blocked_key_does_not_fill_the_window, many_blocked_keys, a_slow_key_does_not_fill_the_window, a_blocked_key_over_a_crash,
        reads_ahead_so_far, an_order_that_changes, a_lane_that_fails_while_it_is_read,
    };
    tcase_add_checked_fixture(t, start_lanes, end_lanes);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, random_keys_in_order, 0, 20);
    suite_add_tcase(s, t);
    return run_suite(s);
}
