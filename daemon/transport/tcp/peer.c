#include "base/mem.h"
#include "msg/headers.h"
#include "transport/nest.h"
#include "transport/tcp/internal.h"
#include "wire/json.h"

/* One connection of a NestJS client. */
struct peer {
    struct endpoint *endpoint;
    struct stream *stream; /* NULL once it has gone */
    struct list_node link;
    struct nest_framer framer;
    struct list asks;           /* struct ask: requests that wait for their answer */
    struct list askers_waiting; /* streams of replies that wait for our output to drain */
    struct waiter waiter;
    bool full, stopped;
};

#define ASK_ID_ROOM 48    /* of every ask: NestJS makes ids of 38 bytes with their quotes */
#define ASK_SPARES_MAX 1024

struct ask {
    struct list_node link; /* in peer->asks or endpoint->spare_asks */
    struct peer *peer;
    struct receipt *receipt;
    size_t id_length;
    char id[]; /* the request's id as raw JSON, echoed byte for byte */
};

static const struct stream_ops peer_ops;

static struct ask *ask_alloc(struct endpoint *e, size_t id)
{
    struct list_node *spare = id <= ASK_ID_ROOM ? list_first(&e->spare_asks) : NULL;
    if (spare == NULL)
        return mem_alloc(sizeof(struct ask) + (id > ASK_ID_ROOM ? id : ASK_ID_ROOM));
    list_remove(&e->spare_asks, spare);
    return CONTAINER_OF(spare, struct ask, link);
}

/* a is in no list; NULL is legal. */
static void ask_free(struct endpoint *e, struct ask *a)
{
    if (a != NULL && a->id_length <= ASK_ID_ROOM && e->spare_asks.count < ASK_SPARES_MAX)
        list_push(&e->spare_asks, &a->link);
    else
        mem_free(a);
}

void peers_fini(struct endpoint *e)
{
    while (!list_empty(&e->spare_asks)) {
        struct list_node *n = list_first(&e->spare_asks);
        list_remove(&e->spare_asks, n);
        mem_free(CONTAINER_OF(n, struct ask, link));
    }
}

struct peer *peer_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct peer, link);
}

size_t peer_busy(const struct peer *p)
{
    return !list_empty(&p->asks) || stream_pending(p->stream) > 0;
}

static void on_resume(void *arg)
{
    struct peer *p = arg;
    if (!p->stopped)
        stream_resume(p->stream);
}

void peer_open(struct endpoint *e, int fd)
{
    struct peer *p = mem_zalloc(sizeof(*p));
    struct stream_limits limits = tcp_limits(e);
    p->endpoint = e;
    list_init(&p->asks);
    list_init(&p->askers_waiting);
    p->waiter = (struct waiter){.resume = on_resume, .arg = p};
    p->stream = e->env.tls != NULL ? stream_new_tls(e->env.loop, fd, e->env.tls, NULL, &peer_ops, p)
                                   : stream_new(e->env.loop, fd, &peer_ops, p);
    stream_limit(p->stream, &limits);
    stream_quickack(p->stream, QUICKACK_LAZY);
    list_push(&e->peers, &p->link);
    if (e->peers.count <= e->keys->connections)
        return;
    log_write(e->env.log, LOG_WARN, "peer_refused", "endpoint", e->conf->name, "reason",
              "more connections than `connections` allows", NULL);
    peer_close(p);
}

static void peer_end(struct peer *p)
{
    struct endpoint *e = p->endpoint;
    waiter_cancel(&p->waiter);
    LIST_EACH(&p->asks, n) {
        struct ask *a = CONTAINER_OF(n, struct ask, link);
        e->env.intake->ops->withdraw(a->receipt);
        list_remove(&p->asks, &a->link);
        ask_free(e, a);
    }
    waiters_wake(&p->askers_waiting);
    list_remove(&e->peers, &p->link);
    loop_later(e->env.loop, mem_free, p);
}

void peer_close(struct peer *p)
{
    stream_finish(p->stream);
    peer_end(p);
}

static void close_when_answered(struct peer *p)
{
    if (p->stopped && list_empty(&p->asks))
        peer_close(p);
}

