/* echo-mux ADDRESS: the service behind relay-mux: frames as mux.h says, answered with their data. */
#include "mux.h"
#include "nest.h"

#include <errno.h>
#include <string.h>

static void answer(struct conn *c, struct mux_head head, const char *frame)
{
    size_t at = buf_size(&c->out), len;
    const char *json;

    len = nest_frame(frame, head.len, &json);
    buf_add(&c->out, &head, sizeof head);
    nest_echo(json, (size_t)(frame + len - json), &c->out);
    head.len = (uint32_t)(buf_size(&c->out) - at - sizeof head);
    memcpy(c->out.data + c->out.off + at, &head, sizeof head);
}

static size_t take(void *arg, struct conn *c, const char *p, size_t n)
{
    struct mux_head head;
    size_t used = 0;

    (void)arg;
    while (n - used >= sizeof head) {
        memcpy(&head, p + used, sizeof head);
        if (n - used - sizeof head < head.len)
            break;
        answer(c, head, p + used + sizeof head);
        used += sizeof head + head.len;
    }
    return used;
}

int main(int argc, char **argv)
{
    errno = 0;
    if (argc != 2)
        die("usage: echo-mux ADDRESS");
    serve(net_listen(argv[1]), NULL, net_epoll(), take);
    return 0;
}
