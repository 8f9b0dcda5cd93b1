/* Looking back: notes read, and what is known of a message at this moment. */
#include "base/mem.h"
#include "delivery/history.h"
#include "delivery/internal.h"
#include "delivery/note.h"

/* ---------------------------------------------------------------- a chunk */

static bool brief_next(struct str *rest, struct note *note, struct str parts[NOTE_PARTS], uint64_t *hash)
{
    struct brief brief;
    if (rest->n < sizeof(brief))
        return false;
    bytes_copy((char *)&brief, rest->p, sizeof(brief));
    *rest = str_make(rest->p + sizeof(brief), rest->n - sizeof(brief));
    *hash = brief.hash;
    *note = (struct note){.head = brief.head, .attempt = 1};
    for (size_t i = 0; i < NOTE_PARTS; i++)
        parts[i] = STR_NONE;
    return true;
}

bool note_next(struct str *rest, struct note *note, struct str parts[NOTE_PARTS], uint64_t *hash)
{
    struct str at = *rest;
    if (at.n >= sizeof(note->head))
        bytes_copy((char *)&note->head, at.p, sizeof(note->head));
    if (at.n >= sizeof(note->head) && (note->head.flags & NOTE_BRIEF) != 0)
        return brief_next(rest, note, parts, hash);
    if (at.n < sizeof(*note))
        return false;
    bytes_copy((char *)note, at.p, sizeof(*note));
    at = str_make(at.p + sizeof(*note), at.n - sizeof(*note));
    for (size_t i = 0; i < NOTE_PARTS; i++) {
        if (at.n < note->sizes[i])
            return false;
        parts[i] = str_make(at.p, note->sizes[i]);
        at = str_make(at.p + note->sizes[i], at.n - note->sizes[i]);
    }
    *rest = at;
    *hash = history_hash(parts[NOTE_ID]);
    return true;
}

struct name {
    struct str text;
    uint64_t generation;
};

/* Their numbers are 1, 2, … */
static struct name name_of(const struct buf *names, uint16_t number)
{
    const struct name *all = (const struct name *)(const void *)buf_data(names);
    if (number == 0 || number > names->len / sizeof(*all))
        return (struct name){STR_NONE, 0};
    return all[number - 1];
}

static int64_t before(int64_t time_ms, uint32_t ms)
{
    return time_ms > (int64_t)ms ? time_ms - ms : 0;
}

static void show(const struct note *n, const struct str parts[NOTE_PARTS], const struct buf *names, past_fn *fn,
                 void *arg)
{
    const struct note_head *h = &n->head;
    struct name route = name_of(names, h->route);
    struct past p = {
        .event = (enum past_event)h->event, .time_ms = h->time_ms, .pause_ms = n->pause_ms, .attempt = n->attempt,
        .accepted_ms = (h->flags & NOTE_OLD) != 0 ? 0 : before(h->time_ms, h->age_ms),
        .sent_ms = (h->flags & NOTE_SENT) != 0 ? before(h->time_ms, h->span_ms) : 0,
        .stored = (h->flags & NOTE_STORED) != 0, .told = (h->flags & NOTE_TOLD) != 0,
        .request = (h->flags & NOTE_REQUEST) != 0, .generation = route.generation, .route = route.text,
        .to = name_of(names, h->to).text, .peer = name_of(names, h->peer).text, .source = parts[NOTE_SOURCE],
        .subject = parts[NOTE_SUBJECT], .cause = parts[NOTE_CAUSE], .detail = parts[NOTE_DETAIL]};
    fn(arg, &p);
}

void history_read(struct str chunk, struct str id, past_fn *fn, void *arg)
{
    struct buf names = BUF_EMPTY;
    struct str parts[NOTE_PARTS];
    struct note n;
    uint64_t wanted = history_hash(id), hash;
    while (note_next(&chunk, &n, parts, &hash)) {
        bool brief = (n.head.flags & NOTE_BRIEF) != 0;
        if (n.head.event == PAST_NAME)
            buf_put(&names, &(struct name){parts[NOTE_DETAIL], n.head.age_ms}, sizeof(struct name));
        else if (n.head.event < PAST_EVENTS && hash == wanted && (brief || str_eq(parts[NOTE_ID], id)))
            show(&n, parts, &names, fn, arg);
    }
    buf_fini(&names);
}

