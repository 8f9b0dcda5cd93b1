#include <assert.h>

#include "base/mem.h"
#include "delivery/history.h"
#include "delivery/internal.h"
#include "delivery/policy.h"

#define GIVEN_BACK_MS 20 /* a pause, so that a service that gives everything back costs no busy loop */
#define DETAIL_MAX 1024
#define SPARES_MAX 1024

bool delivery_is_live(enum delivery_state s)
{
    return s >= DELIVERY_READY && s <= DELIVERY_INFLIGHT;
}

static struct list *list_of(struct dest *d, enum delivery_state s)
{
    static const size_t lists[DELIVERY_STATES] = {
        [DELIVERY_READY] = offsetof(struct dest, ready), [DELIVERY_PARKED] = offsetof(struct dest, parked),
        [DELIVERY_WAITING] = offsetof(struct dest, waiting), [DELIVERY_INFLIGHT] = offsetof(struct dest, inflight)};
    return (struct list *)(void *)((char *)d + lists[s]);
}

/* Which moves are legal: rows from, columns to (see the drawing in hub.h). */
static const bool moves[DELIVERY_STATES][DELIVERY_STATES] = {
    [DELIVERY_NEW] = {[DELIVERY_READY] = true, [DELIVERY_PARKED] = true},
    [DELIVERY_PARKED] = {[DELIVERY_READY] = true, [DELIVERY_DONE] = true, [DELIVERY_EXPIRED] = true,
                         [DELIVERY_DROPPED] = true},
    [DELIVERY_READY] = {[DELIVERY_INFLIGHT] = true, [DELIVERY_DEAD] = true, [DELIVERY_DONE] = true, [DELIVERY_EXPIRED] = true,
                        [DELIVERY_DROPPED] = true},
    [DELIVERY_WAITING] = {[DELIVERY_READY] = true, [DELIVERY_PARKED] = true, [DELIVERY_DONE] = true, [DELIVERY_EXPIRED] = true,
                          [DELIVERY_DROPPED] = true},
    [DELIVERY_INFLIGHT] = {[DELIVERY_WAITING] = true, [DELIVERY_DONE] = true, [DELIVERY_DEAD] = true,
                           [DELIVERY_EXPIRED] = true, [DELIVERY_DROPPED] = true},
};

/* The only place that changes a state: checks the move, the list, the counts. */
static void set_state(struct delivery *v, enum delivery_state to)
{
    struct hub_counts *c = &v->dest->hub->counts;
    enum delivery_state from = v->state;
    assert(moves[from][to]);
    if (delivery_is_live(from)) {
        list_remove(list_of(v->dest, from), &v->link);
        c->state[from]--;
    }
    v->state = to;
    c->state[to]++;
    v->dest->suspects -= v->lone;
    v->lone = to == DELIVERY_INFLIGHT && v->h.alone;
    v->dest->suspects += v->lone;
    if (delivery_is_live(to))
        list_push(list_of(v->dest, to), &v->link);
}

static void set_subject(struct delivery *v, const struct plan *p, const struct captures *c)
{
    struct buf text = BUF_EMPTY;
    v->h.subject = v->h.msg->subject;
    if (p->to == NULL || p->to->subject == NULL)
        return;
    template_expand(str_of(p->to->subject), c, &text);
    if (text.len <= MSG_SUBJECT_MAX && text.len > 0) {
        size_t n = text.len;
        v->subject = buf_steal(&text);
        v->h.subject = str_make(v->subject, n);
    }
    buf_fini(&text);
}

/* How long is there to try? An event lives for the shorter of its own and the policy's ttl; a
 * request for the asker's time-out, or the policy's where it named none. */
static void set_deadline(struct delivery *v)
{
    const struct policy_conf *p = v->route->policy;
    const struct msg *m = v->h.msg;
    int64_t span = p->ttl_ms;
    if (v->h.kind == MSG_REQUEST) {
        v->patient = m->timeout_ms < 0;
        span = v->patient ? p->timeout_ms : m->timeout_ms;
    }
    if (m->ttl_ms >= 0 && m->ttl_ms < span)
        span = m->ttl_ms;
    if (__builtin_add_overflow(m->accepted_ms, span, &v->deadline_ms))
        v->deadline_ms = SCHED_NEVER;
}

