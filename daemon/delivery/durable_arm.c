/* Suspects of an earlier life that ended badly: one of them may be what ended it. Their next attempt is on disk before
 * they are handed over again, so that one which kills the daemon each time runs out of attempts. */
#include "base/fault.h"
#include "delivery/internal.h"
#include "delivery/policy.h"

#define ARM_MAX 16 /* at a time */

static void on_armed(void *arg, enum store_result result)
{
    struct dest *d = arg;
    d->backlog.arming = false;
    fault_point("durable.armed");
    if (result == STORE_OK)
        dest_pump(d);
}

/* The first few of the ready ones: their next attempt goes to disk before they are handed over. */
static void arm(struct dest *d)
{
    struct store *st = d->hub->store;
    unsigned count = 0;
    d->backlog.arming = true;
    store_begin(st);
    LIST_EACH(&d->ready, n) {
        struct delivery *v = CONTAINER_OF(n, struct delivery, link);
        if (!v->old || v->armed || count++ == ARM_MAX)
            break;
        if (!retry_allowed(&v->route->policy->retry, v->h.attempt))
            continue; /* its turn is its end */
        v->armed = true;
        store_update(st, &(struct store_change){v->key, v->h.attempt + 1, 0, STR_NONE, STR_NONE, 0});
    }
    store_then(st, on_armed, d);
    store_commit(st);
}

bool durable_ready(struct delivery *v)
{
    struct dest *d = v->dest;
    if (d->backlog.arming || v->save > d->backlog.saved)
        return false;
    if (!v->old || v->armed)
        return true;
    arm(d);
    return false;
}
