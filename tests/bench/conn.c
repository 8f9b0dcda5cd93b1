#include "conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
};

static char scratch[CONN_SCRATCH * 2];

static socklen_t address_parse(const char *text, union address *a)
{
    memset(a, 0, sizeof *a);
    if (strncmp(text, "tcp:", 4) == 0) {
        a->in.sin_family = AF_INET;
        a->in.sin_port = htons((uint16_t)number(text + 4, "port", 1, 65535));
        a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sizeof a->in;
    }
    if (strncmp(text, "unix:", 5) != 0 || strlen(text + 5) >= sizeof a->un.sun_path)
        die("%s is neither tcp:PORT nor unix:PATH", text);
    a->un.sun_family = AF_UNIX;
    strncpy(a->un.sun_path, text + 5, sizeof a->un.sun_path - 1);
    return sizeof a->un;
}

void net_tune(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on Unix sockets: fine */
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
}

int net_listen(const char *address)
{
    union address a;
    socklen_t len = address_parse(address, &a);
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a.any.sa_family == AF_UNIX)
        unlink(a.un.sun_path);
    if (fd < 0 || bind(fd, &a.any, len) < 0 || listen(fd, 4096) < 0)
        die("listen on %s", address);
    net_tune(fd);
    return fd;
}

int net_connect(const char *address)
{
    union address a;
    socklen_t len = address_parse(address, &a);
    int64_t until = now_ns() + 5000000000LL;

    for (;;) {
        int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0 && connect(fd, &a.any, len) == 0) {
            net_tune(fd);
            return fd;
        }
        if (fd < 0 || now_ns() > until)
            die("connect to %s", address);
        close(fd);
        usleep(2000);
    }
}

int net_epoll(void)
{
    int epfd = epoll_create1(EPOLL_CLOEXEC);

    if (epfd < 0)
        die("epoll_create1");
    return epfd;
}

static void conn_watch(struct conn *c, int op)
{
    struct epoll_event ev = { .events = EPOLLIN | (c->blocked ? EPOLLOUT : 0u), .data.ptr = c };

    if (epoll_ctl(c->epfd, op, c->fd, &ev) < 0)
        die("epoll_ctl");
}

void conn_open(struct conn *c, int epfd, int fd)
{
    *c = (struct conn){ .fd = fd, .epfd = epfd };
    conn_watch(c, EPOLL_CTL_ADD);
}

void conn_close(struct conn *c)
{
    close(c->fd);
    free(c->rest.data);
    free(c->out.data);
    *c = (struct conn){ .fd = -1 };
}

bool conn_read(struct conn *c, conn_take *take, void *arg)
{
    size_t had = buf_size(&c->rest), used;
    ssize_t n;

    if (had > CONN_SCRATCH)
        die("a frame of more than %d bytes", CONN_SCRATCH);
    if (had)
        memcpy(scratch, c->rest.data + c->rest.off, had);
    n = read(c->fd, scratch + had, CONN_SCRATCH);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    used = take(arg, c, scratch, had + (size_t)n);
    if (c->fd < 0)
        return true;
    buf_drop(&c->rest, had);
    buf_add(&c->rest, scratch + used, had + (size_t)n - used);
    return true;
}

void conn_take_rest(struct conn *c, conn_take *take, void *arg)
{
    size_t n = buf_size(&c->rest);

    if (n > 0)
        buf_drop(&c->rest, take(arg, c, c->rest.data + c->rest.off, n));
}

void conn_flush(struct conn *c)
{
    bool was = c->blocked;
    size_t size = buf_size(&c->out);
    ssize_t n;

    c->dirty = false;
    if (size == 0 && !was)
        return;
    n = size ? send(c->fd, c->out.data + c->out.off, size, MSG_NOSIGNAL) : 0;
    if (n < 0 && errno != EAGAIN)
        n = (ssize_t)size; /* the peer is gone: reading will tell */
    if (n > 0)
        buf_drop(&c->out, (size_t)n);
    c->blocked = buf_size(&c->out) > 0;
    if (c->blocked != was)
        conn_watch(c, EPOLL_CTL_MOD);
}

static void accept_one(int listener, int epfd)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct conn *c;

    if (fd < 0)
        return;
    net_tune(fd);
    c = calloc(1, sizeof *c);
    if (!c)
        die("out of memory");
    conn_open(c, epfd, fd);
}

void serve(int listener, struct conn *first, int epfd, conn_take *take)
{
    struct conn door = { .fd = listener };
    struct epoll_event ev[256];

    if (listener >= 0)
        conn_open(&door, epfd, listener);
    for (;;) {
        int n = epoll_wait(epfd, ev, 256, -1);

        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;

            if (c == &door) {
                accept_one(listener, epfd);
                continue;
            }
            if (!conn_read(c, take, NULL)) {
                conn_close(c);
                if (c == first)
                    return;
                free(c);
                continue;
            }
            conn_flush(c);
        }
    }
}
