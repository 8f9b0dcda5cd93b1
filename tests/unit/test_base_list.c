/* The intrusive containers: list, and heap against a sorted oracle. */
#include "base/heap.h"
#include "base/list.h"
#include "base/rand.h"
#include "rig.h"

struct item {
    int number;
    struct list_node link;
};

static struct item items[8];

static void expect(const struct list *l, const char *numbers)
{
    char forth[32] = "", back[32] = "";
    size_t n = 0, count = strlen(numbers);
    ck_assert_uint_eq(l->count, count);
    ck_assert(list_empty(l) == (count == 0));
    for (struct list_node *at = list_first(l); at != NULL; at = list_next(l, at))
        forth[n++] = (char)('0' + CONTAINER_OF(at, struct item, link)->number);
    ck_assert_str_eq(forth, numbers);
    for (const struct list_node *at = l->head.prev; at != &l->head; at = at->prev)
        back[--n] = (char)('0' + CONTAINER_OF(at, const struct item, link)->number);
    ck_assert_str_eq(back, numbers);
    ck_assert_ptr_eq(list_last(l), count > 0 ? l->head.prev : NULL);
}

static void items_init(void)
{
    for (int i = 0; i < 8; i++)
        items[i] = (struct item){.number = i};
}

START_TEST(list_keeps_order_and_count)
{
    struct list l;
    list_init(&l);
    items_init();
    expect(&l, "");
    ck_assert_ptr_null(list_first(&l));
    ck_assert_ptr_null(list_last(&l));
    list_push(&l, &items[1].link);
    list_push(&l, &items[2].link);
    list_push_front(&l, &items[0].link);
    expect(&l, "012");
    list_insert_before(&l, &items[2].link, &items[3].link);
    expect(&l, "0132");
    ck_assert(list_linked(&items[3].link) && !list_linked(&items[4].link));
    list_remove(&l, &items[3].link);
    list_remove(&l, &items[3].link); /* in none: legal */
    list_remove(&l, &items[4].link);
    expect(&l, "012");
    ck_assert(!list_linked(&items[3].link));
    list_remove(&l, &items[0].link);
    list_remove(&l, &items[2].link);
    list_remove(&l, &items[1].link);
    expect(&l, "");
    list_push(&l, &items[1].link); /* a removed one may come back */
    expect(&l, "1");
}
END_TEST

START_TEST(list_walk_survives_removal_of_the_current_node)
{
    struct list l, other;
    list_init(&l);
    list_init(&other);
    items_init();
    for (int i = 0; i < 8; i++)
        list_push(&l, &items[i].link);
    LIST_EACH(&l, n) {
        if (CONTAINER_OF(n, struct item, link)->number % 3 == 0) {
            list_remove(&l, n);
            list_push_front(&other, n);
        }
    }
    expect(&l, "12457");
    expect(&other, "630");
    LIST_EACH(&l, n)
        list_remove(&l, n);
    expect(&l, "");
    LIST_EACH(&l, n)
        ck_abort_msg("an empty list has no nodes");
}
END_TEST

#define NODES 2000

static struct heap_node nodes[NODES];

static void heap_is_sound(const struct heap *h)
{
    for (size_t i = 0; i < h->count; i++) {
        if (h->nodes[i]->index != i + 1 || !heap_linked(h->nodes[i]))
            ck_abort_msg("node %zu is lost", i);
        if (i > 0 && h->nodes[(i - 1) / 2]->key > h->nodes[i]->key)
            ck_abort_msg("the order is broken at %zu", i);
    }
}

static int64_t oracle_min(size_t *count)
{
    int64_t min = INT64_MAX;
    *count = 0;
    for (size_t i = 0; i < NODES; i++) {
        *count += heap_linked(&nodes[i]);
        if (heap_linked(&nodes[i]) && nodes[i].key < min)
            min = nodes[i].key;
    }
    return min;
}

START_TEST(heap_gives_the_least_through_random_pushes_and_removals)
{
    struct heap h = {0};
    struct rand r;
    size_t count = 0, linked;
    rand_seed(&r, 11);
    ck_assert_ptr_null(heap_min(&h));
    for (int i = 0; i < 100000; i++) {
        struct heap_node *n = &nodes[rand_below(&r, NODES)];
        bool few = rand_below(&r, 64) == 0; /* many equal keys */
        if (heap_linked(n)) {
            heap_remove(&h, n);
            count--;
        } else {
            int64_t key = few ? (int64_t)rand_below(&r, 3) : (int64_t)rand_u64(&r);
            heap_push(&h, n, key);
            count++;
        }
        if (h.count != count)
            ck_abort_msg("%zu nodes where %zu should be", h.count, count);
        if (i % 500 == 0) {
            heap_is_sound(&h);
            int64_t min = oracle_min(&linked);
            ck_assert_uint_eq(linked, count);
            if (count > 0)
                ck_assert_int_eq(heap_min(&h)->key, min);
        }
        if (rand_below(&r, 3) == 0 && count > 0) {
            heap_remove(&h, heap_min(&h));
            count--;
        }
    }
    heap_is_sound(&h);
    heap_fini(&h);
    ck_assert(h.nodes == NULL && h.cap == 0);
}
END_TEST

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

START_TEST(heap_sorts)
{
    static int64_t wanted[NODES];
    struct heap h = {0};
    struct rand r;
    rand_seed(&r, (uint64_t)_i);
    for (size_t i = 0; i < NODES; i++) {
        wanted[i] = (int64_t)rand_below(&r, 1000) - 500;
        nodes[i] = (struct heap_node){0};
        heap_push(&h, &nodes[i], wanted[i]);
    }
    qsort(wanted, NODES, sizeof(wanted[0]), by_value);
    for (size_t i = 0; i < NODES; i++) {
        ck_assert_int_eq(heap_min(&h)->key, wanted[i]);
        heap_remove(&h, heap_min(&h));
    }
    ck_assert_ptr_null(heap_min(&h));
    heap_remove(&h, &nodes[0]); /* in none: legal */
    heap_fini(&h);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/list");
    TCase *t = tcase_create("list");
    const TTest *const tests[] = {
        list_keeps_order_and_count, list_walk_survives_removal_of_the_current_node,
        heap_gives_the_least_through_random_pushes_and_removals,
    };
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, heap_sorts, 0, 8);
    suite_add_tcase(s, t);
    return run_suite(s);
}
