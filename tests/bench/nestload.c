/* nestload: closed- or open-loop load in NestJS framing; see usage(). Every reply is checked: its
 * id, its data, its last-packet mark. One read and one write per connection and turn. */
#include "nest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { SLOT_DIGITS = 4, SEQ_DIGITS = 8 };

struct slot {
    int64_t sent_ns;
    uint32_t seq;
    bool busy;
};

struct load {
    const char *address;
    long conns, in_flight, size, warm_ms, run_ms, rate;
    struct watch watch;

    int epfd;
    struct conn *conn;
    struct slot *slot; /* per_conn of each connection, one after the other */
    size_t per_conn;
    struct buf request, reply; /* the texts around the id */
    uint32_t seq;
    int64_t turn_ns;
    uint64_t done;
    bool measuring;
    struct hist hist;
};

static void usage(void)
{
    errno = 0;
    die("usage: nestload -a ADDRESS [-c CONNECTIONS] [-f TOTAL IN FLIGHT] [-s BYTES OF DATA]\n"
        "  [-w WARM-UP MS] [-d MEASURED MS] [-p PID TO WATCH]... [-r REQUESTS/S: open loop]");
}

static void hex(char *to, uint32_t v, int digits)
{
    for (; digits > 0; v >>= 4)
        to[--digits] = "0123456789abcdef"[v & 15];
}

static uint32_t unhex(const char *from, int digits)
{
    uint32_t v = 0;

    for (int i = 0; i < digits; i++)
        v = v << 4 | (uint32_t)(from[i] <= '9' ? from[i] - '0' : from[i] - 'a' + 10);
    return v;
}

/* An id: slot, sequence number, connection; 21 digits as NestJS makes them. */
static void send_one(struct load *l, struct conn *c, size_t slot)
{
    struct slot *s = &l->slot[c->index * l->per_conn + slot];
    char id[NEST_ID];

    s->seq = ++l->seq;
    s->sent_ns = l->turn_ns;
    s->busy = true;
    hex(id, (uint32_t)slot, SLOT_DIGITS);
    hex(id + SLOT_DIGITS, s->seq, SEQ_DIGITS);
    hex(id + SLOT_DIGITS + SEQ_DIGITS, c->index, NEST_ID - SLOT_DIGITS - SEQ_DIGITS);
    buf_add(&c->out, l->request.data, l->request.len);
    buf_add(&c->out, id, NEST_ID);
    buf_add(&c->out, "\"}", 2);
}

static void wrong(const char *what, const char *p, size_t n)
{
    errno = 0;
    die("%s in reply: %.*s", what, (int)(n > 400 ? 400 : n), p);
}

/* Where the 21 digits of the id are. A reply in NestJS's own order is compared as a whole; another
 * order is searched. */
static const char *reply_id(const struct load *l, const char *json, size_t n)
{
    static const char key[] = "\"id\":\"", last[] = "\"isDisposed\":true";
    const char *id;

    if (n == l->reply.len + NEST_ID + 2 && memcmp(json, l->reply.data, l->reply.len) == 0)
        return json + l->reply.len;
    id = memmem(json, n, key, sizeof key - 1);
    if (!id || (size_t)(json + n - id) < sizeof key - 1 + NEST_ID)
        wrong("no id", json, n);
    if (!memmem(json, n, last, sizeof last - 1))
        wrong("no isDisposed", json, n);
    if (!memmem(json, n, l->reply.data + 1, (size_t)l->size + strlen("\"response\":\"\"")))
        wrong("other data", json, n);
    return id + sizeof key - 1;
}

static size_t check(struct load *l, struct conn *c, const char *json, size_t n)
{
    const char *id = reply_id(l, json, n);
    uint32_t slot = unhex(id, SLOT_DIGITS);
    struct slot *s;

    if (slot >= l->per_conn)
        wrong("unknown id", json, n);
    s = &l->slot[c->index * l->per_conn + slot];
    if (!s->busy || s->seq != unhex(id + SLOT_DIGITS, SEQ_DIGITS))
        wrong("id not in flight", json, n);
    s->busy = false;
    if (l->measuring) {
        hist_add(&l->hist, l->turn_ns - s->sent_ns);
        l->done++;
    }
    return slot;
}

static size_t take(void *arg, struct conn *c, const char *p, size_t n)
{
    struct load *l = arg;
    size_t used = 0, len, slot;
    const char *json;

    l->turn_ns = now_ns();
    while (used < n && (len = nest_frame(p + used, n - used, &json))) {
        slot = check(l, c, json, (size_t)(p + used + len - json));
        if (!l->rate)
            send_one(l, c, slot);
        used += len;
    }
    return used;
}

/* Open loop: what the timer says is due, one connection after the other. */
static void send_due(struct load *l, int timer)
{
    uint64_t due = 0;

    if (read(timer, &due, sizeof due) != sizeof due)
        return;
    l->turn_ns = now_ns();
    for (; due > 0; due--) {
        struct conn *c = &l->conn[l->seq % (uint32_t)l->conns];
        struct slot *s = &l->slot[c->index * l->per_conn];
        size_t i = 0;

        while (i < l->per_conn && s[i].busy)
            i++;
        if (i == l->per_conn)
            wrong("the rate is not reached: nothing", "", 0);
        send_one(l, c, i);
        conn_flush(c);
    }
}

