/*
 * What one destination may hold of limits.memory with deliveries that are in memory alone, so that one that is down or
 * slow does not take it all: the others would be refused with it. (Of stored ones at most a window is in memory.)
 *
 *     |<------------- POOL: three quarters ------------->|<- a quarter, in equal parts ->|
 *
 * Out of the pool each may hold as much as is left of it: one alone fills half of it, two a third each. The last quarter is
 * for those that hold little, or nothing yet: no backlog of others is in their way, however many those are.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "delivery/internal.h"

#define WAKE(bytes) ((bytes) / 4 * 3)

static bool fits(const struct hub *h, uint64_t held, uint64_t need)
{
    uint64_t pool = h->limits.memory / 4 * 3;
    if (held == 0 || (h->memory + need <= pool && held <= pool - h->memory - need))
        return true;
    return held + need <= h->limits.memory / 4 / (h->dests.count + 1); /* a division: not for each message */
}

static void say_why(struct dest *d)
{
    struct hub *h = d->hub;
    char held[32], limit[32];
    snprintf(h->why_text, sizeof(h->why_text), "%s holds %s of limits.memory (%s), and no more is taken for it%s", d->name,
             str_format_size(d->share.bytes / 1024 * 1024, held), str_format_size(h->limits.memory, limit),
             dest_is_up(d) ? "" : " while it is down");
    h->why = h->why_text;
}

enum code share_room(struct dest *d, const struct msg *m, enum msg_kind kind, struct waiter *w)
{
    if (fits(d->hub, d->share.bytes, m->size + sizeof(struct delivery)))
        return CODE_OK;
    if (kind != MSG_REQUEST && w != NULL && dest_is_up(d)) {
        d->share.wake_below = WAKE(d->share.bytes);
        waiter_enrol(w, &d->share.waiters);
        return CODE_BUSY;
    }
    say_why(d);
    log_write(d->hub->env.log, LOG_WARN, "memory_share_full", "destination", d->name, "held_bytes", LOG_NUM(d->share.bytes),
              "state", dest_is_up(d) ? "up" : "down", NULL);
    return CODE_OVERLOADED;
}

void share_release(struct dest *d, size_t bytes)
{
    d->share.bytes -= bytes;
    if (!list_empty(&d->share.waiters) && d->share.bytes <= d->share.wake_below)
        waiters_wake(&d->share.waiters);
}
