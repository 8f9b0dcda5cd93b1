#include "loop/stream.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop/layer.h"
#include "loop/poller.h"
#include "loop/socket.h"
#include "loop/stream_impl.h"
#include "loop/timer.h"

#define INPUT_HEAD 16384   /* leftovers up to this are joined with new input in the loop's buffer */
#define READ_USUAL (STREAM_READ_MAX / 4) /* what a turn takes and makes stays in the cache, and leaves soon */
#define OUTPUT_HIGH 1048576

static bool stream_alive(const struct stream *s)
{
    return s->state == STREAM_OPEN || s->state == STREAM_FINISHING;
}

/* A layer takes what it likes, and a Unix socket gives less than it has where descriptors came along: they are told as long
 * as there is something, and so is a stream that throws away what comes. */
static void stream_watch(struct stream *s)
{
    uint32_t want = (s->reading ? EPOLLIN | EPOLLRDHUP : 0u) | (s->blocked || (s->want_write && s->reading) ? EPOLLOUT : 0u);
    if (want != 0 && s->edge && !s->lingering)
        want |= EPOLLET;
    if (want != s->armed && poller_watch(s->hub->poller, s->fd, s->armed, want, s))
        s->armed = want;
}

/* The end of a stream. */

static void stream_unlink(struct stream *s)
{
    struct stream_hub *h = s->hub;
    s->state = STREAM_CLOSED;
    s->reading = s->blocked = s->want_write = false;
    h->lingering -= s->lingering;
    stream_watch(s);
    list_remove(&h->dirty, &s->dirty);
    list_remove(&h->timed, &s->timed);
    quickack_forget(&h->quick, &s->quick);
    list_remove(&h->ready, &s->queue);
}

static void stream_bury(struct stream *s)
{
    close(s->fd);
    s->fd = -1;
    list_push(&s->hub->dead, &s->queue);
}

void stream_fail(struct stream *s, const char *reason)
{
    bool tell = s->state != STREAM_FINISHING;
    if (s->state == STREAM_CLOSED)
        return;
    stream_unlink(s);
    if (tell)
        s->ops->on_close(s->arg, reason);
    stream_bury(s);
}

static void stream_fail_errno(struct stream *s, int error)
{
    if (error == ECONNRESET)
        stream_fail(s, "connection reset by peer");
    else if (error == EPIPE)
        stream_fail(s, "closed by peer");
    else
        stream_fail(s, strerror(error));
}

static void stream_fail_eof(struct stream *s)
{
    stream_fail(s, s->in.len > 0 ? "closed by peer within a frame" : "closed by peer");
}

static void stream_free(struct stream *s)
{
    if (s->layer != NULL)
        s->layer->ops->free(s->layer);
    spares_give(&s->hub->spares, &s->out);
    buf_fini(&s->in);
    mem_free(s->peer);
    mem_free(s);
}

/* Output. */

/* Bytes sent, 0 when nothing can go now, -1 when the stream is gone. */
static ssize_t stream_send(struct stream *s)
{
    size_t sent = 0;
    if (s->layer == NULL) {
        ssize_t n = send(s->fd, buf_data(&s->out), s->out.len, MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)
            return 0;
        stream_fail_errno(s, errno);
        return -1;
    }
    enum layer_step step = s->layer->ops->write(s->layer, buf_data(&s->out), s->out.len, &sent);
    if (step == LAYER_FAILED || step == LAYER_EOF) {
        stream_fail(s, step == LAYER_EOF ? "closed by peer" : s->layer->ops->reason(s->layer));
        return -1;
    }
    return (ssize_t)sent;
}

/* A close with unread input would send a reset, which may overtake our last words. */
static void stream_linger(struct stream *s)
{
    if (s->lingering)
        return;
    if (s->hub->lingering == STREAM_LINGER_MAX) {
        stream_fail(s, "finished");
        return;
    }
    s->lingering = true;
    s->hub->lingering++;
    if (s->layer != NULL)
        s->layer->ops->bye(s->layer);
    shutdown(s->fd, SHUT_WR);
    s->reading = true;
    stream_watch(s);
}

