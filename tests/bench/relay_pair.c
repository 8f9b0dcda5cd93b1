/* relay-pair LISTEN BACKEND: one backend connection per client, bytes copied and not looked at. */
#include "conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct half {
    struct conn conn; /* first: epoll's pointer is the half's as well */
    struct half *other;
};

static size_t copy(void *arg, struct conn *c, const char *p, size_t n)
{
    struct half *h = (struct half *)c;
    ssize_t sent = 0;

    (void)arg;
    if (buf_size(&h->other->conn.out) == 0)
        sent = send(h->other->conn.fd, p, n, MSG_NOSIGNAL);
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < n) {
        buf_add(&h->other->conn.out, p + sent, n - (size_t)sent);
        conn_flush(&h->other->conn);
    }
    return n;
}

static struct half *half_new(int epfd, int fd)
{
    struct half *h = calloc(1, sizeof *h);

    if (!h)
        die("out of memory");
    conn_open(&h->conn, epfd, fd);
    return h;
}

static void pair_open(int epfd, int listener, const char *backend)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct half *client, *service;

    if (fd < 0)
        return;
    net_tune(fd);
    client = half_new(epfd, fd);
    service = half_new(epfd, net_connect(backend));
    client->other = service;
    service->other = client;
}

/* The other half may still be in this turn's list of events: closed now, freed never. A client
 * comes once in the life of a relay of the bench. */
static void pair_close(struct half *h)
{
    conn_close(&h->other->conn);
    conn_close(&h->conn);
}

int main(int argc, char **argv)
{
    struct epoll_event ev[256];
    struct conn door;
    int epfd = net_epoll();

    errno = 0;
    if (argc != 3)
        die("usage: relay-pair LISTEN BACKEND");
    conn_open(&door, epfd, net_listen(argv[1]));
    for (;;) {
        int n = epoll_wait(epfd, ev, 256, -1);

        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;

            if (c == &door)
                pair_open(epfd, door.fd, argv[2]);
            else if (c->fd >= 0 && (ev[i].events & EPOLLOUT))
                conn_flush(c);
            if (c != &door && c->fd >= 0 && (ev[i].events & ~(uint32_t)EPOLLOUT) &&
                !conn_read(c, copy, NULL))
                pair_close((struct half *)c);
        }
    }
}
