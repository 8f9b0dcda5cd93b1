/* relay-mux LISTEN BACKEND: frames of all clients on one backend connection, told apart by mux.h;
 * one write to the backend and one to each answered client per turn. */
#include "mux.h"
#include "nest.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { CLIENTS = 4096 };

struct relay {
    int epfd;
    struct conn door, backend;
    struct conn client[CLIENTS];
    struct conn *dirty[CLIENTS];
    size_t dirties;
};

static size_t client_take(void *arg, struct conn *c, const char *p, size_t n)
{
    struct relay *r = arg;
    size_t used = 0, len;
    const char *json;

    while (used < n && (len = nest_frame(p + used, n - used, &json))) {
        struct mux_head head = { .id = c->index, .len = (uint32_t)len };

        buf_add(&r->backend.out, &head, sizeof head);
        buf_add(&r->backend.out, p + used, len);
        used += len;
    }
    return used;
}

static void client_send(struct relay *r, struct conn *c, const char *frame, size_t len)
{
    if (c->fd < 0)
        return;
    buf_add(&c->out, frame, len);
    if (!c->dirty)
        r->dirty[r->dirties++] = c;
    c->dirty = true;
}

static size_t backend_take(void *arg, struct conn *c, const char *p, size_t n)
{
    struct relay *r = arg;
    struct mux_head head;
    size_t used = 0;

    (void)c;
    while (n - used >= sizeof head) {
        memcpy(&head, p + used, sizeof head);
        if (n - used - sizeof head < head.len)
            break;
        client_send(r, &r->client[head.id], p + used + sizeof head, head.len);
        used += sizeof head + head.len;
    }
    return used;
}

static void client_open(struct relay *r)
{
    int fd = accept4(r->door.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    unsigned i = 0;

    if (fd < 0)
        return;
    while (i < CLIENTS && r->client[i].fd >= 0)
        i++;
    if (i == CLIENTS)
        die("more than %d clients", CLIENTS);
    net_tune(fd);
    conn_open(&r->client[i], r->epfd, fd);
    r->client[i].index = i;
}

static void event(struct relay *r, struct conn *c, uint32_t events)
{
    if (c == &r->door) {
        client_open(r);
        return;
    }
    if (events & EPOLLOUT)
        conn_flush(c);
    if (!(events & ~(uint32_t)EPOLLOUT))
        return;
    if (c == &r->backend) {
        if (!conn_read(c, backend_take, r))
            die("the backend has closed");
    } else if (!conn_read(c, client_take, r)) {
        conn_close(c);
    }
}

int main(int argc, char **argv)
{
    static struct relay r;
    struct epoll_event ev[256];

    errno = 0;
    if (argc != 3)
        die("usage: relay-mux LISTEN BACKEND");
    for (size_t i = 0; i < CLIENTS; i++)
        r.client[i].fd = -1;
    r.epfd = net_epoll();
    conn_open(&r.backend, r.epfd, net_connect(argv[2]));
    conn_open(&r.door, r.epfd, net_listen(argv[1]));
    for (;;) {
        int n = epoll_wait(r.epfd, ev, 256, -1);

        for (int i = 0; i < n; i++)
            event(&r, ev[i].data.ptr, ev[i].events);
        conn_flush(&r.backend);
        for (size_t i = 0; i < r.dirties; i++)
            if (r.dirty[i]->fd >= 0)
                conn_flush(r.dirty[i]);
        r.dirties = 0;
    }
}
