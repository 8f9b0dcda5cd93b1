/* straight-redis: hiredis with its own sockets, pipelined; and the publisher of a subscriber behind the daemon, so that
 * both sides get the same load. See usage(). */
#include "local.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { READ_COUNT = 256, FILL_PIPELINE = 1000, ID_SIZE = 48 };

struct run {
    const char *group, *local;
    long port, window, size, warm_ms, run_ms, count;
    struct watch watch;

    char *body;
    uint64_t done, before, sent, answered;
    int64_t start_ns, subscriber_ns;

    int epfd;
    redisContext *publisher, *subscriber;
    struct conn service;        /* instead of the subscriber */
    char *publish;              /* the command, formatted */
    size_t publish_len;
};

static void usage(void)
{
    errno = 0;
    die("usage: straight-redis fill|stream|pubsub -a PORT [-s BODY BYTES] [-p PID TO WATCH]...\n"
        "  fill: -n COUNT entries into the stream `bench`\n"
        "  stream: -n COUNT of them read and acknowledged by group -g GROUP; the first fifth is the warm-up\n"
        "  pubsub: at most -W WINDOW undelivered on the channel `bench`, -w WARM-UP MS, -d MEASURED MS;\n"
        "     -l ADDRESS: delivered by the daemon there to its service `sink`, else straight");
}

static redisContext *open_redis(const struct run *r)
{
    redisContext *c = redisConnect("127.0.0.1", (int)r->port);

    errno = 0;
    if (!c || c->err)
        die("connect: %s", c ? c->errstr : "out of memory");
    return c;
}

static void fine(const redisContext *c, const redisReply *reply)
{
    errno = 0;
    if (!reply)
        die("redis: %s", c->errstr);
    if (reply->type == REDIS_REPLY_ERROR)
        die("redis says: %s", reply->str);
}

static redisReply *next_reply(redisContext *c)
{
    void *reply = NULL;

    redisGetReply(c, &reply);
    fine(c, reply);
    return reply;
}

static void delivered(struct run *r, size_t len)
{
    errno = 0;
    if (len != (size_t)r->size)
        die("a message of %zu bytes instead of %ld", len, r->size);
    r->done++;
}

static void begin(struct run *r)
{
    watch_start(&r->watch);
    r->start_ns = now_ns();
    r->before = r->done;
    r->subscriber_ns = 0;
}

static void report(const struct run *r)
{
    double s = (double)(now_ns() - r->start_ns) / 1e9, n = (double)(r->done - r->before);

    errno = 0;
    if (r->done == r->before)
        die("nothing done in the measured time");
    printf("{\"done\":%.0f,\"rate\":%.1f,\"seconds\":%.4f,\"subscriber_cpu_us\":%.3f,", n, n / s, s,
           (double)r->subscriber_ns / 1e3 / n);
    watch_print(&r->watch, n);
    puts("}");
}

/* --- the stream --- */

static void fill(struct run *r)
{
    redisContext *c = open_redis(r);

    for (long sent = 0, taken = 0; taken < r->count; taken++) {
        for (; sent < r->count && sent < taken + FILL_PIPELINE; sent++)
            redisAppendCommand(c, "XADD bench * body %b", r->body, (size_t)r->size);
        freeReplyObject(next_reply(c));
    }
    redisFree(c);
}

/* An entry: its id, and its fields and values. */
static void take_entry(struct run *r, const redisReply *entry, const char **arg, size_t *len)
{
    const redisReply *fields;

    errno = 0;
    if (entry->elements != 2 || entry->element[1]->elements != 2)
        die("no entry of ours");
    fields = entry->element[1];
    delivered(r, fields->element[1]->len);
    *arg = entry->element[0]->str;
    *len = entry->element[0]->len;
}

/* [["bench", [entry, …]]]: puts one XACK of all of them and the next read into one write. */
static void take_entries(struct run *r, redisContext *c, const redisReply *reply)
{
    static const char *arg[READ_COUNT + 3] = { "XACK", "bench" };
    static size_t len[READ_COUNT + 3] = { 4, 5 };
    const redisReply *entries;

    errno = 0;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1)
        die("the stream had fewer than %ld entries", r->count);
    entries = reply->element[0]->element[1];
    arg[2] = r->group;
    len[2] = strlen(r->group);
    for (size_t i = 0; i < entries->elements; i++)
        take_entry(r, entries->element[i], &arg[i + 3], &len[i + 3]);
    redisAppendCommandArgv(c, (int)entries->elements + 3, arg, len);
}

static void read_next(const struct run *r, redisContext *c)
{
    redisAppendCommand(c, "XREADGROUP GROUP %s one COUNT %d STREAMS bench >", r->group, READ_COUNT);
}

static void stream(struct run *r)
{
    redisContext *c = open_redis(r);

    redisAppendCommand(c, "XGROUP CREATE bench %s 0", r->group);
    freeReplyObject(next_reply(c));
    for (read_next(r, c); r->done < (uint64_t)r->count;) {
        redisReply *reply = next_reply(c);

        take_entries(r, c, reply);
        freeReplyObject(reply);
        if (r->done < (uint64_t)r->count)
            read_next(r, c);
        freeReplyObject(next_reply(c));     /* of XACK */
        if (r->start_ns == 0 && r->done >= (uint64_t)r->count / 5)
            begin(r);
    }
    report(r);
    redisFree(c);
}

/* --- publish and subscribe --- */

