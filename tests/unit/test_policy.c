/* Back-off and the circuit breaker: pure functions, looked at over their whole range. */
#include "base/rand.h"
#include "delivery/breaker.h"
#include "delivery/policy.h"
#include "rig.h"

static struct retry_conf retry_of(int64_t delay_ms, double factor, int64_t max_delay_ms, enum jitter jitter)
{
    return (struct retry_conf){.attempts = 5, .delay_ms = delay_ms, .factor = factor, .max_delay_ms = max_delay_ms,
                               .jitter = jitter};
}

START_TEST(delays_grow_by_the_factor_up_to_the_limit)
{
    struct retry_conf r = retry_of(100, 2, 30000, JITTER_NONE);
    static const int64_t wanted[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
    for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        ck_assert_int_eq(retry_delay_ms(&r, i + 1, UINT64_MAX), wanted[i]); /* chance has no say */
    r = retry_of(200, 1.5, 1000, JITTER_NONE);
    static const int64_t by_half[] = {200, 300, 450, 675, 1000, 1000};
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(retry_delay_ms(&r, i + 1, 0), by_half[i]);
}
END_TEST

START_TEST(delays_stay_within_bounds_for_every_attempt)
{
    static const struct {
        int64_t delay_ms, max_delay_ms;
        double factor;
    } table[] = {
        {100, 30000, 2}, {1, 1, 1}, {500, 500, 1}, {500, 86400000, 1}, {1, INT64_C(316224000000), 1e300},
        {INT64_C(316224000000), INT64_C(316224000000), 100}, {0, 1000, 2}, {0, 0, 2}, {1000, 10, 2},
        {7, INT64_MAX, 1.0001}, {1, INT64_MAX, 1e18},
    };
    struct rand random;
    rand_seed(&random, 6);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct retry_conf none = retry_of(table[i].delay_ms, table[i].factor, table[i].max_delay_ms, JITTER_NONE);
        struct retry_conf full = retry_of(table[i].delay_ms, table[i].factor, table[i].max_delay_ms, JITTER_FULL);
        int64_t before = 0, most = table[i].max_delay_ms > 1 ? table[i].max_delay_ms : 1;
        for (unsigned attempt = 1; attempt <= 1000; attempt++) {
            int64_t delay = retry_delay_ms(&none, attempt, rand_u64(&random));
            if (delay < 1 || delay > most || delay < before)
                ck_abort_msg("%zu: %lld after attempt %u", i, (long long)delay, attempt);
            before = delay;
            for (int k = 0; k < 4; k++) {
                int64_t some = retry_delay_ms(&full, attempt, k == 0 ? 0 : k == 1 ? UINT64_MAX : rand_u64(&random));
                if (some < 1 || some > delay || (k == 0 && some != 1) || (k == 1 && some != delay))
                    ck_abort_msg("%zu: %lld of %lld after attempt %u", i, (long long)some, (long long)delay, attempt);
            }
        }
        if (table[i].factor == 1 && table[i].delay_ms > 0)
            ck_assert_int_eq(before, table[i].delay_ms);
    }
}
END_TEST

START_TEST(jitter_is_even_over_the_whole_delay)
{
    struct retry_conf r = retry_of(1000, 2, 60000, JITTER_FULL);
    struct rand random;
    unsigned tenths[10] = {0};
    rand_seed(&random, 8);
    for (int i = 0; i < 100000; i++) {
        int64_t delay = retry_delay_ms(&r, 3, rand_u64(&random)); /* 1 … 4,000 */
        tenths[delay == 4000 ? 9 : delay / 400]++;
    }
    for (int i = 0; i < 10; i++)
        ck_assert_msg(tenths[i] > 9500 && tenths[i] < 10500, "tenth %d: %u of 10,000", i, tenths[i]);
}
END_TEST

START_TEST(attempts_are_counted)
{
    struct retry_conf r = {.attempts = 3};
    ck_assert(retry_allowed(&r, 1) && retry_allowed(&r, 2) && !retry_allowed(&r, 3) && !retry_allowed(&r, 4));
    r.attempts = 1;
    ck_assert(!retry_allowed(&r, 1));
    r.attempts = UINT64_MAX;
    ck_assert(retry_allowed(&r, UINT32_MAX));
}
END_TEST

START_TEST(the_worst_case_is_all_attempts_and_the_pauses_between)
{
    struct policy_conf p = {.timeout_ms = 1000, .retry = retry_of(100, 2, 30000, JITTER_FULL)};
    p.retry.attempts = 4;
    ck_assert_int_eq(retry_worst_case_ms(&p), 4 * 1000 + 100 + 200 + 400);
    p.retry.attempts = 1;
    ck_assert_int_eq(retry_worst_case_ms(&p), 1000);
    p.timeout_ms = INT64_MAX / 2;
    p.retry.attempts = 3;
    ck_assert_int_eq(retry_worst_case_ms(&p), INT64_MAX);
}
END_TEST

/* ---------------------------------------------------------------- the breaker */

enum act { ALLOWED, DENIED, SENT, OK, FAILS, OPENS, UNSENT };

struct move {
    enum act act;
    int64_t at;
    enum breaker_state after;
    uint64_t probes;
};

