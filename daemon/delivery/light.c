#include "delivery/light.h"

#include "base/mem.h"
#include "delivery/history.h"
#include "delivery/internal.h"

struct entry {
    uint64_t hash;
    int64_t now_ms; /* monotonic */
    uint32_t age_ms, span_ms;
    uint16_t route, to, holder; /* numbers of names in the chunk; 0 = none */
    uint8_t told, request;
};

struct chunk {
    struct list_node link;
    uint64_t id;
    size_t count;
    struct buf names; /* of struct name */
    struct entry entries[LIGHT_ENTRIES];
};

struct name {
    char *text; /* owned */
    uint64_t generation;
};

struct light {
    struct list ring; /* struct chunk by link, newest last: the open one */
    struct chunk *open;
    uint64_t ids;
};

struct light *light_new(void)
{
    struct light *l = mem_zalloc(sizeof(*l));
    list_init(&l->ring);
    return l;
}

static const struct name *names_of(const struct chunk *c, size_t *count)
{
    *count = c->names.len / sizeof(struct name);
    return (const struct name *)(const void *)buf_data(&c->names);
}

static void names_forget(struct chunk *c)
{
    size_t count;
    const struct name *names = names_of(c, &count);
    for (size_t i = 0; i < count; i++)
        mem_free(names[i].text);
    buf_clear(&c->names);
}

void light_free(struct light *l)
{
    if (l == NULL)
        return;
    LIST_EACH(&l->ring, n) {
        struct chunk *c = CONTAINER_OF(n, struct chunk, link);
        names_forget(c);
        buf_fini(&c->names);
        mem_free(c);
    }
    mem_free(l);
}

static struct chunk *next_chunk(struct light *l)
{
    struct chunk *c;
    if (l->ring.count < LIGHT_CHUNKS) {
        c = mem_alloc(sizeof(*c));
        c->names = BUF_EMPTY;
    } else {
        c = CONTAINER_OF(list_first(&l->ring), struct chunk, link);
        list_remove(&l->ring, &c->link);
        names_forget(c);
    }
    c->link = (struct list_node){NULL, NULL};
    c->id = ++l->ids;
    c->count = 0;
    list_push(&l->ring, &c->link);
    return l->open = c;
}

static void spell(struct chunk *c, struct noted *n, const char *text, uint64_t generation)
{
    if (n->light_chunk == c->id)
        return;
    buf_put(&c->names, &(struct name){mem_strdup(text), generation}, sizeof(struct name));
    n->light_chunk = c->id;
    n->light_number = (uint16_t)(c->names.len / sizeof(struct name)); /* three new ones an entry at most */
}

static void spell_all(struct chunk *c, const struct delivery *v)
{
    spell(c, &v->route->noted, route_name(v->route), v->route->set->generation);
    spell(c, &v->dest->noted, v->dest->name, 0);
    if (v->h.holder != NULL)
        spell(c, &v->h.holder->noted, v->h.holder->text, 0);
}

static inline bool all_spelled(const struct chunk *c, const struct delivery *v)
{
    return v->route->noted.light_chunk == c->id && v->dest->noted.light_chunk == c->id &&
           (v->h.holder == NULL || v->h.holder->noted.light_chunk == c->id);
}

static inline uint32_t ms32(int64_t ms)
{
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

void light_note(struct light *l, const struct delivery *v, int64_t now_ms, bool told)
{
    struct chunk *c = l->open;
    const struct msg *m = v->h.msg;
    if (c == NULL || c->count == LIGHT_ENTRIES)
        c = next_chunk(l);
    if (!all_spelled(c, v))
        spell_all(c, v);
    c->entries[c->count++] = (struct entry){
        .hash = v->id_hash, .now_ms = now_ms, .age_ms = ms32(now_ms - m->accepted_ms),
        .span_ms = ms32(now_ms - v->sent_ms), .told = told, .request = v->h.kind == MSG_REQUEST,
        .route = v->route->noted.light_number, .to = v->dest->noted.light_number,
        .holder = v->h.holder != NULL ? v->h.holder->noted.light_number : 0};
}

static struct name name_at(const struct chunk *c, uint16_t number)
{
    size_t count;
    const struct name *names = names_of(c, &count);
    return number > 0 && number <= count ? names[number - 1] : (struct name){NULL, 0};
}

static void show(const struct chunk *c, const struct entry *e, int64_t offset_ms, const struct light_ask *ask)
{
    struct name route = name_at(c, e->route);
    int64_t at = e->now_ms + offset_ms;
    struct past p = {.event = PAST_DONE, .time_ms = at, .accepted_ms = at - e->age_ms, .sent_ms = at - e->span_ms,
                     .attempt = 1, .request = e->request, .told = e->told, .generation = route.generation,
                     .route = str_of(route.text), .to = str_of(name_at(c, e->to).text),
                     .peer = str_of(name_at(c, e->holder).text)};
    ask->fn(ask->arg, &p);
}

void light_each(const struct light *l, uint64_t hash, int64_t offset_ms, const struct light_ask *ask)
{
    LIST_EACH(&l->ring, n) {
        const struct chunk *c = CONTAINER_OF(n, struct chunk, link);
        for (size_t i = 0; i < c->count; i++) {
            if (c->entries[i].hash == hash)
                show(c, &c->entries[i], offset_ms, ask);
        }
    }
}
