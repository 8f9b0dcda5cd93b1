/*
 * What we publish. NATS acknowledges nothing, so an event is settled by a PING behind it: the PONG says that the server has taken
 * all that was written before. A request, and an event with `ack`, is settled by the reply to its inbox.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "loop/timer.h"
#include "transport/nats/internal.h"
#include "transport/nest.h"

#define INBOX_SID 1
#define STREAM_STALL_MS 2000 /* an asker that takes nothing of its stream for so long loses it */

static const char too_large[] = "larger than the server's max_payload";
static const char no_text[] = NEST_NO_BODY;

/* ---------------------------------------------------------------- reports */

static void report(struct handover *h, enum outcome outcome, const struct reply *r)
{
    struct settlement s = {.outcome = outcome, .reply = *r, .retry_after_ms = -1, .final = outcome == OUTCOME_REJECT};
    h->core->settled(h, &s);
}

/* It can be made to work by somebody else; who asks is told at once, an event is tried again. */
static void report_failed(struct handover *h, enum code code, struct str why)
{
    report(h, h->kind == MSG_EVENT ? OUTCOME_RETRY : OUTCOME_REJECT, &(struct reply){.code = code, .body = why});
}

static struct handover *front(struct list *l)
{
    struct list_node *n = list_first(l);
    return n != NULL ? CONTAINER_OF(n, struct handover, link) : NULL;
}

static void report_refused(struct endpoint *e)
{
    struct handover *h;
    while ((h = front(&e->refused)) != NULL) {
        const char *why = h->carrier;
        list_remove(&e->refused, &h->link);
        report(h, OUTCOME_REJECT,
               &(struct reply){.code = why == too_large ? CODE_TOO_LARGE : CODE_INVALID, .body = str_of(why)});
    }
}

static bool has_room(const struct endpoint *e)
{
    return nats_conn_has_room(&e->out) && e->waiting.count + e->unconfirmed.count < e->keys->concurrency;
}

static void tell_ready(struct endpoint *e)
{
    if (!e->starved || !has_room(e))
        return;
    e->starved = false;
    if (e->sink.core != NULL)
        e->sink.core->ready(&e->sink);
}

/* What may not be said from inside send() and cancel(); and one PING for all events of a turn. */
static void end_turn(void *arg)
{
    struct endpoint *e = arg;
    e->planned = false;
    if (e->closed)
        return;
    report_refused(e);
    tell_ready(e);
    struct list_node *last = list_last(&e->unconfirmed);
    if (last != NULL && nats_conn_is_up(&e->out) && CONTAINER_OF(last, struct handover, link)->carrier_id > e->out.pings)
        nats_conn_ping(&e->out);
}

static void plan(struct endpoint *e)
{
    if (!e->planned)
        loop_later(e->env.loop, end_turn, e);
    e->planned = true;
}

/* ---------------------------------------------------------------- sending */

static bool wants_reply(const struct endpoint *e, const struct handover *h)
{
    const struct nats_target *t = handover_keys(h, &nats_transport.conf);
    bool ack = t != NULL && t->ack != ACK_INHERIT ? t->ack == ACK_YES : e->keys->ack;
    return h->kind == MSG_REQUEST || ack;
}

/* Of a request the time that is left crosses the hop. */
static struct str first_lines(const struct endpoint *e, const struct handover *h, struct buf *out)
{
    int64_t left = h->deadline_ms - loop_now(e->env.loop);
    if (h->kind == MSG_REQUEST)
        buf_printf(out, "timeout: %" PRId64 "ms\n", left > 0 ? left : 0);
    return buf_str(out);
}

/* The packet has pattern, data and id; headers are NATS's own, which NestJS shows in its context. */
static const char *put_packet(struct endpoint *e, const struct handover *h, struct buf *packet, struct str *body)
{
    struct buf scratch = BUF_EMPTY;
    struct str data, id = STR_NONE;
    char digits[NEST_ID_DIGITS + 1];
    bool json = nest_body_json(h->msg->body, headers_get(h->msg->headers, "content-type"), &scratch, &data);
    if (json && h->carrier_id != 0)
        id = nest_id(e->salt, h->carrier_id, digits);
    if (json)
        nest_request_format(packet, h->subject, data, STR_NONE, id);
    buf_fini(&scratch);
    *body = nest_unframed(packet);
    return json ? NULL : no_text;
}

/* Not before the first reply that is wanted: who only publishes needs no right to subscribe. */
static void listen_for_replies(struct endpoint *e)
{
    struct buf all = BUF_EMPTY;
    if (e->listens)
        return;
    e->listens = true;
    buf_str_put(&all, buf_str(&e->inbox));
    buf_putc(&all, '*');
    nats_put_sub(nats_conn_out(&e->out), buf_str(&all), NULL, INBOX_SID);
    buf_fini(&all);
}

