#include "base/mem.h"
#include "loop/timer.h"
#include "msg/headers.h"
#include "transport/nest.h"
#include "transport/tcp/internal.h"

#define STREAM_STALL_MS 2000

/* The one connection to a NestJS server; requests are multiplexed by id. */
struct client {
    struct endpoint *endpoint;
    struct link *link;
    struct nest_framer framer;
    uint64_t next_id;
    uint32_t salt;         /* first digits of every id: another daemon's differ */
    struct idmap waiting;  /* number -> struct handover */
    struct list sent;      /* handovers of events without acknowledgement, settled at the turn's end */
    struct waiter waiter;  /* an asker that cannot take more of a stream */
    struct timer *patience; /* with that asker */
    uint64_t stalled_id;
    bool starved, settling;
};

static bool wants_ack(const struct client *c, const struct handover *h)
{
    const struct tcp_target *t = handover_keys(h, &tcp_transport.conf);
    if (h->kind == MSG_REQUEST)
        return true;
    return t != NULL && t->ack != 0 ? t->ack == 1 : c->endpoint->keys->ack;
}

static bool has_room(const struct client *c)
{
    return link_is_up(c->link) && c->waiting.count < c->endpoint->keys->concurrency &&
           stream_pending(link_stream(c->link)) < OUTPUT_HIGH;
}

static void wake_core(struct client *c)
{
    struct sink *s = &c->endpoint->sink;
    if (!c->starved || !has_room(c))
        return;
    c->starved = false;
    if (s->core != NULL)
        s->core->ready(s);
}

/* ---------------------------------------------------------------- out */

static void report(struct handover *h, enum outcome outcome, const struct reply *r, bool final)
{
    struct settlement st = {.outcome = outcome, .reply = *r, .retry_after_ms = -1, .final = final};
    h->core->settled(h, &st);
}

/* An event that the protocol cannot acknowledge is settled once it is on its way. A body that is no
 * JSON can never be sent. */
static void settle_sent(void *arg)
{
    struct client *c = arg;
    c->settling = false;
    for (size_t n = c->sent.count; n > 0 && !list_empty(&c->sent); n--) {
        struct handover *h = CONTAINER_OF(list_first(&c->sent), struct handover, link);
        struct reply ok = {0}, bad = {.code = CODE_INVALID,
                                      .body = STR(NEST_NO_BODY)};
        bool legal = h->carrier_id != 0;
        list_remove(&c->sent, &h->link);
        report(h, legal ? OUTCOME_OK : OUTCOME_REJECT, legal ? &ok : &bad, true);
    }
}

static void settle_later(struct client *c, struct handover *h, bool legal)
{
    h->carrier_id = legal;
    h->carrier = &c->sent;
    list_push(&c->sent, &h->link);
    if (!c->settling)
        loop_later(c->endpoint->env.loop, settle_sent, c);
    c->settling = true;
}

static void write_request(struct client *c, const struct handover *h, struct str data, uint64_t id)
{
    char text[NEST_ID_DIGITS + 1];
    nest_put_handover(stream_out(link_stream(c->link)), h, data, id != 0 ? nest_id(c->salt, id, text) : STR_NONE,
                      loop_now(c->endpoint->env.loop));
    c->endpoint->sent++;
}

static bool client_send(struct sink *s, struct handover *h)
{
    struct client *c = ((struct endpoint *)s)->client;
    struct buf scratch = BUF_EMPTY;
    struct str data;
    if (!has_room(c)) {
        c->starved = true;
        return false;
    }
    bool legal = nest_body_json(h->msg->body, headers_get(h->msg->headers, "content-type"), &scratch, &data);
    if (legal && wants_ack(c, h)) {
        h->carrier = c;
        h->carrier_id = ++c->next_id;
        idmap_add(&c->waiting, h->carrier_id, h);
        write_request(c, h, data, h->carrier_id);
    } else {
        if (legal)
            write_request(c, h, data, 0);
        settle_later(c, h, legal);
    }
    buf_fini(&scratch);
    return true;
}

/* There is no cancel packet (the server works on): only forget. */
static void client_cancel(struct sink *s, struct handover *h, bool abandoned)
{
    struct client *c = ((struct endpoint *)s)->client;
    (void)abandoned;
    if (h->carrier == &c->sent)
        list_remove(&c->sent, &h->link);
    else
        idmap_remove(&c->waiting, h->carrier_id);
    wake_core(c);
}

static const struct sink_ops client_sink = {.send = client_send, .cancel = client_cancel};

/* ---------------------------------------------------------------- in */