static void stream_mark(struct stream *s)
{
    size_t high = s->limits.high;
    if (s->out.len > high) {
        s->above = true;
    } else if (s->above && s->out.len <= high / 2) {
        s->above = false;
        if (s->ops->on_drain != NULL && s->state == STREAM_OPEN)
            s->ops->on_drain(s->arg);
    }
}

static void stream_blocked(struct stream *s, bool progress)
{
    if (s->state == STREAM_OPEN && (progress || !s->blocked))
        s->write_since = loop_now(s->hub->loop);
    s->blocked = true;
    stream_watch(s);
    stream_retime(s);
}

static void stream_unblocked(struct stream *s)
{
    spares_give(&s->hub->spares, &s->out);
    if (s->blocked) {
        s->blocked = false;
        stream_watch(s);
        stream_retime(s);
    }
    if (s->state == STREAM_FINISHING)
        stream_linger(s);
}

static void stream_write(struct stream *s)
{
    ssize_t sent = 0;
    if (s->out.len > s->limits.high)
        s->above = true;
    if (s->out.len > 0) {
        sent = stream_send(s);
        if (sent < 0)
            return;
        quickack_forget(&s->hub->quick, &s->quick);
        buf_consume(&s->out, (size_t)sent);
    }
    if (s->out.len > 0)
        stream_blocked(s, sent > 0);
    else
        stream_unblocked(s);
    if (s->above)
        stream_mark(s);
}

/* Input. */

static uint8_t *hub_input(struct stream_hub *h)
{
    if (h->input == NULL)
        h->input = mem_alloc(INPUT_HEAD + READ_USUAL);
    return h->input + INPUT_HEAD;
}

/* Bytes read (> 0), 0 when there are none now, -1 when the stream is gone. */
static ssize_t stream_receive(struct stream *s, uint8_t *to, size_t most)
{
    size_t got = 0;
    if (s->layer == NULL) {
        ssize_t n = recv(s->fd, to, most, 0);
        s->unread = s->edge && n > 0 && ((size_t)n == most || s->ended);
        if (n > 0)
            return n;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n < 0)
            stream_fail_errno(s, errno);
        else
            stream_fail_eof(s);
        return -1;
    }
    enum layer_step step = s->layer->ops->read(s->layer, to, most, &got);
    if (step == LAYER_EOF || step == LAYER_FAILED) {
        if (step == LAYER_EOF)
            stream_fail_eof(s);
        else
            stream_fail(s, s->layer->ops->reason(s->layer));
        return -1;
    }
    bool want = step == LAYER_WANT_WRITE;
    if (want != s->want_write) {
        s->want_write = want;
        stream_watch(s);
    }
    return (ssize_t)got;
}

static void stream_queue(struct stream *s)
{
    if (!list_linked(&s->queue))
        list_push(&s->hub->ready, &s->queue);
}

static void stream_check_left(struct stream *s, size_t used, bool was_partial)
{
    if (s->in.len > s->limits.input && !s->paused) {
        char reason[96];
        snprintf(reason, sizeof(reason), "frame is larger than the limit of %zu bytes",
                 s->limits.input);
        stream_fail(s, reason);
        return;
    }
    if (s->in.len > 0 && (used > 0 || !was_partial))
        s->partial_since = loop_now(s->hub->loop);
    if (s->in.len > 0 || list_linked(&s->timed))
        stream_retime(s);
}

/* Gives n bytes at p to the owner and keeps what it leaves. They lie in the loop's buffer, or in
 * the stream's own one (own). */