/* carrier_id: the number of its inbox, or 0. The result is why it can never be sent, or NULL. */
static const char *publish(struct endpoint *e, const struct handover *h, struct str first)
{
    struct message_parts parts = {h->subject, h->msg->headers, h->msg->body};
    struct buf packet = BUF_EMPTY, reply = BUF_EMPTY;
    struct wire_pub pub;
    unsigned codec = handover_codec(h, e->conf, CODEC_NEST);
    const char *why = nats_subject_fault(h->subject);
    if (why == NULL && codec == CODEC_NEST)
        why = put_packet(e, h, &packet, &parts.body);
    if (why == NULL) {
        nats_encode(e, nats_codec(codec), &parts, first, &pub);
        why = nats_payload(&pub) > e->out.info.max_payload ? too_large : NULL;
    }
    if (why == NULL && h->carrier_id != 0) {
        listen_for_replies(e);
        buf_str_put(&reply, buf_str(&e->inbox));
        buf_u64(&reply, h->carrier_id);
        pub.reply = buf_str(&reply);
    }
    if (why == NULL)
        nats_put_pub(nats_conn_out(&e->out), &pub);
    buf_fini(&reply);
    buf_fini(&packet);
    return why;
}

static bool nats_send(struct sink *s, struct handover *h)
{
    struct endpoint *e = (struct endpoint *)s;
    struct buf first = BUF_EMPTY;
    bool reply = wants_reply(e, h);
    if (!has_room(e)) {
        e->starved = true;
        return false;
    }
    h->carrier_id = reply ? slots_add(&e->waiting, h) : 0;
    h->carrier = (void *)(uintptr_t)publish(e, h, first_lines(e, h, &first));
    buf_fini(&first);
    if (h->carrier != NULL) {
        slots_take(&e->waiting, h->carrier_id);
        list_push(&e->refused, &h->link);
    } else {
        e->sent++;
        if (!reply) {
            h->carrier_id = e->out.pings + 1;
            list_push(&e->unconfirmed, &h->link);
        }
    }
    if (!reply || h->carrier != NULL)
        plan(e);
    return true;
}

static void nats_cancel(struct sink *s, struct handover *h, bool abandoned)
{
    struct endpoint *e = (struct endpoint *)s;
    (void)abandoned; /* NATS has no word for it */
    if (!list_linked(&h->link))
        slots_take(&e->waiting, h->carrier_id);
    else
        list_remove(h->carrier != NULL ? &e->refused : &e->unconfirmed, &h->link);
    plan(e);
}

const struct sink_ops nats_sink_ops = {.send = nats_send, .cancel = nats_cancel};

/* ---------------------------------------------------------------- what comes back */

/* The asker has taken nothing for a while: its stream ends, so that the others on this connection go on. */
static void on_patience(void *arg)
{
    struct endpoint *e = arg;
    struct handover *h = slots_take(&e->waiting, e->stalled_id);
    waiter_cancel(&e->stalled);
    nats_conn_resume(&e->out);
    if (h != NULL)
        report(h, OUTCOME_REJECT, &(struct reply){.code = CODE_OVERLOADED, .body = STR("the asker does not read its stream")});
    tell_ready(e);
}

static void stream_item(struct endpoint *e, struct handover *h, const struct reply *item)
{
    if (h->core->more(h, item, &e->stalled))
        return;
    e->stalled_id = h->carrier_id;
    timer_after(e->patience, STREAM_STALL_MS);
    nats_conn_pause(&e->out);
}

static void settle_nest(struct endpoint *e, struct handover *h, const struct wire_in *in)
{
    struct nest_reply r;
    const char *what;
    if (!nest_reply_parse(in->body, &r, &what)) {
        e->bad++;
        slots_take(&e->waiting, h->carrier_id);
        report_failed(h, CODE_FAILED, str_of(what));
    } else if (r.last) {
        slots_take(&e->waiting, h->carrier_id);
        nest_settle(h, &r);
    } else if (h->kind == MSG_REQUEST && r.response.p != NULL) {
        struct reply item = nest_item(&r);
        stream_item(e, h, &item);
    }
}

static void settle_native(struct endpoint *e, struct handover *h, const struct native *native, const struct wire_in *in)
{
    unsigned codec = handover_codec(h, e->conf, CODEC_NEST);
    struct wire_message w = {h->subject, native->headers, native->content_type, in->body};
    struct message_parts parts;
    enum code code = codec_decode_reply(nats_codec(codec), &e->room, &w, &parts);
    slots_take(&e->waiting, h->carrier_id);
    if (code == CODE_OK && native->service_error.p != NULL)
        code = CODE_FAILED;
    if (code != CODE_OK)
        report_failed(h, code, parts.body.n > 0 ? parts.body : native->service_error);
    else
        report(h, OUTCOME_OK, &(struct reply){.headers = parts.headers, .body = parts.body});
}

static struct handover *waiting_for(const struct endpoint *e, struct str inbox)
{
    struct str prefix = buf_str(&e->inbox);
    uint64_t number;
    bool ours = str_starts(inbox, prefix) &&
                str_parse_u64(str_make(inbox.p + prefix.n, inbox.n - prefix.n), &number);
    return ours ? slots_get(&e->waiting, number) : NULL;
}

