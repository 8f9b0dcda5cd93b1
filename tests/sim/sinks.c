#include <stdio.h>
#include <string.h>

#include "internal.h"
#include "msg/headers.h"

/* ---------------------------------------------------------------- books */

void note(struct world *w, const char *what, uint64_t number)
{
    w->out->trace = (w->out->trace ^ number ^ (uint64_t)w->now) *
                    UINT64_C(0x100000001B3);
    for (const char *p = what; *p != '\0'; p++)
        w->out->trace = (w->out->trace ^ (uint64_t)*p) * UINT64_C(0x100000001B3);
    if (w->verbose)
        printf("%8lld %s %llu\n", (long long)w->now, what, (unsigned long long)number);
}

void broken(struct world *w, const char *what)
{
    if (w->out->broken == NULL)
        w->out->broken = what;
}

/* ---------------------------------------------------------------- askers */

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *waiter)
{
    struct world *w = ctx;
    (void)item;
    (void)waiter;
    if (w->asks[token].state != ASK_OPEN)
        broken(w, "an item for an asker that is not waiting");
    see(w, SEEN_STREAM);
    note(w, "more", token);
    return true;
}

static void on_done(void *ctx, uint64_t token, const struct reply *reply)
{
    struct world *w = ctx;
    struct ask *a = &w->asks[token];
    if (a->state != ASK_OPEN)
        broken(w, "an asker was answered twice, or after it had withdrawn");
    a->state = ASK_ANSWERED;
    if (a->durable && reply->code == CODE_OK) {
        w->asks[a->original].promised = true;
        w->told = a->born > w->told ? a->born : w->told;
    }
    if (a->durable && reply->code == CODE_OVERLOADED)
        see(w, SEEN_STORE_FULL);
    if (a->request)
        see(w, reply->code == CODE_OK ? SEEN_REQUEST_OK : SEEN_REQUEST_ERROR);
    note(w, "answered", token << 8 | reply->code);
}

const struct asker_ops asker_ops = {.more = on_more, .done = on_done};

void on_resume(void *arg)
{
    struct world *w = arg;
    see(w, SEEN_RESUMED);
    note(w, "resumed", 0);
}

/* ---------------------------------------------------------------- destinations */

/* The ask that a message carries in its id, or NULL. */
static struct ask *ask_of(struct world *w, const struct msg *m)
{
    uint64_t token;
    struct str id = m->id;
    bool ours = id.n > 1 && id.p[0] == 't' && str_parse_u64(str_make(id.p + 1, id.n - 1), &token);
    return ours ? &w->asks[token] : NULL;
}

/* S10: nothing comes early. */
static void check_time(struct world *w, const struct ask *a, struct handed *seen, bool waits)
{
    bool trusted = a->born >= w->trusted;
    if (trusted && waits && a->begins > w->now)
        broken(w, "a delayed one came early");
    if (waits && !a->said && !clock_says(w, a->at_wall))
        broken(w, "one came before the wall clock said so");
    if (trusted && seen->until > w->now)
        broken(w, "a pause was cut short");
    if (waits && a->begins > a->born)
        see(w, a->life < w->life ? SEEN_DELAYED_OVER_LIFE : SEEN_DELAYED);
    if (waits && a->at_wall > 0)
        see(w, SEEN_DELIVER_AT);
    if (seen->until > 0)
        see(w, seen->paused_in < w->life ? SEEN_PAUSE_OVER_LIFE : SEEN_PAUSE);
    seen->until = 0;
}

/* S6: a suspect's attempts go up from life to life. S7: a second delivery says why. */
static void check_redelivery(struct fake_sink *f, const struct handover *h)
{
    struct world *w = f->world;
    struct ask *a = ask_of(w, h->msg);
    if (a == NULL || f == &w->subscriber || f == &w->sinks[GRAVE])
        return;
    struct handed *seen = &a->handed[f - w->sinks];
    check_time(w, a, seen, h->kind == MSG_EVENT); /* a request does not wait, but what else it goes to does */
    if (!a->durable || h->kind != MSG_EVENT)
        return;
    bool suspect = h->redelivered != NULL && h->redelivered[0] == 'c';
    if (seen->times++ > 0 && h->redelivered == NULL)
        broken(w, "a second delivery that does not say why");
    if (suspect && seen->suspect >= h->attempt && seen->life < w->life)
        broken(w, "a suspect was handed over in two lives under one attempt");
    if (suspect) {
        seen->suspect = h->attempt;
        seen->life = w->life;
    }
}

/* S8: of one key one at a time, and first attempts in the order of acceptance. */
static void check_order(struct fake_sink *f, const struct handover *h)
{
    struct str key = headers_get(h->msg->headers, "key");
    if (f != &f->world->sinks[0] || key.n == 0)
        return;
    LIST_EACH(&f->held, n) {
        const struct handover *other = CONTAINER_OF(n, struct handover, link);
        if (str_eq(key, headers_get(other->msg->headers, "key")))
            broken(f->world, "two of one key are in flight");
    }
    see(f->world, SEEN_ORDERED);
}