static struct delivery *delivery_alloc(struct hub *h)
{
    struct delivery *v = h->spare;
    if (v == NULL)
        return mem_zalloc(sizeof(*v));
    mem_unpoison(v, sizeof(*v));
    h->spare = v->h.carrier;
    h->spares--;
    *v = (struct delivery){0};
    return v;
}

struct delivery *delivery_new(struct hub *h, struct msg *m, enum msg_kind kind, const struct plan *p,
                              const struct captures *c)
{
    struct delivery *v = delivery_alloc(h);
    v->h.msg = msg_ref(m);
    v->h.kind = kind;
    v->h.to = p->to;
    v->h.core = &dest_up;
    v->dest = p->dest;
    v->route = p->route;
    v->route->set->refs++;
    v->charge = m->size + sizeof(*v);
    v->id_hash = history_hash(m->id);
    h->memory += v->charge;
    v->shares = !p->durable;
    v->dest->share.bytes += v->shares ? v->charge : 0;
    v->target = p->target;
    v->number = ++h->numbers;
    set_subject(v, p, c);
    set_deadline(v);
    return v;
}

static void delivery_free(struct delivery *v)
{
    struct hub *h = v->dest->hub;
    sched_clear(&h->sched, &v->due);
    lane_leave(v);
    if (v->key != 0 && v->state != DELIVERY_NEW)
        durable_release(v);
    if (v->shares)
        share_release(v->dest, v->charge);
    hub_release_memory(h, v->charge);
    msg_unref(v->h.msg);
    route_set_unref(v->route->set);
    mem_free(v->subject);
    mem_free(v->origin);
    mem_free(v->first_error);
    mem_free(v->last_error);
    mem_free(v->crash_pids);
    if (h->spares == SPARES_MAX) {
        mem_free(v);
        return;
    }
    v->h.carrier = h->spare;
    h->spare = v;
    h->spares++;
    mem_poison(v, sizeof(*v));
}

void delivery_discard(struct delivery *v)
{
    delivery_free(v);
}

const char *delivery_route(const struct delivery *v)
{
    return v->origin != NULL ? v->origin : route_name(v->route);
}

void delivery_spares_free(struct hub *h)
{
    while (h->spare != NULL) {
        struct delivery *v = h->spare;
        mem_unpoison(v, sizeof(*v));
        h->spare = v->h.carrier;
        mem_free(v);
    }
    while (h->spare_receipt != NULL) {
        struct receipt *r = h->spare_receipt;
        mem_unpoison(r, sizeof(*r));
        h->spare_receipt = r->next;
        mem_free(r);
    }
}

static void note_error(struct delivery *v, const struct reply *r)
{
    struct buf text = BUF_EMPTY;
    size_t n = r->body.n < DETAIL_MAX ? r->body.n : DETAIL_MAX;
    buf_puts(&text, code_name(r->code));
    if (n > 0)
        buf_printf(&text, ": %.*s", (int)n, r->body.p);
    mem_free(v->last_error);
    v->last_error = buf_steal(&text);
    if (v->first_error == NULL)
        v->first_error = mem_strdup(v->last_error);
}

/* ---------------------------------------------------------------- the asker */

struct receipt *receipt_new(struct hub *h, const struct asker *asker)
{
    if (asker == NULL || asker->ops == NULL)
        return NULL;
    struct receipt *r = h->spare_receipt;
    if (r == NULL) {
        r = mem_alloc(sizeof(*r));
    } else {
        mem_unpoison(r, sizeof(*r));
        h->spare_receipt = r->next;
        h->spare_receipts--;
    }
    *r = (struct receipt){.hub = h, .asker = *asker};
    return r;
}

static void receipt_free(struct receipt *r)
{
    struct hub *h = r->hub;
    mem_free(r->detail);
    if (h->spare_receipts == SPARES_MAX) {
        mem_free(r);
        return;
    }
    r->next = h->spare_receipt;
    h->spare_receipt = r;
    h->spare_receipts++;
    mem_poison(r, sizeof(*r));
}

