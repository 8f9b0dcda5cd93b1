#include "nest.h"

#include <errno.h>
#include <string.h>

static const char request[] = "{\"pattern\":{\"cmd\":\"echo\"},\"data\":";
static const char before_id[] = ",\"id\":\"";

size_t nest_frame(const char *p, size_t n, const char **json)
{
    const char *end = p + n, *q = p;
    size_t len = decimal(&q, end);

    if (q == end)
        return 0;
    if (*q != '#' || q == p) {
        errno = 0;
        die("not a frame: %.*s", (int)(n > 80 ? 80 : n), p);
    }
    *json = q + 1;
    return (size_t)(end - *json) < len ? 0 : (size_t)(*json - p) + len;
}

void nest_echo(const char *json, size_t n, struct buf *out)
{
    static const char response[] = "{\"response\":", last[] = ",\"isDisposed\":true";
    size_t head = sizeof request - 1, tail = sizeof before_id - 1 + NEST_ID + 2;
    const char *data = json + head;

    if (n < head + tail || memcmp(json, request, head) != 0 ||
        memcmp(json + n - tail, before_id, sizeof before_id - 1) != 0) {
        errno = 0;
        die("not the load generator's request: %.*s", (int)(n > 80 ? 80 : n), json);
    }
    buf_decimal(out, n - head + sizeof response - 1 + sizeof last - 1);
    buf_add(out, "#", 1);
    buf_add(out, response, sizeof response - 1);
    buf_add(out, data, n - head - tail);
    buf_add(out, last, sizeof last - 1);
    buf_add(out, json + n - tail, tail);
}
