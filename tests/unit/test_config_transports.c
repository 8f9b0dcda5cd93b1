/* What transports bring to the configuration: addresses, sources, their own checks; and the example of the contract. */
#include "config_rig.h"

static const char *check_source(const void *keys)
{
    const struct fake *f = keys;
    return f->queue != NULL && f->topic != NULL ? "one of `queue` and `topic`, not both" : NULL;
}

START_TEST(sources_have_a_text_of_their_own)
{
    static const char text[] =
        "endpoints: { b: { connect: [\"amqp://h\", \"amqp://i:2\"] } }\nroutes:\n"
        "  - { from: { endpoint: b, queue: a }, to: m }\n"
        "  - { from: { qos: 0, queue: a, endpoint: b }, match: x, to: m }\n"
        "  - { from: { endpoint: b, queue: a, codec: raw }, to: m }\n  - { from: local, to: m }\n"
        "services: { m: {} }\n";
    struct config *c = parse_all(text);
    ck_assert_str_eq(c->routes[0].source, c->routes[1].source);
    ck_assert_str_eq(c->routes[2].source, "b, codec: raw, queue: a, qos: 0");
    ck_assert_str_eq(c->routes[3].source, "local");
    ck_assert_uint_eq(c->endpoints[0].other_count, 1);
    ck_assert_str_eq(c->endpoints[0].others[0].port, "2");
    char *once = printed(c);
    ck_assert_ptr_nonnull(strstr(once, "connect: [\"amqp://h\", \"amqp://i:2\"]"));
    mem_free(once);
    config_free(c);
}
END_TEST

START_TEST(a_transport_may_refuse_a_source)
{
    struct config_transport picky = fake;
    const struct config_transport *const those[] = {&picky, NULL};
    struct walk settings = {.features = &everything, .transports = those};
    struct err err = {0};
    picky.check_source = check_source;
    ck_assert_ptr_null(config_build("t.yaml", STR("endpoints: { b: { connect: \"amqp://h\" } }\nroutes:\n"
                                    "  - { from: { endpoint: b, queue: a, topic: t }, to: m }\n"
                                    "services: { m: {} }\n"), &settings, &err));
    ck_assert_str_eq(err.texts[0], "t.yaml:3:13: `from`: one of `queue` and `topic`, not both");
    err_fini(&err);
}
END_TEST

START_TEST(endpoints_are_equal_by_every_key)
{
    struct config *a = parse("endpoints: { e: { connect: \"tcp://u:one@h:1\" } }");
    struct config *b = parse("endpoints: { e: { connect: \"tcp://u:two@h:1\" } }");
    ck_assert(endpoint_conf_equal(a->endpoints, a->endpoints));
    ck_assert(!endpoint_conf_equal(a->endpoints, b->endpoints));
    config_free(a);
    config_free(b);
}
END_TEST

/* ---- the example of the contract ---- */

#include "config_example.h"

START_TEST(the_example_lacks_only_what_is_not_built)
{
    struct err err = {0};
    ck_assert_ptr_null(config_parse("t.yaml", str_of(config_example), real, &err));
    for (size_t i = 0; i < err.count; i++)
        ck_assert_msg(strstr(err.texts[i], "not built in") != NULL, "%s", err.texts[i]);
    ck_assert_uint_eq(err.count, 8);
    err_fini(&err);
}
END_TEST

START_TEST(the_example_is_right_with_everything_built)
{
    struct config *c = parse_all(config_example);
    ck_assert_uint_eq(c->route_count, 5);
    ck_assert_uint_eq(c->endpoint_count, 10);
    ck_assert_str_eq(((struct fake *)c->routes[1].from_extra)->queue, "orders");
    ck_assert_str_eq(((struct fake *)c->routes[3].to[0].extra)->topic, "users");
    ck_assert_uint_eq(((struct fake *)c->routes[4].from_extra)->qos, 1);
    ck_assert(c->routes[1].durable);
    char *once = printed(c);
    ck_assert_ptr_nonnull(strstr(once, "from: { endpoint: iot, topic: \"site/+/temp\", qos: 1 }"));
    mem_free(once);
    config_free(c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config_transports");
    TCase *t = tcase_create("config_transports");
    const TTest *const tests[] = {
        sources_have_a_text_of_their_own,
        a_transport_may_refuse_a_source,
        endpoints_are_equal_by_every_key,
        the_example_lacks_only_what_is_not_built,
        the_example_is_right_with_everything_built,
    };
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
