/* `log` of a route. */
#include "config_rig.h"

#define ROUTE(keys) "routes:\n  - { from: local, match: a, " keys " }\n"

START_TEST(a_log_has_defaults_and_needs_no_target)
{
    struct config *c = parse(ROUTE("to: m, log: { name: orders }") "  - { from: local, match: b, to: [], log: { name: b,"
                             " keep: unlimited, max_size: unlimited } }\n  - { from: local, match: c, log: { name: b,"
                             " keep: unlimited, max_size: unlimited } }\n");
    ck_assert_str_eq(c->routes[0].log.name, "orders");
    ck_assert_int_eq(c->routes[0].log.keep_ms, INT64_C(7) * 24 * 3600 * 1000);
    ck_assert_uint_eq(c->routes[0].log.max_size, UINT64_C(1) << 30);
    ck_assert_uint_eq(c->routes[1].to_count + c->routes[2].to_count, 0);
    ck_assert_int_eq(c->routes[2].log.keep_ms, INT64_MAX);
    ck_assert(config_stores(c));
    char *once = printed(c);
    ck_assert_ptr_nonnull(strstr(once, "log: { name: orders, keep: 7d, max_size: 1GiB }"));
    struct config *again = parse(once);
    char *twice = printed(again);
    ck_assert_str_eq(once, twice);
    for (size_t i = 0; i < 3; i++)
        ck_assert(route_conf_equal(&c->routes[i], &again->routes[i]));
    ck_assert(!route_conf_equal(&c->routes[0], &c->routes[1]));
    mem_free(once);
    mem_free(twice);
    config_free(again);
    config_free(c);
}
END_TEST

static const struct { const char *text, *errors; } wrong[] = {
    {ROUTE("log: orders"), "t.yaml:2:35: `log` must be { name: NAME, keep: DURATION, max_size: SIZE }; found `orders`\n"},
    {ROUTE("log: {}"), "t.yaml:2:35: the key `name` is missing\n"},
    {ROUTE("log: { name: 'a b' }"), "t.yaml:2:43: `name` must be a name (letters, digits, `.`, `_` and `-`, at most 64); "
                                    "found `a b`\n"},
    {ROUTE("log: { name: a, keep: 7 }"), "t.yaml:2:52: `keep` must be a duration with its unit, such as 250ms, 5s or 1h30m, "
                                         "from 1s on, or unlimited; found `7`\n"},
    {ROUTE("log: { name: a, size: 1GiB }"), "t.yaml:2:46: unknown key `size`; allowed: name keep max_size\n"},
    {ROUTE("durable: true"), "t.yaml:2:5: the key `to` is missing\n"},
    {ROUTE("to: []"), "t.yaml:2:34: `to` must name 1 to 1000 targets; found 0\n"},
    {ROUTE("to: m, log: { name: a }") "  - { from: local, match: b, to: m, log: { name: a, keep: 8d } }\n",
     "t.yaml:3:42: `log`: `a` has another `keep` or `max_size` on line 2: one log has one of each\n"},
};

START_TEST(what_is_wrong_is_named)
{
    refused(wrong[_i].text, wrong[_i].errors);
}
END_TEST

START_TEST(logs_larger_than_the_store_are_warned_of)
{
    static const char small[] = "store: { max_size: 1536MiB }\nroutes:\n  - { from: local, match: a, log: { name: a } }\n"
                                "  - { from: local, match: b, log: { name: a } }\n";
    char text[512];
    warned(small, "");
    snprintf(text, sizeof(text), "%s  - { from: local, match: c, log: { name: c, max_size: unlimited } }\n", small);
    warned(text, "");
    snprintf(text, sizeof(text), "%s  - { from: local, match: c, log: { name: c } }\n", small);
    warned(text, "t.yaml:5:35: `log`: with `c` the logs may grow larger than store.max_size: then nothing durable is "
                 "accepted any more\n");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config_log");
    TCase *t = tcase_create("config_log");
    tcase_add_test(t, a_log_has_defaults_and_needs_no_target);
    tcase_add_test(t, logs_larger_than_the_store_are_warned_of);
    tcase_add_loop_test(t, what_is_wrong_is_named, 0, sizeof(wrong) / sizeof(wrong[0]));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
