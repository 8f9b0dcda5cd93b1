/* libbellhop against a fake daemon at the other end of a socketpair: what it sends, byte for byte, and what it makes of
 * whole, split, glued and bad frames. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bellhop.h"
#include "internal.h"

#define HELLO_IN "HELLO 0 50 0 bellhopd\nversion: 1\nnode: n1\nlimits.body: 1000\nsession: s7\n"
#define HELLO_OUT "HELLO 0 22 0 math\nversion: 1\ncredit: 64\n"

/* A client, the fake daemon's end, and a text log of every callback. */
struct fixture {
    struct bellhop *b;
    int daemon;
    char log[65536];
    size_t log_len;
    bool hold; /* keep deliveries instead of answering */
    struct bellhop_delivery *held[8];
    size_t held_count;
    bool free_in_callback;
    bool close_in_callback;
};

static void log_add(struct fixture *fx, const char *text, size_t len)
{
    ck_assert_uint_lt(fx->log_len + len + 1, sizeof fx->log);
    memcpy(fx->log + fx->log_len, text, len);
    fx->log_len += len;
    fx->log[fx->log_len] = '\0';
}

#define LOG(fx, ...) \
    do { \
        char line_[2048]; \
        int n_ = snprintf(line_, sizeof line_, __VA_ARGS__); \
        log_add((fx), line_, (size_t)n_); \
    } while (0)

static void on_ready(struct bellhop *b, void *user)
{
    struct bellhop_info info = bellhop_info(b);
    LOG((struct fixture *)user, "ready %s %s %zu;", info.node, info.session, info.limit_body);
}

static void on_delivery(struct bellhop *b, struct bellhop_delivery *d, void *user)
{
    struct fixture *fx = user;
    LOG(fx, "%s %llu %s a%u [%.*s];", d->kind == BELLHOP_REQUEST ? "req" : "pub", (unsigned long long)d->id,
        d->msg.subject, bellhop_delivery_attempt(d), (int)d->msg.body_len, (const char *)d->msg.body);
    if (fx->free_in_callback) {
        bellhop_free(b);
        return;
    }
    if (fx->close_in_callback)
        bellhop_close(b, "enough");
    if (fx->hold) {
        fx->held[fx->held_count++] = d;
        return;
    }
    struct bellhop_msg reply = { .body = "r", .body_len = 1 };
    ck_assert_int_eq(bellhop_delivery_reply(d, &reply), 0);
}

static void on_cancel(struct bellhop *b, struct bellhop_delivery *d, void *user)
{
    (void)b;
    LOG((struct fixture *)user, "cancel %llu %d;", (unsigned long long)d->id, bellhop_delivery_is_cancelled(d));
}

static void on_bye(struct bellhop *b, void *user)
{
    (void)b;
    LOG((struct fixture *)user, "bye;");
}

static void on_writable(struct bellhop *b, void *user)
{
    (void)b;
    LOG((struct fixture *)user, "writable;");
}

static void on_closed(struct bellhop *b, const char *reason, int64_t retry_ms, void *user)
{
    (void)b;
    LOG((struct fixture *)user, "closed %s %s;", reason, retry_ms < 0 ? "for good" : "retry");
}

static void on_answer(struct bellhop *b, const struct bellhop_answer *a, void *user)
{
    static const char *const names[] = { "ok", "more", "reply", "error" };
    (void)b;
    LOG((struct fixture *)user, "%s%s %llu %s [%.*s] %lld;", a->local ? "local " : "", names[a->result],
        (unsigned long long)a->id, a->code ? a->code : a->subject ? a->subject : "-", (int)a->body_len, (const char *)a->body,
        (long long)a->retry_ms);
}

static const struct bellhop_handlers handlers = { on_ready, on_delivery, on_cancel, on_bye, on_writable, on_closed };

static void fixture_open(struct fixture *fx)
{
    int pair[2];
    memset(fx, 0, sizeof *fx);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    fx->daemon = pair[1];
    fx->b = bellhop_new("math", &handlers, fx);
    ck_assert_ptr_nonnull(fx->b);
    ck_assert_int_eq(bellhop_attach(fx->b, pair[0]), 0);
}

static void fixture_close(struct fixture *fx)
{
    bellhop_free(fx->b);
    close(fx->daemon);
}

