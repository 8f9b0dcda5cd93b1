#include <stdio.h>

#include "loop/stream_impl.h"
#include "loop/timer.h"

#define OPEN_MS 10000
#define FINISH_MS 5000
#define SWEEP_MS 20 /* sweeps are at least this far apart */

static int64_t partial_deadline(const struct stream *s)
{
    if (s->state != STREAM_OPEN || s->in.len == 0 || s->paused || s->limits.partial_ms == 0)
        return INT64_MAX;
    return s->partial_since + s->limits.partial_ms + (int64_t)(s->in.len / 1024) * 1000;
}

static int64_t write_deadline(const struct stream *s)
{
    if (s->state == STREAM_OPENING)
        return s->layer != NULL ? s->write_since + OPEN_MS : INT64_MAX;
    if (s->state == STREAM_FINISHING)
        return s->write_since + FINISH_MS;
    return s->blocked && s->limits.write_ms > 0 ? s->write_since + s->limits.write_ms : INT64_MAX;
}

static int64_t stream_deadline(const struct stream *s)
{
    int64_t in = partial_deadline(s), out = write_deadline(s);
    return in < out ? in : out;
}

static void stream_overdue(struct stream *s, int64_t now)
{
    char ms[32], reason[64];
    if (s->state == STREAM_OPENING)
        snprintf(reason, sizeof(reason), "TLS: no handshake within %s",
                 str_format_duration(OPEN_MS, ms));
    else if (partial_deadline(s) <= now)
        snprintf(reason, sizeof(reason), "incomplete frame for %s",
                 str_format_duration(s->limits.partial_ms, ms));
    else
        snprintf(reason, sizeof(reason), "peer takes no data for %s",
                 str_format_duration(s->limits.write_ms, ms));
    stream_fail(s, reason);
}

static void hub_plan_sweep(struct stream_hub *h, int64_t when)
{
    if (when < h->swept + SWEEP_MS)
        when = h->swept + SWEEP_MS;
    if (when >= h->sweep_at)
        return;
    h->sweep_at = when;
    timer_at(h->sweep, when);
}

void stream_sweep(void *hub)
{
    struct stream_hub *h = hub;
    int64_t now = loop_now(h->loop), next = INT64_MAX;
    h->swept = now;
    h->sweep_at = INT64_MAX;
    /* A callback may close any stream: each is taken off the front and put back at the end. */
    for (size_t most = h->timed.count; most > 0 && !list_empty(&h->timed); most--) {
        struct stream *s = CONTAINER_OF(list_first(&h->timed), struct stream, timed);
        int64_t deadline = stream_deadline(s);
        list_remove(&h->timed, &s->timed);
        if (deadline <= now) {
            stream_overdue(s, now);
        } else if (deadline < INT64_MAX) {
            list_push(&h->timed, &s->timed);
            next = deadline < next ? deadline : next;
        }
    }
    if (next < INT64_MAX)
        hub_plan_sweep(h, next);
}

void stream_retime(struct stream *s)
{
    int64_t deadline = stream_deadline(s);
    list_remove(&s->hub->timed, &s->timed);
    if (deadline == INT64_MAX)
        return;
    list_push(&s->hub->timed, &s->timed);
    hub_plan_sweep(s->hub, deadline);
}