static void stream_show(struct stream *s, const uint8_t *p, size_t n, bool own)
{
    bool was_partial = s->in.len > 0;
    size_t used = s->ops->on_data(s->arg, p, n);
    assert(used <= n);
    if (s->state != STREAM_OPEN) {
        buf_fini(&s->in); /* nobody will look at it again */
        return;
    }
    size_t left = n - used;
    if (left == 0) {
        buf_fini(&s->in);
    } else if (!own) {
        buf_clear(&s->in);
        buf_put(&s->in, p + used, left);
        if (s->in.secret)
            bytes_wipe(p + used, left);
    } else {
        buf_consume(&s->in, used);
        if (left <= INPUT_HEAD && s->in.cap > 4 * INPUT_HEAD) {
            struct buf small = BUF_EMPTY;
            buf_put(&small, buf_data(&s->in), left);
            buf_fini(&s->in);
            s->in = small;
        }
    }
    if (used > 0 && s->out.len == 0)
        quickack_waits(&s->hub->quick, &s->quick);
    stream_check_left(s, used, was_partial);
}

static void stream_read_open(struct stream *s)
{
    size_t head = s->in.len;
    bool own = head > INPUT_HEAD;
    uint8_t *to = own ? buf_reserve(&s->in, STREAM_READ_MAX) : hub_input(s->hub);
    ssize_t n = stream_receive(s, to, own ? STREAM_READ_MAX : READ_USUAL);
    if (n <= 0)
        return;
    if (own) {
        buf_commit(&s->in, (size_t)n);
        stream_show(s, buf_data(&s->in), s->in.len, true);
    } else {
        to -= head;
        if (s->in.base != NULL)
            bytes_str((char *)to, buf_str(&s->in));
        stream_show(s, to, head + (size_t)n, false);
    }
    if (s->state == STREAM_OPEN && (s->layer != NULL ? s->layer->ops->pending(s->layer) : s->unread))
        stream_queue(s);
}

