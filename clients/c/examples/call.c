/* A caller: asks `math` for a sum and for a stream, publishes one event, and leaves.
 *     call [SOCKET] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bellhop.h"

static void on_answer(struct bellhop *b, const struct bellhop_answer *a, void *user)
{
    (void)b;
    if (a->result == BELLHOP_ERROR)
        printf("%s: %s: %.*s\n", (const char *)user, a->code, (int)a->body_len, (const char *)a->body);
    else
        printf("%s%s: %.*s\n", (const char *)user, a->result == BELLHOP_MORE ? " (more)" : "", (int)a->body_len,
               (const char *)a->body);
}

static struct bellhop_msg text(const char *subject, const char *body)
{
    return (struct bellhop_msg){ .subject = subject, .body = body, .body_len = strlen(body) };
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : getenv("BELLHOP_SOCKET");
    struct bellhop *b = bellhop_new("caller", NULL, NULL);
    if (bellhop_connect(b, path != NULL ? path : "/run/bellhop/bellhop.sock") != 0) {
        fprintf(stderr, "call: no daemon there\n");
        return 1;
    }
    struct bellhop_msg sum = text("{\"cmd\":\"sum\"}", "[1,2,3]"), count = text("count", "3"), event = text("order.new", "{}");
    bellhop_request(b, &sum, 2000, on_answer, "sum");
    bellhop_request(b, &count, 2000, on_answer, "count");
    bellhop_publish(b, &event, on_answer, "order.new");
    bellhop_bye(b); /* the connection closes when all three are answered */
    bellhop_run(b, 5000);
    bellhop_free(b);
    return 0;
}