static bool on_message(struct conn *c, const struct wire_in *in)
{
    struct endpoint *e = c->owner;
    struct handover *h = waiting_for(e, in->subject);
    struct native native;
    if (h == NULL)
        return true; /* late */
    bool nest = handover_codec(h, e->conf, CODEC_NEST) == CODEC_NEST;
    nats_read_headers(e, nats_codec(handover_codec(h, e->conf, CODEC_NEST)), in, &native);
    if (native.status != 0 || in->skip > 0 || (nest && in->body.n == 0)) {
        slots_take(&e->waiting, h->carrier_id);
        if (in->skip > 0)
            report_failed(h, CODE_TOO_LARGE, STR("the reply is above limits.body"));
        else
            report_failed(h, CODE_NO_SERVICE, STR("nobody subscribes to this subject"));
    } else if (nest) {
        settle_nest(e, h, in);
    } else {
        settle_native(e, h, &native, in);
    }
    tell_ready(e);
    return true;
}

static void on_pong(struct conn *c)
{
    struct endpoint *e = c->owner;
    struct handover *h;
    while ((h = front(&e->unconfirmed)) != NULL && h->carrier_id <= c->pongs) {
        list_remove(&e->unconfirmed, &h->link);
        report(h, OUTCOME_OK, &(struct reply){.code = CODE_OK});
    }
    if (e->doctor != NULL && c->pongs >= e->doctor_ping)
        nats_doctor_pong(e);
    tell_ready(e);
}

/* ---------------------------------------------------------------- no right to publish */

/* Those between the last PONG and the next are what the server speaks of; of requests it may be any. */
static struct handover *refused_next(const struct endpoint *e, struct str subject)
{
    struct slot *slot;
    LIST_EACH(&e->unconfirmed, n) {
        struct handover *h = CONTAINER_OF(n, struct handover, link);
        if (h->carrier_id <= e->out.pongs + 1 && str_eq(h->subject, subject))
            return h;
    }
    for (size_t i = 0; (slot = slots_next(&e->waiting, &i)) != NULL;) {
        struct handover *h = slot->value;
        if (str_eq(h->subject, subject))
            return h;
    }
    return NULL;
}

static void on_refused(struct conn *c, struct str subject)
{
    struct endpoint *e = c->owner;
    struct handover *h;
    while ((h = refused_next(e, subject)) != NULL) {
        if (list_linked(&h->link))
            list_remove(&e->unconfirmed, &h->link);
        else
            slots_take(&e->waiting, h->carrier_id);
        report(h, OUTCOME_REJECT, &(struct reply){.code = CODE_DENIED, .body = STR("no right to publish to this subject")});
    }
}

/* ---------------------------------------------------------------- coming and going */

static void on_up(struct conn *c)
{
    struct endpoint *e = c->owner;
    e->listens = false;
    sink_set_up(&e->sink, true, "connected");
}

static void lose(struct handover *h, const char *reason)
{
    report(h, OUTCOME_RETRY, &(struct reply){.code = CODE_UNAVAILABLE, .body = str_of(reason)});
}

static void on_down(struct conn *c, const char *reason)
{
    struct endpoint *e = c->owner;
    struct handover *h;
    struct slot *slot;
    waiter_cancel(&e->stalled);
    timer_stop(e->patience);
    sink_set_up(&e->sink, false, reason);
    nats_doctor_end(e);
    for (size_t i = 0; (slot = slots_next(&e->waiting, &i)) != NULL;) {
        h = slot->value;
        slots_take(&e->waiting, slot->id);
        lose(h, reason);
    }
    while ((h = front(&e->unconfirmed)) != NULL) {
        list_remove(&e->unconfirmed, &h->link);
        lose(h, reason);
    }
}

static void on_room(struct conn *c)
{
    tell_ready(c->owner);
}

const struct conn_ops nats_out_ops = {.up = on_up, .message = on_message, .pong = on_pong, .refused = on_refused,
                                      .room = on_room, .down = on_down};

static void on_resume(void *arg)
{
    struct endpoint *e = arg;
    timer_stop(e->patience);
    nats_conn_resume(&e->out);
}

/* Another daemon's inboxes differ, and this one's of another day. */
void nats_sink_init(struct endpoint *e)
{
    uint64_t salt[2];
    char hex[32];
    map_draw_key(salt);
    bytes_hex64(bytes_hex64(hex, salt[0]), salt[1]);
    e->salt = (uint32_t)salt[0];
    buf_printf(&e->inbox, "%s.%.*s.", e->keys->inbox, (int)sizeof(hex), hex);
    e->stalled = (struct waiter){.resume = on_resume, .arg = e};
    e->patience = timer_new(e->env.loop, on_patience, e);
    list_init(&e->unconfirmed);
    list_init(&e->refused);
}

void nats_sink_fini(struct endpoint *e)
{
    waiter_cancel(&e->stalled);
    timer_free(e->patience);
    slots_fini(&e->waiting);
    buf_fini(&e->inbox);
}
