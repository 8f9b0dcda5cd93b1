#include "transport/amqp/flights.h"

#include <stdio.h>

#include "base/mem.h"
#include "transport/amqp/outgoing.h"

#define BAD_EXCHANGE_MS 5000 /* before a message is tried again that its exchange did not take */

/* ---------------------------------------------------------------- one of them */

void flight_report(struct handover *h, enum outcome outcome, enum code code, struct str detail)
{
    struct settlement s = {.outcome = outcome, .reply = {.code = code, .body = detail}, .retry_after_ms = -1};
    h->core->settled(h, &s);
}

/* Lets go of its request number and its handover, which the caller reports. */
static struct handover *take(struct flights *f, struct flight *one)
{
    struct handover *h = one->h;
    if (one->id != 0)
        slots_take(&f->asked, one->id);
    one->id = 0;
    one->h = NULL;
    return h;
}

/* Never more of them than were out at a time: `concurrency`. */
static void spare(struct flights *f, struct flight *one)
{
    list_push_front(&f->spares, &one->link);
}

struct flight *flights_new(struct flights *f, struct handover *h, bool asks)
{
    struct list_node *n = list_first(&f->spares);
    if (n != NULL)
        list_remove(&f->spares, n);
    struct flight *one = n != NULL ? CONTAINER_OF(n, struct flight, link) : mem_alloc(sizeof(*one));
    *one = (struct flight){.h = h, .sent_ms = loop_now(f->loop)};
    if (asks)
        one->id = slots_add(&f->asked, one);
    return one;
}

void flights_add(struct flights *f, struct flight *one)
{
    confirms_add(&f->confirms, one);
}

void flights_drop(struct flights *f, struct flight *one)
{
    take(f, one);
    spare(f, one);
}

void flights_forget(struct flights *f, struct flight *one)
{
    flights_answered(f, one);
}

struct flight *flights_asked(const struct flights *f, uint64_t id)
{
    return slots_get(&f->asked, id);
}

struct handover *flights_answered(struct flights *f, struct flight *one)
{
    bool confirmed = one->confirmed;
    struct handover *h = take(f, one);
    if (confirmed)
        spare(f, one);
    return h;
}

/* ---------------------------------------------------------------- their ends */

static void report_lost(struct handover *h)
{
    bool request = h->kind == MSG_REQUEST; /* its answer is lost: it may have been worked on */
    flight_report(h, request ? OUTCOME_RETRY : OUTCOME_HOLD, CODE_UNAVAILABLE, STR("the connection was lost before an answer"));
}

static void on_confirm(void *arg, void *value, enum confirm how)
{
    struct flights *f = arg;
    struct flight *one = value;
    one->confirmed = true;
    if (how == CONFIRM_ACK && one->id != 0)
        return; /* the answer is still to come */
    struct handover *h = take(f, one);
    spare(f, one);
    if (h == NULL)
        return;
    if (how == CONFIRM_ACK)
        flight_report(h, OUTCOME_OK, CODE_OK, STR_NONE);
    else if (how == CONFIRM_RETURNED)
        flight_report(h, OUTCOME_REJECT, CODE_NO_ROUTE, buf_str(&f->why_returned));
    else if (how == CONFIRM_NACK)
        flight_report(h, OUTCOME_RETRY, CODE_OVERLOADED, STR("the broker did not take the message"));
    else
        report_lost(h);
}

static struct flight *held_at(const struct flights *f, uint64_t tag)
{
    struct flight *one = confirms_get(&f->confirms, tag);
    return one != NULL && one->h != NULL ? one : NULL;
}

void flights_returned(struct flights *f, struct str id, struct str key)
{
    struct confirms *c = &f->confirms;
    for (uint64_t tag = c->first; tag < c->next; tag++) {
        const struct flight *one = held_at(f, tag);
        if (one == NULL || c->slots[tag & (c->cap - 1)].returned)
            continue;
        if (str_eq(id, one->h->msg->id) && str_eq(key, outgoing_key(one->h))) {
            confirms_returned(c, tag);
            return;
        }
    }
}

static bool is_blamed(const struct flight *one, struct str text)
{
    char name[WIRE_SHORT_MAX + 16];
    int n = snprintf(name, sizeof(name), "exchange '%s'", outgoing_exchange(one->h));
    return memmem(text.p, text.n, name, (size_t)n) != NULL;
}

void flights_blame(struct flights *f, const char *text)
{
    const struct confirms *c = &f->confirms;
    struct settlement s = {.outcome = OUTCOME_RETRY, .retry_after_ms = BAD_EXCHANGE_MS,
                           .reply = {.code = CODE_NO_ROUTE, .body = str_of(text)}};
    for (uint64_t tag = c->first; tag < c->next; tag++) {
        struct flight *one = held_at(f, tag);
        if (one == NULL || !is_blamed(one, str_of(text)))
            continue;
        struct handover *h = take(f, one);
        h->core->settled(h, &s);
    }
}

void flights_extend(struct flights *f)
{
    const struct confirms *c = &f->confirms;
    for (uint64_t tag = c->first; tag < c->next; tag++) {
        const struct flight *one = held_at(f, tag);
        if (one != NULL && one->h->kind == MSG_EVENT)
            one->h->core->extend(one->h);
    }
}

/* Requests that were confirmed and have no answer yet. */
static void lose_asked(struct flights *f)
{
    struct slots asked = f->asked;
    struct slot *s;
    f->asked = (struct slots){.last = asked.last};
    for (size_t i = 0; (s = slots_next(&asked, &i)) != NULL;) {
        struct flight *one = s->value;
        struct handover *h = one->h;
        one->id = 0;
        spare(f, one);
        report_lost(h);
    }
    slots_fini(&asked);
}

void flights_lose(struct flights *f)
{
    confirms_lose(&f->confirms);
    lose_asked(f);
}

/* ---------------------------------------------------------------- life */

void flights_init(struct flights *f, struct loop *l, size_t most)
{
    *f = (struct flights){.loop = l};
    list_init(&f->spares);
    confirms_init(&f->confirms, most, on_confirm, f);
}

void flights_fini(struct flights *f)
{
    struct slot *s;
    for (size_t i = 0; (s = slots_next(&f->asked, &i)) != NULL;) {
        struct flight *one = s->value;
        if (one->confirmed)
            mem_free(one);
    }
    for (uint64_t tag = f->confirms.first; tag < f->confirms.next; tag++)
        mem_free(confirms_get(&f->confirms, tag));
    for (struct list_node *n; (n = list_first(&f->spares)) != NULL;) {
        list_remove(&f->spares, n);
        mem_free(CONTAINER_OF(n, struct flight, link));
    }
    slots_fini(&f->asked);
    confirms_fini(&f->confirms);
    buf_fini(&f->why_returned);
}