void receipt_end(struct receipt *r, const struct reply *reply, bool kept)
{
    if (reply->code != CODE_OK)
        r->lost |= !kept;
    if (r->code == CODE_OK && reply->code != CODE_OK) {
        r->code = reply->code;
        r->detail = mem_strndup(reply->body.p, reply->body.n < DETAIL_MAX ? reply->body.n : DETAIL_MAX);
    }
    if (--r->open > 0)
        return;
    if (r->asker.ops != NULL && r->request != NULL) {
        r->asker.ops->done(r->asker.ctx, r->asker.token, reply);
    } else if (r->asker.ops != NULL) {
        struct reply all = {.code = r->code, .body = str_of(r->detail), .kept = r->code != CODE_OK && !r->lost};
        r->asker.ops->done(r->asker.ctx, r->asker.token, &all);
    }
    receipt_free(r);
}

static void end_with(struct delivery *v, enum delivery_state state, const struct reply *reply)
{
    struct dest *d = v->dest;
    bool ordered = v->lane != NULL;
    set_state(v, state);
    if (v->key != 0) {
        durable_end(v, state);
        dead_ended(d->hub, v->key, state);
    }
    struct receipt *r = v->receipt;
    v->receipt = NULL;
    if (r != NULL)
        receipt_end(r, reply, false);
    delivery_free(v);
    dest_wake(d);
    if (ordered && !list_empty(&d->ready))
        dest_pump(d); /* the next one of its key is ready now */
    durable_refill(d);
}

/* A request ends with an error, which its asker is told. */
static void end_failed(struct delivery *v, const struct reply *reply)
{
    v->dest->failed++;
    hub_trace(v->dest->hub, TAP_FAILED, v);
    note_error(v, reply);
    history_note(v, PAST_FAILED, 0, str_of(v->last_error));
    end_with(v, DELIVERY_DONE, reply);
}

static void answer_error(struct delivery *v, enum code code, const char *why)
{
    struct reply r = {.code = code, .body = str_of(why)};
    end_failed(v, &r);
}

void delivery_drop(struct delivery *v)
{
    struct reply none = {.code = CODE_OK}; /* nobody wants it any more: no failure of the asker's */
    history_note(v, PAST_DROPPED, 0, STR("nobody waits for it any more"));
    end_with(v, DELIVERY_DROPPED, &none);
}

void delivery_refuse(struct delivery *v, enum code code, const char *why)
{
    answer_error(v, code, why);
}

void delivery_refuse_nobody(struct delivery *v)
{
    bool handed = v->h.redelivered != NULL && strcmp(v->h.redelivered, "released") != 0;
    if (handed)
        delivery_refuse(v, CODE_UNAVAILABLE, "who had the request has gone, and nobody else is there");
    else
        delivery_refuse(v, v->dest->service ? CODE_NO_SERVICE : CODE_UNAVAILABLE,
                        "nobody is there to take the request");
}

/* ---------------------------------------------------------------- moves */

/* ms from now until v's deadline, SCHED_NEVER without one. */
static int64_t left_ms(struct delivery *v)
{
    if (v->deadline_ms == SCHED_NEVER)
        return SCHED_NEVER;
    int64_t left = v->deadline_ms - hub_now(v->dest->hub);
    return left > 0 ? left : 0;
}

static void schedule_end(struct delivery *v)
{
    int64_t left = left_ms(v);
    hub_schedule(v->dest->hub, &v->due, left, left == v->route->policy->timeout_ms);
}

void delivery_ready(struct delivery *v)
{
    struct dest *d = v->dest;
    struct list_node *before = list_first(&d->ready);
    bool first = before == NULL || d->hub->draining || /* else those before it wait for something … */
                 CONTAINER_OF(before, struct delivery, link)->h.alone; /* … for which it need not */
    if (!lane_enter(v)) {
        set_state(v, DELIVERY_PARKED);
        schedule_end(v);
        return;
    }
    set_state(v, DELIVERY_READY);
    if (v->key != 0) { /* a stored one may end in dest_pump() */
        schedule_end(v);
        if (first)
            dest_pump(d);
        return;
    }
    if (first)
        dest_pump(d); /* most often it goes out at once and needs no timer of its own */
    if (v->state == DELIVERY_READY)
        schedule_end(v);
}

