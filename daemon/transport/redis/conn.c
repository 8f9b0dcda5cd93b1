#include "transport/redis/conn.h"

#include <assert.h>
#include <stdio.h>

#include "base/mem.h"
#include "loop/timer.h"
#include "transport/redis/internal.h"

#define PING_MS 10000 /* of silence, before the server is asked whether it is there */
#define CALLS_MIN 16

struct call {
    conn_reply_fn *fn;
    void *arg;
    uint64_t token;
};

struct conn {
    struct endpoint *endpoint;
    const struct conn_ops *ops;
    void *arg;
    struct link *link;
    struct resp_reader *reader; /* one per connection: NULL while down */
    struct call *calls;         /* a ring */
    size_t first, count, cap;   /* cap is a power of two */
    unsigned epoch;             /* of the connection: callbacks may end it */
    struct timer *watch;
    int64_t since_ms;           /* the server said something, or came to owe an answer */
    int64_t patience_ms;
    const struct resp *shown;   /* a message that was not taken */
    bool ready, held, pumping;
    bool overflowed;
    char misled[RESP_LINE_MAX + 100]; /* see conn_misled() */
    bool replica;                     /* that was it */
};

/* ---------------------------------------------------------------- commands and their answers */

static void calls_grow(struct conn *c)
{
    size_t cap = c->cap > 0 ? c->cap * 2 : CALLS_MIN;
    struct call *calls = mem_calloc(cap, sizeof(*calls));
    for (size_t i = 0; i < c->count; i++)
        calls[i] = c->calls[(c->first + i) & (c->cap - 1)];
    mem_free(c->calls);
    c->calls = calls;
    c->first = 0;
    c->cap = cap;
}

static struct call call_take(struct conn *c)
{
    struct call call = c->calls[c->first];
    c->first = (c->first + 1) & (c->cap - 1);
    c->count--;
    return call;
}

static struct buf *call_begin(struct conn *c, struct call call, size_t arguments)
{
    struct buf *out = stream_out(link_stream(c->link));
    if (c->count == c->cap)
        calls_grow(c);
    if (c->count++ == 0)
        c->since_ms = loop_now(c->endpoint->env.loop);
    c->calls[(c->first + c->count - 1) & (c->cap - 1)] = call;
    resp_begin(out, arguments);
    return out;
}

struct buf *conn_call(struct conn *c, conn_reply_fn *fn, uint64_t token, size_t arguments)
{
    assert(c->ready);
    return call_begin(c, (struct call){fn, c->arg, token}, arguments);
}

static void answer(struct conn *c, const struct resp *reply)
{
    if (c->count == 0) {
        link_reset(c->link, reply->type == RESP_ERROR ? reply->text.p : "an answer to nothing that was asked");
        return;
    }
    struct call call = call_take(c);
    if (call.fn != NULL)
        call.fn(call.arg, call.token, reply);
}

/* ---------------------------------------------------------------- reading */

static void handle(struct conn *c, const struct resp *reply)
{
    struct push p;
    bool message = c->ops->on_message != NULL && push_parse(reply, &p) && p.kind == PUSH_MESSAGE;
    if (!message) {
        answer(c, reply);
    } else if (!c->ops->on_message(c->arg, &p)) {
        c->shown = reply;
        c->held = true;
    }
}

/* What the reader holds already. false: the connection has gone. */
static bool pump(struct conn *c)
{
    const struct resp *reply;
    const char *what;
    unsigned epoch = c->epoch;
    enum resp_read got = RESP_REPLY;
    if (c->shown != NULL && !c->held) {
        reply = c->shown;
        c->shown = NULL;
        handle(c, reply);
    }
    while (epoch == c->epoch && !c->held && (got = resp_read(c->reader, &reply, &what)) == RESP_REPLY)
        handle(c, reply);
    if (epoch == c->epoch && got == RESP_BAD) {
        char reason[200];
        snprintf(reason, sizeof(reason), "no RESP2 answer: %s", what);
        c->endpoint->bad++;
        c->overflowed = resp_reader_overflowed(c->reader);
        link_reset(c->link, reason);
    }
    return epoch == c->epoch;
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    struct conn *c = arg;
    size_t done = 0;
    c->since_ms = loop_now(c->endpoint->env.loop);
    while (pump(c) && !c->held && done < n) {
        size_t piece = n - done < RESP_FEED ? n - done : RESP_FEED;
        resp_feed(c->reader, str_make(p + done, piece));
        done += piece;
    }
    if (!link_is_open(c->link))
        return n;
    if (c->held)
        stream_pause(link_stream(c->link));
    return done;
}

