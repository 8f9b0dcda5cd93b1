#include "delivery/history.h"

#include "base/mem.h"
#include "delivery/internal.h"
#include "delivery/light.h"
#include "delivery/note.h"

#define WRITING_MAX 8 /* chunks on their way to the store; those that come meanwhile are lost */
#define NAME_MAX 255
#define SUBJECT_NOTED 255
#define DETAIL_MAX 512
#define NAMES_ROOM (3 * (sizeof(struct note) + NAME_MAX)) /* what a note may have to spell out before it */

struct chunk {
    struct list_node link;
    uint64_t id;   /* for struct noted; never twice */
    size_t len;
    uint16_t names;
    uint8_t bytes[HISTORY_CHUNK];
};

struct history {
    struct hub *hub;
    struct list ring;     /* struct chunk by link, newest last: the open one */
    struct chunk *open;   /* or NULL */
    struct light *light;
    uint64_t ids;
    uint64_t keep;        /* chunks in the store; 0 = no notes */
    uint64_t number;      /* in the store, of the open one */
    struct due due;       /* of the flush */
    bool dirty;           /* there are notes to flush */
    unsigned writing;
    int64_t offset_ms, offset_at_ms; /* wall minus monotonic; when that was read */
};

struct history *history_new(struct hub *h)
{
    struct history *t = mem_zalloc(sizeof(*t));
    t->hub = h;
    t->due.kind = DUE_HISTORY;
    list_init(&t->ring);
    t->light = light_new();
    return t;
}

void history_free(struct history *t)
{
    if (t == NULL)
        return;
    sched_clear(&t->hub->sched, &t->due);
    LIST_EACH(&t->ring, n)
        mem_free(CONTAINER_OF(n, struct chunk, link));
    light_free(t->light);
    mem_free(t);
}

/* It never takes more than an eighth of a small store. */
void history_limit(struct history *t, uint64_t bytes)
{
    struct store_stats s = {.max_bytes = UINT64_MAX};
    if (t->hub->store != NULL)
        store_stats(t->hub->store, &s);
    bool few = bytes > s.max_bytes / 8;
    t->keep = (few ? s.max_bytes / 8 : bytes) / HISTORY_CHUNK;
    if (t->keep == 0 && bytes > 0)
        t->keep = 1;
    if (t->number == 0 && t->hub->store != NULL)
        t->number = s.history_next;
}

/* ---------------------------------------------------------------- into the store */

static void on_written(void *arg, enum store_result result)
{
    struct history *t = arg;
    (void)result; /* without room, or after a fault, it is lost */
    t->writing--;
}

static void write_chunk(struct history *t, const struct chunk *c)
{
    struct store *st = t->hub->store;
    uint8_t filter[STORE_FILTER_BYTES] = {0};
    struct str data = str_make(c->bytes, c->len), rest = data, parts[NOTE_PARTS];
    struct note note;
    uint64_t hash;
    while (note_next(&rest, &note, parts, &hash)) {
        if (note.head.event != PAST_NAME)
            store_filter_add(filter, hash);
    }
    store_history_put(st, &(struct store_chunk){.number = t->number, .filter = str_make(filter, sizeof(filter)),
                                                .data = data}, t->keep);
    t->writing++;
    store_begin(st);
    store_then(st, on_written, t);
    store_commit(st);
}

void history_flush(struct history *t)
{
    const struct chunk *c = t->open;
    if (t->hub->store == NULL || !t->dirty || c == NULL)
        return;
    if (t->writing == WRITING_MAX) { /* later, unless it is full by then */
        hub_schedule(t->hub, &t->due, HISTORY_FLUSH_MS, false);
        return;
    }
    write_chunk(t, c);
    t->dirty = false;
    sched_clear(&t->hub->sched, &t->due);
}