void delivery_leave(struct delivery *v)
{
    struct dest *d = v->dest;
    assert(v->state == DELIVERY_PARKED && v->key != 0);
    d->hub->counts.state[DELIVERY_PARKED]--;
    list_remove(&d->parked, &v->link);
    durable_page(d, &d->backlog.left, 1);
    delivery_free(v);
}

void delivery_unpark(struct delivery *v)
{
    set_state(v, DELIVERY_READY);
}

void delivery_sent(struct delivery *v, int64_t now)
{
    struct hub *h = v->dest->hub;
    v->sent_ms = now;
    v->sink = v->dest->sink;
    int64_t span = v->h.deadline_ms - now;
    set_state(v, DELIVERY_INFLIGHT);
    hub_schedule_from(h, &v->due, now, span > 0 ? span : 0, span == v->route->policy->timeout_ms);
    hub_trace(h, TAP_DELIVERED, v);
    if (v->drifts)
        durable_drift(v);
}

static void wait_for(struct delivery *v, int64_t span_ms)
{
    int64_t left = left_ms(v);
    set_state(v, DELIVERY_WAITING);
    v->sent_ms = 0;
    v->h.holder = NULL;
    if (span_ms > left)
        span_ms = left;
    lane_pause(v);
    if (v->key != 0 && durable_wait(v, span_ms)) {
        v->dest->hub->counts.state[DELIVERY_WAITING]--;
        list_remove(&v->dest->waiting, &v->link);
        delivery_free(v); /* it is on disk, and in the books as stored */
        return;
    }
    hub_schedule(v->dest->hub, &v->due, span_ms, false);
}

static void expire(struct delivery *v)
{
    struct reply r = {.code = CODE_EXPIRED, .body = STR("its time to live was over before it was delivered")};
    if (v->h.kind == MSG_REQUEST) {
        answer_error(v, CODE_TIMEOUT, "no answer within the time-out");
        return;
    }
    msg_log(v->dest->hub->env.log, LOG_INFO, "message_expired", v->h.msg,
            (struct log_pair[4]){{"destination", v->dest->name}, {"route", delivery_route(v)}});
    hub_trace(v->dest->hub, TAP_EXPIRED, v);
    history_note(v, PAST_EXPIRED, 0, r.body);
    end_with(v, DELIVERY_EXPIRED, &r);
}

/* true: it goes on to another destination, or is kept. */
static bool keep_dead(struct delivery *v, const struct reply *reply, bool *moved)
{
    struct hub *h = v->dest->hub;
    bool keep = v->route->policy->dead_letter && (v->key != 0 || v->route->conf != NULL); /* not for subscriptions */
    if (keep && h->store != NULL)
        store_begin(h->store);
    *moved = keep && dead_copy(v, reply->code);
    if (keep && h->store != NULL) {
        if (!*moved)
            durable_bury(v, reply->code);
        dead_tell(v, reply);
        store_commit(h->store);
    } else if (keep && !*moved) {
        dead_add(h, v, reply->code);
    }
    return keep;
}

/* The end of an event that cannot be delivered: kept as a dead letter, sent on, or dropped where the policy
 * says so. Moves to the list of dead letters before anybody is told. */
static void die(struct delivery *v, const struct reply *reply)
{
    struct hub *h = v->dest->hub;
    bool moved, keep = keep_dead(v, reply, &moved);
    v->dest->dead++;
    msg_log(h->env.log, LOG_WARN, moved ? "message_dead_sent_on" : keep ? "message_dead" : "message_dropped", v->h.msg,
            (struct log_pair[4]){{"destination", v->dest->name}, {"route", delivery_route(v)},
                                 {"reason", v->last_error}, {"attempts", LOG_NUM(v->h.attempt)}});
    hub_trace(h, TAP_DEAD, v);
    history_note(v, keep ? PAST_DEAD : PAST_DROPPED, 0, str_of(v->last_error));
    end_with(v, keep ? DELIVERY_DEAD : DELIVERY_DROPPED, reply);
    h->counts.state[DELIVERY_DEAD] -= moved; /* it lives on at its new destination */
}

