/* What the NATS transport makes of its part of the configuration. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "config/config.h"
#include "transport/nats/nats.h"

static const struct config_transport *const transports[] = {&nats_transport.conf, NULL};

/* The file of one endpoint (its keys) and one route (its source, its target). NULL: errors are in err. */
static struct config *parse(const char *endpoint, const char *source, const char *target, struct err *err)
{
    struct buf text = BUF_EMPTY;
    buf_printf(&text, "tls: { mesh: { ca: ca.pem, verify: server } }\nendpoints: { bus: { %s } }\nservices: { room: {} }\nroutes:\n"
                      "  - { from: { endpoint: bus, %s }, to: room }\n  - { from: local, match: \">\", to: { endpoint: bus%s } }\n",
               endpoint, source, target);
    struct config *c = config_parse("t.yaml", buf_str(&text), transports, err);
    buf_fini(&text);
    return c;
}

static const struct {
    const char *endpoint, *source, *target, *error; /* NULL = good */
} rows[] = {
    {"connect: \"nats://h\"", "subject: \"a.*.>\"", "", NULL},
    {"connect: [\"nats://h\", \"nats://u:p@i:1\"], inbox: box.a, ack: true, reply_timeout: 1s", "subject: a, queue: g", ", ack: no", NULL},
    {"connect: \"natss://h\", tls: mesh, token: t", "subject: '{\"cmd\":\"sum\"}'", ", codec: raw", NULL},
    {"connect: \"nats://h\"", "queue: g", "", "`subject`"},
    {"connect: \"nats://h\"", "subject: \"a b\"", "", "holds no blank"},
    {"connect: \"nats://h\"", "subject: \"a..b\"", "", "no empty token"},
    {"connect: \"nats://h\"", "subject: \">.a\"", "", "`>` is the last token"},
    {"connect: \"nats://h\"", "subject: a, queue: \"g h\"", "", "holds no blank"},
    {"connect: \"nats://h\"", "subject: a, queue: \"*\"", "", "`*` or `>`"},
    {"connect: \"nats://h\", inbox: \"a.>\"", "subject: a", "", "`*` or `>`"},
    {"connect: \"nats://u:p@h\", token: t", "subject: a", "", "NATS takes one of them"},
    {"connect: [\"nats://h\", \"nats://u:p@i\"], token: t", "subject: a", "", "NATS takes one of them"},
    {"connect: \"natss://h\"", "subject: a", "", "tls"},
    {"connect: \"nats://h\", tls: mesh", "subject: a", "", "tls"},
    {"listen: \"nats://127.0.0.1:1\"", "subject: a", "", "listen"},
    {"connect: \"nats://h\"", "subject: a", ", ack: maybe", "inherit"},
};

START_TEST(keys)
{
    struct err err = {0};
    struct config *c = parse(rows[_i].endpoint, rows[_i].source, rows[_i].target, &err);
    char *text = err_text(&err);
    ck_assert_msg((c != NULL) == (rows[_i].error == NULL), "row %d: %s", _i, text);
    if (c == NULL)
        ck_assert_msg(strstr(text, rows[_i].error) != NULL, "row %d: %s", _i, text);
    mem_free(text);
    err_fini(&err);
    config_free(c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport/nats/keys");
    TCase *t = tcase_create("keys");
    tcase_add_loop_test(t, keys, 0, sizeof(rows) / sizeof(rows[0]));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
