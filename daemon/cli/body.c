#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define BODY_MAX ((size_t)64 << 20) /* the protocol's own bound */

static bool stdin_read(struct cli *cli, struct buf *body)
{
    for (;;) {
        ssize_t n = read(STDIN_FILENO, buf_reserve(body, 65536), 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            cli_fail(cli, "standard input: %s", strerror(errno));
            return false;
        }
        if (n == 0)
            return true;
        buf_commit(body, (size_t)n);
        if (body->len > BODY_MAX) {
            cli_fail(cli, "standard input: more than 64 MiB, which no message can carry");
            return false;
        }
    }
}

bool cli_body(struct cli *cli, const char *arg, struct buf *body)
{
    if (arg == NULL)
        return true;
    if (strcmp(arg, "-") == 0)
        return stdin_read(cli, body);
    buf_puts(body, arg);
    return true;
}
