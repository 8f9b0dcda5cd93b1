#include "transport/amqp/confirms.h"

#include <assert.h>

#include "base/mem.h"

void confirms_init(struct confirms *c, size_t span, void (*done)(void *arg, void *value, enum confirm how), void *arg)
{
    *c = (struct confirms){.span = span, .first = 1, .next = 1, .done = done, .arg = arg};
}

void confirms_fini(struct confirms *c)
{
    mem_free(c->slots);
    c->slots = NULL;
    c->cap = 0;
}

static struct confirm_slot *slot_of(const struct confirms *c, uint64_t tag)
{
    return &c->slots[tag & (c->cap - 1)];
}

static void grow(struct confirms *c)
{
    struct confirms old = *c;
    c->cap = old.cap > 0 ? 2 * old.cap : 64;
    c->slots = mem_calloc(c->cap, sizeof(*c->slots));
    for (uint64_t tag = c->first; tag < c->next; tag++)
        *slot_of(c, tag) = *slot_of(&old, tag);
    mem_free(old.slots);
}

bool confirms_full(const struct confirms *c)
{
    return c->next - c->first >= c->span;
}

uint64_t confirms_add(struct confirms *c, void *value)
{
    assert(value != NULL && !confirms_full(c));
    if (c->next - c->first == c->cap)
        grow(c);
    *slot_of(c, c->next) = (struct confirm_slot){.value = value};
    c->count++;
    return c->next++;
}

void *confirms_get(const struct confirms *c, uint64_t tag)
{
    return tag >= c->first && tag < c->next ? slot_of(c, tag)->value : NULL;
}

static void settle(struct confirms *c, uint64_t tag, bool ack)
{
    struct confirm_slot *s = slot_of(c, tag);
    void *value = s->value;
    enum confirm how = !ack ? CONFIRM_NACK : s->returned ? CONFIRM_RETURNED : CONFIRM_ACK;
    if (value == NULL)
        return;
    s->value = NULL;
    c->count--;
    while (c->first < c->next && slot_of(c, c->first)->value == NULL)
        c->first++;
    c->done(c->arg, value, how);
}

bool confirms_settle(struct confirms *c, uint64_t tag, bool multiple, bool ack)
{
    if (multiple && tag == 0)
        tag = c->next - 1;
    if (tag >= c->next || (tag == 0 && !multiple))
        return false;
    if (!multiple && tag >= c->first)
        settle(c, tag, ack);
    /* What done() adds has higher tags. */
    for (uint64_t at = c->first; multiple && at <= tag && at < c->next; at++) {
        if (at >= c->first)
            settle(c, at, ack);
    }
    return true;
}

bool confirms_returned(struct confirms *c, uint64_t tag)
{
    if (confirms_get(c, tag) == NULL)
        return false;
    slot_of(c, tag)->returned = true;
    return true;
}

void confirms_lose(struct confirms *c)
{
    struct confirms lost = *c;
    c->slots = NULL;
    c->cap = c->count = 0;
    c->first = c->next = 1;
    for (uint64_t tag = lost.first; tag < lost.next; tag++) {
        if (slot_of(&lost, tag)->value != NULL)
            c->done(c->arg, slot_of(&lost, tag)->value, CONFIRM_LOST);
    }
    mem_free(lost.slots);
}
