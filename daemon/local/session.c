#include <sys/socket.h>

#include "base/mem.h"
#include "local/internal.h"
#include "msg/headers.h"

#define WRITE_STALL_MS 30000   /* a client that does not read for so long is dropped */
#define PARTIAL_MS 30000
#define EAGER_BYTES 4096 /* a dozen short messages: its process takes them up while we go on with the others */

static const struct stream_ops session_ops;

static void on_resume(void *arg)
{
    struct session *s = arg;
    if (s->patience != NULL)
        timer_stop(s->patience);
    stream_resume(s->stream);
}

static void read_peer(struct session *s, int fd)
{
    struct ucred peer = {.uid = 65534, .gid = 65534};
    socklen_t n = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0)
        peer = (struct ucred){.uid = 65534, .gid = 65534};
    s->uid = peer.uid;
    s->gid = peer.gid;
    s->pid = peer.pid;
}

void session_open(struct server *server, int fd)
{
    struct session *s = mem_zalloc(sizeof(*s));
    uint64_t body = server->env.conf->limits.body;
    s->server = server;
    s->number = ++server->sessions_ever;
    s->since_ms = loop_now(server->env.loop);
    list_init(&s->subscriptions);
    list_init(&s->staged);
    list_init(&s->log_reads);
    list_init(&s->askers_waiting);
    s->waiter = (struct waiter){.resume = on_resume, .arg = s};
    list_push(&server->sessions, &s->link);
    read_peer(s, fd);
    s->stream = stream_new(server->env.loop, fd, &session_ops, s);
    stream_secret_input(s->stream); /* HELLO has a token */
    stream_limit(s->stream, &(struct stream_limits){
        .input = FRAME_LINE_MAX + FRAME_HEADERS_MAX + body, .high = SESSION_HIGH,
        .partial_ms = PARTIAL_MS, .write_ms = WRITE_STALL_MS, .eager = EAGER_BYTES});
    server->counts.accepted++;
    const char *stranger = greet_stranger(s);
    if (server->sessions.count > server->env.conf->limits.clients)
        session_drop(s, CODE_OVERLOADED, "limits.clients connections are open");
    else if (stranger != NULL)
        session_drop(s, CODE_DENIED, stranger);
    else if (!user_join(s))
        session_drop(s, CODE_OVERLOADED, "limits.clients_per_user connections of this uid are open");
}

static void session_forget(void *arg)
{
    struct session *s = arg;
    slots_fini(&s->deliveries);
    idmap_fini(&s->asks);
    timer_free(s->patience);
    timer_free(s->company);
    mem_free((char *)(uintptr_t)s->holder.text);
    mem_free(s);
}

/* Takes the session out of everything; its stream is gone or going. Frees at the end of the turn. */
static void session_end(struct session *s, const char *why, bool crashed)
{
    enum session_state before = s->state;
    if (before == SESSION_CLOSED)
        return;
    s->state = SESSION_CLOSED;
    waiter_cancel(&s->waiter);
    if (s->patience != NULL)
        timer_stop(s->patience);
    if (s->company != NULL)
        timer_stop(s->company);
    if (s->member.service != NULL) {
        log_write(s->server->env.log, LOG_INFO, "client_detached", "service", s->member.service->name,
                  "client", LOG_NUM(s->number), "reason", why, "unanswered", LOG_NUM(s->inflight), NULL);
        answer_lost_all(s, why, crashed && before == SESSION_OPEN && !s->bye_sent);
        service_leave_all(s);
    }
    ask_withdraw_all(s);
    log_cancel_all(s);
    waiters_wake(&s->askers_waiting);
    list_remove(&s->server->sessions, &s->link);
    user_leave(s);
    loop_later(s->server->env.loop, session_forget, s);
}

void session_close(struct session *s, const char *why)
{
    struct stream *stream = s->stream;
    session_end(s, why, false);
    s->stream = NULL;
    stream_finish(stream);
}

