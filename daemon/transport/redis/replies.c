/*
 * The channels on which NestJS servers answer: `SUBJECT.reply`, one for each subject that requests are sent
 * under. Subscribed to before the first request goes out and kept open, because a server publishes into the
 * void where nobody listens; the one that was idle longest goes when there are too many. They have a
 * connection of their own: a source that has to wait must not hold back the answers that it waits for.
 */
#include <stdio.h>

#include "base/mem.h"
#include "loop/timer.h"
#include "transport/nest.h"
#include "transport/redis/internal.h"

#define CHANNELS_MAX 1024
#define STREAM_STALL_MS 2000
#define SUFFIX ".reply"

struct reply_channel {
    struct list_node link; /* the one used last is the last */
    struct replies *owner;
    char *subject;
    uint64_t number;
    bool open;          /* the server has confirmed it */
    size_t users;       /* handovers that wait for it or for an answer on it */
    struct list queue;  /* struct handover: until it is open */
};

struct replies {
    struct endpoint *endpoint;
    struct conn *conn;
    struct map channels;     /* subject -> struct reply_channel */
    struct idmap by_number;
    struct list order;
    uint64_t last;
    struct waiter waiter;    /* an asker that cannot take more of a stream */
    struct timer *patience;  /* with that asker */
    uint64_t stalled;
};

static void subscribe(struct replies *r, struct reply_channel *c);

static void channel_free(struct reply_channel *c)
{
    struct replies *r = c->owner;
    list_remove(&r->order, &c->link);
    map_remove(&r->channels, str_of(c->subject));
    idmap_remove(&r->by_number, c->number);
    mem_free(c->subject);
    mem_free(c);
}

static struct buf *command(struct replies *r, conn_reply_fn *fn, const char *verb, const struct reply_channel *c)
{
    struct buf name = BUF_EMPTY, *out = conn_call(r->conn, fn, c->number, 2);
    buf_puts(&name, c->subject);
    buf_puts(&name, SUFFIX);
    resp_arg(out, str_of(verb));
    resp_arg(out, buf_str(&name));
    buf_fini(&name);
    return out;
}

/* ---------------------------------------------------------------- channels */

/* The ones that wait for c: publishes them, or gives them back. */
static void release(struct reply_channel *c, const struct reply *refusal)
{
    struct endpoint *e = c->owner->endpoint;
    c->users++; /* stays while its queue is walked */
    while (!list_empty(&c->queue)) {
        struct handover *h = CONTAINER_OF(list_first(&c->queue), struct handover, link);
        list_remove(&c->queue, &h->link);
        if (refusal == NULL)
            sink_request(e, h);
        else
            sink_settle(e, h, OUTCOME_RETRY, refusal);
    }
    c->users--;
}

static void on_subscribed(void *arg, uint64_t number, const struct resp *reply)
{
    struct replies *r = arg;
    struct reply_channel *c = idmap_get(&r->by_number, number);
    if (c == NULL || reply == NULL)
        return; /* down: subscribed to again when it is up */
    c->open = reply->type != RESP_ERROR;
    if (c->open) {
        release(c, NULL);
    } else {
        struct reply refusal = {.code = CODE_DENIED, .body = reply->text};
        redis_denied(r->endpoint, reply->text);
        release(c, &refusal);
        if (c->users == 0)
            channel_free(c);
    }
}

static void subscribe(struct replies *r, struct reply_channel *c)
{
    if (conn_ready(r->conn))
        command(r, on_subscribed, "SUBSCRIBE", c);
}

static bool make_room(struct replies *r)
{
    if (r->channels.count < CHANNELS_MAX)
        return true;
    LIST_EACH(&r->order, n) {
        struct reply_channel *c = CONTAINER_OF(n, struct reply_channel, link);
        if (c->users > 0)
            continue;
        if (conn_ready(r->conn))
            command(r, NULL, "UNSUBSCRIBE", c);
        channel_free(c);
        return true;
    }
    return false;
}

static struct reply_channel *channel_of(struct replies *r, struct str subject)
{
    struct reply_channel *c = map_get(&r->channels, subject);
    if (c != NULL) {
        list_remove(&r->order, &c->link);
        list_push(&r->order, &c->link);
        return c;
    }
    if (!make_room(r))
        return NULL;
    c = mem_zalloc(sizeof(*c));
    *c = (struct reply_channel){.owner = r, .subject = str_dup(subject), .number = ++r->last};
    list_init(&c->queue);
    list_push(&r->order, &c->link);
    map_set(&r->channels, subject, c);
    idmap_add(&r->by_number, c->number, c);
    subscribe(r, c);
    return c;
}