void peer_stop(struct peer *p)
{
    p->stopped = true;
    stream_pause(p->stream);
    close_when_answered(p);
}

/* ---------------------------------------------------------------- answers */

static struct buf *answer_buf(struct peer *p)
{
    p->endpoint->sent++;
    return stream_out(p->stream);
}

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *w)
{
    struct ask *a = ctx;
    struct peer *p = a->peer;
    (void)token;
    nest_put_value(answer_buf(p), str_make(a->id, a->id_length), item, false);
    p->full = stream_pending(p->stream) > OUTPUT_HIGH;
    if (p->full && w != NULL && w->in == NULL)
        waiter_enrol(w, &p->askers_waiting);
    return !p->full;
}

static void on_done(void *ctx, uint64_t token, const struct reply *r)
{
    struct ask *a = ctx;
    struct peer *p = a->peer;
    (void)token;
    list_remove(&p->asks, &a->link);
    nest_put_end(answer_buf(p), str_make(a->id, a->id_length), r);
    p->full = stream_pending(p->stream) > OUTPUT_HIGH;
    ask_free(p->endpoint, a);
    close_when_answered(p);
}

static const struct asker_ops peer_asker = {.more = on_more, .done = on_done};

/* ---------------------------------------------------------------- packets */

static void refuse(struct peer *p, const struct nest_request *req, struct str subject, enum code code,
                   const char *why)
{
    struct endpoint *e = p->endpoint;
    char *name = str_dup(subject);
    log_write(e->env.log, LOG_WARN, "message_refused", "endpoint", e->conf->name, "subject", name, "peer",
              stream_peer(p->stream), "code", code_name(code), "kind", req->id.p != NULL ? "request" : "event",
              NULL);
    mem_free(name);
    if (req->id.p == NULL)
        return;
    if (code == CODE_NO_ROUTE)
        nest_reply_no_handler(answer_buf(p), req->id);
    else
        nest_put_error(answer_buf(p), req->id, code, str_of(why));
}

static struct msg *make(struct peer *p, const struct nest_request *req, struct str subject,
                        const char **what)
{
    struct intake *in = p->endpoint->env.intake;
    struct buf headers = BUF_EMPTY;
    struct msg_input input = {.kind = req->id.p != NULL ? MSG_REQUEST : MSG_EVENT, .subject = subject,
                              .lines = STR("content-type: application/json\n"), .line_count = 1, .body = req->data,
                              .source = str_of(in->name), .pool = p->endpoint->pool};
    if (req->metadata.p != NULL) {
        nest_metadata_headers(req->metadata, &headers);
        input.headers = buf_str(&headers);
    }
    struct msg *m = msg_new(in->factory, &input, what);
    buf_fini(&headers);
    return m;
}

static struct ask *ask_new(struct peer *p, struct str id)
{
    struct ask *a = ask_alloc(p->endpoint, id.n);
    *a = (struct ask){.peer = p, .id_length = id.n};
    bytes_str(a->id, id);
    return a;
}

/* false: not taken, the source has to wait. */
static bool offer(struct peer *p, const struct nest_request *req, struct msg *m)
{
    struct ask *a = req->id.p != NULL ? ask_new(p, req->id) : NULL;
    struct asker asker = {.ops = &peer_asker, .ctx = a};
    struct receipt *receipt = NULL;
    enum code code = intake_accept(p->endpoint->env.intake, m, a != NULL ? &asker : NULL, &p->waiter, &receipt);
    if (a != NULL && code == CODE_OK) {
        a->receipt = receipt;
        list_push(&p->asks, &a->link);
    } else {
        ask_free(p->endpoint, a);
    }
    if (code != CODE_OK && code != CODE_BUSY)
        refuse(p, req, m->subject, code, nest_refusal(p->endpoint->env.intake, code));
    return code != CODE_BUSY;
}

