#include <arpa/inet.h>

#include "base/mem.h"
#include "loop/http.h"
#include "loop/http_parse.h"
#include "rig.h"

static struct rig rig;
static struct err err;
static struct http_server *server;
static char seen[256];

static void answer(void *arg, const char *path, const char *query, struct http_reply *reply)
{
    ck_assert_ptr_eq(arg, &rig);
    snprintf(seen, sizeof(seen), "%s|%s", path, query);
    if (strcmp(path, "/none") == 0)
        reply->status = 404;
    reply->content_type = "text/html";
    buf_printf(&reply->body, "page of %s", path);
    for (int i = 0; strcmp(path, "/large") == 0 && i < 200000; i++)
        buf_puts(&reply->body, "0123456789");
}

static void set_up(void)
{
    rig = rig_open();
    server = http_open(rig.loop, "127.0.0.1:0", answer, &rig, &err);
    ck_assert_ptr_nonnull(server);
    seen[0] = '\0';
}

static void tear_down(void)
{
    http_close(server);
    http_close(NULL);
    err_fini(&err);
    rig_close(&rig);
}

static int call(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    fd_nonblock(fd);
    return fd;
}

/* Whole answer, until the server closes; the caller's. */
static char *ask_bytes(const char *p, size_t n)
{
    struct buf got = BUF_EMPTY;
    int fd = call();
    bool over = false;
    ck_assert_int_eq(send(fd, p, n, 0), (ssize_t)n);
    while (!over) {
        RIG_UNTIL(&rig, recv(fd, buf_reserve(&got, 1), 1, MSG_PEEK) >= 0);
        ssize_t k = recv(fd, buf_reserve(&got, 65536), 65536, 0);
        over = k == 0;
        if (k > 0)
            buf_commit(&got, (size_t)k);
    }
    close(fd);
    return buf_steal(&got);
}

static char *ask(const char *text)
{
    return ask_bytes(text, strlen(text));
}

static void asked(const char *text, const char *status, const char *handler_saw)
{
    char *got = ask(text);
    ck_assert_msg(strncmp(got, status, strlen(status)) == 0, "%s -> %s", text, got);
    ck_assert_str_eq(seen, handler_saw);
    seen[0] = '\0';
    mem_free(got);
}

START_TEST(get_and_head)
{
    char *got = ask("GET /a%20b?x=1&y=%20 HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_str_eq(seen, "/a b|x=1&y=%20");
    ck_assert_int_eq(strncmp(got, "HTTP/1.1 200 OK\r\n", 17), 0);
    ck_assert_ptr_nonnull(strstr(got, "\r\nContent-Type: text/html\r\nContent-Length: 12\r\n"));
    ck_assert_ptr_nonnull(strstr(got, "\r\n\r\npage of /a b"));
    mem_free(got);
    got = ask("HEAD /none HTTP/1.0\n\n");
    ck_assert_int_eq(strncmp(got, "HTTP/1.1 404 Not Found\r\n", 24), 0);
    ck_assert_ptr_nonnull(strstr(got, "Content-Length: 13\r\n"));
    ck_assert_str_eq(got + strlen(got) - 4, "\r\n\r\n");
    mem_free(got);
    got = ask("GET /large HTTP/1.1\r\n\r\n");
    ck_assert_uint_eq(strlen(strstr(got, "\r\n\r\n") + 4), 2000000 + 14);
    mem_free(got);
}
END_TEST

START_TEST(what_is_refused)
{
    struct buf flood = BUF_EMPTY;
    asked("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 ", "");
    asked("GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 413 ", "");
    asked("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 413 ", "");
    asked("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 ", "/|");
    asked("GET / HTTP/2.0\r\n\r\n", "HTTP/1.1 505 ", "");
    asked("GET /\r\n\r\n", "HTTP/1.1 400 ", "");
    asked("GET http://x/ HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "");
    asked("GET /%0a HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "");
    asked("GET /%00 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "");
    asked("GET /%4 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "");
    asked("GET /?a\001b HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "");
    asked("GET / HTTP/1.1\r\nno colon\r\n\r\n", "HTTP/1.1 400 ", "");
    asked("GET / HTTP/1.1\r\n folded: x\r\n\r\n", "HTTP/1.1 400 ", "");
    asked("\r\n\r\n", "HTTP/1.1 400 ", "");
    buf_puts(&flood, "GET / HTTP/1.1\r\nX: ");
    while (flood.len < HTTP_HEAD_MAX)
        buf_putc(&flood, 'x');
    char *got = ask_bytes((const char *)buf_data(&flood), flood.len);
    ck_assert_int_eq(strncmp(got, "HTTP/1.1 431 ", 13), 0);
    mem_free(got);
    buf_fini(&flood);
}
END_TEST

START_TEST(head_in_pieces)
{
    static const char text[] = "GET /p HTTP/1.1\r\nA: b\r\n\r\n";
    int fd = call();
    char c;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        ck_assert_int_eq(send(fd, text + i, 1, 0), 1);
        rig_for(&rig, 1);
    }
    RIG_UNTIL(&rig, recv(fd, &c, 1, 0) == 1);
    ck_assert_str_eq(seen, "/p|");
    close(fd);
}
END_TEST

START_TEST(the_65th_waits)
{
    int fds[66];
    char c;
    for (int i = 0; i < 66; i++)
        fds[i] = call();
    rig_for(&rig, 30);
    ck_assert_int_eq(send(fds[65], "GET /w HTTP/1.1\r\n\r\n", 19, 0), 19);
    rig_for(&rig, 50);
    ck_assert_str_eq(seen, "");
    close(fds[0]);
    close(fds[1]);
    RIG_UNTIL(&rig, recv(fds[65], &c, 1, 0) == 1);
    ck_assert_str_eq(seen, "/w|");
    for (int i = 2; i < 66; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_silent_caller_is_dropped)
{
    int fd = call();
    char c;
    int64_t start = clock_mono_ms();
    RIG_UNTIL(&rig, recv(fd, &c, 1, 0) == 0);
    ck_assert_int_ge(clock_mono_ms() - start, 9000);
    close(fd);
}
END_TEST

START_TEST(addresses)
{
    ck_assert_ptr_null(http_open(rig.loop, "9180", answer, &rig, &err));
    ck_assert_ptr_nonnull(strstr(err.texts[0], "HOST:PORT"));
    struct http_server *h = http_open(rig.loop, "[::1]:0", answer, &rig, &err);
    ck_assert(h != NULL || err.count == 2); /* a host may have no IPv6 */
    http_close(h);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http");
    TCase *t = tcase_create("http");
    const TTest *const tests[] = {
        get_and_head, what_is_refused, head_in_pieces, the_65th_waits, a_silent_caller_is_dropped,
        addresses,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