void delivery_die(struct delivery *v, enum code code, const char *why)
{
    struct reply r = {.code = code, .body = str_of(why)};
    note_error(v, &r);
    v->dest->failed++;
    die(v, &r);
}

static bool may_retry(const struct delivery *v, const struct settlement *s)
{
    if (!retry_allowed(&v->route->policy->retry, v->h.attempt) || poison_is(v))
        return false;
    return v->h.kind == MSG_EVENT ||
           (!s->final && !v->streamed && v->route->policy->idempotent && dest_is_there(v->dest));
}

static void retry(struct delivery *v, const struct settlement *s)
{
    struct hub *h = v->dest->hub;
    int64_t pause = retry_delay_ms(&v->route->policy->retry, v->h.attempt, rand_u64(&h->factory.rand));
    if (s->retry_after_ms >= 0)
        pause = s->retry_after_ms;
    if (v->h.kind == MSG_REQUEST && pause >= left_ms(v)) {
        end_failed(v, &s->reply);
        return;
    }
    v->dest->retries++;
    h->counts.retries++;
    history_note(v, PAST_RETRY, pause, str_of(v->last_error));
    v->h.redelivered = s->reply.code == CODE_TIMEOUT ? "timeout" : s->reply.code == CODE_UNAVAILABLE ? "lost" : "failed";
    msg_log(h->env.log, LOG_DEBUG, "message_retry", v->h.msg,
            (struct log_pair[4]){{"destination", v->dest->name}, {"error", v->last_error},
                                 {"attempt", LOG_NUM(v->h.attempt)}, {"pause_ms", LOG_NUM(pause)}});
    hub_trace(h, TAP_RETRY, v);
    wait_for(v, pause);
}

static void failed(struct delivery *v, const struct settlement *s)
{
    if (s->crash != CRASH_NONE)
        poison_note(v, s);
    else
        note_error(v, &s->reply);
    if (s->crash == CRASH_NONE && s->reply.code != CODE_TIMEOUT)
        v->h.alone = false; /* it was answered, and nobody died */
    if (s->reply.code == CODE_TIMEOUT && v->h.kind == MSG_EVENT && left_ms(v) == 0) {
        expire(v); /* its ttl has ended the attempt, were it the last one */
        return;
    }
    if (s->outcome == OUTCOME_RETRY && may_retry(v, s)) {
        retry(v, s);
        return;
    }
    if (v->h.kind == MSG_REQUEST) {
        end_failed(v, &s->reply);
        return;
    }
    v->dest->failed++;
    die(v, &s->reply);
}

/* Does this outcome say that the destination, not this message, is in trouble? */
static bool tells_of_trouble(const struct settlement *s)
{
    return s->outcome == OUTCOME_RETRY &&
           (s->reply.code == CODE_TIMEOUT || s->reply.code == CODE_UNAVAILABLE ||
            s->reply.code == CODE_OVERLOADED || s->reply.code == CODE_INTERNAL);
}

/* Given back: a pause, then again. A request is refused where nobody is left to take it. */
static void hold(struct delivery *v)
{
    history_note(v, PAST_RELEASED, 0, STR_NONE);
    v->h.attempt--;
    v->armed = false; /* so says the disk from now on */
    v->h.redelivered = "released";
    if (v->key != 0 && v->last_error == NULL)
        v->last_error = mem_strdup(v->h.redelivered); /* on disk: the next life knows that it has been seen */
    if (v->h.kind == MSG_REQUEST && !dest_is_there(v->dest))
        delivery_refuse_nobody(v);
    else
        wait_for(v, GIVEN_BACK_MS);
}