/* ---------------------------------------------------------------- now */

struct look {
    struct hub *hub;
    struct str id;
    past_fn *fn;
    void *arg;
};

static void show_live(const struct look *l, const struct delivery *v)
{
    static const char *const states[DELIVERY_STATES] = {
        [DELIVERY_NEW] = "waits for the store", [DELIVERY_READY] = "waits to be handed over",
        [DELIVERY_PARKED] = "waits for one before it that has its key", [DELIVERY_WAITING] = "waits for its next attempt",
        [DELIVERY_INFLIGHT] = "is handed over and not answered yet"};
    struct hub *h = l->hub;
    int64_t now = hub_now(h), offset = h->env.wall(h->env.arg) - now;
    if (!str_eq(v->h.msg->id, l->id) || states[v->state] == NULL)
        return;
    struct past p = {
        .event = PAST_NOW, .time_ms = now + offset, .accepted_ms = v->h.msg->accepted_ms + offset,
        .sent_ms = v->sent_ms != 0 ? v->sent_ms + offset : 0, .attempt = v->h.attempt,
        .stored = v->key != 0, .request = v->h.kind == MSG_REQUEST, .generation = v->route->set->generation,
        .route = str_of(delivery_route(v)), .to = str_of(v->dest->name), .source = v->h.msg->source,
        .peer = v->h.holder != NULL ? str_of(v->h.holder->text) : STR_NONE, .subject = v->h.msg->subject,
        .cause = str_of(v->h.redelivered), .detail = str_of(states[v->state])};
    l->fn(l->arg, &p);
}

static void look(void *arg, const struct delivery *v)
{
    show_live(arg, v);
}

void hub_why_now(struct hub *h, struct str id, past_fn *fn, void *arg)
{
    struct look l = {h, id, fn, arg};
    struct map_entry *e;
    if (h->history != NULL)
        history_each(h->history, id, fn, arg);
    durable_each_accepting(h, look, &l);
    for (size_t i = 0; (e = map_next(&h->dests, &i)) != NULL;) {
        const struct dest *d = e->value;
        const struct list *lists[] = {&d->ready, &d->parked, &d->waiting, &d->inflight};
        for (size_t k = 0; k < 4; k++) {
            LIST_EACH(lists[k], n)
                show_live(&l, CONTAINER_OF(n, struct delivery, link));
        }
    }
}

/* ---------------------------------------------------------------- the store */

struct why {
    struct list_node link; /* in hub->whys */
    struct hub *hub;
    struct why_ask ask;
    char *id;
    bool cancelled;
};

static void why_free(struct why *w)
{
    list_remove(&w->hub->whys, &w->link);
    mem_free(w->id);
    mem_free(w);
}

static void on_found(void *arg, const struct store_history *found)
{
    struct why *w = arg;
    for (size_t i = 0; i < found->count && !w->cancelled; i++)
        history_read(found->chunks[i].data, w->ask.id, w->ask.each, w->ask.arg);
    if (found->next != 0 && !w->cancelled) {
        store_history_find(w->hub->store, found->next, history_hash(w->ask.id), on_found, w);
        return;
    }
    if (!w->cancelled)
        w->ask.done(w->ask.arg, found->result == STORE_OK);
    why_free(w);
}

struct why *hub_why_stored(struct hub *h, const struct why_ask *ask)
{
    struct why *w = mem_zalloc(sizeof(*w));
    w->hub = h;
    w->ask = *ask;
    w->id = str_dup(ask->id);
    w->ask.id = str_make(w->id, ask->id.n);
    list_push(&h->whys, &w->link);
    if (h->history != NULL)
        history_flush(h->history); /* a find sees what was put before it */
    store_history_find(h->store, 1, history_hash(ask->id), on_found, w);
    return w;
}

void hub_why_cancel(struct why *w)
{
    w->cancelled = true;
}

void whys_clear(struct hub *h)
{
    LIST_EACH(&h->whys, n)
        why_free(CONTAINER_OF(n, struct why, link));
}
