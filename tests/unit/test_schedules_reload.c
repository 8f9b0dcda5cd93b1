/* daemon/app/schedules.h: an event that is on its way to disk when the configuration is read anew. */
#include "app/schedules.h"
#include "hub_store_rig.h"
#include "loop/loop.h"

static struct loop *loop;
static struct schedules *schedules;
static struct config *first, *second;
static struct schedule_status seen;
static size_t seen_count;

static struct config *parse(const char *subject)
{
    struct err err = {0};
    struct buf text = BUF_EMPTY;
    buf_printf(&text, "schedules:\n  beat: { every: 1s, subject: %s }\n  other: { every: 300d, subject: shop }\n", subject);
    struct config *c = config_parse("t.yaml", buf_str(&text), NULL, &err);
    buf_fini(&text);
    ck_assert_ptr_nonnull(c);
    return c;
}

static void on_each(void *arg, const struct schedule_status *s)
{
    (void)arg;
    if (strcmp(s->name, "beat") == 0)
        seen = *s;
    seen_count++;
}

static void look(void)
{
    seen_count = 0;
    schedules_each(schedules, on_each, NULL);
    ck_assert_uint_eq(seen_count, 2);
}

/* Up to the moment when the first event has been handed to the store. */
static void begin(uint64_t rows)
{
    disk = store_disk_new(rows);
    set_up();
    store = store_mem_open(disk);
    hub_use_store(hub, store);
    routes_usual();
    for (size_t i = 0; i < plain->count; i++) {
        plain->routes[i].durable = true;
        plain->routes[i].from = plain->routes[i].source = (char *)(uintptr_t)"local";
    }
    routes_use();
    run_store();
    loop = loop_new(NULL);
    schedules = schedules_new(loop, hub, NULL);
    first = parse("math.sum");
    schedules_use(schedules, first);
    while (store_mem_pending(store) == 0)
        loop_turn(loop, true);
    look();
    ck_assert(seen.retrying && seen.published == 0);
}

static void finish(void)
{
    schedules_free(schedules);
    loop_free(loop);
    config_free(first);
    config_free(second);
    end();
}

START_TEST(what_is_on_its_way_is_published_when_it_is_on_disk)
{
    begin(1000);
    second = parse("math.sum");
    schedules_use(schedules, second);
    look();
    ck_assert_uint_eq(seen.published, 0);
    ck_assert(seen.retrying);
    run_store();
    look();
    ck_assert(seen.published == 1 && seen.refused == 0 && !seen.retrying);
    ck_assert_uint_eq(totals().accepted, 1);
    finish();
}
END_TEST

START_TEST(what_is_refused_after_a_reload_is_not_published)
{
    begin(0); /* a full disk */
    second = parse("math.sum");
    schedules_use(schedules, second);
    run_store();
    look();
    ck_assert(seen.published == 0 && seen.refused == 1 && seen.retrying);
    finish();
}
END_TEST

START_TEST(a_changed_schedule_hears_nothing_of_the_old_one)
{
    begin(1000);
    second = parse("math.other");
    schedules_use(schedules, second);
    run_store();
    look();
    ck_assert(seen.published == 0 && seen.refused == 0 && !seen.retrying);
    ck_assert_uint_eq(totals().accepted, 1);
    finish();
}
END_TEST

START_TEST(an_answer_may_never_come)
{
    begin(1000);
    second = parse("math.sum");
    schedules_use(schedules, second);
    finish();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("schedules over a reload");
    TCase *t = tcase_create("reload");
    tcase_add_test(t, what_is_on_its_way_is_published_when_it_is_on_disk);
    tcase_add_test(t, what_is_refused_after_a_reload_is_not_published);
    tcase_add_test(t, a_changed_schedule_hears_nothing_of_the_old_one);
    tcase_add_test(t, an_answer_may_never_come);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    return run_suite(s);
}
