#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "msg/headers.h"
#include "transport/nest.h"
#include "transport/redis/internal.h"

/* ---------------------------------------------------------------- settling */

static void report(struct handover *h, enum outcome outcome, const struct reply *r, int64_t retry_after_ms)
{
    struct settlement s = {.outcome = outcome, .reply = *r, .retry_after_ms = retry_after_ms, .final = false};
    h->core->settled(h, &s);
}

static void forget(struct endpoint *e, struct handover *h)
{
    idmap_remove(&e->waiting, h->carrier_id);
    replies_leave(h);
}

void sink_settle(struct endpoint *e, struct handover *h, enum outcome outcome, const struct reply *r)
{
    forget(e, h);
    report(h, outcome, r, -1);
}

void sink_lost(struct endpoint *e, struct handover *h, const char *reason)
{
    struct reply gone = {.code = CODE_UNAVAILABLE, .body = str_of(reason)};
    sink_settle(e, h, OUTCOME_RETRY, &gone);
}

static bool has_room(const struct endpoint *e)
{
    return conn_ready(e->commands) && e->waiting.count < e->keys->concurrency && !conn_full(e->commands);
}

void sink_wake(struct endpoint *e)
{
    if (!e->starved || !has_room(e))
        return;
    e->starved = false;
    if (e->sink.core != NULL)
        e->sink.core->ready(&e->sink);
}

static void settle_refused(void *arg)
{
    struct endpoint *e = arg;
    e->refusing = false;
    for (size_t n = e->refused.count; n > 0 && !list_empty(&e->refused); n--) {
        struct handover *h = CONTAINER_OF(list_first(&e->refused), struct handover, link);
        struct reply bad = {.code = CODE_INVALID, .body = str_of((const char *)(uintptr_t)h->carrier_id)};
        list_remove(&e->refused, &h->link);
        report(h, OUTCOME_REJECT, &bad, -1);
    }
}

static void refuse_later(struct endpoint *e, struct handover *h, const char *why)
{
    h->carrier = &e->refused;
    h->carrier_id = (uintptr_t)why; /* static text */
    list_push(&e->refused, &h->link);
    if (!e->refusing)
        loop_later(e->env.loop, settle_refused, e);
    e->refusing = true;
}

/* ---------------------------------------------------------------- answers */

void redis_denied(struct endpoint *e, struct str error)
{
    if (error.p == NULL && e->denied == NULL)
        return;
    if (error.p != NULL && (e->denied == NULL || !str_is(error, e->denied)))
        log_write(e->env.log, LOG_WARN, "command_denied", "endpoint", e->conf->name, "reason", error.p, NULL);
    mem_free(e->denied);
    e->denied = error.p != NULL ? str_dup(error) : NULL;
}

/* What the server's word means for this message, and for the connection. */
static void on_fault(struct endpoint *e, struct handover *h, const struct resp *reply)
{
    static const struct { enum outcome outcome; enum code code; int64_t retry_after_ms; bool denied; } table[] = {
        [FAULT_DENIED] = {OUTCOME_RETRY, CODE_DENIED, REFUSED_MS, true},
        [FAULT_ELSEWHERE] = {OUTCOME_RETRY, CODE_UNAVAILABLE, REFUSED_MS, true},
        [FAULT_NOT_NOW] = {OUTCOME_RETRY, CODE_UNAVAILABLE, -1, false},
        [FAULT_READONLY] = {OUTCOME_RETRY, CODE_UNAVAILABLE, -1, false},
        [FAULT_FULL] = {OUTCOME_RETRY, CODE_OVERLOADED, -1, false},
        [FAULT_EXISTS] = {OUTCOME_REJECT, CODE_FAILED, -1, false},
        [FAULT_NO_GROUP] = {OUTCOME_REJECT, CODE_FAILED, -1, false},
        [FAULT_OTHER] = {OUTCOME_REJECT, CODE_FAILED, -1, false},
    };
    enum resp_fault fault = resp_fault(reply);
    struct reply r = {.code = table[fault].code, .body = reply->text};
    const char *misled = conn_misled(e->commands, reply);
    bool leaves = misled != NULL && conn_leaves(e->commands);
    if (misled != NULL)
        r.body = str_of(misled);
    forget(e, h);
    report(h, leaves ? OUTCOME_HOLD : table[fault].outcome, &r, table[fault].retry_after_ms);
    if (leaves)
        conn_leave(e->commands);
    else if (table[fault].denied)
        redis_denied(e, r.body);
    if (str_starts(reply->text, STR("NOAUTH")))
        link_refused(conn_link(e->commands), reply->text.p);
}

static bool is_answer(const struct handover *h, const struct resp *reply)
{
    const struct redis_target *t = handover_keys(h, &redis_transport.conf);
    return reply->type == (t != NULL && t->stream != NULL ? RESP_STRING : RESP_INTEGER);
}

