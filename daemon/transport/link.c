#include "transport/link.h"

#include <assert.h>

#include "base/log.h"
#include "base/mem.h"
#include "loop/dial.h"
#include "loop/timer.h"

#define DIAL_MS 10000
#define MIN_PAUSE_MS 100
#define MAX_PAUSE_MS 30000
#define GREETING_MS 10000
#define REFUSED_MIN_MS 5000 /* up to twice this */
#define STEADY_MS 5000 /* up for so long: the next loss starts again with the shortest pause */

enum link_phase { LINK_CONNECTING, LINK_GREETING, LINK_UP, LINK_PAUSING, LINK_REFUSED };

struct link {
    struct link_spec spec;
    const struct link_ops *ops;
    void *arg;
    enum link_phase phase;
    bool secure; /* TLS from here on, with spec.tls_later */
    struct dial *dial;
    struct stream *stream;
    struct timer *timer; /* of a pause, or of a greeting */
    size_t address;      /* 0 = conf.url, else conf.others[address - 1] */
    struct rand rand;
    int64_t pause_ms, up_since_ms;
    char **errors;    /* of each address, since it was up last */
    size_t failed_at; /* the address that failed last */
    uint64_t connects;
};

static void start_dial(struct link *l);

static const char *port_of(const struct link *l)
{
    return link_url(l)->port != NULL ? link_url(l)->port : l->spec.port;
}

/* The log tells what is new of an address, not each try. */
static void note_error(struct link *l, const char *reason)
{
    char **known = &l->errors[l->address];
    l->failed_at = l->address;
    if (*known != NULL && strcmp(*known, reason) == 0)
        return;
    log_write(loop_log(l->spec.loop), LOG_WARN, "link_down", "endpoint", l->spec.conf->name, "host",
              link_url(l)->host, "port", port_of(l), "reason", reason, NULL);
    mem_free(*known);
    *known = mem_strdup(reason);
}

static void forget_errors(struct link *l)
{
    for (size_t i = 0; i <= l->spec.conf->other_count; i++) {
        mem_free(l->errors[i]);
        l->errors[i] = NULL;
    }
}

/* Full jitter: anywhere between nothing and the back-off, so that a thousand daemons do not come
 * back in step. */
static void start_pause(struct link *l)
{
    l->phase = LINK_PAUSING;
    timer_after(l->timer, 1 + (int64_t)rand_below(&l->rand, (uint64_t)l->pause_ms));
    l->pause_ms = l->pause_ms * 2 < l->spec.max_pause_ms ? l->pause_ms * 2 : l->spec.max_pause_ms;
}

static void lost(struct link *l, const char *reason)
{
    bool was_open = link_is_open(l);
    l->stream = NULL;
    l->secure = false;
    if (l->phase == LINK_UP && loop_now(l->spec.loop) - l->up_since_ms >= STEADY_MS)
        l->pause_ms = l->spec.min_pause_ms;
    note_error(l, reason);
    l->address = (l->address + 1) % (l->spec.conf->other_count + 1);
    start_pause(l);
    if (was_open)
        l->ops->on_down(l->arg, reason);
}

bool link_wants_tls(const struct link *l)
{
    return l->spec.tls_later && l->spec.tls != NULL && !l->secure;
}

void link_ready(struct link *l)
{
    if (l->phase != LINK_GREETING)
        return;
    assert(!link_wants_tls(l));
    l->phase = LINK_UP;
    timer_stop(l->timer);
    l->up_since_ms = loop_now(l->spec.loop);
    l->connects++;
    forget_errors(l);
    log_write(loop_log(l->spec.loop), LOG_INFO, "link_up", "endpoint", l->spec.conf->name, "peer",
              stream_peer(l->stream), NULL);
}

static void on_open(void *arg)
{
    struct link *l = arg;
    if (l->secure) {
        l->ops->on_secure(l->arg);
        return;
    }
    l->phase = LINK_GREETING;
    if (l->spec.greets)
        timer_after(l->timer, GREETING_MS);
    else
        link_ready(l);
    l->ops->on_up(l->arg);
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    struct link *l = arg;
    return l->ops->on_data(l->arg, p, n);
}

static void on_drain(void *arg)
{
    struct link *l = arg;
    if (l->ops->on_drain != NULL)
        l->ops->on_drain(l->arg);
}

static void on_close(void *arg, const char *reason)
{
    lost(arg, reason);
}

static const struct stream_ops link_stream_ops = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_close = on_close};