static bool take(struct peer *p, const struct nest_request *req, struct str subject)
{
    const char *what = NULL;
    bool fits = req->data.n <= p->endpoint->env.body_max;
    struct msg *m = fits ? make(p, req, subject, &what) : NULL;
    if (m == NULL) {
        intake_refused(p->endpoint->env.intake, fits ? CODE_INVALID : CODE_TOO_LARGE);
        refuse(p, req, subject, fits ? CODE_INVALID : CODE_TOO_LARGE, fits ? what : "data above limits.body");
        return true;
    }
    bool taken = offer(p, req, m);
    msg_unref(m);
    return taken;
}

/* What NestJS would log as an unknown event: JSON without a pattern. The connection lives on. */
static bool foreign(struct peer *p, struct str json, const char *what)
{
    struct endpoint *e = p->endpoint;
    e->bad++;
    log_write(e->env.log, LOG_WARN, "packet_ignored", "endpoint", e->conf->name, "peer",
              stream_peer(p->stream), "reason", what, NULL);
    return json_valid(json, NULL, NULL);
}

/* {NULL, 0} where none can be made of this pattern. */
static struct str subject_of(struct endpoint *e, struct str pattern)
{
    struct str known = memo_get(&e->memo, pattern);
    if (known.p != NULL)
        return known;
    buf_clear(&e->subject);
    if (!nest_subject(pattern, &e->subject))
        return STR_NONE;
    memo_put(&e->memo, pattern, buf_str(&e->subject));
    return buf_str(&e->subject);
}

enum verdict { TAKEN, HELD, BROKEN };

static enum verdict on_packet(struct peer *p, struct str json)
{
    struct nest_request req;
    struct endpoint *e = p->endpoint;
    const char *what;
    if (!nest_request_parse(json, &req, &what))
        return foreign(p, json, what) ? TAKEN : BROKEN;
    bool taken = true;
    struct str subject = e->env.intake != NULL ? subject_of(e, req.pattern) : STR_NONE;
    if (subject.p == NULL) {
        if (e->env.intake != NULL)
            intake_refused(e->env.intake, CODE_NO_ROUTE);
        refuse(p, &req, req.pattern, CODE_NO_ROUTE, "no subject can be made of this pattern");
    } else {
        taken = take(p, &req, subject);
    }
    e->received += taken;
    return taken ? TAKEN : HELD;
}

static void peer_drop(struct peer *p, const char *why)
{
    struct endpoint *e = p->endpoint;
    e->bad++;
    log_write(e->env.log, LOG_WARN, "peer_dropped", "endpoint", e->conf->name, "peer", stream_peer(p->stream),
              "reason", why, NULL);
    peer_close(p);
}

static size_t on_data(void *arg, const uint8_t *data, size_t n)
{
    struct peer *p = arg;
    size_t done = 0;
    struct nest_found found;
    while (done < n) {
        enum nest_frame f = nest_frame_next(&p->framer, str_make(data + done, n - done),
                                            p->endpoint->env.body_max + ENVELOPE_MAX, &found);
        if (f == NEST_MORE)
            break;
        enum verdict v = f == NEST_BAD ? BROKEN : on_packet(p, found.json);
        if (v == BROKEN) {
            peer_drop(p, f == NEST_BAD ? found.what : "a frame that is not JSON");
            return n;
        }
        if (v == HELD) {
            stream_pause(p->stream);
            break;
        }
        done += found.used;
        if (p->full) {
            stream_pause(p->stream); /* it asks faster than it reads the answers */
            break;
        }
    }
    return done;
}

static void on_drain(void *arg)
{
    struct peer *p = arg;
    p->full = false;
    if (p->waiter.in == NULL)
        on_resume(p);
    waiters_wake(&p->askers_waiting);
}

static void on_close(void *arg, const char *reason)
{
    struct peer *p = arg;
    struct endpoint *e = p->endpoint;
    bool clean = str_is(STR("closed by peer"), reason);
    log_write(e->env.log, clean ? LOG_DEBUG : LOG_INFO, "peer_closed", "endpoint", e->conf->name, "peer",
              stream_peer(p->stream), "reason", reason, NULL);
    p->stream = NULL;
    peer_end(p);
}

static const struct stream_ops peer_ops = {.on_data = on_data, .on_drain = on_drain, .on_close = on_close};
