/* Both maps against plain arrays; SipHash-1-3 against values of another implementation. */
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "rig.h"

#define KEYS 3000

/* Check tells its runner of every assertion that holds: too slow for a million of them. */
#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("%s", #condition);                                                        \
    } while (0)

static void *values[KEYS];
static size_t canon[KEYS];
static char tags[KEYS * 4]; /* what values point to */

static struct str key_of(size_t i, char out[static 32])
{
    int n = snprintf(out, 32, i % 3 == 0 ? "%zu" : "a.longer/key-%zu", i);
    out[n] = '\0';
    if (i % 7 == 0)
        out[n / 2] = '\0'; /* keys are bytes */
    return str_make(out, (size_t)n);
}

/* Some of the short keys with a NUL within are equal: their first number stands for all of them. */
static size_t canonical(size_t i)
{
    char a[32], b[32];
    struct str key = key_of(i, a);
    for (size_t k = 0; i % 7 == 0 && k < i; k += 7) {
        if (str_eq(key, key_of(k, b)))
            return k;
    }
    return i;
}

static void map_agrees(const struct map *m)
{
    size_t there = 0, walked = 0;
    char text[32];
    struct map_entry *e;
    for (size_t i = 0; i < KEYS; i++)
        there += values[i] != NULL;
    ck_assert_uint_eq(m->count, there);
    for (size_t i = 0; (e = map_next(m, &i)) != NULL; walked++)
        HOLDS(map_get(m, str_make(e->key, e->key_len)) == e->value);
    ck_assert_uint_eq(walked, there);
    for (size_t i = 0; i < KEYS; i++) {
        if (canon[i] == i)
            HOLDS(map_get(m, key_of(i, text)) == values[i]);
    }
}

START_TEST(map_is_what_a_plain_array_says)
{
    struct map m = {0};
    struct rand r;
    char text[32];
    rand_seed(&r, 5);
    for (size_t i = 0; i < KEYS; i++)
        canon[i] = canonical(i);
    for (int i = 0; i < 300000; i++) {
        size_t range = (i / 30000) % 2 == 0 ? KEYS : 40, k = canon[rand_below(&r, range)];
        struct str key = key_of(k, text);
        if (rand_below(&r, (i / 50000) % 2 == 0 ? 3 : 2) == 0) {
            HOLDS(map_remove(&m, key) == values[k]);
            values[k] = NULL;
        } else if (rand_below(&r, 3) == 0) {
            HOLDS(map_get(&m, key) == values[k]);
        } else {
            void *value = &tags[rand_below(&r, sizeof(tags))];
            HOLDS(map_set(&m, key, value) == values[k]);
            values[k] = value;
        }
        if (i % 30000 == 0)
            map_agrees(&m);
        HOLDS(m.count <= m.used && (m.used < m.cap || m.cap == 0));
    }
    map_agrees(&m);
    ck_assert_uint_le(m.cap, 8192);
    map_fini(&m);
}
END_TEST

START_TEST(map_holds_nothing_until_it_has_to)
{
    struct map m = {0};
    size_t i = 0;
    ck_assert_ptr_null(map_get(&m, STR("a")));
    ck_assert_ptr_null(map_remove(&m, STR("a")));
    ck_assert_ptr_null(map_next(&m, &i));
    ck_assert_ptr_null(m.entries);
    char key[] = "a";
    map_set(&m, str_of(key), &tags[1]);
    key[0] = 'b'; /* it copies its keys */
    ck_assert_ptr_eq(map_get(&m, STR("a")), &tags[1]);
    map_set(&m, STR_NONE, &tags[2]); /* an empty key is a key */
    ck_assert_ptr_eq(map_get(&m, STR("")), &tags[2]);
    map_fini(&m);
    ck_assert(m.entries == NULL && m.count == 0);
}
END_TEST

/* Names that come and go for ever: the tombstones are cleared away, the table does not grow. */
START_TEST(map_does_not_grow_with_what_has_been)
{
    struct map m = {0};
    char text[32];
    for (size_t i = 0; i < 200000; i++) {
        snprintf(text, sizeof(text), "client %zu", i);
        map_set(&m, str_of(text), &tags[0]);
        if (i >= 5) {
            snprintf(text, sizeof(text), "client %zu", i - 5);
            HOLDS(map_remove(&m, str_of(text)) == &tags[0]);
        }
    }
    ck_assert_uint_eq(m.count, 5);
    ck_assert_uint_le(m.cap, 32);
    map_fini(&m);
}
END_TEST

START_TEST(map_may_lose_the_current_entry_during_a_walk)
{
    struct map m = {0};
    char text[32];
    struct map_entry *e;
    size_t seen = 0;
    for (size_t i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%zu", i);
        map_set(&m, str_of(text), &tags[i]);
    }
    for (size_t i = 0; (e = map_next(&m, &i)) != NULL; seen++)
        HOLDS(map_remove(&m, str_make(e->key, e->key_len)) != NULL);
    ck_assert_uint_eq(seen, 1000);
    ck_assert_uint_eq(m.count, 0);
    map_fini(&m);
}
END_TEST

