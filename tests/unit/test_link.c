#include <arpa/inet.h>

#include "loop/listen.h"
#include "rig.h"
#include "transport/link.h"

static struct rig rig;
static struct link *l;
static struct listener *listener;
static struct url addresses[2];
static struct endpoint_conf conf;
static char ports[2][8];
static int ups, downs, accepted, last_fd;
static char reason[128];

static void on_up(void *arg)
{
    (void)arg;
    ck_assert_int_eq(ups, downs);
    ck_assert(link_is_open(l) && link_stream(l) != NULL);
    ups++;
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    (void)arg;
    (void)p;
    ck_assert(link_is_open(l));
    return n;
}

static void on_down(void *arg, const char *why)
{
    (void)arg;
    ck_assert(!link_is_open(l) && link_stream(l) == NULL);
    downs++;
    snprintf(reason, sizeof(reason), "%s", why);
}

static const struct link_ops ops = {.on_up = on_up, .on_data = on_data, .on_down = on_down};

static void on_accept(void *arg, int fd)
{
    (void)arg;
    if (last_fd >= 0)
        close(last_fd);
    last_fd = fd;
    accepted++;
}

static void bound_port(char *out, size_t size)
{
    struct sockaddr_in a;
    socklen_t n = sizeof(a);
    ck_assert_int_eq(getsockname(listen_fd(listener), (struct sockaddr *)&a, &n), 0);
    snprintf(out, size, "%u", ntohs(a.sin_port));
}

/* The first address is one where nobody listens. */
static void set_up(void)
{
    struct err err = {0};
    struct listen_spec spec = {.host = "127.0.0.1", .port = "0", .fd = -1};
    rig = rig_open();
    log_set(rig.log, LOG_ERROR, LOG_TEXT);
    listener = listen_open(rig.loop, &spec, on_accept, NULL, &err);
    bound_port(ports[0], sizeof(ports[0]));
    listen_close(listener);
    listener = listen_open(rig.loop, &spec, on_accept, NULL, &err);
    ck_assert_ptr_nonnull(listener);
    bound_port(ports[1], sizeof(ports[1]));
    for (int i = 0; i < 2; i++)
        addresses[i] = (struct url){.host = (char *)(uintptr_t)"127.0.0.1", .port = ports[i]};
    conf = (struct endpoint_conf){.name = (char *)(uintptr_t)"peer", .url = addresses[1]};
    ups = downs = accepted = 0;
    last_fd = -1;
}

static void tear_down(void)
{
    link_free(l);
    listen_close(listener);
    if (last_fd >= 0)
        close(last_fd);
    rig_close(&rig);
}

static void start(bool greets)
{
    l = link_new(&(struct link_spec){.loop = rig.loop, .conf = &conf, .greets = greets,
                                     .min_pause_ms = 1, .max_pause_ms = 20}, &ops, NULL);
    ck_assert_str_eq(link_state(l), "connecting");
}

START_TEST(without_a_greeting_it_is_up_at_once)
{
    start(false);
    RIG_UNTIL(&rig, ups == 1);
    ck_assert(link_is_up(l));
    ck_assert_str_eq(link_state(l), "up");
    ck_assert_uint_eq(link_connects(l), 1);
}
END_TEST

START_TEST(with_a_greeting_it_is_up_when_that_is_over)
{
    start(true);
    RIG_UNTIL(&rig, ups == 1);
    ck_assert(!link_is_up(l));
    ck_assert_str_eq(link_state(l), "connecting");
    link_ready(l);
    ck_assert(link_is_up(l));
    ck_assert_uint_eq(link_connects(l), 1);
}
END_TEST

START_TEST(a_peer_that_leaves_while_greeting_is_dialled_again)
{
    start(true);
    RIG_UNTIL(&rig, accepted == 1);
    close(last_fd);
    last_fd = -1;
    RIG_UNTIL(&rig, downs == 1 && ups == 2);
    ck_assert_uint_eq(link_connects(l), 0);
    ck_assert_str_eq(link_error(l), "closed by peer");
}
END_TEST

START_TEST(addresses_are_tried_in_turn)
{
    conf.url = addresses[0];
    conf.others = &addresses[1];
    conf.other_count = 1;
    start(false);
    RIG_UNTIL(&rig, ups == 1);
    ck_assert_str_eq(link_url(l)->port, ports[1]);
    link_reset(l, "of no use");
    ck_assert_str_eq(reason, "of no use");
    ck_assert_str_eq(link_url(l)->port, ports[0]);
    RIG_UNTIL(&rig, ups == 2);
    ck_assert_str_eq(link_url(l)->port, ports[1]);
    ck_assert_ptr_null(link_error(l));
}
END_TEST

