#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "loop/dial.h"
#include "loop/listen.h"
#include "rig.h"

static struct rig rig;
static struct err err;
static char folder[32], path[64], lock_path[64];
static int accepted;

static void set_up(void)
{
    rig = rig_open();
    log_set(rig.log, LOG_ERROR, LOG_TEXT);
    snprintf(folder, sizeof(folder), "/tmp/bellhop-listen-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/sock", folder);
    snprintf(lock_path, sizeof(lock_path), "%s/sock.lock", folder);
    accepted = 0;
}

static void tear_down(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing left behind, the lock neither */
    err_fini(&err);
    rig_close(&rig);
}

static void on_accept(void *arg, int fd)
{
    (void)arg;
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    accepted++;
    close(fd);
}

static struct listener *open_path(void)
{
    struct listen_spec spec = {.path = path, .mode = 0660, .fd = -1};
    return listen_open(rig.loop, &spec, on_accept, NULL, &err);
}

static struct listener *open_tcp(const char *host)
{
    struct listen_spec spec = {.host = host, .port = "0", .fd = -1};
    return listen_open(rig.loop, &spec, on_accept, NULL, &err);
}

static int connect_path(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
}

static int bind_path(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void refused(const char *why)
{
    ck_assert_ptr_null(open_path());
    ck_assert_uint_eq(err.count, 1);
    ck_assert_msg(strstr(err.texts[0], why) != NULL, "\"%s\" does not say \"%s\"", err.texts[0], why);
    err_fini(&err);
}

START_TEST(path_is_made_served_and_removed)
{
    struct stat st;
    struct listener *n = open_path();
    ck_assert_ptr_nonnull(n);
    ck_assert_str_eq(listen_address(n), path);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0660);
    int fd = connect_path();
    ck_assert_int_ge(fd, 0);
    RIG_UNTIL(&rig, accepted == 1);
    close(fd);
    listen_close(n);
    ck_assert_int_eq(access(path, F_OK), -1);
    listen_close(NULL);
}
END_TEST

START_TEST(stale_path_is_replaced)
{
    close(bind_path());
    struct listener *n = open_path();
    ck_assert_ptr_nonnull(n);
    int fd = connect_path();
    RIG_UNTIL(&rig, accepted == 1);
    close(fd);
    listen_close(n);
}
END_TEST

START_TEST(live_path_is_refused)
{
    int other = bind_path();
    ck_assert_int_eq(listen(other, 1), 0);
    refused("is in use");
    ck_assert_int_eq(access(path, F_OK), 0);
    close(other);
}
END_TEST

START_TEST(full_backlog_is_alive)
{
    int fds[8];
    int other = bind_path();
    ck_assert_int_eq(listen(other, 0), 0);
    for (int i = 0; i < 8; i++)
        fds[i] = connect_path();
    ck_assert_int_eq(fds[7], -1);
    refused("is in use");
    for (int i = 0; i < 8; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    close(other);
}
END_TEST

START_TEST(two_of_us_are_refused_by_the_lock)
{
    struct listener *n = open_path();
    refused("is in use");
    unlink(path); /* even when somebody has removed the path */
    refused("is in use");
    listen_close(n);
    n = open_path();
    ck_assert_ptr_nonnull(n);
    listen_close(n);
}
END_TEST

START_TEST(symlink_is_refused)
{
    ck_assert_int_eq(symlink("/tmp/elsewhere", path), 0);
    refused("symbolic link");
}
END_TEST

START_TEST(file_is_refused)
{
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    refused("not a socket");
    ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(foreign_path_is_not_removed)
{
    struct listener *n = open_path();
    unlink(path);
    int other = bind_path();
    listen_close(n);
    ck_assert_int_eq(access(path, F_OK), 0);
    close(other);
}
END_TEST

START_TEST(missing_folder_is_named)
{
    snprintf(path, sizeof(path), "%s/no/sock", folder);
    refused("/no/sock: its folder does not exist: make it, or choose another path");
}
END_TEST

START_TEST(bad_specs_say_why)
{
    char far[200] = {0};
    for (size_t i = 0; i < sizeof(far) - 1; i++)
        far[i] = 'x';
    struct listen_spec spec = {.path = far, .mode = 0600, .fd = -1};
    ck_assert_ptr_null(listen_open(rig.loop, &spec, on_accept, NULL, &err));
    ck_assert_ptr_nonnull(strstr(err.texts[0], "107 bytes"));
    spec = (struct listen_spec){.path = path, .mode = 0600, .group = "no such group", .fd = -1};
    ck_assert_ptr_null(listen_open(rig.loop, &spec, on_accept, NULL, &err));
    ck_assert_ptr_nonnull(strstr(err.texts[1], "no such group"));
    ck_assert_int_eq(access(path, F_OK), -1);
    spec = (struct listen_spec){.host = "127.0.0.1", .port = "70000", .fd = -1};
    ck_assert_ptr_null(listen_open(rig.loop, &spec, on_accept, NULL, &err));
    spec = (struct listen_spec){.host = "192.0.2.1", .port = "0", .fd = -1};
    ck_assert_ptr_null(listen_open(rig.loop, &spec, on_accept, NULL, &err));
    spec = (struct listen_spec){.fd = 0};
    ck_assert_ptr_null(listen_open(rig.loop, &spec, on_accept, NULL, &err));
    ck_assert_uint_eq(err.count, 5);
}
END_TEST

struct dialled {
    int fd;
    bool done;
    char reason[256];
};

static void on_dial(void *arg, int fd, const char *reason)
{
    struct dialled *d = arg;
    ck_assert(!d->done);
    d->done = true;
    d->fd = fd;
    snprintf(d->reason, sizeof(d->reason), "%s", reason != NULL ? reason : "");
}

static struct dialled dial(const char *host, const char *port, int64_t timeout_ms)
{
    struct dialled d = {.fd = -1};
    dial_start(rig.loop, host, port, timeout_ms, on_dial, &d);
    ck_assert(!d.done);
    RIG_UNTIL(&rig, d.done);
    return d;
}

static const char *port_of(const struct listener *n)
{
    static char port[16];
    snprintf(port, sizeof(port), "%u", listen_port(n));
    return port;
}

START_TEST(tcp_is_accepted_by_address_and_name)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "LOCALHOST."};
    char expected[64];
    struct listener *n = open_tcp("127.0.0.1");
    ck_assert_ptr_nonnull(n);
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", listen_port(n));
    ck_assert_str_eq(listen_address(n), expected);
    for (int i = 0; i < 3; i++) {
        struct dialled d = dial(hosts[i], port_of(n), 5000);
        ck_assert_int_ge(d.fd, 0);
        ck_assert_int_ne(fcntl(d.fd, F_GETFL) & O_NONBLOCK, 0);
        RIG_UNTIL(&rig, accepted == i + 1);
        close(d.fd);
    }
    listen_close(n);
}
END_TEST