static const struct breaker_conf conf = {.failures = 3, .open_for_ms = 100, .probes = 2};

static bool act(struct breaker *b, const struct move *m)
{
    switch (m->act) {
    case ALLOWED:
        return breaker_allows(b, &conf, m->at);
    case DENIED:
        return !breaker_allows(b, &conf, m->at);
    case SENT:
        breaker_sent(b);
        return true;
    case OK:
        breaker_success(b);
        return true;
    case FAILS:
        return !breaker_failure(b, &conf, m->at);
    case OPENS:
        return breaker_failure(b, &conf, m->at);
    default:
        breaker_unsent(b);
        return true;
    }
}

#define CLOSED BREAKER_CLOSED
#define OPEN BREAKER_OPEN
#define HALF BREAKER_HALF_OPEN

static const struct {
    const char *name;
    struct move moves[14]; /* up to the first that is all zero behind the first */
} stories[] = {
    {"closed lets everything through", {{ALLOWED, 1, CLOSED, 0}, {SENT, 1, CLOSED, 0}, {ALLOWED, 1, CLOSED, 0},
                                        {UNSENT, 1, CLOSED, 0}, {OK, 1, CLOSED, 0}}},
    {"failures in a row open it", {{FAILS, 1, CLOSED, 0}, {FAILS, 2, CLOSED, 0}, {OPENS, 3, OPEN, 0},
                                   {DENIED, 3, OPEN, 0}, {DENIED, 102, OPEN, 0}}},
    {"a success between them starts the count anew",
     {{FAILS, 1, CLOSED, 0}, {FAILS, 2, CLOSED, 0}, {OK, 3, CLOSED, 0}, {FAILS, 4, CLOSED, 0}, {FAILS, 5, CLOSED, 0},
      {OPENS, 6, OPEN, 0}}},
    {"its time over it lets probes through, so many at a time",
     {{FAILS, 1, CLOSED, 0}, {FAILS, 1, CLOSED, 0}, {OPENS, 1, OPEN, 0}, {DENIED, 100, OPEN, 0},
      {ALLOWED, 101, HALF, 0}, {SENT, 101, HALF, 1}, {ALLOWED, 101, HALF, 1}, {SENT, 101, HALF, 2},
      {DENIED, 101, HALF, 2}, {DENIED, 9999, HALF, 2}, {UNSENT, 9999, HALF, 1}, {ALLOWED, 9999, HALF, 1}}},
    {"a probe that succeeds closes it",
     {{FAILS, 1, CLOSED, 0}, {FAILS, 1, CLOSED, 0}, {OPENS, 1, OPEN, 0}, {ALLOWED, 101, HALF, 0}, {SENT, 101, HALF, 1},
      {OK, 102, CLOSED, 0}, {ALLOWED, 102, CLOSED, 0}, {FAILS, 103, CLOSED, 0}, {FAILS, 103, CLOSED, 0},
      {OPENS, 104, OPEN, 0}}},
    {"a probe that fails opens it again, for the whole time",
     {{FAILS, 1, CLOSED, 0}, {FAILS, 1, CLOSED, 0}, {OPENS, 1, OPEN, 0}, {ALLOWED, 101, HALF, 0}, {SENT, 101, HALF, 1},
      {OPENS, 150, OPEN, 0}, {DENIED, 249, OPEN, 0}, {ALLOWED, 250, HALF, 0}}},
    {"what was sent before and fails late does not prolong it",
     {{FAILS, 1, CLOSED, 0}, {FAILS, 1, CLOSED, 0}, {OPENS, 1, OPEN, 0}, {FAILS, 90, OPEN, 0}, {UNSENT, 90, OPEN, 0},
      {ALLOWED, 101, HALF, 0}}},
};

START_TEST(the_breaker_moves_by_its_drawing)
{
    struct breaker b = {0};
    for (size_t i = 0; i < 14; i++) {
        const struct move *m = &stories[_i].moves[i];
        if (i > 0 && m->at == 0)
            break;
        ck_assert_msg(act(&b, m), "%s: move %zu", stories[_i].name, i);
        ck_assert_msg(b.state == m->after && b.probes == m->probes, "%s: after move %zu %s, %llu probes",
                      stories[_i].name, i, breaker_name(b.state), (unsigned long long)b.probes);
    }
}
END_TEST

START_TEST(states_have_names)
{
    ck_assert_str_eq(breaker_name(BREAKER_CLOSED), "closed");
    ck_assert_str_eq(breaker_name(BREAKER_OPEN), "open");
    ck_assert_str_eq(breaker_name(BREAKER_HALF_OPEN), "half-open");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("policy");
    TCase *t = tcase_create("policy");
    const TTest *const tests[] = {
        delays_grow_by_the_factor_up_to_the_limit, delays_stay_within_bounds_for_every_attempt,
        jitter_is_even_over_the_whole_delay, attempts_are_counted,
        the_worst_case_is_all_attempts_and_the_pauses_between, states_have_names,
    };
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, the_breaker_moves_by_its_drawing, 0, (int)(sizeof(stories) / sizeof(stories[0])));
    suite_add_tcase(s, t);
    return run_suite(s);
}