/* Nobody listens at either: each says so once, however often they are tried. */
START_TEST(each_address_is_named_once)
{
    char path[] = "/tmp/bellhop-link-XXXXXX", line[512];
    struct rig own = {.loop = NULL};
    unsigned lines = 0;
    close(mkstemp(path));
    own.log = log_new(LOG_WARN, LOG_TEXT, path);
    own.loop = loop_new(own.log);
    own.tick = timer_new(own.loop, rig_on_tick, NULL);
    listen_close(listener);
    listener = NULL;
    conf.url = addresses[0];
    conf.others = &addresses[1];
    conf.other_count = 1;
    l = link_new(&(struct link_spec){.loop = own.loop, .conf = &conf, .min_pause_ms = 1, .max_pause_ms = 2}, &ops, NULL);
    rig_for(&own, 200);
    ck_assert_ptr_nonnull(link_error(l));
    link_free(l);
    l = NULL;
    rig_close(&own);
    FILE *f = fopen(path, "r");
    while (fgets(line, sizeof(line), f) != NULL)
        lines += strstr(line, "link_down") != NULL;
    fclose(f);
    unlink(path);
    ck_assert_uint_eq(lines, 2);
}
END_TEST

START_TEST(a_refusal_is_told_and_not_repeated_soon)
{
    start(true);
    RIG_UNTIL(&rig, ups == 1);
    link_refused(l, "the password is wrong");
    ck_assert_int_eq(downs, 1);
    ck_assert_str_eq(link_state(l), "refused");
    ck_assert_str_eq(link_error(l), "the password is wrong");
    rig_for(&rig, 500);
    ck_assert_int_eq(accepted, 1);
    ck_assert_str_eq(link_state(l), "refused");
    link_reset(l, "nothing to reset");
    link_refused(l, "nothing to refuse");
    ck_assert_int_eq(downs, 1);
}
END_TEST

START_TEST(the_worse_of_two_speaks)
{
    struct link *other = link_new(&(struct link_spec){.loop = rig.loop, .conf = &conf, .greets = true, .min_pause_ms = 3600000,
                                                      .max_pause_ms = 3600000}, &ops, NULL);
    l = other; /* the callbacks look at one link at a time */
    RIG_UNTIL(&rig, ups == 1);
    link_reset(other, "of no use");
    start(true);
    ck_assert_ptr_eq(link_worse(l, other), other);
    ck_assert_ptr_eq(link_worse(other, l), other);
    ck_assert_ptr_eq(link_worse(l, NULL), l);
    RIG_UNTIL(&rig, ups == 2);
    link_refused(l, "the password is wrong");
    ck_assert_ptr_eq(link_worse(l, other), l);
    ck_assert_ptr_eq(link_worse(other, l), l);
    link_free(other);
}
END_TEST

START_TEST(a_hint_ends_a_pause_but_no_refusal)
{
    l = link_new(&(struct link_spec){.loop = rig.loop, .conf = &conf, .greets = true, .min_pause_ms = 3600000,
                                     .max_pause_ms = 3600000}, &ops, NULL);
    link_hurry(l); /* it is dialling */
    RIG_UNTIL(&rig, ups == 1);
    link_reset(l, "of no use");
    link_hurry(l);
    RIG_UNTIL(&rig, ups == 2);
    link_refused(l, "the password is wrong");
    link_hurry(l);
    rig_for(&rig, 200);
    ck_assert_int_eq(ups, 2);
}
END_TEST

static void on_secure(void *arg)
{
    (void)arg;
    ck_abort_msg("TLS with a peer that speaks none");
}

/* The peer is heard in the clear first; then TLS, or nothing. */
START_TEST(tls_begins_when_the_protocol_says_so)
{
    const struct tls_settings settings = {.name = "mesh", .verify = TLS_NONE};
    const struct link_ops later = {.on_up = on_up, .on_secure = on_secure, .on_data = on_data, .on_down = on_down};
    struct err err = {0};
    struct tls_context *tls = tls_context_new(&settings, TLS_CONNECT, &err);
    ck_assert_ptr_nonnull(tls);
    l = link_new(&(struct link_spec){.loop = rig.loop, .conf = &conf, .greets = true, .tls = tls, .tls_later = true,
                                     .min_pause_ms = 1, .max_pause_ms = 20}, &later, NULL);
    for (int i = 1; i <= 2; i++) {
        RIG_UNTIL(&rig, ups == i && accepted == i);
        ck_assert(link_is_open(l) && !link_is_up(l) && link_wants_tls(l));
        link_secure(l);
        ck_assert(link_is_open(l) && !link_wants_tls(l));
        ck_assert_int_eq(write(last_fd, "HTTP/1.1 400\r\n\r\n", 16), 16);
        RIG_UNTIL(&rig, downs == i);
        ck_assert_str_eq(reason, "TLS: peer does not speak TLS");
        ck_assert(link_wants_tls(l));
    }
    ck_assert_uint_eq(link_connects(l), 0);
    tls_context_unref(tls);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("link");
    TCase *t = tcase_create("link");
    const TTest *const tests[] = {
        without_a_greeting_it_is_up_at_once, with_a_greeting_it_is_up_when_that_is_over,
        a_peer_that_leaves_while_greeting_is_dialled_again, addresses_are_tried_in_turn,
        each_address_is_named_once, a_refusal_is_told_and_not_repeated_soon, a_hint_ends_a_pause_but_no_refusal,
        tls_begins_when_the_protocol_says_so, the_worse_of_two_speaks,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