static void stream_discard(struct stream *s)
{
    ssize_t n = recv(s->fd, hub_input(s->hub), READ_USUAL, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        stream_fail(s, "finished");
}

static void stream_read(struct stream *s)
{
    if (s->lingering) {
        stream_discard(s);
    } else if (s->edge && (s->paused || s->resumed)) {
        s->unread = true;
    } else if (s->paused) {
        s->reading = false; /* first now: most pauses end before more input comes */
        stream_watch(s);
    } else if (s->state == STREAM_OPEN && !s->resumed) { /* what is there may be the end: the leftover first */
        stream_read_open(s);
    }
}

/* Opening; events. */

static bool stream_handshake(struct stream *s)
{
    enum layer_step step = s->layer->ops->handshake(s->layer);
    if (step == LAYER_FAILED || step == LAYER_EOF) {
        stream_fail(s, step == LAYER_EOF ? "TLS: closed by peer during the handshake"
                                         : s->layer->ops->reason(s->layer));
        return false;
    }
    s->want_write = step == LAYER_WANT_WRITE;
    stream_watch(s);
    return step == LAYER_OK;
}

static void stream_open(struct stream *s)
{
    if (s->layer != NULL && !stream_handshake(s))
        return;
    s->state = STREAM_OPEN;
    list_remove(&s->hub->ready, &s->queue);
    stream_retime(s);
    if (s->out.len > 0 && !list_linked(&s->dirty))
        list_push(&s->hub->dirty, &s->dirty);
    if (s->layer != NULL)
        stream_queue(s); /* the last read of the handshake may have taken input along */
    if (s->ops->on_open != NULL)
        s->ops->on_open(s->arg);
}

static void stream_on_event(void *arg, uint32_t what)
{
    struct stream *s = arg;
    bool failed = (what & (EPOLLERR | EPOLLHUP)) != 0;
    s->ended |= failed || (what & EPOLLRDHUP) != 0;
    if (s->state == STREAM_OPENING) {
        stream_open(s);
        if (s->layer != NULL)
            return;
    }
    /* A layer may wait for the other direction: try both. */
    if (s->blocked && stream_alive(s) && ((what & EPOLLOUT) != 0 || failed || s->layer != NULL))
        stream_write(s);
    if (stream_alive(s) && s->reading && ((what & ~(uint32_t)EPOLLOUT) != 0 || s->want_write))
        stream_read(s);
}

static void stream_go_on(struct stream *s)
{
    if (s->state == STREAM_OPENING) {
        stream_open(s);
        return;
    }
    if (s->state != STREAM_OPEN || s->paused)
        return;
    if (s->resumed) {
        s->resumed = false;
        stream_show(s, buf_data(&s->in), s->in.len, true);
    }
    if (s->state == STREAM_OPEN && !s->paused && !s->resumed && (s->layer != NULL || s->unread))
        stream_read_open(s);
}

struct stream_hub *stream_hub_new(struct loop *l)
{
    struct stream_hub *h = mem_zalloc(sizeof(*h));
    struct list *lists[] = {&h->ready, &h->dirty, &h->timed, &h->dead};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        list_init(lists[i]);
    h->loop = l;
    h->poller = poller_new(l, stream_on_event);
    h->sweep_at = INT64_MAX;
    h->swept = INT64_MIN / 2;
    h->sweep = timer_new(l, stream_sweep, h);
    quickacks_init(&h->quick, l);
    return h;
}

void stream_hub_free(struct stream_hub *h)
{
    LIST_EACH(&h->timed, n) /* those that finish have no owner any more */
        if (CONTAINER_OF(n, struct stream, timed)->state == STREAM_FINISHING)
            stream_close(CONTAINER_OF(n, struct stream, timed));
    stream_hub_reap(h);
    timer_free(h->sweep);
    poller_free(h->poller);
    quickacks_fini(&h->quick);
    spares_fini(&h->spares);
    mem_free(h->input);
    mem_free(h);
}

bool stream_hub_busy(const struct stream_hub *h)
{
    return !list_empty(&h->ready) || !list_empty(&h->dirty);
}

void stream_hub_ready(struct stream_hub *h)
{
    for (size_t most = h->ready.count; most > 0 && !list_empty(&h->ready); most--) {
        struct stream *s = CONTAINER_OF(list_first(&h->ready), struct stream, queue);
        list_remove(&h->ready, &s->queue);
        stream_go_on(s);
    }
}

void stream_hub_flush(struct stream_hub *h)
{
    /* What callbacks add meanwhile leaves in the next turn. */
    for (size_t most = h->dirty.count; most > 0 && !list_empty(&h->dirty); most--) {
        struct stream *s = CONTAINER_OF(list_first(&h->dirty), struct stream, dirty);
        list_remove(&h->dirty, &s->dirty);
        s->early = false;
        if (s->out.len > s->limits.high)
            s->above = true;
        if (stream_alive(s) && !s->blocked)
            stream_write(s);
    }
    quickacks_end_turn(&h->quick);
}

void stream_hub_reap(struct stream_hub *h)
{
    struct list_node *n;
    while ((n = list_first(&h->dead)) != NULL) {
        list_remove(&h->dead, n);
        stream_free(CONTAINER_OF(n, struct stream, queue));
    }
}

/* The calls of the header. */

struct stream *stream_new_layer(struct loop *l, int fd, struct layer *layer,
                                const struct stream_ops *ops, void *arg)
{
    struct stream *s = mem_zalloc(sizeof(*s));
    s->hub = l->streams;
    s->ops = ops;
    s->arg = arg;
    s->layer = layer;
    s->fd = fd;
    stream_limit(s, &(struct stream_limits){0});
    s->peer = socket_take(fd);
    s->edge = layer == NULL && s->peer != NULL;
    s->reading = true;
    stream_watch(s);
    if (layer != NULL) {
        s->write_since = loop_now(l);
        stream_retime(s);
    }
    stream_queue(s);
    return s;
}

struct stream *stream_new(struct loop *l, int fd, const struct stream_ops *ops, void *arg)
{
    return stream_new_layer(l, fd, NULL, ops, arg);
}

void stream_limit(struct stream *s, const struct stream_limits *limits)
{
    s->limits = *limits;
    if (s->limits.input == 0)
        s->limits.input = STREAM_READ_MAX;
    if (s->limits.high == 0)
        s->limits.high = OUTPUT_HIGH;
    stream_retime(s);
}

void stream_quickack(struct stream *s, enum stream_quickack how)
{
    s->quick.how = s->peer != NULL ? (uint8_t)how : QUICKACK_OFF;
    s->quick.fd = s->fd;
}

/* Where it fails, the write at the end of the turn will tell: no callback may come from here. */
static void stream_send_early(struct stream *s)
{
    if (s->state != STREAM_OPEN || s->layer != NULL || s->blocked || s->early)
        return;
    int unread = 0;
    s->early = true;
    if (ioctl(s->fd, SIOCOUTQ, &unread) != 0 || unread > 0)
        return; /* it has enough to do */
    ssize_t n = send(s->fd, buf_data(&s->out), s->out.len, MSG_NOSIGNAL);
    if (n > 0)
        buf_consume(&s->out, (size_t)n);
}

struct buf *stream_out(struct stream *s)
{
    if (!list_linked(&s->dirty) && s->state != STREAM_CLOSED)
        list_push(&s->hub->dirty, &s->dirty);
    if (s->out.base == NULL)
        spares_take(&s->hub->spares, &s->out);
    else if (s->limits.eager > 0 && s->out.len >= s->limits.eager)
        stream_send_early(s);
    return &s->out;
}

size_t stream_pending(const struct stream *s)
{
    return s->out.len;
}

void stream_pause(struct stream *s)
{
    s->paused = true;
    if (list_linked(&s->timed))
        stream_retime(s);
}

void stream_resume(struct stream *s)
{
    if (!s->paused)
        return;
    s->paused = false;
    if (s->state != STREAM_OPEN)
        return;
    s->reading = true;
    stream_watch(s);
    if (s->layer != NULL || s->in.len > 0 || s->unread)
        stream_queue(s);
    if (s->in.len > 0) {
        s->resumed = true;
        s->partial_since = loop_now(s->hub->loop);
        stream_retime(s);
    }
}

bool stream_paused(const struct stream *s)
{
    return s->paused;
}

void stream_close(struct stream *s)
{
    if (s == NULL || s->state == STREAM_CLOSED)
        return;
    stream_unlink(s);
    stream_bury(s);
}

void stream_finish(struct stream *s)
{
    if (s->state == STREAM_OPENING && s->layer != NULL) {
        stream_close(s);
        return;
    }
    if (s->state == STREAM_CLOSED || s->state == STREAM_FINISHING)
        return;
    s->state = STREAM_FINISHING;
    s->reading = s->want_write = false;
    s->write_since = loop_now(s->hub->loop);
    stream_watch(s);
    stream_retime(s);
    if (!list_linked(&s->dirty))
        list_push(&s->hub->dirty, &s->dirty);
}

int stream_release(struct stream *s)
{
    int fd = s->fd;
    assert(s->state == STREAM_OPEN && s->layer == NULL);
    stream_unlink(s);
    s->fd = -1;
    list_push(&s->hub->dead, &s->queue);
    return fd;
}

void stream_secret_input(struct stream *s)
{
    buf_secret(&s->in);
}

int stream_fd(const struct stream *s)
{
    return s->fd;
}

const char *stream_peer(const struct stream *s)
{
    return s->peer != NULL ? s->peer : "unix";
}

const char *stream_identity(const struct stream *s)
{
    return s->layer != NULL ? s->layer->ops->identity(s->layer) : NULL;
}
