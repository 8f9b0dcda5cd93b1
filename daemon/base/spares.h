#pragma once
/* Memory of buffers that goes round among those who fill one now and then, so that who is idle holds none and nobody
 * grows one from nothing each time. */
#include <stddef.h>

#include "base/buf.h"

#define SPARES_COUNT 512     /* kept for the next ones */
#define SPARES_MAX 131072    /* bytes; none larger than this */
#define SPARES_BYTES 1048576 /* all of them together */

struct spares { /* zeroed = none */
    struct buf bufs[SPARES_COUNT];
    size_t count, bytes;
};

void spares_give(struct spares *p, struct buf *b); /* keeps its memory, or frees it (a secret's always); b is empty then */
void spares_take(struct spares *p, struct buf *b); /* b, which has no memory, may have some then */
void spares_fini(struct spares *p);
