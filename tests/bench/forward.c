/* forward: publishes to a durable route of the daemon that leads out, and reports how fast its deliveries end: by the
 * `done` that the admin socket tells. See usage(). The figures are taken between two answers of the admin socket. */
#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ASK_NS = 10000000, IDLE_MS = 10000 };

struct run {
    const char *address, *admin;
    long window, backlog, size, warm_ms, run_ms;
    struct watch watch;

    struct conn out, asker;
    char *body;
    uint64_t sent, stored, done, before;
    int64_t asked_ns, warm_end_ns, start_ns, end_ns;
    bool asking, stopping;
};

static void usage(void)
{
    errno = 0;
    die("usage: forward -a ADDRESS -A ADMIN ADDRESS [-W UNACKNOWLEDGED] [-B ACCEPTED, NOT DONE] [-s BODY BYTES]\n"
        "  [-w WARM-UP MS] [-d MEASURED MS] [-p PID TO WATCH]...");
}

static void put(struct run *r)
{
    buf_text(&r->out.out, "PUB ");
    buf_decimal(&r->out.out, ++r->sent);
    buf_text(&r->out.out, " 0 ");
    buf_decimal(&r->out.out, (uint64_t)r->size);
    buf_text(&r->out.out, " bench.0\n");
    buf_add(&r->out.out, r->body, (size_t)r->size);
}

static void fill(struct run *r)
{
    while (!r->stopping && r->sent - r->stored < (uint64_t)r->window && r->sent - r->done < (uint64_t)r->backlog)
        put(r);
    conn_flush(&r->out);
}

static void common(struct conn *c, const struct frame *f, const char *p)
{
    errno = 0;
    if (local_is(f, "ERR"))
        die("the daemon says: %.*s", (int)(f->body + f->body_len - p), p);
    if (local_is(f, "PING"))
        local_answer(&c->out, "PONG", f->id, p, 0);
}

static size_t acknowledged(void *arg, struct conn *c, const char *p, size_t n)
{
    struct run *r = arg;
    size_t used = 0, len;
    struct frame f;

    while (used < n && (len = local_parse(p + used, n - used, &f))) {
        if (local_is(&f, "OK"))
            r->stored++;
        else
            common(c, &f, p + used);
        used += len;
    }
    return used;
}

/* The first time that the warm-up is over, and the first that the measured time is. */
static void note(struct run *r)
{
    int64_t now = now_ns();

    if (r->start_ns == 0 && now >= r->warm_end_ns) {
        watch_start(&r->watch);
        r->start_ns = now;
        r->before = r->done;
    } else if (r->start_ns > 0 && r->end_ns == 0 && now - r->start_ns >= r->run_ms * 1000000) {
        double n = (double)(r->done - r->before), s = (double)(now - r->start_ns) / 1e9;

        errno = 0;
        if (r->done == r->before)
            die("nothing done in the measured time; %lu stored", (unsigned long)r->stored);
        r->end_ns = now;
        r->stopping = true;
        printf("{\"rate\":%.1f,\"seconds\":%.4f,\"waiting\":%lu,", n / s, s, (unsigned long)(r->stored - r->done));
        watch_print(&r->watch, n);
    }
}

static size_t told(void *arg, struct conn *c, const char *p, size_t n)
{
    static const char messages[] = "\"messages\":", done[] = "\"done\":";
    struct run *r = arg;
    struct frame f;
    size_t len = local_parse(p, n, &f);
    const char *at, *end;

    if (len == 0)
        return 0;
    common(c, &f, p);
    if (!local_is(&f, "REP"))
        return len;
    end = f.body + f.body_len;
    at = memmem(f.body, f.body_len, messages, sizeof messages - 1);
    at = at ? memmem(at, (size_t)(end - at), done, sizeof done - 1) : NULL;
    errno = 0;
    if (!at)
        die("the status has no messages.done");
    at += sizeof done - 1;
    while (at < end && *at == ' ')
        at++;
    r->done = decimal(&at, end);
    r->asking = false;
    note(r);
    return len;
}

static void ask(struct run *r)
{
    int64_t now = now_ns();

    if (r->asking || now - r->asked_ns < ASK_NS)
        return;
    r->asking = true;
    r->asked_ns = now;
    buf_text(&r->asker.out, "REQ 1 0 0 status\n");
    conn_flush(&r->asker);
}

static void run(struct run *r)
{
    int epfd = net_epoll();
    struct epoll_event ev[4];
    int64_t heard = now_ns();

    local_attach(&r->out, epfd, r->address, "source", 1);
    local_attach(&r->asker, epfd, r->admin, "bench", 1);
    r->warm_end_ns = now_ns() + r->warm_ms * 1000000;
    while (r->end_ns == 0 || r->done < r->sent) {
        uint64_t done = r->done;
        int n;

        ask(r);
        n = epoll_wait(epfd, ev, 4, ASK_NS / 1000000);
        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;

            if ((ev[i].events & ~(uint32_t)EPOLLOUT) && !conn_read(c, c == &r->out ? acknowledged : told, r))
                die("the daemon has closed the connection");
            conn_flush(c);
        }
        fill(r);
        heard = r->done != done ? now_ns() : heard;
        errno = 0;
        if (now_ns() - heard > IDLE_MS * 1000000LL)
            die("nothing done for 10 s; %lu sent, %lu stored, %lu done", (unsigned long)r->sent,
                (unsigned long)r->stored, (unsigned long)r->done);
    }
    printf(",\"done\":%lu}\n", (unsigned long)r->done);
}

static void options(struct run *r, int argc, char **argv)
{
    int o;

    while ((o = getopt(argc, argv, "a:A:W:B:s:w:d:p:")) != -1) {
        switch (o) {
        case 'a': r->address = optarg; break;
        case 'A': r->admin = optarg; break;
        case 'W': r->window = number(optarg, "-W", 1, 65535); break;
        case 'B': r->backlog = number(optarg, "-B", 1, 10000000); break;
        case 's': r->size = number(optarg, "-s", 1, 65536); break;
        case 'w': r->warm_ms = number(optarg, "-w", 0, 60000); break;
        case 'd': r->run_ms = number(optarg, "-d", 1, 600000); break;
        case 'p': watch_add(&r->watch, optarg); break;
        default: usage();
        }
    }
    if (!r->address || !r->admin || optind != argc)
        usage();
    r->body = malloc((size_t)r->size);
    if (!r->body)
        die("out of memory");
    for (long i = 0; i < r->size; i++)
        r->body[i] = (char)('a' + i % 26);
}

int main(int argc, char **argv)
{
    static struct run r = { .window = 256, .backlog = 4096, .size = 100, .warm_ms = 300, .run_ms = 1000 };

    options(&r, argc, argv);
    run(&r);
    return 0;
}