static void tell_breaker(struct delivery *v, const struct settlement *s)
{
    if (v->sink != v->dest->sink)
        return; /* what one that has left has to say is nothing about its successor */
    if (s->outcome == OUTCOME_HOLD)
        breaker_unsent(&v->dest->breaker);
    else if (tells_of_trouble(s))
        dest_failed(v->dest, v, s->reply.code);
    else
        breaker_success(&v->dest->breaker);
}

void delivery_done(struct delivery *v, const struct reply *reply)
{
    v->dest->done++;
    hub_trace(v->dest->hub, TAP_DONE, v);
    history_note(v, PAST_DONE, 0, STR_NONE);
    end_with(v, DELIVERY_DONE, reply);
}

static void go_on(struct dest *d)
{
    if (!list_empty(&d->ready)) /* the carrier has room for one more, or the breaker has closed */
        dest_pump(d);
    else
        durable_refill(d);
}

void delivery_settle(struct delivery *v, const struct settlement *s)
{
    struct dest *d = v->dest;
    assert(v->state == DELIVERY_INFLIGHT);
    tell_breaker(v, s);
    sched_clear(&d->hub->sched, &v->due);
    if (s->outcome == OUTCOME_OK) {
        if (!durable_defer(v, s))
            delivery_done(v, &s->reply);
    } else if (s->outcome == OUTCOME_HOLD) {
        hold(v);
    } else {
        failed(v, s);
    }
    go_on(d);
}

void delivery_undone(struct delivery *v, const struct settlement *s)
{
    struct dest *d = v->dest;
    assert(v->state == DELIVERY_INFLIGHT);
    failed(v, s);
    go_on(d);
}

bool delivery_more(struct delivery *v, const struct reply *item, struct waiter *w)
{
    struct receipt *r = v->receipt;
    v->streamed = true;
    if (r == NULL || r->asker.ops == NULL || r->request != v)
        return true;
    return r->asker.ops->more(r->asker.ctx, r->asker.token, item, w);
}

/* WAIT: the attempt's time-out starts again, and so does the patience of an asker who named none. */
void delivery_extend(struct delivery *v)
{
    struct hub *h = v->dest->hub;
    int64_t now = hub_now(h), span = v->route->policy->timeout_ms;
    if (v->h.kind == MSG_REQUEST && v->patient)
        v->deadline_ms = now + span;
    v->h.deadline_ms = now + span < v->deadline_ms ? now + span : v->deadline_ms;
    hub_schedule(h, &v->due, v->h.deadline_ms - now, v->h.deadline_ms == now + span);
}

/* The time that was over: all that there was for it, or this attempt's. */
static int64_t patience_ms(const struct delivery *v)
{
    return v->h.deadline_ms == v->deadline_ms ? v->deadline_ms - v->h.msg->accepted_ms
                                              : v->route->policy->timeout_ms;
}

static void attempt_timed_out(struct delivery *v)
{
    struct hub *h = v->dest->hub;
    struct buf why = BUF_EMPTY;
    char span[32];
    buf_printf(&why, "%s did not answer within %s", v->dest->name, str_format_duration(patience_ms(v), span));
    struct settlement late = {.outcome = OUTCOME_RETRY, .retry_after_ms = -1,
                              .reply = {.code = CODE_TIMEOUT, .body = buf_str(&why)}};
    h->counts.timeouts++;
    msg_log(h->env.log, LOG_WARN, "delivery_timeout", v->h.msg,
            (struct log_pair[4]){{"destination", v->dest->name}, {"attempt", LOG_NUM(v->h.attempt)}});
    v->sink->ops->cancel(v->sink, &v->h, v->h.kind == MSG_REQUEST);
    delivery_settle(v, &late);
    buf_fini(&why);
}

void delivery_due(struct delivery *v)
{
    bool over = v->deadline_ms <= hub_now(v->dest->hub);
    switch (v->state) {
    case DELIVERY_INFLIGHT:
        attempt_timed_out(v);
        break;
    case DELIVERY_WAITING:
        if (over)
            expire(v);
        else
            delivery_ready(v);
        break;
    default:
        assert(v->state == DELIVERY_READY || v->state == DELIVERY_PARKED);
        expire(v);
    }
}
