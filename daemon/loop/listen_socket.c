#include "loop/listen_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#define BACKLOG 4096
#define LOCK_TRIES 10

/* The address a socket is bound to, as text. */
static void socket_describe(struct listen_socket *k)
{
    struct sockaddr_storage a = {0};
    const struct sockaddr_in *v4 = (const void *)&a;
    const struct sockaddr_in6 *v6 = (const void *)&a;
    const struct sockaddr_un *un = (const void *)&a;
    socklen_t size = sizeof(a);
    char host[INET6_ADDRSTRLEN] = "?";
    struct buf text = BUF_EMPTY;
    getsockname(k->fd, (struct sockaddr *)&a, &size);
    if (a.ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        k->port = ntohs(v4->sin_port);
        buf_printf(&text, "%s:%u", host, k->port);
    } else if (a.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        k->port = ntohs(v6->sin6_port);
        buf_printf(&text, "[%s]:%u", host, k->port);
    } else if (size > offsetof(struct sockaddr_un, sun_path)) {
        size_t n = size - offsetof(struct sockaddr_un, sun_path);
        buf_put(&text, un->sun_path, strnlen(un->sun_path, n));
    }
    k->address = buf_steal(&text);
}

static bool socket_adopt(struct listen_socket *k, int fd, struct err *err)
{
    int listening = 0, flags = fcntl(fd, F_GETFL);
    socklen_t size = sizeof(listening);
    if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || !listening)
        return err_add(err, "descriptor %d that was handed over is not a listening socket", fd);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    k->fd = fd;
    socket_describe(k);
    return true;
}

/* TCP. */

static struct addrinfo *tcp_resolve(const char *host, const char *port, int *rc)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
    *rc = getaddrinfo(host, port, &hints, &found);
    if (*rc != EAI_NONAME || host == NULL)
        return *rc == 0 ? found : NULL;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    *rc = getaddrinfo(host, port, &hints, &found);
    return *rc == 0 ? found : NULL;
}

static int tcp_bind(const struct addrinfo *a, bool dual)
{
    int on = 1, only6 = dual ? 0 : 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only6, sizeof(only6));
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static bool socket_open_tcp(struct listen_socket *k, const char *host, const char *port,
                            struct err *err)
{
    bool any = *host == '\0' || strcmp(host, "*") == 0;
    int rc, error = 0;
    uint64_t number;
    if (!str_parse_u64(str_of(port), &number) || number > UINT16_MAX) /* getaddrinfo cuts it */
        return err_add(err, "cannot listen on %s:%s: a port is a number from 0 to 65535", host, port);
    struct addrinfo *found = tcp_resolve(any ? "::" : host, port, &rc);
    if (found == NULL)
        return err_add(err, "cannot listen on %s:%s: %s", host, port, gai_strerror(rc));
    for (struct addrinfo *a = found; a != NULL && k->fd < 0; a = a->ai_next) {
        k->fd = tcp_bind(a, any);
        error = errno;
    }
    freeaddrinfo(found);
    if (k->fd < 0 && any && (error == EAFNOSUPPORT || error == EADDRNOTAVAIL))
        return socket_open_tcp(k, "0.0.0.0", port, err); /* a host without IPv6 */
    if (k->fd < 0)
        return err_add(err, "cannot listen on %s:%s: %s", host, port, strerror(error));
    socket_describe(k);
    return true;
}

/* Unix paths. */

/* The file may be removed by its last holder between our open and our lock: look again. */
static bool lock_take(struct listen_socket *k, const char *path, struct err *err)
{
    struct buf name = BUF_EMPTY;
    struct stat mine, there;
    buf_printf(&name, "%s.lock", path);
    k->lock_path = buf_steal(&name);
    for (int i = 0; i < LOCK_TRIES; i++) {
        int fd = open(k->lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 && errno == ENOENT)
            return err_add(err, "%s: its folder does not exist: make it, or choose another path", path);
        if (fd < 0)
            return err_add(err, "%s: %s", k->lock_path, strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            err_add(err, "%s: %s", path, errno == EWOULDBLOCK ? "is in use: another process listens there"
                                                              : strerror(errno));
            close(fd);
            return false;
        }
        if (fstat(fd, &mine) == 0 && lstat(k->lock_path, &there) == 0 &&
            mine.st_dev == there.st_dev && mine.st_ino == there.st_ino) {
            k->lock = fd;
            return true;
        }
        close(fd);
    }
    return err_add(err, "%s: somebody keeps removing it", k->lock_path);
}