void session_error(struct session *s, uint64_t id, enum code code, const char *detail)
{
    struct reply r = {.code = code, .body = str_of(detail)};
    session_answer(s, VERB_ERR, id, &r);
}

void session_drop(struct session *s, enum code code, const char *why)
{
    log_write(s->server->env.log, LOG_WARN, "client_dropped", "code", code_name(code), "reason", why, "uid",
              LOG_NUM(s->uid), "pid", LOG_NUM(s->pid), "service",
              s->member.service != NULL ? s->member.service->name : NULL, NULL);
    if (code == CODE_DENIED)
        s->server->counts.denied++;
    if (code == CODE_BAD_FRAME)
        s->server->counts.bad_frames++;
    session_error(s, 0, code, why);
    session_close(s, why);
}

void session_drop_bad(struct session *s, size_t offset, const char *what)
{
    struct buf text = BUF_EMPTY;
    buf_printf(&text, "byte %llu: %s", (unsigned long long)s->consumed + offset, what);
    session_drop(s, CODE_BAD_FRAME, buf_cstr(&text));
    buf_fini(&text);
}

void session_answer(struct session *s, enum verb v, uint64_t id, const struct reply *r)
{
    if (s->stream == NULL || (v != VERB_ERR && id == 0))
        return;
    struct buf *out = stream_out(s->stream);
    struct str code = v == VERB_ERR ? str_of(code_name(r->code)) : STR_NONE;
    frame_head(out, &(struct frame_line){v, id, r->headers.n, r->body.n, code});
    buf_str_put(out, r->headers);
    buf_str_put(out, r->body);
    s->full = stream_pending(s->stream) > SESSION_HIGH;
}

void session_bye(struct session *s)
{
    if (s->state != SESSION_OPEN || s->bye_sent)
        return;
    s->bye_sent = true;
    frame_bare(stream_out(s->stream), VERB_BYE, 0);
}

/* ---------------------------------------------------------------- frames */

static void on_credit(struct session *s, const struct frame *f)
{
    const struct service_conf *conf = s->member.service->conf;
    uint64_t cap = conf != NULL && conf->credit > 0 ? conf->credit : CREDIT_MAX;
    uint64_t sum = f->id < CREDIT_MAX ? s->credit + f->id : CREDIT_MAX;
    s->credit = (uint32_t)(sum < cap ? sum : cap);
    service_room(s);
}

static void on_ping(struct session *s, const struct frame *f)
{
    frame_bare(stream_out(s->stream), VERB_PONG, f->id);
    s->full = stream_pending(s->stream) > SESSION_HIGH;
}

static void on_nothing(struct session *s, const struct frame *f)
{
    (void)s;
    (void)f;
}

static void on_bye(struct session *s, const struct frame *f)
{
    (void)f;
    s->state = SESSION_LEAVING;
    service_leave(&s->member);
}

static void on_second_hello(struct session *s, const struct frame *f)
{
    (void)f;
    session_drop_bad(s, 0, "HELLO stands only at the start of a connection");
}

typedef void frame_fn(struct session *s, const struct frame *f);

static frame_fn *const handlers[VERB_COUNT] = {
    [VERB_HELLO] = on_second_hello, [VERB_OK] = answer_final,   [VERB_MORE] = answer_more,
    [VERB_REP] = answer_final,      [VERB_ERR] = answer_final,  [VERB_SUB] = service_subscribe,
    [VERB_UNSUB] = service_unsubscribe, [VERB_WAIT] = answer_wait, [VERB_CANCEL] = ask_cancel,
    [VERB_CREDIT] = on_credit,      [VERB_PING] = on_ping,      [VERB_PONG] = on_nothing,
    [VERB_BYE] = on_bye,
};

/*
 * What makes us write waits while our output is full: whoever asks faster than it reads is held
 * back. Its answers are always taken, or a service that writes before it reads on would be stuck.
 */
static bool makes_output(enum verb v)
{
    return v == VERB_PUB || v == VERB_REQ || v == VERB_PING || v == VERB_SUB || v == VERB_UNSUB;
}

