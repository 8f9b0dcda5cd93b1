/* sink: the service `sink` on the local protocol that settles COUNT events and reports how fast they came; the first
 * fifth is the warm-up. See usage(). */
#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct run {
    const char *address;
    long credit, size, count;
    struct watch watch;
    uint64_t done, before;
    int64_t start_ns;
};

static void usage(void)
{
    errno = 0;
    die("usage: sink -a ADDRESS -n COUNT [-W CREDIT] [-s BODY BYTES] [-p PID TO WATCH]...");
}

static void settle(struct run *r, struct conn *c, const struct frame *f)
{
    errno = 0;
    if (f->body_len != (size_t)r->size)
        die("a message of %zu bytes instead of %ld", f->body_len, r->size);
    local_answer(&c->out, "OK", f->id, f->body, 0);
    if (++r->done == (uint64_t)r->count / 5) {
        watch_start(&r->watch);
        r->start_ns = now_ns();
        r->before = r->done;
    }
}

static size_t take(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    struct frame f;

    while (used < n && (len = local_parse(p + used, n - used, &f))) {
        errno = 0;
        if (local_is(&f, "ERR"))
            die("the daemon says: %.*s", (int)len, p + used);
        if (local_is(&f, "PUB"))
            settle(arg, c, &f);
        else if (local_is(&f, "PING"))
            local_answer(&c->out, "PONG", f.id, p, 0);
        used += len;
    }
    return used;
}

static void report(const struct run *r)
{
    double s = (double)(now_ns() - r->start_ns) / 1e9, n = (double)(r->done - r->before);

    printf("{\"done\":%.0f,\"rate\":%.1f,\"seconds\":%.4f,", n, n / s, s);
    watch_print(&r->watch, n);
    puts("}");
}

static void run(struct run *r)
{
    int epfd = net_epoll();
    struct epoll_event ev;
    struct conn c;

    local_attach(&c, epfd, r->address, "sink", (unsigned)r->credit);
    conn_take_rest(&c, take, r);
    conn_flush(&c);
    while (r->done < (uint64_t)r->count || buf_size(&c.out) > 0) {
        errno = 0;
        if (epoll_wait(epfd, &ev, 1, 10000) != 1)
            die("nothing for 10 s; %lu of %ld came", (unsigned long)r->done, r->count);
        if ((ev.events & ~(uint32_t)EPOLLOUT) && !conn_read(&c, take, r))
            die("the daemon has closed the connection");
        conn_flush(&c);
    }
    report(r);
}

static void options(struct run *r, int argc, char **argv)
{
    int o;

    while ((o = getopt(argc, argv, "a:n:W:s:p:")) != -1) {
        switch (o) {
        case 'a': r->address = optarg; break;
        case 'n': r->count = number(optarg, "-n", 5, 1000000000); break;
        case 'W': r->credit = number(optarg, "-W", 1, 65535); break;
        case 's': r->size = number(optarg, "-s", 0, 65536); break;
        case 'p': watch_add(&r->watch, optarg); break;
        default: usage();
        }
    }
    if (!r->address || !r->count || optind != argc)
        usage();
}

int main(int argc, char **argv)
{
    static struct run r = { .credit = 65535, .size = 100 };

    options(&r, argc, argv);
    run(&r);
    return 0;
}