START_TEST(all_addresses_serve_both_families)
{
    struct listener *n = open_tcp("*");
    ck_assert_ptr_nonnull(n);
    struct dialled d = dial("127.0.0.1", port_of(n), 5000);
    ck_assert_int_ge(d.fd, 0);
    close(d.fd);
    if (listen_address(n)[0] == '[') {
        d = dial("::1", port_of(n), 5000);
        ck_assert_msg(d.fd >= 0, "%s", d.reason);
        close(d.fd);
        RIG_UNTIL(&rig, accepted == 2);
    }
    listen_close(n);
}
END_TEST

START_TEST(dial_tries_the_next_address)
{
    struct listener *n = open_tcp("::1"); /* localhost is 127.0.0.1 first */
    if (n == NULL)
        return;
    struct dialled d = dial("localhost", port_of(n), 5000);
    ck_assert_msg(d.fd >= 0, "%s", d.reason);
    close(d.fd);
    listen_close(n);
}
END_TEST

START_TEST(dial_refused)
{
    struct listener *n = open_tcp("127.0.0.1");
    char port[16];
    snprintf(port, sizeof(port), "%u", listen_port(n));
    listen_close(n);
    struct dialled d = dial("127.0.0.1", port, 5000);
    ck_assert_int_eq(d.fd, -1);
    ck_assert_int_eq(strncmp(d.reason, "127.0.0.1:", 10), 0);
    ck_assert_ptr_nonnull(strstr(d.reason, "Connection refused"));
}
END_TEST

START_TEST(dial_times_out)
{
    /* A listener whose backlog is full lets further callers wait. */
    int fds[2], more[4];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    char port[16];
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&a, size), 0);
    ck_assert_int_eq(listen(fds[0], 0), 0);
    getsockname(fds[0], (struct sockaddr *)&a, &size);
    for (int i = 0; i < 4; i++) {
        more[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(more[i], (struct sockaddr *)&a, size);
    }
    snprintf(port, sizeof(port), "%u", ntohs(a.sin_port));
    struct dialled d = dial("127.0.0.1", port, 150);
    ck_assert_int_eq(d.fd, -1);
    ck_assert_ptr_nonnull(strstr(d.reason, "no answer within 150ms"));
    for (int i = 0; i < 4; i++)
        close(more[i]);
    close(fds[0]);
}
END_TEST

