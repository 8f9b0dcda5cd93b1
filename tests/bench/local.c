#include "local.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static bool skip_space(const char **p, const char *end)
{
    return *p < end && *(*p)++ == ' ';
}

static void bad(const char *p, size_t n)
{
    errno = 0;
    die("not a frame: %.*s", (int)(n > 80 ? 80 : n), p);
}

size_t local_parse(const char *p, size_t n, struct frame *f)
{
    const char *lf = memchr(p, '\n', n), *q = p, *end;
    size_t total;

    if (!lf)
        return 0;
    while (q < lf && *q >= 'A' && *q <= 'Z')
        q++;
    f->verb = p;
    f->verb_len = (size_t)(q - p);
    if (!skip_space(&q, lf))
        bad(p, n);
    f->id = decimal(&q, lf);
    end = lf;
    if (f->verb_len == 0)
        bad(p, n);
    f->header_len = skip_space(&q, end) ? decimal(&q, end) : 0;
    f->body_len = skip_space(&q, end) ? decimal(&q, end) : 0;
    skip_space(&q, end);
    f->subject = q;
    f->subject_len = (size_t)(lf - q);
    f->body = lf + 1 + f->header_len;
    total = (size_t)(f->body - p) + f->body_len;
    return total <= n ? total : 0;
}

bool local_is(const struct frame *f, const char *verb)
{
    return strlen(verb) == f->verb_len && memcmp(f->verb, verb, f->verb_len) == 0;
}

void local_answer(struct buf *out, const char *verb, uint64_t id, const char *body, size_t len)
{
    buf_text(out, verb);
    buf_add(out, " ", 1);
    buf_decimal(out, id);
    buf_add(out, " 0 ", 3);
    buf_decimal(out, len);
    buf_add(out, "\n", 1);
    buf_add(out, body, len);
}

static size_t hello_take(void *arg, struct conn *c, const char *p, size_t n)
{
    bool *greeted = arg;
    struct frame f;
    size_t used = local_parse(p, n, &f);

    (void)c;
    if (used == 0)
        return 0;
    if (!local_is(&f, "HELLO"))
        die("the daemon answered: %.*s", (int)used, p);
    *greeted = true;
    return used;
}

void local_attach(struct conn *c, int epfd, const char *address, const char *name, unsigned credit)
{
    char headers[64];
    bool greeted = false;

    conn_open(c, epfd, net_connect(address));
    snprintf(headers, sizeof headers, "version: 1\ncredit: %u\n", credit);
    buf_printf(&c->out, "HELLO 0 %zu 0 %s\n%s", strlen(headers), name, headers);
    conn_flush(c);
    while (!greeted) {
        struct pollfd p = { .fd = c->fd, .events = POLLIN };

        errno = 0;
        if (poll(&p, 1, 5000) != 1 || !conn_read(c, hello_take, &greeted))
            die("no HELLO from the daemon at %s", address);
    }
}