/* Room is made by the oldest, which is taken again. With a store that is the one just written. */
static struct chunk *next_chunk(struct history *t)
{
    struct list *ring = &t->ring;
    struct list_node *oldest = list_first(ring);
    bool stored = t->hub->store != NULL;
    struct chunk *c;
    if (stored) {
        history_flush(t);
        t->number++;
    }
    if (oldest == NULL || ring->count < (stored ? 1 : HISTORY_RING)) {
        c = mem_alloc(sizeof(*c));
    } else {
        c = CONTAINER_OF(oldest, struct chunk, link);
        list_remove(ring, &c->link);
    }
    c->link = (struct list_node){NULL, NULL};
    list_push(ring, &c->link);
    c->id = ++t->ids;
    c->names = 0;
    c->len = 0;
    return t->open = c;
}

/* ---------------------------------------------------------------- notes */

/* All that a note says; what is not known is 0 or empty. */
struct telling {
    enum past_event event;
    const struct msg *msg;
    struct dest *dest;
    struct route *route;
    const char *route_name; /* where it differs from the route's own */
    struct holder *holder;
    unsigned attempt;
    uint8_t flags;
    int64_t age_ms, span_ms, pause_ms;
    struct str cause, detail;
};

static struct str cut(struct str s, size_t most)
{
    return s.n > most ? str_make(s.p, most) : s;
}