static void turn(struct load *l, int timer)
{
    struct epoll_event ev[256];
    int n = epoll_wait(l->epfd, ev, 256, 5000);

    errno = 0;
    if (n == 0)
        die("no reply for 5 s");
    for (int i = 0; i < n; i++) {
        struct conn *c = ev[i].data.ptr;

        if (!c) {
            send_due(l, timer);
            continue;
        }
        if (!conn_read(c, take, l))
            die("the server has closed the connection");
        conn_flush(c);
    }
}

static void run_until(struct load *l, int64_t end_ns, int timer)
{
    while (now_ns() < end_ns)
        turn(l, timer);
}

static int timer_start(struct load *l)
{
    struct timespec every = { .tv_nsec = 1000000000L / (l->rate ? l->rate : 1) };
    struct itimerspec t = { .it_interval = every, .it_value = every };
    struct epoll_event ev = { .events = EPOLLIN };
    int fd;

    if (!l->rate)
        return -1;
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0 || timerfd_settime(fd, 0, &t, NULL) < 0 ||
        epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
        die("timerfd");
    return fd;
}

static void prepare(struct load *l)
{
    static const char pattern[] = "{\"pattern\":{\"cmd\":\"echo\"},\"data\":\"";
    static const char id[] = "\",\"id\":\"";
    struct buf data = { 0 };

    l->per_conn = (size_t)((l->in_flight + l->conns - 1) / l->conns);
    if (l->rate)
        l->per_conn = 4096;
    for (long i = 0; i < l->size; i++)
        buf_add(&data, &"abcdefghijklmnopqrstuvwxyz"[i % 26], 1);
    buf_printf(&l->request, "%zu#%s", strlen(pattern) + data.len + strlen(id) + NEST_ID + 2,
               pattern);
    buf_add(&l->request, data.data, data.len);
    buf_text(&l->request, id);
    buf_text(&l->reply, "{\"response\":\"");
    buf_add(&l->reply, data.data, data.len);
    buf_text(&l->reply, "\",\"isDisposed\":true,\"id\":\"");
    free(data.data);
    l->epfd = net_epoll();
    l->conn = calloc((size_t)l->conns, sizeof *l->conn);
    l->slot = calloc((size_t)l->conns * l->per_conn, sizeof *l->slot);
    if (!l->conn || !l->slot)
        die("out of memory");
    for (long i = 0; i < l->conns; i++) {
        conn_open(&l->conn[i], l->epfd, net_connect(l->address));
        l->conn[i].index = (unsigned)i;
    }
}

static void start(struct load *l)
{
    l->turn_ns = now_ns();
    for (long i = 0; i < l->in_flight && !l->rate; i++)
        send_one(l, &l->conn[i % l->conns], (size_t)(i / l->conns));
    for (long i = 0; i < l->conns; i++)
        conn_flush(&l->conn[i]);
}

static void measure(struct load *l, int timer)
{
    int64_t t0, ns;
    double n;

    run_until(l, now_ns() + l->warm_ms * 1000000, timer);
    watch_start(&l->watch);
    l->measuring = true;
    t0 = now_ns();
    run_until(l, t0 + l->run_ms * 1000000, timer);
    ns = now_ns() - t0;
    errno = 0;
    if (l->done == 0)
        die("no reply in the measured time");
    n = (double)l->done;
    printf("{\"done\":%.0f,\"rate\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,", n,
           n * 1e9 / (double)ns, hist_us(&l->hist, .5), hist_us(&l->hist, .99));
    printf("\"seconds\":%.4f,", (double)ns / 1e9);
    watch_print(&l->watch, n);
    puts("}");
}

static void options(struct load *l, int argc, char **argv)
{
    int o;

    while ((o = getopt(argc, argv, "a:c:f:s:w:d:r:p:")) != -1) {
        switch (o) {
        case 'a': l->address = optarg; break;
        case 'c': l->conns = number(optarg, "-c", 1, 4096); break;
        case 'f': l->in_flight = number(optarg, "-f", 1, 1 << 20); break;
        case 's': l->size = number(optarg, "-s", 1, 65536); break;
        case 'w': l->warm_ms = number(optarg, "-w", 0, 60000); break;
        case 'd': l->run_ms = number(optarg, "-d", 1, 600000); break;
        case 'r': l->rate = number(optarg, "-r", 1, 1000000); break;
        case 'p': watch_add(&l->watch, optarg); break;
        default: usage();
        }
    }
    if (!l->address || optind != argc)
        usage();
}

int main(int argc, char **argv)
{
    static struct load l = { .conns = 1, .in_flight = 1, .size = 100,
                             .warm_ms = 200, .run_ms = 1000 };
    int timer;

    options(&l, argc, argv);
    prepare(&l);
    timer = timer_start(&l);
    start(&l);
    measure(&l, timer);
    return 0;
}
