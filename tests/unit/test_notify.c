/* What systemd is told, and what it hands over. */
#include <inttypes.h>
#include <sys/un.h>
#include <time.h>

#include "app/notify.h"
#include "base/buf.h"
#include "rig.h"

static char folder[] = "/tmp/test-notify-XXXXXX";
static char path[200];
static int fd;

static const char *const variables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                        "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES"};

static void set_up(void)
{
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        unsetenv(variables[i]);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void tear_down(void)
{
    close(fd);
    unlink(path);
    rmdir(folder);
}

/* As the service manager: listens where the variable says, which is text without its NUL. */
static void listen_at(const char *where)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(where);
    bytes_copy(a.sun_path, where, n);
    if (where[0] == '@')
        a.sun_path[0] = '\0';
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)), 0);
    setenv("NOTIFY_SOCKET", where, 1);
}

static const char *told(void)
{
    static char text[512];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? text : NULL;
}

START_TEST(the_manager_is_told_by_a_datagram)
{
    snprintf(path, sizeof(path), "%s/notify", folder);
    listen_at(path);
    notify_send("READY=1");
    notify_send("STOPPING=1\nSTATUS=draining");
    ck_assert_str_eq(told(), "READY=1");
    ck_assert_str_eq(told(), "STOPPING=1\nSTATUS=draining");
    ck_assert_ptr_null(told());
}
END_TEST

START_TEST(the_socket_may_be_abstract)
{
    char name[64];
    snprintf(name, sizeof(name), "@bellhop-test-%d", (int)getpid());
    listen_at(name);
    notify_send("WATCHDOG=1");
    ck_assert_str_eq(told(), "WATCHDOG=1");
}
END_TEST

START_TEST(the_path_may_be_as_long_as_an_address)
{
    int n = snprintf(path, sizeof(path), "%s/", folder);
    memset(path + n, 'n', (size_t)(107 - n));
    path[107] = '\0';
    listen_at(path);
    notify_send("READY=1");
    ck_assert_str_eq(told(), "READY=1");
    path[107] = 'n';
    path[108] = '\0';
    setenv("NOTIFY_SOCKET", path, 1);
    notify_send("READY=1"); /* cannot be: nothing happens, and nothing is cut */
    ck_assert_ptr_null(told());
    path[107] = '\0';
}
END_TEST

START_TEST(without_a_manager_nothing_happens)
{
    static const char *const none[] = {"", "/", "@", "relative", "vsock:2:1", "/nonexistent/notify", "/dev/null"};
    int before = dup(0);
    notify_send("READY=1");
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        setenv("NOTIFY_SOCKET", none[i], 1);
        notify_send("READY=1");
        notify_reloading();
    }
    int after = dup(0);
    ck_assert_int_eq(after, before + 1); /* no descriptor is left behind */
    close(before);
    close(after);
}
END_TEST

START_TEST(a_manager_that_does_not_read_holds_nobody_up)
{
    snprintf(path, sizeof(path), "%s/notify", folder);
    listen_at(path);
    alarm(10);
    for (int i = 0; i < 5000; i++)
        notify_send("WATCHDOG=1");
    ck_assert_str_eq(told(), "WATCHDOG=1");
}
END_TEST

