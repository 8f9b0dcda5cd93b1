/* `why`: what became of a message, from memory and from the store. */
#include "admin/internal.h"
#include "base/clock.h"
#include "base/mem.h"

#define ITEMS_MAX 10000

struct why_call {
    struct list_node link; /* in admin->why_calls */
    struct visitor *visitor;
    uint64_t id;
    struct why *why; /* NULL until the store is asked */
    char *wanted;
    json_t *items;
    bool cut; /* there are more */
};

static const char *const event_names[PAST_EVENTS] = {
    [PAST_ACCEPTED] = "stored",    [PAST_DONE] = "done",       [PAST_FAILED] = "failed",
    [PAST_RETRY] = "retry",        [PAST_RELEASED] = "released", [PAST_DEAD] = "dead",
    [PAST_EXPIRED] = "expired",    [PAST_DROPPED] = "dropped", [PAST_DUPLICATE] = "duplicate",
    [PAST_REDRIVEN] = "redriven",  [PAST_PURGED] = "purged",   [PAST_NOW] = "now",
};

static void set_text(json_t *item, const char *key, struct str text)
{
    if (text.n > 0)
        json_object_set_new(item, key, json_of(text));
}

static void set_time(json_t *item, const char *key, int64_t ms)
{
    char when[32];
    if (ms != 0)
        json_object_set_new(item, key, json_string(clock_rfc3339(ms, when)));
}

static json_t *item_of(const struct past *p)
{
    json_t *item = json_pack("{s:I,s:s,s:i,s:b,s:b,s:b}", "time_ms", (json_int_t)p->time_ms, "event",
                             event_names[p->event], "attempt", (int)p->attempt, "stored", p->stored, "request",
                             p->request, "told", p->told);
    const struct {
        const char *key;
        struct str text;
    } texts[] = {{"source", p->source}, {"subject", p->subject}, {"route", p->route}, {"destination", p->to},
                 {"peer", p->peer}, {"redelivered", p->cause}, {"detail", p->detail}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        set_text(item, texts[i].key, texts[i].text);
    set_time(item, "time", p->time_ms);
    set_time(item, "accepted", p->accepted_ms);
    if (p->accepted_ms != 0)
        json_object_set_new(item, "accepted_ms", json_integer(p->accepted_ms));
    set_time(item, "handed_over", p->sent_ms);
    if (p->sent_ms != 0)
        json_object_set_new(item, "took_ms", json_integer(p->time_ms - p->sent_ms));
    if (p->generation != 0)
        json_object_set_new(item, "generation", json_integer((json_int_t)p->generation));
    if (p->event == PAST_RETRY)
        json_object_set_new(item, "pause_ms", json_integer(p->pause_ms));
    return item;
}

static void on_past(void *arg, const struct past *p)
{
    struct why_call *k = arg;
    if (json_array_size(k->items) == ITEMS_MAX)
        k->cut = true;
    else
        json_array_append_new(k->items, item_of(p));
}

static void call_free(struct why_call *k)
{
    list_remove(&k->visitor->admin->why_calls, &k->link);
    json_decref(k->items);
    mem_free(k->wanted);
    mem_free(k);
}

static void answer(struct why_call *k, bool complete)
{
    json_t *reply = json_pack("{s:o,s:O,s:b}", "id", json_of(str_of(k->wanted)), "items", k->items, "complete",
                              complete && !k->cut);
    visitor_send(k->visitor, VERB_REP, k->id, reply);
    json_decref(reply);
    call_free(k);
}

static void on_stored(void *arg, bool complete)
{
    struct why_call *k = arg;
    hub_why_now(k->visitor->admin->env.hub, str_of(k->wanted), on_past, k);
    answer(k, complete);
}

void why_cancel(struct visitor *v)
{
    LIST_EACH(&v->admin->why_calls, n) {
        struct why_call *k = CONTAINER_OF(n, struct why_call, link);
        if (k->visitor != v)
            continue;
        hub_why_cancel(k->why);
        call_free(k);
    }
}

static json_t *run_why(struct admin *a, struct call *c)
{
    const char *id = arg_text(c, "id");
    if (id == NULL)
        return command_fail(c, CODE_INVALID, "`id` is needed");
    struct why_call *k = mem_zalloc(sizeof(*k));
    k->visitor = c->visitor;
    k->id = c->id;
    k->wanted = mem_strdup(id);
    k->items = json_array();
    list_push(&a->why_calls, &k->link);
    if (hub_store(a->env.hub) == NULL) {
        on_stored(k, true);
        return NULL;
    }
    struct why_ask ask = {.id = str_of(k->wanted), .each = on_past, .done = on_stored, .arg = k};
    k->why = hub_why_stored(a->env.hub, &ask);
    return NULL;
}

const struct command command_why = {.name = "why", .run = run_why, .streams = true};
