#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define BUF_KEEP (512u * 1024) /* what an empty buffer may go on holding */

static size_t cap_for(size_t need)
{
    size_t cap = 64u * 1024;
    while (cap < need)
        cap *= 2;
    return cap;
}

bool bellhop_buf_reserve(struct bellhop_buf *buf, size_t more)
{
    size_t used = bellhop_buf_len(buf);
    if (buf->cap - buf->end >= more)
        return true;
    if (more > SIZE_MAX / 4 || used > SIZE_MAX / 4)
        return false;
    /* Moving is cheap only while little is in use: else growing keeps the cost per byte constant. */
    if (buf->cap >= used + more && used <= buf->cap / 2) {
        memmove(buf->data, buf->data + buf->start, used);
    } else {
        size_t cap = cap_for(used + more + used / 2);
        char *data = malloc(cap);
        if (data == NULL)
            return false;
        if (used > 0)
            memcpy(data, buf->data + buf->start, used);
        free(buf->data);
        buf->data = data;
        buf->cap = cap;
    }
    buf->start = 0;
    buf->end = used;
    return true;
}

void bellhop_buf_put(struct bellhop_buf *buf, const void *p, size_t len)
{
    if (len > 0)
        memcpy(buf->data + buf->end, p, len);
    buf->end += len;
}

void bellhop_buf_consume(struct bellhop_buf *buf, size_t len)
{
    buf->start += len;
    if (buf->start < buf->end)
        return;
    buf->start = 0;
    buf->end = 0;
    if (buf->cap > BUF_KEEP)
        bellhop_buf_fini(buf);
}

void bellhop_buf_fini(struct bellhop_buf *buf)
{
    free(buf->data);
    memset(buf, 0, sizeof *buf);
}
