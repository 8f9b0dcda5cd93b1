#include "app/notify.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

#define LISTEN_FDS_START 3

void notify_send(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = path != NULL ? strlen(path) : 0;
    if (n < 2 || n >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    bytes_copy(to.sun_path, path, n);
    if (path[0] == '@')
        to.sun_path[0] = '\0'; /* abstract namespace: unix(7) */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    close(fd);
}

void notify_reloading(void)
{
    struct timespec now;
    char text[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    notify_send(text);
}

static bool env_number(const char *name, uint64_t *out)
{
    const char *text = getenv(name);
    return text != NULL && str_parse_u64(str_of(text), out);
}

/* For this process, unless the variable of the pid names another one. */
static bool is_for_us(const char *pid_name)
{
    uint64_t pid;
    return getenv(pid_name) == NULL || (env_number(pid_name, &pid) && pid == (uint64_t)getpid());
}

int64_t notify_watchdog_ms(void)
{
    uint64_t usec;
    if (!env_number("WATCHDOG_USEC", &usec) || !is_for_us("WATCHDOG_PID") || usec < 2000)
        return 0;
    return (int64_t)(usec / 2000);
}

int notify_listen_fd(const char *name)
{
    uint64_t count;
    const char *names = getenv("LISTEN_FDNAMES");
    struct str rest = str_of(names != NULL ? names : "");
    if (!env_number("LISTEN_FDS", &count) || !is_for_us("LISTEN_PID") || count > 64)
        return -1;
    for (int i = 0; i < (int)count; i++) {
        struct str one = str_cut(&rest, ':');
        bool alone = count == 1 && strcmp(name, "local") == 0 && (one.n == 0 || str_is(one, "bellhopd.socket"));
        if (!str_is(one, name) && !alone)
            continue;
        fcntl(LISTEN_FDS_START + i, F_SETFD, FD_CLOEXEC);
        return LISTEN_FDS_START + i;
    }
    return -1;
}
