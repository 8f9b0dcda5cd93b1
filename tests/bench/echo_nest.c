/* echo-nest ADDRESS: a service that answers NestJS-framed requests with their own data. */
#include "nest.h"

#include <errno.h>
#include <sys/epoll.h>

static size_t take(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    const char *json;

    (void)arg;
    while (used < n && (len = nest_frame(p + used, n - used, &json))) {
        nest_echo(json, (size_t)(p + used + len - json), &c->out);
        used += len;
    }
    return used;
}

int main(int argc, char **argv)
{
    errno = 0;
    if (argc != 2)
        die("usage: echo-nest ADDRESS");
    serve(net_listen(argv[1]), NULL, net_epoll(), take);
    return 0;
}
