#include "local/internal.h"
#include "msg/headers.h"

/* Removes a delivery from the session's books; NULL (and counted) when it is not, or no longer, there. */
static struct handover *take(struct session *s, uint64_t id)
{
    struct handover *h = slots_take(&s->deliveries, id);
    if (h == NULL)
        s->server->counts.late_answers++;
    else
        s->inflight--;
    s->shares_crash = false; /* it lives */
    return h;
}

static void report(struct handover *h, const struct settlement *st)
{
    h->core->settled(h, st);
}

/* Refusals that no repetition can mend, unless the service says otherwise with `retry:`. */
static bool hopeless(enum code c)
{
    return c == CODE_INVALID || c == CODE_TOO_LARGE || c == CODE_EXPIRED || c == CODE_DUPLICATE ||
           c == CODE_DENIED;
}

/* `retry: no`, `retry: yes`, `retry: after 5s`; anything else counts as absent. */
static void read_retry(struct settlement *st, const struct handover *h, struct str wish)
{
    st->outcome = hopeless(st->reply.code) ? OUTCOME_REJECT : OUTCOME_RETRY;
    st->final = h->kind == MSG_REQUEST;
    bool after = str_starts(wish, STR("after ")) &&
                 str_parse_duration(str_make(wish.p + 6, wish.n - 6), &st->retry_after_ms);
    if (str_is(wish, "no")) {
        st->outcome = OUTCOME_REJECT;
    } else if (after || str_is(wish, "yes")) {
        st->outcome = OUTCOME_RETRY;
        st->final = false;
    }
}

static void read_error(struct settlement *st, const struct frame *f, const struct handover *h)
{
    if (str_is(f->subject, "release")) {
        st->outcome = OUTCOME_HOLD;
        return;
    }
    st->reply.code = code_parse(f->subject);
    read_retry(st, h, headers_get(f->headers, "retry"));
}

/* Nothing it has staged may be lost: where one cannot be sent on, its answer counts as that error. */
static void unsettle(struct settlement *st, enum code code, const struct handover *h)
{
    *st = (struct settlement){.retry_after_ms = -1,
                              .reply = {.code = code, .body = STR("what was staged under it was refused")}};
    read_retry(st, h, STR_NONE);
}

void answer_final(struct session *s, const struct frame *f)
{
    struct handover *h = take(s, f->id);
    if (h == NULL)
        return;
    struct settlement st = {.outcome = OUTCOME_OK, .retry_after_ms = -1,
                            .reply = {.headers = f->headers, .body = f->body}};
    if (f->verb == VERB_ERR)
        read_error(&st, f, h);
    struct hub *hub = s->server->env.hub;
    hub_group_begin(hub);
    enum code staged = list_empty(&s->staged) ? CODE_OK : ask_staged_end(s, f->id, st.outcome == OUTCOME_OK);
    if (staged != CODE_OK)
        unsettle(&st, staged, h);
    report(h, &st);
    hub_group_end(hub);
    service_room(s);
}

/* The asker has taken nothing for a while: its stream ends, so that the service's other callers go on. */
static void on_patience(void *arg)
{
    struct session *s = arg;
    struct handover *h = take(s, s->stalled_id);
    struct settlement st = {.outcome = OUTCOME_REJECT, .retry_after_ms = -1, .final = true,
                            .reply = {.code = CODE_OVERLOADED, .body = STR("the asker does not read its stream")}};
    waiter_cancel(&s->waiter);
    stream_resume(s->stream);
    if (h == NULL)
        return;
    frame_bare(stream_out(s->stream), VERB_CANCEL, s->stalled_id);
    ask_staged_end(s, s->stalled_id, false);
    report(h, &st);
    service_room(s);
}

static void stall(struct session *s, uint64_t id)
{
    if (s->patience == NULL)
        s->patience = timer_new(s->server->env.loop, on_patience, s);
    s->stalled_id = id;
    timer_after(s->patience, STREAM_STALL_MS);
    stream_pause(s->stream);
}

void answer_more(struct session *s, const struct frame *f)
{
    struct handover *h = slots_get(&s->deliveries, f->id);
    if (h == NULL) {
        s->server->counts.late_answers++;
        return;
    }
    struct reply item = {.headers = f->headers, .body = f->body};
    if (!h->core->more(h, &item, &s->waiter))
        stall(s, f->id);
}

void answer_wait(struct session *s, const struct frame *f)
{
    struct handover *h = slots_get(&s->deliveries, f->id);
    if (h != NULL)
        h->core->extend(h);
}

void answer_too_large(struct session *s, uint64_t id)
{
    struct handover *h = take(s, id);
    if (h == NULL)
        return;
    struct settlement st = {.outcome = OUTCOME_REJECT, .retry_after_ms = -1,
                            .reply = {.code = CODE_TOO_LARGE, .body = STR("the reply is above limits.body")}};
    ask_staged_end(s, id, false);
    report(h, &st);
    service_room(s);
}

/* Of what a process held on all its connections, none is more suspect than another; those that are still to
 * end are told that they are not alone. */
static enum crash crash_of(struct session *s)
{
    bool sole = s->inflight == 1 && !s->shares_crash;
    LIST_EACH(&s->server->sessions, n) {
        struct session *other = CONTAINER_OF(n, struct session, link);
        if (other == s || s->pid <= 0 || other->pid != s->pid || other->inflight == 0)
            continue;
        sole = false;
        other->shares_crash |= s->inflight > 0;
    }
    return sole ? CRASH_SOLE : CRASH_SHARED;
}

void answer_lost_all(struct session *s, const char *why, bool crashed)
{
    struct slots lost = s->deliveries;
    struct slot *e;
    struct settlement st = {.outcome = OUTCOME_RETRY, .retry_after_ms = -1,
                            .reply = {.code = CODE_UNAVAILABLE, .body = str_of(why)}};
    st.crash = crashed ? crash_of(s) : CRASH_NONE;
    st.pid = s->pid;
    s->deliveries = (struct slots){.last = lost.last};
    s->inflight = 0;
    for (size_t i = 0; (e = slots_next(&lost, &i)) != NULL;) {
        ask_staged_end(s, e->id, false);
        report(e->value, &st);
    }
    slots_fini(&lost);
}
