#include <inttypes.h>

#include "base/mem.h"
#include "fake/internal.h"
#include "msg/headers.h"

static bool has_room(const struct endpoint *e)
{
    return link_is_up(e->link) && e->waiting.count < FAKE_UNANSWERED &&
           stream_pending(link_stream(e->link)) <= FAKE_OUTPUT_HIGH;
}

void fake_ready(struct endpoint *e)
{
    if (!e->starved || !has_room(e))
        return;
    e->starved = false;
    if (e->sink.core != NULL)
        e->sink.core->ready(&e->sink);
}

static void put(struct endpoint *e, const struct handover *h, const struct wire_message *w, struct str more)
{
    struct buf *out = stream_out(link_stream(e->link));
    struct buf type = BUF_EMPTY;
    if (w->content_type.n > 0)
        headers_put(&type, "content-type", w->content_type);
    frame_head(out, &(struct frame_line){.verb = h->kind == MSG_REQUEST ? VERB_REQ : VERB_PUB, .id = h->carrier_id,
                                         .headers = more.n + type.len + w->headers.n, .body = w->body.n,
                                         .subject = w->subject});
    buf_str_put(out, more);
    buf_str_put(out, buf_str(&type));
    buf_str_put(out, w->headers);
    buf_str_put(out, w->body);
    buf_fini(&type);
    e->sent++;
}

static bool fake_send(struct sink *s, struct handover *h)
{
    struct endpoint *e = (struct endpoint *)s;
    struct message_parts parts = {h->subject, h->msg->headers, h->msg->body};
    struct wire_message wire;
    struct buf more = BUF_EMPTY;
    if (!has_room(e)) {
        e->starved = true;
        return false;
    }
    if (h->kind == MSG_REQUEST)
        buf_printf(&more, "timeout: %" PRId64 "ms\n", h->deadline_ms - loop_now(e->env.loop));
    h->carrier_id = ++e->next_id;
    idmap_add(&e->waiting, h->carrier_id, h);
    codec_encode(fake_codec(handover_codec(h, e->conf, CODEC_RAW)), &e->room, &parts, &wire);
    put(e, h, &wire, buf_str(&more));
    buf_fini(&more);
    return true;
}

static void fake_cancel(struct sink *s, struct handover *h, bool abandoned)
{
    struct endpoint *e = (struct endpoint *)s;
    idmap_remove(&e->waiting, h->carrier_id);
    if (abandoned && link_is_up(e->link))
        frame_bare(stream_out(link_stream(e->link)), VERB_CANCEL, h->carrier_id);
    fake_plan(e);
}

const struct sink_ops fake_sink_ops = {.send = fake_send, .cancel = fake_cancel};

static void report(struct handover *h, enum outcome outcome, const struct reply *r, bool final)
{
    struct settlement s = {.outcome = outcome, .reply = *r, .retry_after_ms = -1, .final = final};
    h->core->settled(h, &s);
}

/* An event that the broker refuses may work later; what a handler said to a request is the asker's. */
static void refused(struct handover *h, const struct frame *f)
{
    struct reply r = {.code = code_parse(f->subject), .body = f->body};
    bool retry = h->kind == MSG_EVENT && r.code != CODE_NO_ROUTE;
    report(h, retry ? OUTCOME_RETRY : OUTCOME_REJECT, &r, true);
}

void fake_answer(struct endpoint *e, const struct frame *f)
{
    struct handover *h = idmap_get(&e->waiting, f->id);
    struct reply r = {.body = f->body, .headers = f->headers};
    if (h == NULL)
        return; /* late */
    if (f->verb == VERB_MORE) {
        if (!h->core->more(h, &r, &e->stalled))
            stream_pause(link_stream(e->link));
        return;
    }
    idmap_remove(&e->waiting, f->id);
    if (f->verb == VERB_ERR)
        refused(h, f);
    else
        report(h, OUTCOME_OK, &r, true);
    fake_ready(e);
}

void fake_lose(struct endpoint *e, const char *reason)
{
    struct idmap_entry *entry;
    struct reply gone = {.code = CODE_UNAVAILABLE, .body = str_of(reason)};
    waiter_cancel(&e->stalled);
    for (size_t i = 0; (entry = idmap_next(&e->waiting, &i)) != NULL; i = 0)
        report(idmap_remove(&e->waiting, entry->id), OUTCOME_RETRY, &gone, false);
}