static void watch_fd(struct run *r, redisContext *c)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

    if (epoll_ctl(r->epfd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        die("epoll_ctl");
}

static int64_t thread_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* All replies of one read. */
static void read_replies(struct run *r, redisContext *c, void (*take)(struct run *r, const redisReply *reply))
{
    void *reply = NULL;

    errno = 0;
    if (redisBufferRead(c) != REDIS_OK)
        die("redis: %s", c->errstr);
    while (redisGetReplyFromReader(c, &reply) == REDIS_OK && reply) {
        fine(c, reply);
        take(r, reply);
        freeReplyObject(reply);
    }
}

/* Of PUBLISH: how many have got it. */
static void published(struct run *r, const redisReply *reply)
{
    errno = 0;
    if (reply->integer != 1)
        die("%lld subscribers instead of one", reply->integer);
    r->answered++;
}

/* `message`, the channel, the body. */
static void pushed(struct run *r, const redisReply *reply)
{
    delivered(r, reply->elements == 3 ? reply->element[2]->len : 0);
}

static size_t to_service(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    struct frame f;

    while (used < n && (len = local_parse(p + used, n - used, &f))) {
        if (local_is(&f, "PUB")) {
            delivered(arg, f.body_len);
            if (f.id)
                local_answer(&c->out, "OK", f.id, p, 0);
        } else if (local_is(&f, "PING")) {
            local_answer(&c->out, "PONG", f.id, p, 0);
        }
        used += len;
    }
    return used;
}

static void subscribe(struct run *r)
{
    if (r->local) {
        local_attach(&r->service, r->epfd, r->local, "sink", 65535);
        return;
    }
    r->subscriber = open_redis(r);
    redisAppendCommand(r->subscriber, "SUBSCRIBE bench");
    freeReplyObject(next_reply(r->subscriber));
    watch_fd(r, r->subscriber);
}

/* The daemon subscribes in its own time. */
static void await_subscriber(struct run *r)
{
    long long there = 0;

    for (int64_t end = now_ns() + 5000000000LL; there == 0 && now_ns() < end; usleep(2000)) {
        redisReply *reply;

        redisAppendCommand(r->publisher, "PUBSUB NUMSUB bench");
        reply = next_reply(r->publisher);
        there = reply->element[1]->integer;
        freeReplyObject(reply);
    }
    errno = 0;
    if (there != 1)
        die("%lld subscribers instead of one", there);
}

static void publish(struct run *r)
{
    int done = 0;

    if (r->sent - r->done >= (uint64_t)r->window)
        return;
    for (; r->sent - r->done < (uint64_t)r->window; r->sent++)
        redisAppendFormattedCommand(r->publisher, r->publish, r->publish_len);
    while (!done)
        if (redisBufferWrite(r->publisher, &done) != REDIS_OK)
            die("redis: %s", r->publisher->errstr);
}

static void turn(struct run *r)
{
    struct epoll_event ev[4];
    int n = epoll_wait(r->epfd, ev, 4, 5000);

    errno = 0;
    if (n == 0)
        die("nothing for 5 s, %ld undelivered", (long)(r->sent - r->done));
    for (int i = 0; i < n; i++) {
        int64_t t = thread_ns();

        if (ev[i].data.ptr == r->publisher) {
            read_replies(r, r->publisher, published);
            continue;
        }
        if (r->subscriber)
            read_replies(r, r->subscriber, pushed);
        else if (!conn_read(&r->service, to_service, r))
            die("the daemon has closed the connection");
        else
            conn_flush(&r->service);
        r->subscriber_ns += thread_ns() - t;
    }
}

static void run_until(struct run *r, int64_t end_ns)
{
    while (now_ns() < end_ns) {
        publish(r);
        turn(r);
    }
}

static void pubsub(struct run *r)
{
    char *command;

    r->epfd = net_epoll();
    subscribe(r);
    r->publisher = open_redis(r);
    await_subscriber(r);
    watch_fd(r, r->publisher);
    r->publish_len = (size_t)redisFormatCommand(&command, "PUBLISH bench %b", r->body, (size_t)r->size);
    r->publish = command;
    run_until(r, now_ns() + r->warm_ms * 1000000);
    begin(r);
    run_until(r, now_ns() + r->run_ms * 1000000);
    report(r);
    while (r->done < r->sent || r->answered < r->sent)
        turn(r);
}

static void options(struct run *r, int argc, char **argv)
{
    int o;

    while ((o = getopt(argc, argv, "a:g:l:W:s:w:d:n:p:")) != -1) {
        switch (o) {
        case 'a': r->port = number(optarg, "-a", 1, 65535); break;
        case 'g': r->group = optarg; break;
        case 'l': r->local = optarg; break;
        case 'W': r->window = number(optarg, "-W", 1, 65535); break;
        case 's': r->size = number(optarg, "-s", 1, 65536); break;
        case 'w': r->warm_ms = number(optarg, "-w", 0, 60000); break;
        case 'd': r->run_ms = number(optarg, "-d", 1, 600000); break;
        case 'n': r->count = number(optarg, "-n", 1, 1000000000); break;
        case 'p': watch_add(&r->watch, optarg); break;
        default: usage();
        }
    }
    if (!r->port || optind != argc)
        usage();
    r->body = malloc((size_t)r->size);
    if (!r->body)
        die("out of memory");
    for (long i = 0; i < r->size; i++)
        r->body[i] = (char)('a' + i % 26);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(struct run *r); bool counted; } verbs[] = {
        { "fill", fill, true }, { "stream", stream, true }, { "pubsub", pubsub, false },
    };
    static struct run r = { .group = "one", .window = 1024, .size = 100, .warm_ms = 200, .run_ms = 1000 };

    if (argc < 2)
        usage();
    options(&r, argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, argv[1]) == 0 && verbs[i].counted == (r.count > 0)) {
            verbs[i].run(&r);
            return 0;
        }
    usage();
}