START_TEST(dial_of_a_name_nobody_knows)
{
    struct dialled d = dial("nobody.invalid", "80", 400);
    ck_assert_int_eq(d.fd, -1);
    ck_assert_ptr_nonnull(strstr(d.reason, "cannot resolve \"nobody.invalid\""));
    d = dial("127.0.0.1", "65617", 400); /* would be 81 in 16 bits */
    ck_assert_int_eq(d.fd, -1);
    ck_assert_ptr_nonnull(strstr(d.reason, "port"));
    d = dial("127.0.0.1", "http-but-no-number", 400);
    ck_assert_int_eq(d.fd, -1);
    d = dial("", "80", 400);
    ck_assert_int_eq(d.fd, -1);
}
END_TEST

START_TEST(dial_cancelled_answers_never)
{
    struct dialled d = {.fd = -1};
    struct listener *n = open_tcp("127.0.0.1");
    dial_cancel(dial_start(rig.loop, "127.0.0.1", port_of(n), 1000, on_dial, &d));
    dial_cancel(dial_start(rig.loop, "nobody.invalid", "80", 1000, on_dial, &d));
    struct dial *started = dial_start(rig.loop, "127.0.0.1", port_of(n), 1000, on_dial, &d);
    loop_turn(rig.loop, false);
    if (!d.done)
        dial_cancel(started);
    rig_for(&rig, 50);
    ck_assert(!d.done);
    dial_cancel(NULL);
    listen_close(n);
}
END_TEST

START_TEST(descriptor_of_systemd_is_taken)
{
    int fd = bind_path();
    ck_assert_int_eq(listen(fd, 8), 0);
    struct listen_spec spec = {.path = path, .mode = 0600, .fd = fd};
    struct listener *n = listen_open(rig.loop, &spec, on_accept, NULL, &err);
    ck_assert_ptr_nonnull(n);
    ck_assert_str_eq(listen_address(n), path);
    int caller = connect_path();
    RIG_UNTIL(&rig, accepted == 1);
    close(caller);
    listen_close(n);
    ck_assert_int_eq(access(path, F_OK), 0); /* not ours to remove */
}
END_TEST

START_TEST(paused_listener_leaves_callers_in_the_backlog)
{
    struct listener *n = open_path();
    listen_pause(n, true);
    int fd = connect_path();
    rig_for(&rig, 20);
    ck_assert_int_eq(accepted, 0);
    listen_pause(n, false);
    RIG_UNTIL(&rig, accepted == 1);
    close(fd);
    listen_close(n);
}
END_TEST

static struct listener *closing;

static void close_on_accept(void *arg, int fd)
{
    on_accept(arg, fd);
    listen_close(closing);
}

START_TEST(closed_in_its_callback)
{
    struct listen_spec spec = {.path = path, .mode = 0600, .fd = -1};
    closing = listen_open(rig.loop, &spec, close_on_accept, NULL, &err);
    int one = connect_path(), two = connect_path();
    rig_for(&rig, 20);
    ck_assert_int_eq(accepted, 1);
    close(one);
    close(two);
}
END_TEST

START_TEST(out_of_descriptors_it_rests)
{
    struct rlimit limit, old;
    char c;
    int turns = 0;
    struct listener *n = open_path();
    int first = connect_path(), second = connect_path(), third = connect_path();
    getrlimit(RLIMIT_NOFILE, &old);
    int top = dup(0);
    close(top);
    limit = (struct rlimit){.rlim_cur = (rlim_t)top, .rlim_max = old.rlim_max};
    setrlimit(RLIMIT_NOFILE, &limit);
    int64_t end = clock_mono_ms() + 80;
    while (clock_mono_ms() < end) {
        timer_at(rig.tick, end);
        loop_turn(rig.loop, true);
        turns++;
    }
    ck_assert_int_eq(accepted, 0);
    ck_assert_int_le(turns, 5);                        /* no spinning */
    ck_assert_int_eq(recv(first, &c, 1, 0), 0);        /* turned away, not left waiting */
    setrlimit(RLIMIT_NOFILE, &old);
    RIG_UNTIL(&rig, accepted >= 1);                    /* and it goes on by itself */
    close(first);
    close(second);
    close(third);
    listen_close(n);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("listen");
    TCase *t = tcase_create("listen");
    const TTest *const tests[] = {
        path_is_made_served_and_removed, stale_path_is_replaced, live_path_is_refused,
        full_backlog_is_alive, two_of_us_are_refused_by_the_lock, symlink_is_refused,
        file_is_refused, missing_folder_is_named, foreign_path_is_not_removed, bad_specs_say_why,
        tcp_is_accepted_by_address_and_name, all_addresses_serve_both_families,
        dial_tries_the_next_address, dial_refused, dial_times_out, dial_of_a_name_nobody_knows,
        dial_cancelled_answers_never, descriptor_of_systemd_is_taken,
        paused_listener_leaves_callers_in_the_backlog, closed_in_its_callback,
        out_of_descriptors_it_rests,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