/* The asker has taken nothing for a while: its stream ends, so that the others on this connection go on. */
static void on_patience(void *arg)
{
    struct client *c = arg;
    struct handover *h = idmap_remove(&c->waiting, c->stalled_id);
    struct reply slow = {.code = CODE_OVERLOADED, .body = STR("the asker does not read its stream")};
    waiter_cancel(&c->waiter);
    if (link_is_up(c->link))
        stream_resume(link_stream(c->link));
    if (h != NULL)
        report(h, OUTCOME_REJECT, &slow, true);
}

static void on_reply(struct client *c, const struct nest_reply *r)
{
    uint64_t id;
    struct handover *h = nest_id_parse(r->id, c->salt, &id) ? idmap_get(&c->waiting, id) : NULL;
    struct reply value = nest_item(r);
    if (h == NULL)
        return; /* late, or not ours: NestJS clients ignore these too */
    c->endpoint->received++;
    if (!r->last && h->kind == MSG_REQUEST) {
        if (r->response.p == NULL || h->core->more(h, &value, &c->waiter))
            return;
        c->stalled_id = id;
        timer_after(c->patience, STREAM_STALL_MS);
        stream_pause(link_stream(c->link));
        return;
    }
    if (!r->last)
        return;
    idmap_remove(&c->waiting, id);
    nest_settle(h, r);
    wake_core(c);
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    struct client *c = arg;
    size_t done = 0;
    struct nest_found found;
    while (done < n && link_is_up(c->link) && !stream_paused(link_stream(c->link))) {
        struct nest_reply reply;
        enum nest_frame f = nest_frame_next(&c->framer, str_make(p + done, n - done),
                                            c->endpoint->env.body_max + ENVELOPE_MAX, &found);
        if (f == NEST_MORE)
            break;
        if (f == NEST_BAD || !nest_reply_parse(found.json, &reply, &found.what)) {
            c->endpoint->bad++;
            link_reset(c->link, found.what);
            return n;
        }
        done += found.used;
        on_reply(c, &reply);
    }
    return done;
}

static void on_resume(void *arg)
{
    struct client *c = arg;
    timer_stop(c->patience);
    if (link_is_up(c->link))
        stream_resume(link_stream(c->link));
}

static void on_drain(void *arg)
{
    wake_core(arg);
}

static void on_up(void *arg)
{
    struct client *c = arg;
    c->framer = (struct nest_framer){0};
    sink_set_up(&c->endpoint->sink, true, "connected");
}

static void on_down(void *arg, const char *reason)
{
    struct client *c = arg;
    struct idmap lost = c->waiting;
    struct idmap_entry *e;
    struct reply gone = {.code = CODE_UNAVAILABLE, .body = str_of(reason)};
    c->waiting = (struct idmap){0};
    waiter_cancel(&c->waiter);
    timer_stop(c->patience);
    sink_set_up(&c->endpoint->sink, false, reason);
    for (size_t i = 0; (e = idmap_next(&lost, &i)) != NULL;)
        report(e->value, OUTCOME_RETRY, &gone, false);
    idmap_fini(&lost);
}

static const struct link_ops client_link_ops = {
    .on_up = on_up, .on_data = on_data, .on_drain = on_drain, .on_down = on_down};

/* ---------------------------------------------------------------- life */

struct client *client_new(struct endpoint *e)
{
    struct client *c = mem_zalloc(sizeof(*c));
    struct rand seed;
    rand_seed_os(&seed);
    c->endpoint = e;
    c->salt = (uint32_t)rand_u64(&seed);
    c->waiter = (struct waiter){.resume = on_resume, .arg = c};
    list_init(&c->sent);
    c->patience = timer_new(e->env.loop, on_patience, c);
    e->sink.ops = &client_sink;
    c->link = link_new(&(struct link_spec){.loop = e->env.loop, .conf = e->conf,
                                           .tls = e->env.tls, .limits = tcp_limits(e), .quickack = QUICKACK_EAGER},
                       &client_link_ops, c);
    return c;
}

static void forget(void *arg)
{
    struct client *c = arg;
    idmap_fini(&c->waiting);
    mem_free(c);
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    waiter_cancel(&c->waiter);
    timer_free(c->patience);
    link_free(c->link);
    list_init(&c->sent); /* settle_sent() may still be due */
    loop_later(c->endpoint->env.loop, forget, c);
}

void client_set_tls(struct client *c, struct tls_context *tls)
{
    link_set_tls(c->link, tls);
}

struct link *client_link(const struct client *c)
{
    return c->link;
}

size_t client_busy(const struct client *c)
{
    return c->waiting.count + c->sent.count;
}