static uint32_t ms32(int64_t ms)
{
    return ms < 0 ? 0 : ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

static uint16_t spell(struct chunk *c, const char *text, uint64_t generation)
{
    struct note name = {.head = {.event = PAST_NAME, .route = ++c->names, .age_ms = (uint32_t)generation}};
    const struct str parts[NOTE_PARTS] = {[NOTE_DETAIL] = cut(str_of(text), NAME_MAX)};
    c->len += note_put(c->bytes + c->len, &name, parts);
    return c->names;
}

/* Its number in this chunk. */
static uint16_t named(struct chunk *c, struct noted *n, const char *text, uint64_t generation)
{
    if (n->chunk != c->id) {
        n->chunk = c->id;
        n->number = spell(c, text, generation);
    }
    return n->number;
}

static uint16_t route_number(struct chunk *c, const struct telling *w)
{
    if (w->route == NULL || w->route_name != NULL)
        return spell(c, w->route_name, 0);
    return named(c, &w->route->noted, route_name(w->route), w->route->set->generation);
}

/* The two clocks tick at different moments: only a difference that is none of theirs counts. */
static int64_t wall_time(struct history *t)
{
    int64_t now = hub_now(t->hub);
    if (now - t->offset_at_ms >= 1000 || t->offset_at_ms == 0) {
        int64_t offset = t->hub->env.wall(t->hub->env.arg) - now, by = offset - t->offset_ms;
        t->offset_ms = by > 2 || by < -2 ? offset : t->offset_ms;
        t->offset_at_ms = now;
    }
    return now + t->offset_ms;
}

static size_t brief_put(uint8_t *at, const struct note_head *head, struct str id)
{
    struct brief brief = {.head = *head, .hash = history_hash(id)};
    bytes_copy((char *)at, &brief, sizeof(brief));
    return sizeof(brief);
}

static void tell(struct history *t, const struct telling *w)
{
    struct chunk *c = t->open;
    const struct str parts[NOTE_PARTS] = {
        [NOTE_ID] = w->msg->id, [NOTE_SOURCE] = cut(w->msg->source, NAME_MAX),
        [NOTE_SUBJECT] = cut(w->msg->subject, SUBJECT_NOTED), [NOTE_CAUSE] = w->cause,
        [NOTE_DETAIL] = cut(w->detail, DETAIL_MAX)};
    size_t need = NAMES_ROOM + note_size(parts);
    if (c == NULL || c->len + need > HISTORY_CHUNK)
        c = next_chunk(t);
    struct note note = {
        .head = {.event = (uint8_t)w->event, .flags = w->flags, .route = route_number(c, w),
                 .to = named(c, &w->dest->noted, w->dest->name, 0),
                 .peer = w->holder != NULL ? named(c, &w->holder->noted, w->holder->text, 0) : 0,
                 .time_ms = wall_time(t), .age_ms = ms32(w->age_ms), .span_ms = ms32(w->span_ms)},
        .attempt = (uint16_t)w->attempt, .pause_ms = ms32(w->pause_ms)};
    if ((w->flags & NOTE_BRIEF) != 0)
        c->len += brief_put(c->bytes + c->len, &note.head, w->msg->id);
    else
        c->len += note_put(c->bytes + c->len, &note, parts);
    if (t->dirty || t->hub->store == NULL)
        return;
    t->dirty = true;
    hub_schedule(t->hub, &t->due, HISTORY_FLUSH_MS, false);
}

static bool uneventful(const struct delivery *v, enum past_event event)
{
    return event == PAST_DONE && v->h.attempt == 1 && v->h.redelivered == NULL && v->origin == NULL &&
           v->h.msg->replayed_from.p == NULL;
}

static bool tells_source(const struct delivery *v, enum past_event event)
{
    const struct receipt *r = v->receipt;
    bool end = event != PAST_RETRY && event != PAST_RELEASED && event != PAST_ACCEPTED;
    return end && r != NULL && r->asker.ops != NULL && r->open == 1;
}

/* Before the rest: "replay of orders@12; …". */
static struct str replay_detail(const struct delivery *v, struct str detail, struct buf *room)
{
    buf_puts(room, "replay of ");
    buf_str_put(room, cut(v->h.msg->replayed_from, NAME_MAX));
    buf_puts(room, detail.n > 0 ? "; " : "");
    buf_str_put(room, detail);
    return buf_str(room);
}

static void note(struct history *t, const struct delivery *v, enum past_event event, int64_t pause_ms, struct str detail)
{
    int64_t now = hub_now(t->hub);
    struct buf room = BUF_EMPTY;
    if (v->h.msg->replayed_from.p != NULL)
        detail = replay_detail(v, detail, &room);
    struct telling w = {
        .event = event, .msg = v->h.msg, .dest = v->dest, .route = v->route, .route_name = v->origin,
        .holder = v->h.holder, .attempt = v->h.attempt, .age_ms = now - v->h.msg->accepted_ms,
        .span_ms = now - v->sent_ms, .pause_ms = pause_ms, .detail = detail,
        .cause = str_of(v->h.redelivered)};
    w.flags = (uint8_t)((v->sent_ms != 0 ? NOTE_SENT : 0) | (v->key != 0 ? NOTE_STORED : 0) |
                        (tells_source(v, event) ? NOTE_TOLD : 0) | (v->h.kind == MSG_REQUEST ? NOTE_REQUEST : 0) |
                        (uneventful(v, event) ? NOTE_BRIEF : 0));
    tell(t, &w);
    buf_fini(&room);
}

void history_note(const struct delivery *v, enum past_event event, int64_t pause_ms, struct str detail)
{
    struct history *t = v->dest->hub->history;
    if (t == NULL || t->keep == 0)
        return;
    if (v->key == 0 && uneventful(v, event))
        light_note(t->light, v, hub_now(t->hub), tells_source(v, event));
    else
        note(t, v, event, pause_ms, detail);
}

void history_note_dead(struct hub *h, const struct dead_letter *d, enum past_event event, const char *detail)
{
    struct history *t = h->history;
    if (t == NULL || t->keep == 0)
        return;
    struct telling w = {.event = event, .msg = d->msg, .dest = d->dest, .route = d->route, .attempt = d->attempts,
                        .route_name = d->route_name,
                        .flags = NOTE_OLD, .detail = str_of(detail)};
    tell(t, &w);
}

void history_each(const struct history *t, struct str id, past_fn *fn, void *arg)
{
    LIST_EACH(&t->ring, n) {
        const struct chunk *c = CONTAINER_OF(n, struct chunk, link);
        if (t->hub->store == NULL)
            history_read(str_make(c->bytes, c->len), id, fn, arg);
    }
    light_each(t->light, history_hash(id), t->hub->env.wall(t->hub->env.arg) - hub_now(t->hub), &(struct light_ask){fn, arg});
}
