#include "base/spares.h"

void spares_give(struct spares *p, struct buf *b)
{
    if (b->cap == 0)
        return;
    if (b->secret || p->count == SPARES_COUNT || b->cap > SPARES_MAX || p->bytes + b->cap > SPARES_BYTES) {
        buf_fini(b);
        return;
    }
    buf_clear(b);
    p->bytes += b->cap;
    p->bufs[p->count++] = *b;
    *b = BUF_EMPTY;
}

void spares_take(struct spares *p, struct buf *b)
{
    if (p->count == 0)
        return;
    *b = p->bufs[--p->count];
    p->bytes -= b->cap;
}

void spares_fini(struct spares *p)
{
    while (p->count > 0)
        buf_fini(&p->bufs[--p->count]);
    p->bytes = 0;
}
