/* durable: publishers that wait for every acknowledgement, CONNECTIONS x WINDOW unacknowledged, and on
 * demand one consumer that settles; see usage(). A message's body begins with its id: each must be
 * acknowledged once and, with a consumer, delivered once. */
#include "queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ID_DIGITS = 16, UNACKED = 1, UNSETTLED = 2 };

struct slot {
    int64_t sent_ns;
    uint64_t id;
    int waits;          /* for UNACKED, UNSETTLED; 0: free */
};

/* Ids run through all lanes: message n of lane l has the id n * lanes + l, and slot n % window. A lane
 * goes on when its oldest slot is free. */
struct lane {
    struct conn conn;
    uint64_t next, oldest;
    struct slot *slot;
};

struct books {
    const struct queue *queue;
    struct settings settings;
    long lanes, window, size, warm_ms, run_ms, count;
    bool consuming;
    struct watch watch;

    int epfd;
    struct lane *lane;
    struct conn consumer;
    char *body;
    int64_t turn_ns;
    uint64_t sent, acked, delivered, done;
    bool measuring, stopping;
    struct hist hist;
};

static void usage(void)
{
    errno = 0;
    die("usage: durable -m local|jetstream|redis|beanstalkd -a ADDRESS [-c CONNECTIONS] [-W WINDOW OF EACH]\n"
        "  [-s BODY BYTES] [-S: a consumer settles] [-w WARM-UP MS] [-d MEASURED MS] [-p PID TO WATCH]...\n"
        "  [-n COUNT: ends after so many, at most]");
}

static struct slot *slot_of(const struct books *b, uint64_t id)
{
    const struct lane *l = &b->lane[id % (uint64_t)b->lanes];
    struct slot *s = &l->slot[id / (uint64_t)b->lanes % (uint64_t)b->window];

    return s->id == id ? s : NULL;
}

/* What the slot of that id waits for comes to pass; a second time, or unasked, ends the program. */
static struct slot *fulfil(struct books *b, uint64_t id, int what)
{
    struct slot *s = slot_of(b, id);

    errno = 0;
    if (!s || !(s->waits & what))
        die("message %lu was %s, but did not wait for that", (unsigned long)id,
            what == UNACKED ? "acknowledged" : "delivered");
    s->waits &= ~what;
    b->done += s->waits == 0;
    return s;
}

void books_acked(struct books *b, struct conn *c, uint64_t id)
{
    struct lane *l = &b->lane[c->index];
    struct slot *s;

    errno = 0;
    if (id == 0)
        id = l->oldest * (uint64_t)b->lanes + c->index;
    if (id % (uint64_t)b->lanes != c->index)
        die("message %lu was acknowledged on another connection", (unsigned long)id);
    s = fulfil(b, id, UNACKED);
    b->acked++;
    if (b->measuring)
        hist_add(&b->hist, b->turn_ns - s->sent_ns);
    while (l->oldest < l->next && l->slot[l->oldest % (uint64_t)b->window].waits == 0)
        l->oldest++;
}

uint64_t books_delivered(struct books *b, const char *body, size_t len)
{
    const char *p = body;
    uint64_t id;

    errno = 0;
    if (len != (size_t)b->size)
        die("a message of %zu bytes instead of %ld", len, b->size);
    id = decimal(&p, body + ID_DIGITS);
    if (memcmp(body + ID_DIGITS, b->body + ID_DIGITS, len - ID_DIGITS) != 0)
        die("the body of message %lu is another", (unsigned long)id);
    fulfil(b, id, UNSETTLED);
    return ++b->delivered;
}

static void put(struct books *b, struct lane *l, struct slot *s)
{
    uint64_t id = l->next++ * (uint64_t)b->lanes + l->conn.index, rest = id;

    *s = (struct slot){ .sent_ns = b->turn_ns, .id = id, .waits = UNACKED | (b->consuming ? UNSETTLED : 0) };
    for (int i = ID_DIGITS; i > 0; rest /= 10)
        b->body[--i] = (char)('0' + rest % 10);
    b->queue->put(&l->conn, id, b->body, (size_t)b->size);
    b->sent++;
}

/* With a consumer, the oldest may have been settled since its acknowledgement. */
static void fill(struct books *b, struct lane *l)
{
    uint64_t window = (uint64_t)b->window;

    while (l->oldest < l->next && l->slot[l->oldest % window].waits == 0)
        l->oldest++;
    while (!b->stopping && l->next - l->oldest < window)
        put(b, l, &l->slot[l->next % window]);
    conn_flush(&l->conn);
}

