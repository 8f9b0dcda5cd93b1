#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#include "base/clock.h"
#include "base/mem.h"

#define GREETING_MS 5000

const char *cli_socket(const struct cli *cli)
{
    const char *env = getenv("BELLHOP_SOCKET");
    if (cli->socket != NULL)
        return cli->socket;
    return env != NULL && env[0] != '\0' ? env : SOCKET_DEFAULT;
}

/* admin.sock in the folder of `path`. */
static char *admin_beside(const char *path)
{
    struct buf out = BUF_EMPTY;
    const char *slash = strrchr(path, '/');
    buf_put(&out, path, slash != NULL ? (size_t)(slash + 1 - path) : 0);
    buf_puts(&out, "admin.sock");
    return buf_steal(&out);
}

/* -s may also name the service socket by its usual name: the admin socket beside it is meant. */
static char *admin_given(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    char *beside = admin_beside(path);
    if (strcmp(name, "bellhop.sock") == 0 && access(beside, F_OK) == 0)
        return beside;
    mem_free(beside);
    return mem_strdup(path);
}

char *cli_admin_socket(const struct cli *cli)
{
    const char *admin = getenv("BELLHOP_ADMIN_SOCKET");
    const char *service = getenv("BELLHOP_SOCKET");
    if (cli->socket != NULL)
        return admin_given(cli->socket);
    if (admin != NULL && admin[0] != '\0')
        return mem_strdup(admin);
    return service != NULL && service[0] != '\0' ? admin_beside(service) : mem_strdup(ADMIN_DEFAULT);
}

static const char *way_in(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & S_IWGRP) == 0)
        return "only its owner may use it: be that user, or root";
    return "join the group that owns the socket, or run as root";
}

static void connect_failed(const struct cli *cli, const char *path, int rc)
{
    if (rc == -ENOENT || rc == -ECONNREFUSED)
        cli_fail(cli, "no daemon listens on %s: start it with `bellhopd -c FILE`, or name its socket with -s",
                 path);
    else if (rc == -EACCES)
        cli_fail(cli, "%s: permission denied: %s", path, way_in(path));
    else
        cli_fail(cli, "%s: %s", path, strerror(-rc));
}

/* Waits for HELLO: limits.body and refusals are known after it. */
static bool greeted(struct cli *cli, struct bellhop *b, const char *path, const char *name)
{
    int64_t end = clock_mono_ms() + GREETING_MS;
    while (!bellhop_is_ready(b)) {
        int64_t left = end - clock_mono_ms();
        if (left > 0 && cli_turn(cli, b, (int)left))
            continue;
        if (left > 0)
            cli_fail(cli, "%s, as “%s”: %s", path, name, bellhop_reason(b));
        else
            cli_fail(cli, "%s: whoever listens there does not answer as bellhopd does", path);
        return false;
    }
    return true;
}

struct bellhop *cli_attach_path(struct cli *cli, const char *path, const char *name,
                                const struct bellhop_handlers *on, void *user)
{
    struct bellhop *b = bellhop_new(name, on, user);
    if (b == NULL) {
        cli_fail(cli, "“%s” cannot be a name: 1 to 1024 bytes of UTF-8 without control characters", name);
        return NULL;
    }
    bool set = cli->settings == NULL || cli->settings(cli, b, user);
    int rc = set ? bellhop_connect(b, path) : 0;
    if (set && rc == 0 && greeted(cli, b, path, name))
        return b;
    if (rc != 0)
        connect_failed(cli, path, rc);
    bellhop_free(b);
    return NULL;
}

struct bellhop *cli_attach(struct cli *cli, const char *name, const struct bellhop_handlers *on,
                           void *user)
{
    return cli_attach_path(cli, cli_socket(cli), name, on, user);
}

void cli_signals(struct cli *cli)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    cli->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int shorter(int a, int b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

int cli_lost(const struct cli *cli, const struct bellhop *b)
{
    return cli_fail(cli, "the connection ended: %s", bellhop_reason(b));
}

bool cli_turn(struct cli *cli, struct bellhop *b, int timeout_ms)
{
    bellhop_flush(b);
    struct pollfd fds[2] = {
        { .fd = bellhop_fd(b), .events = bellhop_events(b) }, /* poll() passes over -1 */
        { .fd = cli->signals, .events = POLLIN },
    };
    if (poll(fds, 2, shorter(timeout_ms, bellhop_timeout(b))) < 0)
        return errno == EINTR;
    struct signalfd_siginfo info;
    if (fds[1].revents != 0 && read(cli->signals, &info, sizeof info) > 0) {
        cli->interrupted = true;
        return false;
    }
    return bellhop_process(b, fds[0].revents) == 0;
}
