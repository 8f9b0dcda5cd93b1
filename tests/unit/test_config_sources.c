/* What the real transports tell of their sources and targets: what {1} is in a route without `match`, and which codecs. */
#include "config_rig.h"
#include "transport/amqp/amqp.h"
#include "transport/nats/nats.h"
#include "transport/redis/redis.h"

#define HEAD "endpoints: { rabbit: { connect: \"amqp://h\" }, cache: { connect: \"redis://h\" }, bus: { connect: \"nats://h\" } }\n" \
             "services: { s: {} }\nroutes:\n"

static struct config *build(const char *source, const char *rest, struct err *err)
{
    static const struct config_transport *const those[] = {&tcp, &amqp_transport.conf, &redis_transport.conf,
                                                           &nats_transport.conf, NULL};
    struct walk settings = {.features = &everything, .transports = those};
    struct buf text = BUF_EMPTY;
    buf_printf(&text, HEAD "  - { from: { %s }, to: { service: s, subject: \"x.%s\" } }\n", source, rest);
    struct config *c = config_build("t.yaml", buf_str(&text), &settings, err);
    buf_fini(&text);
    return c;
}

static const struct {
    const char *source, *filter; /* NULL: {1} is all of the subject */
} told[] = {
    {"endpoint: rabbit, queue: q", NULL},
    {"endpoint: rabbit, queue: q, exchange: x, bind: [a.b, c]", NULL},
    {"endpoint: rabbit, queue: q, exchange: x, bind: a.*.b", "a.*.b"},
    {"endpoint: rabbit, queue: q, exchange: x, bind: \"a.#\"", "a.>"},
    {"endpoint: rabbit, queue: q, exchange: x, bind: \"#\"", ">"},
    {"endpoint: rabbit, queue: q, exchange: x, bind: \"*.#\"", "*.>"},
    {"endpoint: rabbit, queue: q, exchange: x, bind: \"*\", declare: { exchange_type: direct }", NULL},
    {"endpoint: rabbit, queue: q, exchange: x, bind: \"a.*\", declare: true", "a.*"},
    {"endpoint: cache, channel: \"a.*\"", NULL},
    {"endpoint: cache, stream: a", NULL},
    {"endpoint: cache, pattern: a.b", NULL},
    {"endpoint: cache, pattern: \"a.b.*\"", "a.b.>"},
    {"endpoint: cache, pattern: \"*\"", ">"},
    {"endpoint: bus, subject: a.b", NULL},
    {"endpoint: bus, subject: \"a.*.>\"", "a.*.>"},
};

START_TEST(wildcards_of_the_source)
{
    struct err err = {0};
    struct config *c = build(told[_i].source, "{1}", &err);
    char *all_of_it = err_text(&err);
    ck_assert_msg(c != NULL, "%s: %s", told[_i].source, all_of_it);
    const char *got = c->routes[0].filter;
    ck_assert_msg(got == NULL ? told[_i].filter == NULL : told[_i].filter != NULL && strcmp(got, told[_i].filter) == 0,
                  "%s: %s", told[_i].source, got);
    mem_free(all_of_it);
    err_fini(&err);
    config_free(c);
}
END_TEST

/* A `match` of its own is what counts, and names as many. */
START_TEST(match_comes_first)
{
    struct err err = {0};
    static const struct config_transport *const those[] = {&tcp, &amqp_transport.conf, NULL};
    struct walk settings = {.features = &everything, .transports = those};
    struct config *c = config_build("t.yaml", STR("endpoints: { rabbit: { connect: \"amqp://h\" } }\nservices: { s: {} }\nroutes:\n"
                                   "  - { from: { endpoint: rabbit, queue: q, exchange: x, bind: \"a.#.b\" }, match: \"*.*\", "
                                   "to: { service: s, subject: \"{2}.{1}\" } }\n"), &settings, &err);
    ck_assert_ptr_nonnull(c);
    ck_assert_ptr_null(c->routes[0].filter);
    config_free(c);
}
END_TEST

