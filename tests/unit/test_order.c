/* The key of an order: a header, or a member of the body. */
#include "delivery/order.h"
#include "rig.h"

static void key_is(const char *spec, const char *headers, const char *body, const char *want)
{
    struct order *o = order_new(str_of(spec));
    struct buf out = BUF_EMPTY;
    bool has = order_key(o, str_of(headers), str_of(body), &out);
    ck_assert_msg(has == (want != NULL), "%s of %s", spec, body);
    if (want != NULL)
        ck_assert_str_eq(strchr(buf_cstr(&out), '\n') + 1, want);
    ck_assert(order_is(o, str_of(spec)) && !order_is(o, STR("header:else")));
    buf_fini(&out);
    order_unref(o);
}

START_TEST(headers)
{
    key_is("key", "a: 1\nkey: x y\n", "", "x y");
    key_is("header:key", "a: 1\nkey: x\nkey: z\n", "{}", "x");
    key_is("header:key", "a: 1\n", "", NULL);
    key_is("header:key", "key: \n", "", NULL);
}
END_TEST

START_TEST(members)
{
    const char *body = "{\"a\": \"x\", \"n\": 12.50, \"t\": true, \"z\": null, \"o\": {\"c\": {\"id\": \"\\u0041\"}, \"e\": \"\"}, "
                       "\"l\": [1], \"a.b\": 3}";
    key_is("json:a", "", body, "x");
    key_is("json:n", "", body, "12.50");
    key_is("json:t", "", body, "true");
    key_is("json:o.c.id", "", body, "A");
    static const char *const none[] = {"json:z", "json:o", "json:l", "json:o.e", "json:q", "json:a.b", "json:o.c.id.x", "json:o.q"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        key_is(none[i], "a: b\n", body, NULL);
    static const char *const bodies[] = {"", "x", "[1]", "{\"a\": 1", "{\"a\": 1} x", "\"a\"", "{a: 1}"};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        key_is("json:a", "", bodies[i], NULL);
}
END_TEST

START_TEST(long_ones_are_cut_and_orders_differ)
{
    static char body[5000], lines[4000];
    struct buf one = BUF_EMPTY, two = BUF_EMPTY;
    memset(body, 'y', sizeof(body) - 1);
    memcpy(body, "{\"a\":\"", 6);
    memcpy(body + 4900, "\"}", 3);
    memset(lines, 'y', sizeof(lines) - 1);
    memcpy(lines, "a: ", 3);
    lines[3998] = '\n';
    struct order *json = order_new(STR("json:a")), *header = order_new(STR("header:a"));
    ck_assert(order_key(json, STR(""), str_of(body), &one) && order_key(header, str_of(lines), STR(""), &two));
    ck_assert(one.len == sizeof("json:a\n") - 1 + ORDER_KEY_MAX && two.len == sizeof("header:a\n") - 1 + ORDER_KEY_MAX);
    ck_assert(!str_eq(buf_str(&one), buf_str(&two)));
    order_unref(order_ref(json));
    order_unref(json);
    order_unref(header);
    order_unref(NULL);
    buf_fini(&one);
    buf_fini(&two);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("order");
    TCase *t = tcase_create("order");
    const TTest *const tests[] = {headers, members, long_ones_are_cut_and_orders_differ};
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