START_TEST(a_reload_is_told_with_its_time)
{
    struct timespec now;
    uint64_t usec = 0;
    snprintf(path, sizeof(path), "%s/notify", folder);
    listen_at(path);
    clock_gettime(CLOCK_MONOTONIC, &now);
    notify_reloading();
    const char *text = told();
    ck_assert_int_eq(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%" SCNu64, &usec), 1);
    uint64_t before = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    ck_assert(usec >= before && usec < before + 5000000);
}
END_TEST

START_TEST(the_watchdog_is_fed_at_half_its_time)
{
    char pid[24];
    static const struct {
        const char *usec;
        int64_t ms;
    } table[] = {
        {"30000000", 15000}, {"3000000", 1500}, {"2000", 1}, {"1999", 0}, {"0", 0}, {"", 0}, {"-5", 0}, {"5s", 0},
        {"99999999999999999999999", 0},
    };
    ck_assert_int_eq(notify_watchdog_ms(), 0);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        setenv("WATCHDOG_USEC", table[i].usec, 1);
        ck_assert_int_eq(notify_watchdog_ms(), table[i].ms);
    }
    setenv("WATCHDOG_USEC", "2000000", 1);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    ck_assert_int_eq(notify_watchdog_ms(), 1000);
    setenv("WATCHDOG_PID", "1", 1); /* somebody else's */
    ck_assert_int_eq(notify_watchdog_ms(), 0);
    setenv("WATCHDOG_PID", "x", 1);
    ck_assert_int_eq(notify_watchdog_ms(), 0);
}
END_TEST

static const struct {
    const char *fds, *names, *wanted;
    int got;
} handed[] = {
    {NULL, NULL, "local", -1},
    {"0", "", "local", -1},
    {"1", NULL, "local", 3}, /* alone and without a name: the local socket */
    {"1", "", "local", 3},
    {"1", "bellhopd.socket", "local", 3}, /* the unit's own name, where FileDescriptorName is not set */
    {"1", "local", "local", 3},
    {"1", "edge", "local", -1},
    {"1", "edge", "edge", 3},
    {"1", NULL, "edge", -1},
    {"2", "bellhopd.socket:bellhopd.socket", "local", -1}, /* which of them? */
    {"3", "local:admin:edge", "local", 3},
    {"3", "local:admin:edge", "admin", 4},
    {"3", "local:admin:edge", "edge", 5},
    {"3", "local:admin:edge", "edg", -1},
    {"2", "local:admin:edge", "edge", -1}, /* beyond their number */
    {"3", "local", "edge", -1},
    {"3", "::edge", "edge", 5},
    {"65", "local", "local", -1}, /* not believed */
    {"x", "local", "local", -1},
    {"-1", "local", "local", -1},
    {"01", "local", "local", -1},
    {"18446744073709551617", "local", "local", -1},
};

START_TEST(descriptors_are_found_by_name)
{
    int keep[4];
    char pid[24];
    for (int i = 0; i < 4; i++) { /* so that 3, 4 and 5 are open, whatever they are */
        keep[i] = dup(0);
        ck_assert_int_eq(fcntl(keep[i], F_SETFD, 0), 0);
    }
    if (handed[_i].fds != NULL)
        setenv("LISTEN_FDS", handed[_i].fds, 1);
    if (handed[_i].names != NULL)
        setenv("LISTEN_FDNAMES", handed[_i].names, 1);
    ck_assert_int_eq(notify_listen_fd(handed[_i].wanted), handed[_i].got);
    if (handed[_i].got >= 0)
        ck_assert_int_eq(fcntl(handed[_i].got, F_GETFD), FD_CLOEXEC);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    ck_assert_int_eq(notify_listen_fd(handed[_i].wanted), handed[_i].got);
    setenv("LISTEN_PID", "1", 1); /* meant for another process */
    ck_assert_int_eq(notify_listen_fd(handed[_i].wanted), -1);
    for (int i = 0; i < 4; i++)
        close(keep[i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("notify");
    TCase *t = tcase_create("notify");
    const TTest *const tests[] = {
        the_manager_is_told_by_a_datagram, the_socket_may_be_abstract, the_path_may_be_as_long_as_an_address,
        without_a_manager_nothing_happens, a_manager_that_does_not_read_holds_nobody_up,
        a_reload_is_told_with_its_time, the_watchdog_is_fed_at_half_its_time,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, descriptors_are_found_by_name, 0, (int)(sizeof(handed) / sizeof(handed[0])));
    suite_add_tcase(s, t);
    return run_suite(s);
}