static const struct {
    const char *source, *template, *says;
} bad[] = {
    {"endpoint: rabbit, queue: q, exchange: x, bind: a.*.b", "{2}", "no such capture (without a `match` the source has 1 wildcard)"},
    {"endpoint: rabbit, queue: q", "{2}", "the source has 1 wildcard)"},
    {"endpoint: rabbit, queue: q, exchange: x, bind: [a.*, b.*]", "{1}", "cannot be told apart, a `match` could name them"},
    {"endpoint: rabbit, queue: q, exchange: x, bind: \"#.a\"", "{1}", "cannot be told apart"},
    {"endpoint: cache, pattern: \"a.*.c\"", "{1}", "cannot be told apart"},
    {"endpoint: cache, pattern: \"a*\"", "{1}", "cannot be told apart"},
    {"endpoint: cache, pattern: \"a.?\"", "{1}", "cannot be told apart"},
    {"endpoint: cache, pattern: \"a.\\\\*\"", "{1}", "cannot be told apart"},
    {"endpoint: cache, pattern: \"a.*\"", "{2}", "the source has 1 wildcard)"},
    {"endpoint: bus, subject: \"a.*.>\"", "{3}", "the source has 2 wildcards)"},
};

START_TEST(what_cannot_be_told_is_refused)
{
    struct err err = {0};
    ck_assert_msg(build(bad[_i].source, bad[_i].template, &err) == NULL, "%s", bad[_i].source);
    ck_assert_uint_eq(err.count, 1);
    ck_assert_msg(strstr(err.texts[0], bad[_i].says) != NULL, "%s", err.texts[0]);
    err_fini(&err);
    struct config *c = build(bad[_i].source, "y", &err); /* without {1} there is nothing wrong */
    ck_assert_ptr_nonnull(c);
    config_free(c);
    err_fini(&err);
}
END_TEST

/* ---- codecs ---- */

static const struct {
    const char *endpoint, *route, *says; /* says NULL: all is well */
} codecs[] = {
    {"codec: nest", "from: { endpoint: cache, channel: a }, to: s", NULL},
    {"codec: raw", "from: { endpoint: cache, stream: a }, to: { endpoint: cache, stream: b }", NULL},
    {"codec: nest", "from: { endpoint: cache, stream: a, codec: raw }, to: { endpoint: cache, stream: b, codec: cloudevents }", NULL},
    {"ack: true", "from: { endpoint: cache, stream: a }, to: { endpoint: cache, stream: b }", NULL},
    {"ack: true", "from: { endpoint: cache, stream: a, codec: nest }, to: s",
     "`codec`: a stream of redis speaks raw, cloudevents"},
    {"ack: true", "from: local, to: { endpoint: cache, stream: a, codec: nest }", "`codec`: a stream of redis speaks raw, cloudevents"},
    {"codec: nest", "from: { endpoint: cache, stream: a }, to: s",
     "t.yaml:3:13: a stream of redis speaks raw, cloudevents, but the `codec` of endpoint `cache` is neither: name one here"},
    {"codec: nest", "from: local, to: [s, { endpoint: cache, stream: a }]", "the `codec` of endpoint `cache` is neither"},
};

static const struct {
    const char *to;
    bool twice;
} targets[] = {
    {"[rabbit, rabbit]", true},
    {"[rabbit, { endpoint: rabbit }]", true},
    {"[rabbit, { endpoint: rabbit, exchange: x }]", false},
    {"[{ endpoint: rabbit, exchange: y }, { endpoint: rabbit, exchange: x }, s]", false},
    {"[{ endpoint: rabbit, exchange: x }, s, { endpoint: rabbit, exchange: x }]", true},
    {"[{ endpoint: rabbit, exchange: x }, { endpoint: rabbit, exchange: x, subject: b }]", false},
    {"[{ endpoint: raw, stream: a }, { endpoint: raw, stream: a, codec: raw }]", true}, /* the endpoint's own */
    {"[{ endpoint: raw, stream: a }, { endpoint: raw, stream: a, codec: cloudevents }]", false},
    {"[{ endpoint: cache, stream: a }, { endpoint: cache, stream: b }, cache]", false},
};

START_TEST(the_same_target_twice)
{
    static const struct config_transport *const those[] = {&tcp, &amqp_transport.conf, &redis_transport.conf,
                                                           &nats_transport.conf, NULL};
    struct walk settings = {.features = &everything, .transports = those};
    struct err err = {0};
    struct buf text = BUF_EMPTY;
    buf_printf(&text, "endpoints: { rabbit: { connect: \"amqp://h\" }, cache: { connect: \"redis://h\" }, raw: { connect: "
                      "\"redis://i\", codec: raw } }\nservices: { s: {} }\nroutes:\n  - { from: local, to: %s }\n", targets[_i].to);
    struct config *c = config_build("t.yaml", buf_str(&text), &settings, &err);
    char *got = err_text(&err);
    ck_assert_msg((c == NULL) == targets[_i].twice && (c != NULL || strstr(got, "is the same target as on line 4")), "%s: %s",
                  targets[_i].to, got);
    ck_assert_uint_eq(err.total, targets[_i].twice);
    mem_free(got);
    err_fini(&err);
    buf_fini(&text);
    config_free(c);
}
END_TEST