static bool needs_receiver(const struct handover *h)
{
    const struct redis_target *t = handover_keys(h, &redis_transport.conf);
    return h->carrier != NULL || (t != NULL && t->receiver == RECEIVER_REQUIRED);
}

/* The answer to PUBLISH or XADD. Of a request the reply itself may have been quicker, on its other connection. */
static void on_sent(void *arg, uint64_t token, const struct resp *reply)
{
    struct endpoint *e = arg;
    struct handover *h = idmap_get(&e->waiting, token);
    struct reply ok = {0}, nobody = {.code = CODE_NO_SERVICE, .body = STR("nobody is subscribed to the channel")};
    if (h == NULL)
        return;
    if (reply == NULL) {
        sink_lost(e, h, "the connection was lost before the server answered");
    } else if (reply->type == RESP_ERROR) {
        on_fault(e, h, reply);
    } else if (!is_answer(h, reply)) {
        sink_lost(e, h, "the server answered with something else");
        link_reset(conn_link(e->commands), "no answer to PUBLISH or XADD");
    } else {
        redis_denied(e, STR_NONE);
        if (reply->type == RESP_INTEGER && reply->integer == 0 && needs_receiver(h))
            sink_settle(e, h, OUTCOME_RETRY, &nobody);
        else if (h->carrier == NULL)
            sink_settle(e, h, OUTCOME_OK, &ok);
    }
    sink_wake(e);
}

/* ---------------------------------------------------------------- sending */

static void enter(struct endpoint *e, struct handover *h)
{
    h->carrier_id = ++e->next_id;
    idmap_add(&e->waiting, h->carrier_id, h);
}

static struct buf *call(struct endpoint *e, const struct handover *h, size_t arguments)
{
    e->sent++;
    return conn_call(e->commands, on_sent, h->carrier_id, arguments);
}

static void publish(struct endpoint *e, const struct handover *h, struct str payload)
{
    struct buf *out = call(e, h, 3);
    resp_arg(out, STR("PUBLISH"));
    resp_arg(out, h->subject);
    resp_arg(out, payload);
}

static void publish_packet(struct endpoint *e, const struct handover *h, struct str data)
{
    char id[NEST_ID_DIGITS + 1];
    buf_clear(&e->packet);
    nest_put_handover(&e->packet, h, data, h->carrier != NULL ? nest_id(e->salt, h->carrier_id, id) : STR_NONE,
                      loop_now(e->env.loop));
    publish(e, h, nest_unframed(&e->packet));
}

static bool json_of(const struct handover *h, struct buf *scratch, struct str *data)
{
    return nest_body_json(h->msg->body, headers_get(h->msg->headers, "content-type"), scratch, data);
}

void sink_request(struct endpoint *e, struct handover *h)
{
    struct buf scratch = BUF_EMPTY;
    struct str data;
    if (conn_ready(e->commands) && json_of(h, &scratch, &data))
        publish_packet(e, h, data);
    else
        sink_lost(e, h, "the connection was lost before the channel for replies was there");
    buf_fini(&scratch);
}

static bool wants_reply(const struct endpoint *e, const struct handover *h)
{
    const struct redis_target *t = handover_keys(h, &redis_transport.conf);
    if (h->kind == MSG_REQUEST)
        return true;
    return t != NULL && t->ack != ACK_INHERIT ? t->ack == ACK_YES : e->keys->ack;
}

static enum replies_join join(struct endpoint *e, struct handover *h)
{
    if (e->replies == NULL)
        e->replies = replies_new(e);
    return replies_join(e->replies, h);
}

/* The result of each: why it can never be sent, or NULL; *later = not now. */
static const char *send_packet(struct endpoint *e, struct handover *h, bool *later)
{
    struct buf scratch = BUF_EMPTY;
    struct str data;
    bool legal = json_of(h, &scratch, &data);
    enum replies_join joined = legal && wants_reply(e, h) ? join(e, h) : REPLIES_OPEN;
    *later = joined == REPLIES_FULL;
    if (legal && joined != REPLIES_FULL)
        enter(e, h);
    if (legal && joined == REPLIES_OPEN)
        publish_packet(e, h, data);
    buf_fini(&scratch);
    return legal ? NULL : NEST_NO_BODY;
}

static const char *send_payload(struct endpoint *e, struct handover *h, unsigned codec)
{
    struct wire_message wire;
    struct message_parts parts = {.subject = h->subject, .headers = h->msg->headers, .body = h->msg->body};
    if (h->kind == MSG_REQUEST)
        return "over Redis only codec nest has replies";
    codec_encode(&redis_channel_codecs[codec], &e->room, &parts, &wire);
    enter(e, h);
    publish(e, h, wire.body);
    return NULL;
}

static void put_field(struct buf *out, struct str name, struct str value)
{
    resp_arg(out, name);
    resp_arg(out, value);
}

static size_t count_lines(struct str block)
{
    struct header line;
    size_t count = 0;
    while (headers_next(&block, &line))
        count++;
    return count;
}