static void daemon_send(struct fixture *fx, const char *bytes, size_t len)
{
    ck_assert_int_eq(send(fx->daemon, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* One turn of the client, then everything it has written, as text. */
static const char *turn(struct fixture *fx)
{
    static char got[1 << 20];
    bellhop_process(fx->b, POLLIN);
    ssize_t n = recv(fx->daemon, got, sizeof got - 1, MSG_DONTWAIT);
    got[n > 0 ? n : 0] = '\0';
    return got;
}

static const char *say(struct fixture *fx, const char *bytes)
{
    daemon_send(fx, bytes, strlen(bytes));
    return turn(fx);
}

/* Connected and greeted, with an empty log. */
static void fixture_ready(struct fixture *fx)
{
    fixture_open(fx);
    ck_assert_str_eq(turn(fx), HELLO_OUT);
    ck_assert(!bellhop_is_ready(fx->b));
    ck_assert_str_eq(say(fx, HELLO_IN), "");
    ck_assert_str_eq(fx->log, "ready n1 s7 1000;");
    ck_assert(bellhop_is_ready(fx->b));
    fx->log_len = 0;
    fx->log[0] = '\0';
}

/* ---- the connection ----------------------------------------------------------------------------------------- */

static const char deliveries[] = "PUB 1 11 2 a.b\nattempt: 3\nhiREQ 2 0 3 {\"cmd\":\"sum\"}\nsixPUB 0 0 0 quiet\nPING 5 0 0\n";
static const char deliveries_log[] = "pub 1 a.b a3 [hi];req 2 {\"cmd\":\"sum\"} a1 [six];pub 0 quiet a1 [];";
static const char deliveries_out[] = "OK 1 0 0\nREP 2 0 1\nrPONG 5 0 0\n";

START_TEST(glued)
{
    struct fixture fx;
    fixture_ready(&fx);
    ck_assert_str_eq(say(&fx, deliveries), deliveries_out);
    ck_assert_str_eq(fx.log, deliveries_log);
    fixture_close(&fx);
}
END_TEST

START_TEST(split_at_every_byte)
{
    struct fixture fx;
    char out[200] = "";
    fixture_ready(&fx);
    daemon_send(&fx, deliveries, (size_t)_i);
    strcat(out, turn(&fx));
    daemon_send(&fx, deliveries + _i, sizeof deliveries - 1 - (size_t)_i);
    strcat(out, turn(&fx));
    ck_assert_str_eq(out, deliveries_out);
    ck_assert_str_eq(fx.log, deliveries_log);
    fixture_close(&fx);
}
END_TEST

START_TEST(byte_by_byte)
{
    struct fixture fx;
    char out[200] = "";
    fixture_ready(&fx);
    for (size_t i = 0; i < sizeof deliveries - 1; i++) {
        daemon_send(&fx, deliveries + i, 1);
        strcat(out, turn(&fx));
    }
    ck_assert_str_eq(out, deliveries_out);
    ck_assert_str_eq(fx.log, deliveries_log);
    fixture_close(&fx);
}
END_TEST

START_TEST(bad_frame_ends_it)
{
    struct fixture fx;
    fixture_ready(&fx);
    bellhop_request(fx.b, &(struct bellhop_msg){ .subject = "s" }, 0, on_answer, &fx);
    say(&fx, "PUB 1 0 2 a\nhiWHAT 1 0 0\nPUB 2 0 0 never\n");
    ck_assert_str_eq(fx.log, "pub 1 a a1 [hi];local error 1 unavailable [bad-frame from the daemon: unknown verb] -1;"
                             "closed bad-frame from the daemon: unknown verb for good;");
    ck_assert(!bellhop_is_open(fx.b));
    ck_assert_str_eq(bellhop_reason(fx.b), "bad-frame from the daemon: unknown verb");
    ck_assert_int_eq(bellhop_fd(fx.b), -1);
    ck_assert_int_eq(bellhop_process(fx.b, 0), -ENOTCONN);
    ck_assert_int_eq(bellhop_publish(fx.b, &(struct bellhop_msg){ .subject = "s" }, NULL, NULL), -ENOTCONN);
    fixture_close(&fx);
}
END_TEST

START_TEST(greeting_is_required)
{
    struct fixture fx;
    fixture_open(&fx);
    say(&fx, "PUB 1 0 0 a\n");
    ck_assert_str_eq(fx.log, "closed bad-frame: the daemon did not begin with HELLO for good;");
    fixture_close(&fx);
    fixture_open(&fx);
    say(&fx, "HELLO 0 11 0 x\nversion: 2\n");
    ck_assert_str_eq(fx.log, "closed version: the daemon speaks version 2, this library 1 for good;");
    fixture_close(&fx);
    fixture_open(&fx);
    say(&fx, "ERR 0 0 10 denied\nwrong uid.");
    ck_assert_str_eq(fx.log, "closed denied: wrong uid. for good;");
    fixture_close(&fx);
}
END_TEST

START_TEST(hello_carries_settings)
{
    int pair[2];
    char got[256];
    struct bellhop *b = bellhop_new("a b", NULL, NULL);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(bellhop_set_credit(b, 0), -EINVAL);
    ck_assert_int_eq(bellhop_set_credit(b, 65536), -EINVAL);
    ck_assert_int_eq(bellhop_set_credit(b, 7), 0);
    ck_assert_int_eq(bellhop_set_token(b, "to\nken"), -EINVAL);
    ck_assert_int_eq(bellhop_set_token(b, "secret"), 0);
    ck_assert_int_eq(bellhop_set_instance(b, "i1"), 0);
    ck_assert_int_eq(bellhop_attach(b, pair[0]), 0);
    ck_assert_int_eq(bellhop_attach(b, pair[0]), -EISCONN);
    bellhop_process(b, 0);
    ssize_t n = recv(pair[1], got, sizeof got - 1, 0);
    got[n] = '\0';
    ck_assert_str_eq(got, "HELLO 0 48 0 a b\nversion: 1\ncredit: 7\ntoken: secret\ninstance: i1\n");
    bellhop_free(b);
    close(pair[1]);
    ck_assert_ptr_null(bellhop_new("", NULL, NULL));
    ck_assert_ptr_null(bellhop_new("a\nb", NULL, NULL));
}
END_TEST

START_TEST(requests)
{
    struct fixture fx;
    struct bellhop_headers h = { 0 };
    fixture_ready(&fx);
    bellhop_headers_add(&h, "k", "v");
    struct bellhop_msg msg = { "a.b", h.data, h.len, "body", 4 };
    ck_assert_int_eq(bellhop_request(fx.b, &msg, 1500, on_answer, &fx), 1);
    ck_assert_int_eq(bellhop_request(fx.b, &msg, 0, on_answer, &fx), 2);
    ck_assert_uint_eq(bellhop_pending(fx.b), 2);
    ck_assert_int_gt(bellhop_timeout(fx.b), 1000);
    ck_assert_str_eq(turn(&fx), "REQ 1 21 4 a.b\nk: v\ntimeout: 1500ms\nbodyREQ 2 5 4 a.b\nk: v\nbody");
    say(&fx, "MORE 2 0 1\nxREP 1 0 2\nokMORE 2 0 1 a b\nyREP 2 0 0\nREP 2 0 1\nz");
    ck_assert_str_eq(fx.log, "more 2 - [x] -1;reply 1 - [ok] -1;more 2 a b [y] -1;reply 2 - [] -1;");
    ck_assert_uint_eq(bellhop_pending(fx.b), 0);
    ck_assert_int_eq(bellhop_timeout(fx.b), -1);
    bellhop_headers_fini(&h);
    fixture_close(&fx);
}
END_TEST

START_TEST(errors_steer_retry)
{
    struct fixture fx;
    fixture_ready(&fx);
    struct bellhop_msg msg = { .subject = "s" };
    for (int i = 0; i < 5; i++)
        bellhop_request(fx.b, &msg, 0, on_answer, &fx);
    say(&fx, "ERR 1 0 3 failed\nwhyERR 2 10 0 invalid\nretry: no\nERR 3 16 0 overloaded\nretry: after 5s\nERR 4 0 0\n"
             "ERR 5 11 0 busy\nretry: yes\n");
    ck_assert_str_eq(fx.log, "error 1 failed [why] -1;error 2 invalid [] -2;error 3 overloaded [] 5000;"
                             "error 4 failed [] -1;error 5 busy [] -3;");
    fixture_close(&fx);
}
END_TEST

START_TEST(publishes)
{
    struct fixture fx;
    fixture_ready(&fx);
    struct bellhop_msg msg = { .subject = "e", .body = "b", .body_len = 1 };
    ck_assert_int_eq(bellhop_publish(fx.b, &msg, NULL, NULL), 0);
    ck_assert_int_eq(bellhop_publish(fx.b, &msg, on_answer, &fx), 1);
    ck_assert_str_eq(turn(&fx), "PUB 0 0 1 e\nbPUB 1 0 1 e\nb");
    say(&fx, "OK 1 0 0\n");
    ck_assert_str_eq(fx.log, "ok 1 - [] -1;");
    fixture_close(&fx);
}
END_TEST

START_TEST(refused_arguments)
{
    struct fixture fx;
    char *big = calloc(1, 2000);
    fixture_ready(&fx);
    memset(big, 's', 1025);
    struct bellhop_msg bad[] = { { .subject = "a\nb" }, { .subject = "\xff" }, { .subject = big }, { .subject = NULL },
                                 { .subject = "s", .headers = "k: v", .headers_len = 4 } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_int_eq(bellhop_publish(fx.b, &bad[i], NULL, NULL), -EINVAL);
    struct bellhop_msg large = { .subject = "s", .body = big, .body_len = 1001 }; /* limits.body: 1000 */
    ck_assert_int_eq(bellhop_publish(fx.b, &large, NULL, NULL), -EMSGSIZE);
    ck_assert_int_eq(bellhop_request(fx.b, &large, 0, on_answer, &fx), -EMSGSIZE);
    large.body_len = 1;
    ck_assert_int_eq(bellhop_request(fx.b, &large, 0, NULL, NULL), -EINVAL);
    ck_assert_str_eq(turn(&fx), "");
    free(big);
    fixture_close(&fx);
}
END_TEST

/* The daemon takes a block above its limits for a bad frame, and ends the connection. */
START_TEST(own_header_lines_count)
{
    struct fixture fx;
    struct bellhop_headers h = { 0 };
    fixture_ready(&fx);
    for (int i = 0; i < 127; i++)
        bellhop_headers_add(&h, "n", "v");
    struct bellhop_msg msg = { .subject = "s", .headers = h.data, .headers_len = h.len };
    ck_assert_int_gt(bellhop_request(fx.b, &msg, 1000, on_answer, &fx), 0);
    bellhop_headers_add(&h, "n", "v");
    msg = (struct bellhop_msg){ .subject = "s", .headers = h.data, .headers_len = h.len };
    ck_assert_int_eq(bellhop_request(fx.b, &msg, 1000, on_answer, &fx), -EMSGSIZE);
    ck_assert_int_gt(bellhop_request(fx.b, &msg, 0, on_answer, &fx), 0);
    bellhop_headers_fini(&h);
    fixture_close(&fx);
}
END_TEST

START_TEST(timeout_sends_cancel)
{
    struct fixture fx;
    fixture_ready(&fx);
    bellhop_request(fx.b, &(struct bellhop_msg){ .subject = "s" }, 15, on_answer, &fx);
    turn(&fx);
    ck_assert_str_eq(fx.log, "");
    ck_assert_int_eq(bellhop_run(fx.b, 60), 0);
    ck_assert_str_eq(fx.log, "local error 1 timeout [no answer in time] -1;");
    ck_assert_str_eq(say(&fx, "REP 1 0 4\nlate"), "CANCEL 1 0 0\n");
    ck_assert_str_eq(fx.log, "local error 1 timeout [no answer in time] -1;");
    fixture_close(&fx);
}
END_TEST

START_TEST(many_deadlines)
{
    struct fixture fx;
    fixture_ready(&fx);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_gt(bellhop_request(fx.b, &(struct bellhop_msg){ .subject = "s" }, i % 2 ? 1 : 60000, on_answer, &fx), 0);
    ck_assert_int_eq(bellhop_run(fx.b, 60), 0);
    ck_assert_uint_eq(bellhop_pending(fx.b), 500);
    int left = bellhop_timeout(fx.b);
    ck_assert_int_gt(left, 50000);
    for (int i = 0; i < 100; i++)
        ck_assert_int_gt(bellhop_request(fx.b, &(struct bellhop_msg){ .subject = "s" }, 1, on_answer, &fx), 0);
    ck_assert_int_eq(bellhop_run(fx.b, 60), 0);
    ck_assert_uint_eq(bellhop_pending(fx.b), 500);
    fixture_close(&fx);
}
END_TEST

START_TEST(cancel_by_caller)
{
    struct fixture fx;
    fixture_ready(&fx);
    int64_t id = bellhop_request(fx.b, &(struct bellhop_msg){ .subject = "s" }, 0, on_answer, &fx);
    ck_assert_int_eq(bellhop_cancel(fx.b, id), 0);
    ck_assert_int_eq(bellhop_cancel(fx.b, id), -ENOENT);
    ck_assert_str_eq(turn(&fx), "REQ 1 0 0 s\nCANCEL 1 0 0\n");
    say(&fx, "REP 1 0 0\n");
    ck_assert_str_eq(fx.log, "");
    fixture_close(&fx);
}
END_TEST

START_TEST(answers_later)
{
    struct fixture fx;
    fixture_ready(&fx);
    fx.hold = true;
    say(&fx, "REQ 1 0 0 a\nREQ 2 0 0 b\nPUB 3 0 0 c\nPUB 4 0 0 d\nPUB 5 0 0 e\nREQ 6 0 0 f\n");
    ck_assert_ptr_null(fx.held[0]->msg.subject);
    struct bellhop_msg item = { .body = "i", .body_len = 1 };
    ck_assert_int_eq(bellhop_delivery_more(fx.held[0], &item), 0);
    ck_assert_int_eq(bellhop_delivery_more(fx.held[2], &item), -EINVAL);
    ck_assert_int_eq(bellhop_delivery_wait(fx.held[1]), 0);
    ck_assert_int_eq(bellhop_delivery_ok(fx.held[0]), 0);
    ck_assert_int_eq(bellhop_delivery_error(fx.held[1], "invalid", "no", BELLHOP_RETRY_NO), 0);
    ck_assert_int_eq(bellhop_delivery_error(fx.held[2], "bad\ncode", NULL, 1500), 0);
    ck_assert_int_eq(bellhop_delivery_error(fx.held[5], "failed", NULL, BELLHOP_RETRY_YES), 0);
    ck_assert_int_eq(bellhop_delivery_release(fx.held[3]), 0);
    ck_assert_int_eq(bellhop_delivery_reply(fx.held[4], &item), 0);
    ck_assert_str_eq(turn(&fx), "MORE 1 0 1\niWAIT 2 0 0\nREP 1 0 0\nERR 2 10 2 invalid\nretry: no\nno"
                                "ERR 3 20 0 failed\nretry: after 1500ms\nERR 6 11 0 failed\nretry: yes\nERR 4 0 0 release\nOK 5 0 0\n");
    fixture_close(&fx);
}
END_TEST

START_TEST(too_large_reply)
{
    struct fixture fx;
    fixture_ready(&fx);
    fx.hold = true;
    say(&fx, "REQ 1 0 0 a\n");
    char big[1001] = { 0 };
    ck_assert_int_eq(bellhop_delivery_reply(fx.held[0], &(struct bellhop_msg){ .body = big, .body_len = 1001 }), -EMSGSIZE);
    ck_assert_str_eq(turn(&fx), "ERR 1 10 50 too-large\nretry: no\nthe service's reply is not one the protocol allows");
    fixture_close(&fx);
}
END_TEST

START_TEST(staged_publish)
{
    struct fixture fx;
    fixture_ready(&fx);
    fx.hold = true;
    say(&fx, "PUB 9 0 0 a\n");
    struct bellhop_msg msg = { .subject = "out", .body = "b", .body_len = 1 };
    ck_assert_int_eq(bellhop_delivery_publish(fx.held[0], &msg, NULL, NULL), -EINVAL);
    ck_assert_int_eq(bellhop_delivery_publish(fx.held[0], &msg, on_answer, &fx), 1);
    bellhop_delivery_ok(fx.held[0]);
    ck_assert_str_eq(turn(&fx), "PUB 1 8 1 out\nwith: 9\nbOK 9 0 0\n");
    fx.log_len = 0;
    say(&fx, "OK 1 0 0\n");
    ck_assert_str_eq(fx.log, "ok 1 - [] -1;");
    fixture_close(&fx);
}
END_TEST

START_TEST(cancel_by_daemon)
{
    struct fixture fx;
    fixture_ready(&fx);
    fx.hold = true;
    say(&fx, "REQ 1 0 0 a\nCANCEL 1 0 0\nCANCEL 77 0 0\nBYE 0 0 0\n");
    ck_assert_str_eq(fx.log, "req 1 a a1 [];cancel 1 1;bye;");
    ck_assert_int_eq(bellhop_delivery_wait(fx.held[0]), -ENOTCONN);
    ck_assert_int_eq(bellhop_delivery_ok(fx.held[0]), 0);
    ck_assert_str_eq(turn(&fx), "REP 1 0 0\n");
    fixture_close(&fx);
}
END_TEST

START_TEST(subscriptions)
{
    struct fixture fx;
    fixture_ready(&fx);
    ck_assert_int_eq(bellhop_subscribe(fx.b, "a.>", "g", on_answer, &fx), 1);
    ck_assert_int_eq(bellhop_subscribe(fx.b, "b", NULL, on_answer, &fx), 2);
    ck_assert_int_eq(bellhop_subscribe(fx.b, "", NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(bellhop_subscribe(fx.b, "a", "g\n", NULL, NULL), -EINVAL);
    ck_assert_str_eq(turn(&fx), "SUB 1 9 0 a.>\ngroup: g\nSUB 2 0 0 b\n");
    say(&fx, "OK 1 0 0\nERR 2 0 0 denied\n");
    ck_assert_str_eq(fx.log, "ok 1 - [] -1;error 2 denied [] -1;");
    ck_assert_int_eq(bellhop_unsubscribe(fx.b, 1), 0);
    ck_assert_int_eq(bellhop_unsubscribe(fx.b, 1), -ENOENT);
    ck_assert_int_eq(bellhop_unsubscribe(fx.b, 2), -ENOENT); /* the daemon refused it */
    ck_assert_str_eq(turn(&fx), "UNSUB 1 0 0\n");
    fixture_close(&fx);
}
END_TEST

START_TEST(credit_and_ping)
{
    struct fixture fx;
    fixture_ready(&fx);
    ck_assert_int_eq(bellhop_credit(fx.b, 3), 0);
    ck_assert_int_eq(bellhop_credit(fx.b, 65535), -EINVAL);
    ck_assert_int_eq(bellhop_ping(fx.b, on_answer, &fx), 1);
    ck_assert_str_eq(turn(&fx), "CREDIT 3 0 0\nPING 1 0 0\n");
    say(&fx, "PONG 1 0 0\n");
    ck_assert_str_eq(fx.log, "ok 1 - [] -1;");
    fixture_close(&fx);
}
END_TEST

START_TEST(bye_waits_for_all)
{
    struct fixture fx;
    fixture_ready(&fx);
    fx.hold = true;
    say(&fx, "REQ 1 0 0 a\n");
    bellhop_request(fx.b, &(struct bellhop_msg){ .subject = "s" }, 0, on_answer, &fx);
    ck_assert_int_eq(bellhop_bye(fx.b), 0);
    ck_assert_int_eq(bellhop_publish(fx.b, &(struct bellhop_msg){ .subject = "s" }, NULL, NULL), -ENOTCONN);
    ck_assert_str_eq(turn(&fx), "REQ 1 0 0 s\nBYE 0 0 0\nPING 2 0 0\n");
    say(&fx, "REP 1 0 0\n");
    ck_assert(bellhop_is_open(fx.b));
    bellhop_delivery_ok(fx.held[0]);
    ck_assert_str_eq(turn(&fx), "REP 1 0 0\n");
    ck_assert(bellhop_is_open(fx.b));
    say(&fx, "PUB 3 0 0 crossed\nPONG 2 0 0\n"); /* a delivery that was sent before BYE was read */
    bellhop_delivery_release(fx.held[1]);
    ck_assert_str_eq(turn(&fx), "ERR 3 0 0 release\n");
    ck_assert(!bellhop_is_open(fx.b));
    ck_assert_str_eq(fx.log, "req 1 a a1 [];reply 1 - [] -1;pub 3 crossed a1 [];closed left for good;");
    fixture_close(&fx);
}
END_TEST

START_TEST(lost_connection)
{
    struct fixture fx;
    fixture_ready(&fx);
    fx.hold = true;
    say(&fx, "REQ 1 0 0 a\n");
    bellhop_publish(fx.b, &(struct bellhop_msg){ .subject = "s" }, on_answer, &fx);
    turn(&fx);
    close(fx.daemon);
    fx.daemon = -1;
    ck_assert_int_eq(bellhop_run(fx.b, 1000), -ENOTCONN);
    ck_assert_str_eq(fx.log, "req 1 a a1 [];local error 1 unavailable [the daemon closed the connection] -1;"
                             "closed the daemon closed the connection for good;");
    ck_assert(bellhop_delivery_is_cancelled(fx.held[0]));
    ck_assert_int_eq(bellhop_delivery_ok(fx.held[0]), -ENOTCONN);
    fixture_close(&fx);
}
END_TEST

START_TEST(last_words_are_heard)
{
    struct fixture fx;
    fixture_ready(&fx);
    daemon_send(&fx, "ERR 0 0 3 draining\nbye", 22);
    close(fx.daemon);
    fx.daemon = -1;
    bellhop_publish(fx.b, &(struct bellhop_msg){ .subject = "s" }, NULL, NULL);
    ck_assert_int_eq(bellhop_process(fx.b, POLLOUT), -ENOTCONN); /* EPIPE, but the reason is in the input */
    ck_assert_str_eq(fx.log, "closed draining: bye for good;");
    fixture_close(&fx);
}
END_TEST

START_TEST(free_and_close_in_callback)
{
    struct fixture fx;
    fixture_ready(&fx);
    fx.close_in_callback = true;
    say(&fx, "PUB 1 0 0 a\nPUB 2 0 0 b\n");
    ck_assert_str_eq(fx.log, "pub 1 a a1 [];closed enough for good;");
    fixture_close(&fx);
    fixture_ready(&fx);
    fx.free_in_callback = true;
    daemon_send(&fx, "PUB 1 0 0 a\nPUB 2 0 0 b\n", 24);
    ck_assert_int_eq(bellhop_run(fx.b, 1000), -ENOTCONN);
    ck_assert_str_eq(fx.log, "pub 1 a a1 [];");
    close(fx.daemon);
}
END_TEST

START_TEST(output_is_bounded)
{
    struct fixture fx;
    fixture_ready(&fx);
    fx.hold = true;
    say(&fx, "REQ 1 0 0 a\n");
    char body[1000];
    memset(body, 'x', sizeof body);
    struct bellhop_msg msg = { .subject = "s", .body = body, .body_len = sizeof body };
    bellhop_set_output(fx.b, 10000);
    int sent = 0;
    while (bellhop_publish(fx.b, &msg, NULL, NULL) == 0)
        sent++;
    ck_assert_int_eq(sent, 10);
    ck_assert_int_eq(bellhop_publish(fx.b, &msg, NULL, NULL), -EAGAIN);
    ck_assert_int_eq(bellhop_delivery_more(fx.held[0], &msg), -EAGAIN);
    ck_assert_int_eq(bellhop_delivery_reply(fx.held[0], &msg), 0); /* a final answer always goes */
    fx.log_len = 0;
    turn(&fx);
    ck_assert_str_eq(fx.log, "writable;");
    turn(&fx);
    ck_assert_str_eq(fx.log, "writable;"); /* once */
    ck_assert_uint_eq(bellhop_output(fx.b), 0);
    ck_assert_int_eq(bellhop_publish(fx.b, &msg, NULL, NULL), 0);
    fixture_close(&fx);
}
END_TEST

START_TEST(large_delivery)
{
    struct fixture fx;
    fixture_ready(&fx);
    fx.hold = true;
    const size_t size = 3u << 20;
    char *body = calloc(1, size);
    daemon_send(&fx, "PUB 1 0 3145728 big\n", 20);
    size_t sent = 0;
    while (sent < size) {
        ssize_t n = send(fx.daemon, body + sent, size - sent, MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        bellhop_process(fx.b, POLLIN);
    }
    for (int i = 0; i < 100 && fx.held_count == 0; i++)
        bellhop_process(fx.b, POLLIN);
    ck_assert_uint_eq(fx.held_count, 1);
    ck_assert_uint_eq(fx.b->in.cap, 0); /* and the memory is given back */
    free(body);
    fixture_close(&fx);
}
END_TEST

/* ---- reconnect, over a real socket file ------------------------------------------------------------------------ */

static int listener(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    ck_assert_int_eq(listen(fd, 5), 0);
    return fd;
}

START_TEST(reconnects_and_subscribes_again)
{
    struct fixture fx;
    char dir[] = "/tmp/bellhop-test-XXXXXX", path[64], got[256];
    memset(&fx, 0, sizeof fx);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    fx.b = bellhop_new("math", &handlers, &fx);
    ck_assert_int_eq(bellhop_connect(fx.b, path), -ENOENT);
    ck_assert_int_eq(bellhop_set_reconnect(fx.b, 0, 5), -EINVAL);
    ck_assert_int_eq(bellhop_set_reconnect(fx.b, 1, 5), 0);
    ck_assert_int_eq(bellhop_connect(fx.b, path), 0);
    ck_assert_int_eq(bellhop_run(fx.b, 30), 0); /* keeps trying */
    ck_assert_ptr_nonnull(strstr(fx.log, "No such file or directory retry;"));
    int l = listener(path);
    ck_assert_int_eq(bellhop_run(fx.b, 60), 0);
    fx.daemon = accept(l, NULL, NULL);
    say(&fx, HELLO_IN);
    ck_assert_int_eq(bellhop_subscribe(fx.b, "a", NULL, NULL, NULL), 1);
    ck_assert_str_eq(say(&fx, "OK 1 0 0\n"), "SUB 1 0 0 a\n");
    close(fx.daemon);
    fx.log_len = 0;
    ck_assert_int_eq(bellhop_run(fx.b, 60), 0);
    ck_assert_str_eq(fx.log, "closed the daemon closed the connection retry;");
    fx.daemon = accept(l, NULL, NULL);
    ssize_t n = recv(fx.daemon, got, sizeof got - 1, 0);
    got[n] = '\0';
    ck_assert_str_eq(got, HELLO_OUT "SUB 1 0 0 a\n");
    fx.log_len = 0;
    say(&fx, HELLO_IN "ERR 1 0 0 denied\n");
    ck_assert_ptr_nonnull(strstr(fx.log, "closed subscription 1 refused: denied retry;"));
    fixture_close(&fx);
    close(l);
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(denied_is_for_good)
{
    struct fixture fx;
    char dir[] = "/tmp/bellhop-test-XXXXXX", path[64];
    memset(&fx, 0, sizeof fx);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    int l = listener(path);
    fx.b = bellhop_new("math", &handlers, &fx);
    bellhop_set_reconnect(fx.b, 1, 5);
    ck_assert_int_eq(bellhop_connect(fx.b, path), 0);
    fx.daemon = accept(l, NULL, NULL);
    say(&fx, "ERR 0 0 0 denied\n");
    ck_assert_str_eq(fx.log, "closed denied for good;");
    fixture_close(&fx);
    close(l);
    unlink(path);
    rmdir(dir);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("client-c");
    TCase *tc = tcase_create("connection");
    tcase_add_test(tc, glued);
    tcase_add_loop_test(tc, split_at_every_byte, 1, sizeof deliveries - 1);
    tcase_add_test(tc, byte_by_byte);
    tcase_add_test(tc, bad_frame_ends_it);
    tcase_add_test(tc, greeting_is_required);
    tcase_add_test(tc, hello_carries_settings);
    tcase_add_test(tc, requests);
    tcase_add_test(tc, errors_steer_retry);
    tcase_add_test(tc, publishes);
    tcase_add_test(tc, refused_arguments);
    tcase_add_test(tc, own_header_lines_count);
    tcase_add_test(tc, timeout_sends_cancel);
    tcase_add_test(tc, many_deadlines);
    tcase_add_test(tc, cancel_by_caller);
    tcase_add_test(tc, answers_later);
    tcase_add_test(tc, too_large_reply);
    tcase_add_test(tc, staged_publish);
    tcase_add_test(tc, cancel_by_daemon);
    tcase_add_test(tc, subscriptions);
    tcase_add_test(tc, credit_and_ping);
    tcase_add_test(tc, bye_waits_for_all);
    tcase_add_test(tc, lost_connection);
    tcase_add_test(tc, last_words_are_heard);
    tcase_add_test(tc, free_and_close_in_callback);
    tcase_add_test(tc, output_is_bounded);
    tcase_add_test(tc, large_delivery);
    tcase_add_test(tc, reconnects_and_subscribes_again);
    tcase_add_test(tc, denied_is_for_good);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
