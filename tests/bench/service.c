/* service ADDRESS NAME CREDIT [COUNT]: COUNT services on the local protocol in one process, called
 * NAME, NAME-2, NAME-3 and so on: they answer a request with its body, an event with OK. */
#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void answer(struct conn *c, const struct frame *f)
{
    static const struct frame none;

    if (local_is(f, "REQ")) {
        local_answer(&c->out, "REP", f->id, f->body, f->body_len);
    } else if (local_is(f, "PUB") && f->id) {
        local_answer(&c->out, "OK", f->id, none.body, 0);
    } else if (local_is(f, "PING")) {
        local_answer(&c->out, "PONG", f->id, none.body, 0);
    } else if (local_is(f, "BYE")) {
        exit(0);
    } else if (local_is(f, "ERR")) {
        die("the daemon says: %.*s %.*s", (int)f->subject_len, f->subject, (int)f->body_len,
            f->body);
    }
}

static size_t take(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    struct frame f;

    (void)arg;
    while (used < n && (len = local_parse(p + used, n - used, &f))) {
        answer(c, &f);
        used += len;
    }
    return used;
}

int main(int argc, char **argv)
{
    struct conn *first = NULL;
    int epfd = net_epoll();
    long count, credit;

    errno = 0;
    if (argc < 4 || argc > 5)
        die("usage: service ADDRESS NAME CREDIT [COUNT]");
    credit = number(argv[3], "credit", 1, 65535);
    count = argc == 5 ? number(argv[4], "count", 1, 10000) : 1;
    for (long i = 1; i <= count; i++) {
        struct conn *c = calloc(1, sizeof *c);
        char name[128];

        if (!c)
            die("out of memory");
        snprintf(name, sizeof name, i == 1 ? "%s" : "%s-%ld", argv[2], i);
        local_attach(c, epfd, argv[1], name, (unsigned)credit);
        conn_take_rest(c, take, NULL);
        conn_flush(c);
        first = first ? first : c;
    }
    puts("attached");
    fflush(stdout);
    serve(-1, first, epfd, take);
    return 0;
}