static void turn(struct books *b)
{
    struct epoll_event ev[256];
    int n = epoll_wait(b->epfd, ev, 256, 5000);

    errno = 0;
    if (n == 0)
        die("nothing for 5 s; %lu sent, %lu acknowledged, %lu delivered", (unsigned long)b->sent,
            (unsigned long)b->acked, (unsigned long)b->delivered);
    b->turn_ns = now_ns();
    for (int i = 0; i < n; i++) {
        struct conn *c = ev[i].data.ptr;
        conn_take *take = c == &b->consumer ? b->queue->delivered : b->queue->acked;

        if ((ev[i].events & ~(uint32_t)EPOLLOUT) && !conn_read(c, take, b))
            die("the server has closed the connection");
        if (c == &b->consumer)
            conn_flush(c);
        else
            fill(b, &b->lane[c->index]);
    }
    if (b->consuming)
        fill(b, &b->lane[0]);
}

static void run_until(struct books *b, int64_t end_ns)
{
    while (now_ns() < end_ns && (b->count == 0 || b->done < (uint64_t)b->count))
        turn(b);
}

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (!p)
        die("out of memory");
    return p;
}

static void prepare(struct books *b)
{
    struct conn creator;

    b->body = zeroed((size_t)b->size, 1);
    for (long i = 0; i < b->size; i++)
        b->body[i] = (char)('a' + i % 26);
    b->epfd = net_epoll();
    if (b->queue->create) {
        b->queue->create(&creator, b->epfd, &b->settings);
        conn_close(&creator);
    }
    if (b->consuming)
        b->queue->consumer(&b->consumer, b->epfd, &b->settings);
    b->lane = zeroed((size_t)b->lanes, sizeof *b->lane);
    for (long i = 0; i < b->lanes; i++) {
        struct lane *l = &b->lane[i];

        l->slot = zeroed((size_t)b->window, sizeof *l->slot);
        l->next = l->oldest = 1;
        b->queue->publisher(&l->conn, b->epfd, &b->settings);
        l->conn.index = (unsigned)i;
    }
}

static void measure(struct books *b)
{
    uint64_t before;
    int64_t t0, ns;
    double n;

    run_until(b, now_ns() + b->warm_ms * 1000000);
    watch_start(&b->watch);
    before = b->done;
    b->measuring = true;
    t0 = now_ns();
    run_until(b, t0 + b->run_ms * 1000000);
    ns = now_ns() - t0;
    b->measuring = false;
    n = (double)(b->done - before);
    errno = 0;
    if (b->done == before)
        die("nothing done in the measured time");
    printf("{\"done\":%.0f,\"rate\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"seconds\":%.4f,", n,
           n * 1e9 / (double)ns, hist_us(&b->hist, .5), hist_us(&b->hist, .99), (double)ns / 1e9);
    watch_print(&b->watch, n);
    puts("}");
}

/* What is under way must end too: nothing may be lost at the last moment. */
static void drain(struct books *b)
{
    b->stopping = true;
    while (b->done < b->sent || buf_size(&b->consumer.out) > 0)
        turn(b);
}

static void options(struct books *b, int argc, char **argv)
{
    int o;

    while ((o = getopt(argc, argv, "m:a:c:W:s:Sw:d:p:n:")) != -1) {
        switch (o) {
        case 'm': b->queue = queue_find(optarg); break;
        case 'a': b->settings.address = optarg; break;
        case 'c': b->lanes = number(optarg, "-c", 1, 4096); break;
        case 'W': b->window = number(optarg, "-W", 1, 65535); break;
        case 's': b->size = number(optarg, "-s", ID_DIGITS, 65536); break;
        case 'S': b->consuming = true; break;
        case 'n': b->count = number(optarg, "-n", 1, 1000000000); break;
        case 'w': b->warm_ms = number(optarg, "-w", 0, 60000); break;
        case 'd': b->run_ms = number(optarg, "-d", 1, 600000); break;
        case 'p': watch_add(&b->watch, optarg); break;
        default: usage();
        }
    }
    if (!b->queue || !b->settings.address || optind != argc)
        usage();
    if (b->consuming && (b->lanes != 1 || !b->queue->consumer))
        usage();
    b->settings.credit = (unsigned)b->window;
}

int main(int argc, char **argv)
{
    static struct books b = { .lanes = 1, .window = 1, .size = 100, .warm_ms = 200, .run_ms = 1000,
                              .settings = { .subjects = 1 } };

    options(&b, argc, argv);
    prepare(&b);
    b.turn_ns = now_ns();
    for (long i = 0; i < b.lanes; i++)
        fill(&b, &b.lane[i]);
    measure(&b);
    drain(&b);
    return 0;
}