static void pump_later(void *arg)
{
    struct conn *c = arg;
    c->pumping = false;
    if (c->reader == NULL || c->held || !pump(c))
        return;
    if (!c->held)
        stream_resume(link_stream(c->link));
}

void conn_hold(struct conn *c)
{
    c->held = true;
}

void conn_release(struct conn *c)
{
    if (!c->held)
        return;
    c->held = false;
    c->since_ms = loop_now(c->endpoint->env.loop);
    if (!c->pumping && c->reader != NULL)
        loop_later(c->endpoint->env.loop, pump_later, c);
    c->pumping |= c->reader != NULL;
}

/* ---------------------------------------------------------------- a silent server */

static int64_t answer_limit(const struct conn *c)
{
    return c->endpoint->keys->reply_timeout_ms + c->patience_ms;
}

static void watch_on(struct conn *c)
{
    timer_after(c->watch, answer_limit(c) < PING_MS ? answer_limit(c) : PING_MS);
}

static void on_watch(void *arg)
{
    struct conn *c = arg;
    int64_t silent = loop_now(c->endpoint->env.loop) - c->since_ms, limit = answer_limit(c);
    char reason[64], time[32];
    if (!c->ready || c->held) {
        watch_on(c);
    } else if (c->count == 0) {
        if (silent >= PING_MS)
            resp_arg(conn_call(c, NULL, 0, 1), STR("PING"));
        watch_on(c);
    } else if (silent < limit) {
        timer_after(c->watch, limit - silent);
    } else {
        snprintf(reason, sizeof(reason), "no answer for %s", str_format_duration(limit, time));
        link_reset(c->link, reason);
    }
}

void conn_patience(struct conn *c, int64_t more_ms)
{
    c->patience_ms = more_ms;
}

/* ---------------------------------------------------------------- greeting */

/* For CLIENT LIST; an endpoint's name is legal there, and no right to give one is no reason to stay away. */
static void set_name(struct conn *c)
{
    struct buf name = BUF_EMPTY, *out = conn_call(c, NULL, 0, 3);
    buf_printf(&name, "bellhop:%s", c->endpoint->conf->name);
    resp_arg(out, STR("CLIENT"));
    resp_arg(out, STR("SETNAME"));
    resp_arg(out, buf_str(&name));
    buf_fini(&name);
}

/* AUTH, SELECT and the last PING, which a user without the right to it may not. */
static void on_greeted(void *arg, uint64_t last, const struct resp *reply)
{
    struct conn *c = arg;
    if (reply == NULL)
        return;
    enum resp_fault fault = resp_fault(reply);
    bool may_not_ping = last && fault == FAULT_DENIED && !str_starts(reply->text, STR("NOAUTH"));
    if (fault == FAULT_NOT_NOW) {
        link_reset(c->link, reply->text.p);
    } else if (fault != FAULT_NONE && !may_not_ping) {
        link_refused(c->link, reply->text.p);
    } else if (last) {
        c->ready = true;
        link_ready(c->link);
        watch_on(c);
        set_name(c);
        c->ops->on_ready(c->arg);
        c->overflowed = false;
    }
}

static bool has_others(const struct conn *c)
{
    return c->endpoint->conf->other_count > 0;
}

/* Servers before 6.0 and users without the right do not tell: then what they answer later has to do. */
static void on_hello(void *arg, uint64_t token, const struct resp *reply)
{
    struct conn *c = arg;
    enum server_kind kind = reply != NULL ? hello_parse(reply) : SERVER_PRIMARY;
    (void)token;
    if (reply != NULL && reply->type == RESP_ERROR && str_starts(reply->text, STR("NOAUTH")))
        link_refused(c->link, reply->text.p);
    else if (kind == SERVER_SENTINEL)
        link_refused(c->link, "this is a Redis Sentinel, which holds no data: name the servers that it watches in `connect`");
    else if (kind == SERVER_REPLICA && c->ops->writes && has_others(c))
        link_reset(c->link, "a replica, which takes no writes: the next address may be the primary");
}

const char *conn_misled(struct conn *c, const struct resp *error)
{
    enum resp_fault fault = resp_fault(error);
    if (fault != FAULT_READONLY && fault != FAULT_ELSEWHERE)
        return NULL;
    c->replica = fault == FAULT_READONLY;
    snprintf(c->misled, sizeof(c->misled), "%s (%s)", error->text.p,
             c->replica ? "name the primary in `connect`, or all servers of the set"
                        : "a cluster, in which this key is on that server: name it in `connect`");
    return c->misled;
}