/* XADD stream [MAXLEN ~ n] * name value … body … */
static void put_entry(struct endpoint *e, struct handover *h, const struct redis_target *t, const struct wire_message *w)
{
    struct str stream = str_of(t->stream), headers = w->headers;
    bool own_subject = !str_eq(h->subject, stream), type = w->content_type.p != NULL, attempt = h->attempt > 1;
    size_t fields = count_lines(headers) + own_subject + type + attempt + 1;
    struct header line;
    enter(e, h);
    struct buf *out = call(e, h, (t->maxlen > 0 ? 6 : 3) + 2 * fields);
    put_field(out, STR("XADD"), stream);
    if (t->maxlen > 0) {
        put_field(out, STR("MAXLEN"), STR("~"));
        resp_arg_u64(out, t->maxlen);
    }
    resp_arg(out, STR("*"));
    if (own_subject)
        put_field(out, STR(FIELD_SUBJECT), h->subject);
    while (headers_next(&headers, &line))
        put_field(out, line.name, line.value);
    if (type)
        put_field(out, STR(FIELD_TYPE), w->content_type);
    if (attempt) {
        resp_arg(out, STR("attempt"));
        resp_arg_u64(out, h->attempt);
    }
    put_field(out, STR(FIELD_BODY), w->body);
}

static const char *send_entry(struct endpoint *e, struct handover *h, const struct redis_target *t)
{
    struct wire_message wire;
    struct message_parts parts = {.subject = h->subject, .headers = h->msg->headers, .body = h->msg->body};
    if (h->kind == MSG_REQUEST)
        return "a stream has no replies";
    codec_encode(&redis_entry_codecs[entry_codec(h->to->codec, e->conf)], &e->room, &parts, &wire);
    put_entry(e, h, t, &wire);
    return NULL;
}

static bool redis_send(struct sink *s, struct handover *h)
{
    struct endpoint *e = (struct endpoint *)s;
    const struct redis_target *t = handover_keys(h, &redis_transport.conf);
    const char *why;
    bool later = !has_room(e);
    h->carrier = NULL;
    h->link = (struct list_node){NULL, NULL};
    if (!later) {
        unsigned codec = handover_codec(h, e->conf, CODEC_NEST);
        if (t != NULL && t->stream != NULL)
            why = send_entry(e, h, t);
        else if (codec == CODEC_NEST)
            why = send_packet(e, h, &later);
        else
            why = send_payload(e, h, codec);
        if (why != NULL)
            refuse_later(e, h, why);
    }
    e->starved |= later;
    return !later;
}

/* There is nothing to cancel a message with: only forget. */
static void redis_cancel(struct sink *s, struct handover *h, bool abandoned)
{
    struct endpoint *e = (struct endpoint *)s;
    (void)abandoned;
    if (h->carrier == &e->refused)
        list_remove(&e->refused, &h->link);
    else
        forget(e, h);
    sink_wake(e);
}

const struct sink_ops redis_sink_ops = {.send = redis_send, .cancel = redis_cancel};

/* ---------------------------------------------------------------- the connection for commands */

static void on_ready(void *arg)
{
    struct endpoint *e = arg;
    for (size_t i = 0; i < e->reader_count; i++)
        reader_on_commands(e->readers[i]);
    sink_set_up(&e->sink, true, "connected");
}

/* Those that were sent have been told already; what is left waits for a channel, or for its reply. */
static void on_down(void *arg, const char *reason)
{
    struct endpoint *e = arg;
    sink_set_up(&e->sink, false, reason);
    sink_lose(e, false, reason);
    subscriber_drained(e->subscriber);
}

/* By number: settling one may end another. */
void sink_lose(struct endpoint *e, bool asked_only, const char *reason)
{
    struct idmap_entry *entry;
    uint64_t *lost = mem_calloc(e->waiting.count, sizeof(*lost));
    size_t count = 0;
    for (size_t i = 0; (entry = idmap_next(&e->waiting, &i)) != NULL;) {
        const struct handover *h = entry->value;
        if ((!asked_only || h->carrier != NULL) && !list_linked(&h->link))
            lost[count++] = entry->id;
    }
    for (size_t i = 0; i < count; i++) {
        struct handover *h = idmap_get(&e->waiting, lost[i]);
        if (h != NULL)
            sink_lost(e, h, reason);
    }
    mem_free(lost);
}

static void on_drain(void *arg)
{
    struct endpoint *e = arg;
    sink_wake(e);
    subscriber_drained(e->subscriber);
}

const struct conn_ops redis_commands_ops = {.writes = true, .on_ready = on_ready, .on_down = on_down, .on_drain = on_drain};

void sink_fini(struct endpoint *e)
{
    idmap_fini(&e->waiting);
    list_init(&e->refused); /* settle_refused() may still be due */
    buf_fini(&e->packet);
    codec_room_fini(&e->room);
    mem_free(e->denied);
}