static void take_socket(struct link *l, int fd)
{
    if (l->spec.tls != NULL && !link_wants_tls(l))
        l->stream = stream_new_tls(l->spec.loop, fd, l->spec.tls, link_url(l)->host, &link_stream_ops, l);
    else
        l->stream = stream_new(l->spec.loop, fd, &link_stream_ops, l);
    stream_limit(l->stream, &l->spec.limits);
    stream_quickack(l->stream, l->spec.quickack);
}

void link_secure(struct link *l)
{
    assert(link_wants_tls(l) && l->phase == LINK_GREETING);
    l->secure = true;
    take_socket(l, stream_release(l->stream));
}

static void on_dial(void *arg, int fd, const char *reason)
{
    struct link *l = arg;
    l->dial = NULL;
    if (fd < 0)
        lost(l, reason);
    else
        take_socket(l, fd);
}

static void start_dial(struct link *l)
{
    l->phase = LINK_CONNECTING;
    l->dial = dial_start(l->spec.loop, link_url(l)->host, port_of(l), DIAL_MS, on_dial, l);
}

static void on_timer(void *arg)
{
    struct link *l = arg;
    if (l->phase == LINK_GREETING)
        link_reset(l, "no end to the greeting within 10 s");
    else
        start_dial(l);
}

struct link *link_new(const struct link_spec *spec, const struct link_ops *ops, void *arg)
{
    struct link *l = mem_zalloc(sizeof(*l));
    l->spec = *spec;
    l->spec.min_pause_ms = spec->min_pause_ms > 0 ? spec->min_pause_ms : MIN_PAUSE_MS;
    l->spec.max_pause_ms = spec->max_pause_ms > 0 ? spec->max_pause_ms : MAX_PAUSE_MS;
    l->spec.tls = spec->tls != NULL ? tls_context_ref(spec->tls) : NULL;
    l->errors = mem_calloc(spec->conf->other_count + 1, sizeof(char *));
    l->ops = ops;
    l->arg = arg;
    l->pause_ms = l->spec.min_pause_ms;
    l->timer = timer_new(spec->loop, on_timer, l);
    rand_seed_os(&l->rand);
    start_dial(l);
    return l;
}

void link_free(struct link *l)
{
    if (l == NULL)
        return;
    dial_cancel(l->dial);
    if (link_is_open(l))
        stream_finish(l->stream);
    else
        stream_close(l->stream);
    timer_free(l->timer);
    tls_context_unref(l->spec.tls);
    forget_errors(l);
    mem_free(l->errors);
    mem_free(l);
}

void link_set_tls(struct link *l, struct tls_context *tls)
{
    tls_context_unref(l->spec.tls);
    l->spec.tls = tls != NULL ? tls_context_ref(tls) : NULL;
}

void link_reset(struct link *l, const char *reason)
{
    struct stream *stream = l->stream;
    if (!link_is_open(l))
        return;
    lost(l, reason);
    stream_close(stream);
}

void link_refused(struct link *l, const char *reason)
{
    struct stream *stream = l->stream;
    if (!link_is_open(l))
        return;
    lost(l, reason);
    stream_close(stream);
    l->phase = LINK_REFUSED;
    timer_after(l->timer, REFUSED_MIN_MS + (int64_t)rand_below(&l->rand, REFUSED_MIN_MS));
}

void link_hurry(struct link *l)
{
    if (l->phase == LINK_PAUSING)
        timer_after(l->timer, 0);
}

bool link_is_open(const struct link *l)
{
    return l->phase == LINK_GREETING || l->phase == LINK_UP;
}

bool link_is_up(const struct link *l)
{
    return l->phase == LINK_UP;
}

struct stream *link_stream(const struct link *l)
{
    return link_is_open(l) ? l->stream : NULL;
}

const struct url *link_url(const struct link *l)
{
    return l->address == 0 ? &l->spec.conf->url : &l->spec.conf->others[l->address - 1];
}

const char *link_state(const struct link *l)
{
    static const char *const names[] = {"connecting", "connecting", "up", "down", "refused"};
    return names[l->phase];
}

const struct link *link_worse(const struct link *a, const struct link *b)
{
    static const unsigned ranks[] = {[LINK_UP] = 0, [LINK_CONNECTING] = 1, [LINK_GREETING] = 1, [LINK_PAUSING] = 2, [LINK_REFUSED] = 3};
    return b != NULL && ranks[b->phase] > ranks[a->phase] ? b : a;
}

const char *link_error(const struct link *l)
{
    return l->errors[l->failed_at];
}

uint64_t link_connects(const struct link *l)
{
    return l->connects;
}
