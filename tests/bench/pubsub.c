/* pubsub: one publisher and one subscriber in one thread, at most WINDOW messages undelivered; see
 * usage(). Messages are made once: sending is a copy and one write per turn. */
#include "dialect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

struct run {
    const struct dialect *dialect;
    struct settings settings;
    struct tally tally;
    long window, size, warm_ms, run_ms;
    struct watch watch;

    int epfd;
    struct conn publisher, subscriber;
    struct buf block;       /* `count` messages, subjects in turn */
    size_t *start;          /* where each begins; start[count] is the end */
    size_t count, next;
    uint64_t sent;
    bool stopping;
};

static void usage(void)
{
    errno = 0;
    die("usage: pubsub -m local|nats|redis -a ADDRESS [-W WINDOW] [-n SUBJECTS] [-s BODY BYTES]\n"
        "  [-w WARM-UP MS] [-d MEASURED MS] [-p PID TO WATCH]... [-S: by SUB, not as a service]");
}

static void prepare(struct run *r)
{
    struct buf body = { 0 };

    r->count = (256 + r->settings.subjects - 1) / r->settings.subjects * r->settings.subjects;
    r->start = calloc(r->count + 1, sizeof *r->start);
    if (!r->start)
        die("out of memory");
    for (long i = 0; i < r->size; i++)
        buf_add(&body, &"abcdefghijklmnopqrstuvwxyz"[i % 26], 1);
    for (size_t i = 0; i < r->count; i++) {
        r->dialect->message(&r->block, i % r->settings.subjects, body.data, body.len);
        r->start[i + 1] = r->block.len;
    }
    free(body.data);
    r->tally.body_len = (size_t)r->size;
    r->epfd = net_epoll();
    r->dialect->subscriber(&r->subscriber, r->epfd, &r->settings);
    r->dialect->publisher(&r->publisher, r->epfd, &r->settings);
}

/* Adds messages up to the window or to CHUNK bytes of output. */
static void fill(struct run *r)
{
    size_t room = (size_t)r->window - (size_t)(r->sent - r->tally.delivered), n;

    while (room > 0 && buf_size(&r->publisher.out) < CHUNK) {
        n = r->count - r->next < room ? r->count - r->next : room;
        buf_add(&r->publisher.out, r->block.data + r->start[r->next],
                r->start[r->next + n] - r->start[r->next]);
        r->sent += n;
        room -= n;
        r->next = (r->next + n) % r->count;
    }
}

static void publish(struct run *r)
{
    while (!r->stopping && !r->publisher.blocked &&
           r->sent - r->tally.delivered < (uint64_t)r->window) {
        fill(r);
        conn_flush(&r->publisher);
    }
}

static void turn(struct run *r)
{
    struct epoll_event ev[4];
    int n = epoll_wait(r->epfd, ev, 4, 5000);

    errno = 0;
    if (n == 0)
        die("nothing delivered for 5 s, %ld undelivered", (long)(r->sent - r->tally.delivered));
    for (int i = 0; i < n; i++) {
        struct conn *c = ev[i].data.ptr;
        conn_take *take = c == &r->subscriber ? r->dialect->delivered : r->dialect->answered;

        if ((ev[i].events & ~(uint32_t)EPOLLOUT) && !conn_read(c, take, &r->tally))
            die("the server has closed the connection");
        conn_flush(c);
    }
    publish(r);
}

/* What is under way is waited for and answered: the next run must not get it. */
static void drain(struct run *r)
{
    r->stopping = true;
    while (r->tally.delivered < r->sent || buf_size(&r->subscriber.out) > 0)
        turn(r);
}

static void run_until(struct run *r, int64_t end_ns)
{
    while (now_ns() < end_ns)
        turn(r);
}

static void measure(struct run *r)
{
    int64_t t0, ns;
    uint64_t before;
    double n;

    run_until(r, now_ns() + r->warm_ms * 1000000);
    watch_start(&r->watch);
    before = r->tally.delivered;
    t0 = now_ns();
    run_until(r, t0 + r->run_ms * 1000000);
    ns = now_ns() - t0;
    n = (double)(r->tally.delivered - before);
    errno = 0;
    if (r->tally.delivered == before)
        die("nothing delivered in the measured time");
    printf("{\"done\":%.0f,\"rate\":%.1f,\"seconds\":%.4f,", n, n * 1e9 / (double)ns, (double)ns / 1e9);
    watch_print(&r->watch, n);
    puts("}");
}

static void options(struct run *r, int argc, char **argv)
{
    int o;

    while ((o = getopt(argc, argv, "m:a:W:n:s:w:d:p:S")) != -1) {
        switch (o) {
        case 'm': r->dialect = dialect_find(optarg); break;
        case 'a': r->settings.address = optarg; break;
        case 'W': r->window = number(optarg, "-W", 1, 65535); break;
        case 'n': r->settings.subjects = (size_t)number(optarg, "-n", 1, 100000); break;
        case 's': r->size = number(optarg, "-s", 1, 65536); break;
        case 'w': r->warm_ms = number(optarg, "-w", 0, 60000); break;
        case 'd': r->run_ms = number(optarg, "-d", 1, 600000); break;
        case 'S': r->settings.by_sub = true; break;
        case 'p': watch_add(&r->watch, optarg); break;
        default: usage();
        }
    }
    if (!r->dialect || !r->settings.address || optind != argc)
        usage();
}

int main(int argc, char **argv)
{
    static struct run r = { .window = 64, .size = 100, .warm_ms = 200, .run_ms = 1000,
                            .settings = { .subjects = 1, .credit = 65535 } };

    options(&r, argc, argv);
    prepare(&r);
    publish(&r);
    measure(&r);
    drain(&r);
    return 0;
}