static bool sink_send(struct sink *s, struct handover *h)
{
    struct fake_sink *f = (struct fake_sink *)s;
    struct world *w = f->world;
    if (!s->up)
        broken(w, "a handover to a destination that is down");
    if (f->held.count >= f->room) {
        f->starved = true;
        return false;
    }
    if (h->attempt < 1 || h->attempt > 50)
        broken(w, "an attempt number out of range");
    check_redelivery(f, h);
    check_order(f, h);
    if (h->redelivered != NULL)
        see(w, SEEN_REDELIVERED);
    list_push(&f->held, &h->link);
    note(w, "sent", h->attempt);
    return true;
}

static void sink_cancel(struct sink *s, struct handover *h, bool abandoned)
{
    struct fake_sink *f = (struct fake_sink *)s;
    if (!list_linked(&h->link))
        broken(f->world, "a cancel for a handover that is not held");
    list_remove(&f->held, &h->link);
    note(f->world, "cancelled", abandoned);
}

static const struct sink_ops sink_ops = {.send = sink_send, .cancel = sink_cancel};

void sink_setup(struct world *w, struct fake_sink *f, const char *name, bool service)
{
    f->world = w;
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->sink = (struct sink){.ops = &sink_ops, .name = f->name, .service = service};
    f->room = 1 + below(w, 20);
    list_init(&f->held);
    hub_adopt(w->hub, &f->sink);
}

struct handover *pick(struct world *w, struct fake_sink *f)
{
    struct list_node *n = list_first(&f->held);
    for (uint64_t skip = n != NULL ? below(w, f->held.count) : 0; skip > 0; skip--)
        n = list_next(&f->held, n);
    return n != NULL ? CONTAINER_OF(n, struct handover, link) : NULL;
}

/* Now and then one long enough to be spent on disk. */
static int64_t some_pause(struct world *w)
{
    if (below(w, 3) > 0)
        return -1;
    return (int64_t)below(w, below(w, 2) == 0 ? 5000 : 500);
}

static void note_pause(struct world *w, const struct ask *a, struct handed *seen, int64_t pause)
{
    seen->until = pause > 0 ? w->now + pause : 0;
    if (seen->until > a->expires)
        seen->until = a->expires; /* then it ends */
    seen->paused_in = w->life;
}

void answer(struct world *w, struct fake_sink *f, struct handover *h, enum outcome o, enum code code)
{
    struct settlement s = {.outcome = o, .retry_after_ms = some_pause(w),
                           .final = below(w, 2) == 0, .reply = {.code = code, .body = STR("because")}};
    struct ask *a = ask_of(w, h->msg);
    list_remove(&f->held, &h->link);
    if (o == OUTCOME_HOLD && a != NULL && f != &w->subscriber)
        a->handed[f - w->sinks].suspect = 0; /* given back: that attempt was none */
    if (o == OUTCOME_RETRY && a != NULL && f != &w->subscriber)
        note_pause(w, a, &a->handed[f - w->sinks], s.retry_after_ms);
    if (o == OUTCOME_OK && f == &w->sinks[GRAVE])
        see(w, SEEN_BURIED);
    if (o == OUTCOME_OK && a != NULL)
        a->ended = true; /* whether or not the process lives to know that it is on disk */
    note(w, "settled", o);
    f->sink.core->settled(h, &s);
    if (f->starved && f->held.count < f->room) {
        f->starved = false;
        f->sink.core->ready(&f->sink);
    }
}

/* A peer that goes away takes what it holds with it. */
void lose_all(struct world *w, struct fake_sink *f)
{
    while (!list_empty(&f->held))
        answer(w, f, CONTAINER_OF(list_first(&f->held), struct handover, link), OUTCOME_RETRY, CODE_UNAVAILABLE);
}

/* ---------------------------------------------------------------- what the core tells */

void on_tap(void *arg, const struct tap *t)
{
    struct world *w = arg;
    struct ask *a = ask_of(w, t->msg);
    if (a == NULL)
        return;
    bool sent_on = t->event == TAP_DEAD && goes_to_grave(w, t->route) && strcmp(t->to, w->sinks[GRAVE].name) != 0;
    if (t->event == TAP_DONE || t->event == TAP_EXPIRED || (t->event == TAP_DEAD && !sent_on))
        a->ended = true;
    if (t->event == TAP_EXPIRED && a->expires > w->now && a->born >= w->trusted)
        broken(w, "one expired early");
    if (t->event == TAP_DUPLICATE)
        see(w, a->life < w->life ? SEEN_COPY_LATER : SEEN_COPY);
    for (size_t i = 0; t->event == TAP_DEAD && i <= SINKS; i++) { /* it may come back, attempts anew */
        a->handed[i].suspect = 0;
        a->handed[i].until = 0;
    }
}