/* key 00 01 … 0f, input 00 01 02 …: values of an implementation that passes the vectors of
 * the paper for SipHash-2-4, run with 1 and 3 rounds. */
START_TEST(siphash_1_3)
{
    static const struct {
        size_t length;
        uint64_t hash;
    } table[] = {
        {0, UINT64_C(0xabac0158050fc4dc)}, {1, UINT64_C(0xc9f49bf37d57ca93)},
        {7, UINT64_C(0xd3927d989bb11140)}, {8, UINT64_C(0x369095118d299a8e)},
        {9, UINT64_C(0x25a48eb36c063de4)}, {15, UINT64_C(0xd320d86d2a519956)},
        {16, UINT64_C(0xcc4fdd1a7d908b66)}, {31, UINT64_C(0x2370dd1f8c21d1bc)},
        {63, UINT64_C(0x9d199062b7bbb3a8)},
    };
    const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    char bytes[64];
    for (int i = 0; i < 64; i++)
        bytes[i] = (char)i;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        ck_assert_uint_eq(map_hash(key, str_make(bytes, table[i].length)), table[i].hash);
    uint64_t one[2] = {0}, other[2] = {0};
    map_draw_key(one);
    map_draw_key(other);
    ck_assert_mem_ne(one, other, sizeof(one));
}
END_TEST

#define IDS 4096

static void *by_id[IDS];

/* Sparse, dense and far apart: ids that collide in every way. */
static uint64_t id_of(size_t i)
{
    if (i % 4 == 0)
        return i;
    if (i % 4 == 1)
        return UINT64_MAX - i;
    return i % 4 == 2 ? (uint64_t)i << 32 : (uint64_t)i * UINT64_C(0xF1DE83E19937733D); /* inverse of the hash's factor */
}

static void idmap_agrees(const struct idmap *m, size_t there)
{
    struct idmap_entry *e;
    size_t walked = 0;
    ck_assert_uint_eq(m->count, there);
    for (size_t i = 0; (e = idmap_next(m, &i)) != NULL; walked++)
        HOLDS(idmap_get(m, e->id) == e->value);
    ck_assert_uint_eq(walked, there);
    for (size_t i = 0; i < IDS; i++)
        HOLDS(idmap_get(m, id_of(i)) == by_id[i]);
}

START_TEST(idmap_is_what_a_plain_array_says)
{
    struct idmap m = {0};
    struct rand r;
    size_t there = 0;
    rand_seed(&r, 9);
    ck_assert_ptr_null(idmap_get(&m, 0));
    ck_assert_ptr_null(idmap_remove(&m, 0));
    for (int i = 0; i < 1000000; i++) {
        size_t phase = (size_t)i / 100000, k = rand_below(&r, phase % 3 == 0 ? IDS : phase % 3 == 1 ? 24 : 500);
        if (rand_below(&r, 2) == 0) {
            void *gone = idmap_remove(&m, id_of(k));
            if (gone != by_id[k])
                ck_abort_msg("removal of %zu at %d", k, i);
            there -= gone != NULL;
            by_id[k] = NULL;
        } else {
            void *value = &tags[rand_below(&r, sizeof(tags))];
            if (idmap_add(&m, id_of(k), value) != (by_id[k] == NULL))
                ck_abort_msg("addition of %zu at %d", k, i);
            there += by_id[k] == NULL;
            by_id[k] = by_id[k] == NULL ? value : by_id[k]; /* the old one stays */
        }
        if (i % 50000 == 0)
            idmap_agrees(&m, there);
    }
    idmap_agrees(&m, there);
    idmap_fini(&m);
    ck_assert(m.entries == NULL && m.count == 0);
}
END_TEST

START_TEST(idmap_of_running_numbers_stays_small)
{
    struct idmap m = {0};
    for (uint64_t id = 1; id < 500000; id++) {
        HOLDS(idmap_add(&m, id, &tags[id % 100]));
        if (id > 64)
            HOLDS(idmap_remove(&m, id - 64) == &tags[(id - 64) % 100]);
    }
    ck_assert_uint_eq(m.count, 64);
    ck_assert_uint_le(m.cap, 256);
    idmap_fini(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/map");
    TCase *t = tcase_create("map");
    const TTest *const tests[] = {
        map_is_what_a_plain_array_says, map_holds_nothing_until_it_has_to, map_does_not_grow_with_what_has_been,
        map_may_lose_the_current_entry_during_a_walk, siphash_1_3, idmap_is_what_a_plain_array_says,
        idmap_of_running_numbers_stays_small,
    };
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