enum replies_join replies_join(struct replies *r, struct handover *h)
{
    struct reply_channel *c = channel_of(r, h->subject);
    if (c == NULL)
        return REPLIES_FULL;
    c->users++;
    h->carrier = c;
    if (c->open)
        return REPLIES_OPEN;
    list_push(&c->queue, &h->link);
    return REPLIES_ASKED;
}

void replies_leave(struct handover *h)
{
    struct reply_channel *c = h->carrier;
    if (c == NULL)
        return;
    list_remove(&c->queue, &h->link); /* where it still waits */
    c->users--;
    h->carrier = NULL;
}

/* ---------------------------------------------------------------- what comes on them */

/* The asker has taken nothing for a while: its stream ends, so that the others on this connection go on. */
static void on_patience(void *arg)
{
    struct replies *r = arg;
    struct handover *h = idmap_get(&r->endpoint->waiting, r->stalled);
    struct reply slow = {.code = CODE_OVERLOADED, .body = STR("the asker does not read its stream")};
    waiter_cancel(&r->waiter);
    conn_release(r->conn);
    if (h != NULL)
        sink_settle(r->endpoint, h, OUTCOME_REJECT, &slow);
}

static void on_resume(void *arg)
{
    struct replies *r = arg;
    timer_stop(r->patience);
    conn_release(r->conn);
}

static void on_item(struct replies *r, struct handover *h, const struct nest_reply *reply)
{
    struct reply value = nest_item(reply);
    if (h->kind != MSG_REQUEST || reply->response.p == NULL || h->core->more(h, &value, &r->waiter))
        return;
    r->stalled = h->carrier_id;
    timer_after(r->patience, STREAM_STALL_MS);
    conn_hold(r->conn);
}

/* A channel is everybody's: what is no reply, or the reply to somebody else, is not for us. */
static bool on_message(void *arg, const struct push *p)
{
    struct replies *r = arg;
    struct endpoint *e = r->endpoint;
    struct nest_reply reply;
    const char *what;
    uint64_t number;
    if (!nest_reply_parse(p->payload, &reply, &what) || !nest_id_parse(reply.id, e->salt, &number))
        return true;
    struct handover *h = idmap_get(&e->waiting, number);
    if (h == NULL || h->carrier == NULL)
        return true;
    e->received++;
    if (!reply.last) {
        on_item(r, h, &reply);
        return true;
    }
    idmap_remove(&e->waiting, number);
    replies_leave(h);
    nest_settle(h, &reply);
    sink_wake(e);
    return true;
}

/* ---------------------------------------------------------------- the connection */

static void on_ready(void *arg)
{
    struct replies *r = arg;
    LIST_EACH(&r->order, n)
        subscribe(r, CONTAINER_OF(n, struct reply_channel, link));
}

/* What was answered meanwhile, nobody has heard. */
static void on_down(void *arg, const char *reason)
{
    struct replies *r = arg;
    waiter_cancel(&r->waiter);
    timer_stop(r->patience);
    LIST_EACH(&r->order, n)
        CONTAINER_OF(n, struct reply_channel, link)->open = false;
    sink_lose(r->endpoint, true, reason);
}

static const struct conn_ops replies_ops = {.on_ready = on_ready, .on_down = on_down, .on_message = on_message};

struct replies *replies_new(struct endpoint *e)
{
    struct replies *r = mem_zalloc(sizeof(*r));
    r->endpoint = e;
    r->waiter = (struct waiter){.resume = on_resume, .arg = r};
    list_init(&r->order);
    r->patience = timer_new(e->env.loop, on_patience, r);
    r->conn = conn_new(e, &replies_ops, r);
    return r;
}

void replies_free(struct replies *r)
{
    if (r == NULL)
        return;
    waiter_cancel(&r->waiter);
    timer_free(r->patience);
    conn_free(r->conn);
    while (!list_empty(&r->order))
        channel_free(CONTAINER_OF(list_first(&r->order), struct reply_channel, link));
    map_fini(&r->channels);
    idmap_fini(&r->by_number);
    mem_free(r);
}

struct conn *replies_conn(const struct replies *r)
{
    return r->conn;
}
