/* The table that gives out its ids, against a plain array. */
#include "base/rand.h"
#include "base/slots.h"
#include "rig.h"

#define IDS 5000

static char tags[IDS + 1]; /* what values point to: tags[id] where the id is known, tags[0] before */

static void agrees(const struct slots *s, void *const values[IDS])
{
    size_t there = 0, walked = 0;
    struct slot *slot;
    for (uint64_t id = 0; id < IDS; id++) {
        there += values[id] != NULL;
        if (slots_get(s, id) != values[id])
            ck_abort_msg("id %u", (unsigned)id);
    }
    ck_assert_uint_eq(s->count, there);
    for (size_t i = 0; (slot = slots_next(s, &i)) != NULL; walked++)
        ck_assert_ptr_eq(slot->value, values[slot->id]);
    ck_assert_uint_eq(walked, there);
}

START_TEST(it_is_what_a_plain_array_says)
{
    static void *values[IDS];
    struct slots s = {0};
    struct rand r;
    uint64_t last = 0, id;
    rand_seed(&r, (uint64_t)_i);
    memset(values, 0, sizeof(values));
    for (int step = 0; last < IDS - 1 && step < 2000; step++) {
        uint64_t other = rand_below(&r, last + 2);
        if (rand_below(&r, 100) < 55) {
            id = slots_add(&s, &tags[step]);
            ck_assert_uint_gt(id, last);
            last = id;
            if (id < IDS)
                values[id] = &tags[step];
        } else {
            ck_assert_ptr_eq(slots_take(&s, other), values[other]);
            values[other] = NULL;
        }
    }
    ck_assert_uint_lt(last, IDS);
    agrees(&s, values);
    slots_fini(&s);
    ck_assert_uint_eq(s.count, 0);
    ck_assert_ptr_null(slots_get(&s, 1));
}
END_TEST

START_TEST(ids_count_from_one_and_holds_nothing_before)
{
    struct slots s = {0};
    size_t i = 0;
    ck_assert_ptr_null(slots_get(&s, 0));
    ck_assert_ptr_null(slots_take(&s, 7));
    ck_assert_ptr_null(slots_next(&s, &i));
    ck_assert_ptr_null(s.slots);
    for (uint64_t id = 1; id <= 100; id++)
        ck_assert_uint_eq(slots_add(&s, &tags[id]), id);
    ck_assert_ptr_null(slots_get(&s, 0));
    slots_fini(&s);
}
END_TEST

START_TEST(one_that_stays_is_stepped_over)
{
    struct slots s = {0};
    ck_assert_uint_eq(slots_add(&s, &tags[0]), 1);
    uint64_t last = 1;
    for (int i = 1; i < IDS; i++) {
        uint64_t id = slots_add(&s, &tags[i]);
        ck_assert_uint_le(id - last, 2);
        ck_assert_ptr_eq(slots_take(&s, id), &tags[i]);
        ck_assert_ptr_null(slots_take(&s, id));
        last = id;
    }
    ck_assert_uint_eq(s.cap, 8);
    ck_assert_uint_le(last, IDS + IDS / 7 + 1);
    ck_assert_ptr_eq(slots_get(&s, 1), &tags[0]);
    ck_assert_ptr_null(slots_get(&s, 9)); /* the same place */
    slots_fini(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/slots");
    TCase *t = tcase_create("slots");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, it_is_what_a_plain_array_says, 0, 20);
    tcase_add_test(t, ids_count_from_one_and_holds_nothing_before);
    tcase_add_test(t, one_that_stays_is_stepped_over);
    suite_add_tcase(s, t);
    return run_suite(s);
}
