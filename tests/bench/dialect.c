#include "dialect.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static void count(struct tally *t, size_t body_len)
{
    if (body_len != t->body_len)
        die("a message of %zu bytes instead of %zu", body_len, t->body_len);
    t->delivered++;
}

const char *line_end(const char *p, size_t n, size_t *used)
{
    const char *lf = memchr(p, '\n', n);

    if (!lf)
        return NULL;
    *used = (size_t)(lf + 1 - p);
    return lf > p && lf[-1] == '\r' ? lf - 1 : lf;
}

struct wanted {
    const char *text;
    bool seen;
};

static size_t wait_take(void *arg, struct conn *c, const char *p, size_t n)
{
    struct wanted *w = arg;

    (void)c;
    if (!memmem(p, n, w->text, strlen(w->text)))
        return 0;
    w->seen = true;
    return n;
}

void converse(struct conn *c, const char *text)
{
    struct wanted w = { .text = text };

    conn_flush(c);
    while (!w.seen) {
        struct pollfd p = { .fd = c->fd, .events = POLLIN };

        errno = 0;
        if (poll(&p, 1, 5000) != 1 || !conn_read(c, wait_take, &w))
            die("the server never said %s", text);
    }
}

/* --- local protocol --- */

static void local_subscriber(struct conn *c, int epfd, const struct settings *s)
{
    local_attach(c, epfd, s->address, "sink", s->credit);
    if (!s->by_sub)
        return;
    buf_text(&c->out, "SUB 1 0 0 bench.>\n");
    converse(c, "OK 1 ");
}

static void local_publisher(struct conn *c, int epfd, const struct settings *s)
{
    local_attach(c, epfd, s->address, "source", 1);
}

static void local_message(struct buf *out, size_t subject, const char *body, size_t len)
{
    buf_printf(out, "PUB 0 0 %zu bench.%zu\n", len, subject);
    buf_add(out, body, len);
}

void local_other(struct conn *c, const struct frame *f, const char *p)
{
    errno = 0;
    if (local_is(f, "ERR"))
        die("the daemon says: %.*s", (int)(f->body + f->body_len - p), p);
    if (local_is(f, "PING"))
        local_answer(&c->out, "PONG", f->id, p, 0);
}

static size_t local_delivered(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    struct frame f;

    while (used < n && (len = local_parse(p + used, n - used, &f))) {
        if (local_is(&f, "PUB")) {
            count(arg, f.body_len);
            if (f.id)
                local_answer(&c->out, "OK", f.id, p, 0);
        } else {
            local_other(c, &f, p + used);
        }
        used += len;
    }
    return used;
}

static size_t local_answered(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    struct frame f;

    (void)arg;
    while (used < n && (len = local_parse(p + used, n - used, &f))) {
        local_other(c, &f, p + used);
        used += len;
    }
    return used;
}

/* --- NATS --- */

void nats_login(struct conn *c, int epfd, const struct settings *s)
{
    conn_open(c, epfd, net_connect(s->address));
    buf_text(&c->out, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n");
    converse(c, "PONG\r\n");
}

static void nats_subscriber(struct conn *c, int epfd, const struct settings *s)
{
    nats_login(c, epfd, s);
    buf_text(&c->out, "SUB bench.> 1\r\nPING\r\n");
    converse(c, "PONG\r\n");
}

static void nats_message(struct buf *out, size_t subject, const char *body, size_t len)
{
    buf_printf(out, "PUB bench.%zu %zu\r\n", subject, len);
    buf_add(out, body, len);
    buf_text(out, "\r\n");
}

/* The number at the end of a MSG line. */
static size_t last_number(const char *p, const char *end)
{
    size_t v = 0, unit = 1;

    for (; end > p && end[-1] >= '0' && end[-1] <= '9'; unit *= 10)
        v += (size_t)(*--end - '0') * unit;
    return v;
}

size_t nats_parse(struct conn *c, const char *p, size_t n, struct nats_line *l)
{
    size_t used = 0;

    *l = (struct nats_line){ .line = p, .end = line_end(p, n, &used) };
    if (!l->end)
        return 0;
    if (*p == 'M') {
        l->body_len = last_number(p, l->end);
        l->body = p + used;
        used += l->body_len + 2;
        return used <= n ? used : 0;
    }
    errno = 0;
    if (*p == '-')
        die("nats says: %.*s", (int)(l->end - p), p);
    if (memcmp(p, "PING", 4) == 0)
        buf_text(&c->out, "PONG\r\n");
    return used;
}

static size_t nats_read(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    struct nats_line l;

    while (used < n && (len = nats_parse(c, p + used, n - used, &l))) {
        if (l.body)
            count(arg, l.body_len);
        used += len;
    }
    return used;
}

/* --- Redis --- */

static void redis_subscriber(struct conn *c, int epfd, const struct settings *s)
{
    char last[64];

    conn_open(c, epfd, net_connect(s->address));
    buf_printf(&c->out, "*%zu\r\n$9\r\nSUBSCRIBE\r\n", s->subjects + 1);
    for (size_t i = 0; i < s->subjects; i++) {
        snprintf(last, sizeof last, "bench.%zu", i);
        buf_printf(&c->out, "$%zu\r\n%s\r\n", strlen(last), last);
    }
    snprintf(last, sizeof last, ":%zu\r\n", s->subjects);
    converse(c, last);
}

static void redis_publisher(struct conn *c, int epfd, const struct settings *s)
{
    conn_open(c, epfd, net_connect(s->address));
}

static void redis_message(struct buf *out, size_t subject, const char *body, size_t len)
{
    char name[32];

    snprintf(name, sizeof name, "bench.%zu", subject);
    buf_printf(out, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(name), name, len);
    buf_add(out, body, len);
    buf_text(out, "\r\n");
}

/* `*3 $7 message $N channel $N body`: the length of the whole, 0 while it is incomplete. */
static size_t redis_push(const char *p, size_t n, size_t *body)
{
    static const char head[] = "*3\r\n$7\r\nmessage\r\n$";
    const char *q = p + sizeof head - 1, *end = p + n;
    size_t len;

    if (n < sizeof head + 4)
        return 0;
    if (memcmp(p, head, sizeof head - 1) != 0) {
        errno = 0;
        die("redis says: %.40s", p);
    }
    len = decimal(&q, end);
    q += 2 + len + 3; /* CR LF, channel, CR LF $ */
    if (q >= end)
        return 0;
    *body = decimal(&q, end);
    len = (size_t)(q - p) + 2 + *body + 2;
    return len <= n ? len : 0;
}

static size_t redis_delivered(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len, body;

    (void)c;
    while (used < n && (len = redis_push(p + used, n - used, &body))) {
        count(arg, body);
        used += len;
    }
    return used;
}

static size_t redis_answered(void *arg, struct conn *c, const char *p, size_t n)
{
    (void)arg;
    (void)c;
    if (memchr(p, '-', n))
        die("redis says: %.*s", (int)n, p);
    return n;
}

static const struct dialect dialects[] = {
    { "local", local_subscriber, local_publisher, local_message, local_delivered, local_answered },
    { "nats", nats_subscriber, nats_login, nats_message, nats_read, nats_read },
    { "redis", redis_subscriber, redis_publisher, redis_message, redis_delivered, redis_answered },
};

const struct dialect *dialect_find(const char *name)
{
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        if (strcmp(dialects[i].name, name) == 0)
            return &dialects[i];
    return NULL;
}
