/* New content of a dead letter. */
#include "base/mem.h"
#include "delivery/internal.h"
#include "msg/headers.h"

/* The first line of each name that is set stands for all lines of it. */
static void put_headers(struct buf *out, struct str block, struct str set)
{
    struct header h;
    for (struct str left = block; headers_next(&left, &h);) {
        struct header other;
        bool replaced = false;
        for (struct str names = set; !replaced && headers_next(&names, &other);)
            replaced = str_eq(other.name, h.name);
        if (!replaced)
            buf_str_put(out, str_make(h.name.p, h.name.n + 2 + h.value.n + 1));
    }
    for (struct str left = set; headers_next(&left, &h);) {
        if (h.value.n > 0)
            buf_str_put(out, str_make(h.name.p, h.name.n + 2 + h.value.n + 1));
    }
}

/* As msg_new() holds it: with room for what each delivery adds. */
static bool fits(struct str block)
{
    size_t lines = 0, bytes = block.n;
    struct header h;
    while (headers_next(&block, &h))
        lines++;
    return bytes <= HEADERS_MAX_BYTES - HEADERS_DELIVERY_BYTES && lines <= HEADERS_MAX_LINES - HEADERS_DELIVERY_LINES;
}

bool dead_edit(struct hub *h, const struct dead_letter *d, const struct dead_content *c, bool dry_run)
{
    struct buf headers = BUF_EMPTY;
    put_headers(&headers, d->msg->headers, c->headers);
    bool good = fits(buf_str(&headers));
    if (good && !dry_run)
        store_edit(h->store, d->number, c->subject.p != NULL ? c->subject : d->msg->subject, buf_str(&headers),
                   c->body.p != NULL ? c->body : d->msg->body);
    buf_fini(&headers);
    return good;
}