/* false: the frame was not taken and has to be shown again. */
static bool dispatch(struct session *s, const struct frame *f)
{
    const char *what;
    size_t offset;
    if (f->headers.n > 0 && !headers_check(f->headers, &what, &offset)) {
        session_drop_bad(s, f->size - f->body.n - f->headers.n + offset, what);
    } else if (s->state == SESSION_GREETING) {
        if (f->verb == VERB_HELLO)
            greet_hello(s, f);
        else
            session_drop_bad(s, 0, "the first frame has to be HELLO");
    } else if (s->full && makes_output(f->verb)) {
        return false;
    } else if (f->verb == VERB_PUB || f->verb == VERB_REQ) {
        return ask_message(s, f);
    } else {
        handlers[f->verb](s, f);
    }
    return true;
}

/* Only these name a delivery of ours; the id of any other frame is the client's own. */
static bool is_answer(enum verb v)
{
    return v == VERB_OK || v == VERB_MORE || v == VERB_REP || v == VERB_ERR;
}

static void on_big(struct session *s, const struct frame *f)
{
    char limit[32];
    struct buf text = BUF_EMPTY;
    if (s->state == SESSION_GREETING) {
        session_drop_bad(s, 0, "HELLO has no body");
        return;
    }
    s->skip = f->body_size;
    buf_printf(&text, "a body of %llu bytes; limits.body is %s", (unsigned long long)f->body_size,
               str_format_size(s->server->env.conf->limits.body, limit));
    if (f->verb == VERB_PUB || f->verb == VERB_REQ)
        hub_refused(s->server->env.hub, CODE_TOO_LARGE);
    if ((f->verb == VERB_PUB && f->id != 0) || f->verb == VERB_REQ)
        session_error(s, f->id, CODE_TOO_LARGE, buf_cstr(&text));
    else if (is_answer(f->verb))
        answer_too_large(s, f->id);
    buf_fini(&text);
}

/* One step at the start of p: how many bytes it took; 0 = unfinished, or the session must wait. */
static size_t step(struct session *s, const uint8_t *p, size_t n)
{
    struct frame f;
    struct frame_error e;
    if (s->skip > 0) {
        size_t skipped = s->skip < n ? (size_t)s->skip : n;
        s->skip -= skipped;
        return skipped;
    }
    switch (frame_parse(p, n, s->server->env.conf->limits.body, &f, &e)) {
    case FRAME_OK:
        if (dispatch(s, &f))
            return f.size;
        stream_pause(s->stream);
        return 0;
    case FRAME_BIG:
        on_big(s, &f);
        return f.size;
    case FRAME_BAD:
        session_drop_bad(s, e.offset, e.what);
        return 0;
    default:
        return 0;
    }
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    struct session *s = arg;
    size_t used = 0;
    while (used < n && s->state != SESSION_CLOSED && !stream_paused(s->stream)) {
        bool greeting = s->state == SESSION_GREETING;
        size_t took = step(s, p + used, n - used);
        if (greeting && s->state != SESSION_GREETING) /* the token has been looked at */
            bytes_wipe(p + used, s->state == SESSION_CLOSED ? n - used : took);
        if (took == 0)
            break;
        used += took;
        s->consumed += took;
    }
    return used;
}

static void on_drain(void *arg)
{
    struct session *s = arg;
    s->full = false;
    if (s->waiter.in == NULL)
        stream_resume(s->stream);
    waiters_wake(&s->askers_waiting);
    log_resume_all(s);
    if (s->state == SESSION_OPEN)
        service_room(s);
}

/* Not one that we gave up because it stood still: the peer is gone. */
static bool peer_is_gone(const char *reason)
{
    return str_starts(str_of(reason), STR("closed by peer")) || strcmp(reason, "connection reset by peer") == 0;
}

static void on_close(void *arg, const char *reason)
{
    struct session *s = arg;
    s->stream = NULL;
    session_end(s, reason, peer_is_gone(reason));
}

static const struct stream_ops session_ops = {.on_data = on_data, .on_drain = on_drain, .on_close = on_close};