bool conn_leaves(const struct conn *c)
{
    return c->replica || has_others(c);
}

void conn_leave(struct conn *c)
{
    if (c->replica && has_others(c))
        link_reset(c->link, c->misled);
    else if (conn_leaves(c))
        link_refused(c->link, c->misled);
}

static void greet(struct conn *c, struct str command, struct str user, struct str secret)
{
    struct call call = {on_greeted, c, str_is(command, "PING")};
    struct buf *out = call_begin(c, call, 1u + (user.p != NULL) + (secret.p != NULL));
    resp_arg(out, command);
    if (user.p != NULL)
        resp_arg(out, user);
    if (secret.p != NULL)
        resp_arg(out, secret);
}

static void on_up(void *arg)
{
    struct conn *c = arg;
    const struct url *url = link_url(c->link);
    struct str database = redis_database(url);
    c->reader = resp_reader_new(&(struct resp_limits){.element = c->endpoint->env.body_max + ENVELOPE_MAX,
                                                      .reply = redis_reply_max(c->endpoint)});
    if (url->password != NULL) {
        buf_secret(stream_out(link_stream(c->link)));
        greet(c, STR("AUTH"), redis_user(url), str_of(url->password));
    }
    struct buf *out = call_begin(c, (struct call){on_hello, c, 0}, 2);
    resp_arg(out, STR("HELLO"));
    resp_arg(out, STR("2"));
    if (database.n > 0)
        greet(c, STR("SELECT"), STR_NONE, database);
    greet(c, STR("PING"), STR_NONE, STR_NONE);
}

/* ---------------------------------------------------------------- the end of a connection */

static void free_reader(void *reader)
{
    resp_reader_free(reader);
}

static void on_down(void *arg, const char *reason)
{
    struct conn *c = arg;
    struct call *lost = c->calls;
    size_t first = c->first, count = c->count, mask = c->cap - 1;
    bool was_ready = c->ready;
    loop_later(c->endpoint->env.loop, free_reader, c->reader); /* reason may be one of its texts */
    c->reader = NULL;
    c->shown = NULL;
    c->calls = NULL;
    c->first = c->count = c->cap = 0;
    c->ready = c->held = false;
    c->epoch++;
    timer_stop(c->watch);
    for (size_t i = 0; i < count; i++) {
        struct call *call = &lost[(first + i) & mask];
        if (call->fn != NULL)
            call->fn(call->arg, call->token, NULL);
    }
    mem_free(lost);
    if (was_ready)
        c->ops->on_down(c->arg, reason);
}

static void on_drain(void *arg)
{
    struct conn *c = arg;
    if (c->ready && c->ops->on_drain != NULL)
        c->ops->on_drain(c->arg);
}

static const struct link_ops conn_link_ops = {
    .on_up = on_up, .on_data = on_data, .on_drain = on_drain, .on_down = on_down};

/* ---------------------------------------------------------------- life */

struct conn *conn_new(struct endpoint *e, const struct conn_ops *ops, void *arg)
{
    struct conn *c = mem_zalloc(sizeof(*c));
    *c = (struct conn){.endpoint = e, .ops = ops, .arg = arg};
    c->watch = timer_new(e->env.loop, on_watch, c);
    c->link = link_new(&(struct link_spec){.loop = e->env.loop, .conf = e->conf, .port = REDIS_PORT, .greets = true,
                                           .tls = e->env.tls, .max_pause_ms = e->keys->reconnect_max_ms,
                                           .limits = {.high = OUTPUT_HIGH, .write_ms = e->keys->reply_timeout_ms}},
                       &conn_link_ops, c);
    return c;
}

static void forget(void *arg)
{
    struct conn *c = arg;
    resp_reader_free(c->reader);
    mem_free(c->calls);
    mem_free(c);
}

void conn_free(struct conn *c)
{
    if (c == NULL)
        return;
    c->held = true; /* pump_later() may still be due */
    link_free(c->link);
    timer_free(c->watch);
    loop_later(c->endpoint->env.loop, forget, c);
}

bool conn_ready(const struct conn *c)
{
    return c != NULL && c->ready;
}

bool conn_full(const struct conn *c)
{
    return stream_pending(link_stream(c->link)) >= OUTPUT_HIGH;
}

bool conn_overflowed(const struct conn *c)
{
    return c->overflowed;
}

struct link *conn_link(const struct conn *c)
{
    return c->link;
}