/* 0 = somebody answers, else why not. */
static int path_probe(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int error = connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 ? 0 : errno;
    close(fd);
    return error == EAGAIN ? 0 : error; /* a full backlog is alive */
}

/* Makes room for the path, or says why it may not be taken. */
static bool path_clear(const struct sockaddr_un *a, struct err *err)
{
    const char *path = a->sun_path;
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT || err_add(err, "%s: %s", path, strerror(errno));
    if (S_ISLNK(st.st_mode))
        return err_add(err, "%s: is a symbolic link, refused", path);
    if (!S_ISSOCK(st.st_mode))
        return err_add(err, "%s: exists and is not a socket, refused", path);
    int error = path_probe(a);
    if (error == 0)
        return err_add(err, "%s: is in use: another process listens there", path);
    if (error != ECONNREFUSED && error != ENOENT)
        return err_add(err, "%s: exists and cannot be probed: %s", path, strerror(error));
    if (unlink(path) != 0 && errno != ENOENT)
        return err_add(err, "%s: stale, but cannot be removed: %s", path, strerror(errno));
    return true;
}

static bool path_grant(const char *path, unsigned mode, const char *group, struct err *err)
{
    struct group entry, *found = NULL;
    char text[4096];
    if (group != NULL) {
        getgrnam_r(group, &entry, text, sizeof(text), &found);
        if (found == NULL)
            return err_add(err, "%s: there is no group \"%s\"", path, group);
        if (lchown(path, (uid_t)-1, found->gr_gid) != 0)
            return err_add(err, "%s: cannot be given to group \"%s\": %s", path, group,
                           strerror(errno));
    }
    if (chmod(path, mode & 07777) != 0)
        return err_add(err, "%s: %s", path, strerror(errno));
    return true;
}

static bool path_bind(struct listen_socket *k, const struct sockaddr_un *a,
                      const struct listen_spec *spec, struct err *err)
{
    struct stat st;
    k->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* Linux takes the mode of the path from the socket: nobody gets in before path_grant(). */
    if (k->fd < 0 || fchmod(k->fd, 0600) != 0 ||
        bind(k->fd, (const struct sockaddr *)a, sizeof(*a)) != 0 || lstat(a->sun_path, &st) != 0)
        return err_add(err, "%s: %s", a->sun_path, strerror(errno));
    k->path = mem_strdup(a->sun_path);
    k->device = st.st_dev;
    k->inode = st.st_ino;
    if (!path_grant(a->sun_path, spec->mode, spec->group, err))
        return false;
    if (listen(k->fd, BACKLOG) != 0)
        return err_add(err, "%s: %s", a->sun_path, strerror(errno));
    k->address = mem_strdup(a->sun_path);
    return true;
}

static bool socket_open_unix(struct listen_socket *k, const struct listen_spec *spec, struct err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(spec->path);
    if (n == 0 || n >= sizeof(a.sun_path))
        return err_add(err, "%s: a socket path has 1 to %zu bytes", spec->path,
                       sizeof(a.sun_path) - 1);
    bytes_copy(a.sun_path, spec->path, n);
    return lock_take(k, spec->path, err) && path_clear(&a, err) && path_bind(k, &a, spec, err);
}

bool listen_socket_open(struct listen_socket *k, const struct listen_spec *spec, struct err *err)
{
    bool ok;
    *k = (struct listen_socket){.fd = -1, .lock = -1};
    if (spec->fd >= 0)
        ok = socket_adopt(k, spec->fd, err);
    else if (spec->host != NULL)
        ok = socket_open_tcp(k, spec->host, spec->port, err);
    else
        ok = socket_open_unix(k, spec, err);
    if (!ok)
        listen_socket_close(k);
    return ok;
}

void listen_socket_close(struct listen_socket *k)
{
    struct stat st;
    if (k->path != NULL && lstat(k->path, &st) == 0 && st.st_dev == k->device &&
        st.st_ino == k->inode)
        unlink(k->path);
    if (k->fd >= 0)
        close(k->fd);
    if (k->lock >= 0) {
        unlink(k->lock_path);
        close(k->lock);
    }
    mem_free(k->path);
    mem_free(k->lock_path);
    mem_free(k->address);
    *k = (struct listen_socket){.fd = -1, .lock = -1};
}