static struct config *build_queues(const char *const queues[4])
{
    static const struct config_transport *const those[] = {&tcp, &amqp_transport.conf, &redis_transport.conf,
                                                           &nats_transport.conf, NULL};
    struct walk settings = {.features = &everything, .transports = those};
    struct err err = {0};
    struct buf text = BUF_EMPTY;
    buf_puts(&text, HEAD "  - { from: local, to: s }\n  - { from: { endpoint: cache, channel: q1 }, to: s }\n");
    for (size_t i = 0; i < 4 && queues[i] != NULL; i++)
        buf_printf(&text, "  - { from: { endpoint: rabbit, queue: %s }, match: \"%zu.*\", to: s }\n", queues[i], i);
    struct config *c = config_build("t.yaml", buf_str(&text), &settings, &err);
    ck_assert_ptr_nonnull(c);
    buf_fini(&text);
    return c;
}

START_TEST(sources_of_an_endpoint)
{
    static const struct {
        const char *queues[4];
        bool same; /* as those of the first */
    } rows[] = {
        {{"q1", "q2", "q1"}, true}, {{"q2", "q1", "q2", "q2"}, true}, {{"q1", "q1", "q1"}, false},
        {{"q1", "q2", "q3"}, false}, {{"q1", "q3"}, false}, {{NULL}, false},
    };
    struct config *first = build_queues(rows[0].queues);
    const struct endpoint_conf *mine = config_endpoint(first, "rabbit");
    ck_assert_ptr_eq(mine->sources, &first->routes[2]);
    ck_assert_ptr_eq(mine->sources->next_source, &first->routes[3]);
    ck_assert_ptr_null(mine->sources->next_source->next_source);
    ck_assert_ptr_null(config_endpoint(first, "bus")->sources);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct config *c = build_queues(rows[i].queues);
        const struct endpoint_conf *other = config_endpoint(c, "rabbit");
        ck_assert_int_eq(endpoint_sources_equal(mine, other), rows[i].same);
        ck_assert_int_eq(endpoint_sources_equal(other, mine), rows[i].same);
        ck_assert(endpoint_sources_equal(config_endpoint(first, "cache"), config_endpoint(c, "cache")));
        config_free(c);
    }
    config_free(first);
}
END_TEST

START_TEST(codecs_of_a_side)
{
    static const struct config_transport *const those[] = {&redis_transport.conf, NULL};
    struct walk settings = {.features = &everything, .transports = those};
    struct err err = {0};
    struct buf text = BUF_EMPTY;
    buf_printf(&text, "endpoints: { cache: { connect: \"redis://h\", %s } }\nroutes:\n  - { %s }\nservices: { s: {} }\n",
               codecs[_i].endpoint, codecs[_i].route);
    struct config *c = config_build("t.yaml", buf_str(&text), &settings, &err);
    ck_assert_msg((c != NULL) == (codecs[_i].says == NULL), "%s: %s", codecs[_i].route, err.count > 0 ? err.texts[0] : "");
    ck_assert(c != NULL || (err.count == 1 && strstr(err.texts[0], codecs[_i].says) != NULL));
    config_free(c);
    err_fini(&err);
    buf_fini(&text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config_sources");
    TCase *t = tcase_create("config_sources");
    tcase_add_loop_test(t, wildcards_of_the_source, 0, (int)(sizeof(told) / sizeof(told[0])));
    tcase_add_loop_test(t, what_cannot_be_told_is_refused, 0, (int)(sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(t, match_comes_first);
    tcase_add_test(t, sources_of_an_endpoint);
    tcase_add_loop_test(t, the_same_target_twice, 0, (int)(sizeof(targets) / sizeof(targets[0])));
    tcase_add_loop_test(t, codecs_of_a_side, 0, (int)(sizeof(codecs) / sizeof(codecs[0])));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
