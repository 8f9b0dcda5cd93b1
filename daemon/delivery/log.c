#include "delivery/log.h"

#include "base/mem.h"
#include "delivery/internal.h"

#define PAGE_ROWS 64
#define TRIM_ROWS 1024     /* of one step */
#define RETENTION_MS 1000  /* between two looks */

struct log_reader {
    struct list_node link;      /* in log->readers */
    struct list_node wait_link; /* in log->followers while it waits for more */
    struct hub_log *log;
    struct log_ask ask;    /* its texts are owned */
    char *key, *match;
    uint64_t after, count, damaged;
    int64_t since_ms;
    bool loading;          /* a page is under way */
    bool busy, cancelled;
};

/* ---------------------------------------------------------------- the logs */

struct hub_log *log_named(struct hub *h, struct str name)
{
    struct hub_log *l = map_get(&h->logs, name);
    uint32_t number = l == NULL && h->store != NULL ? store_log(h->store, name) : 0;
    if (number == 0)
        return l;
    l = mem_zalloc(sizeof(*l));
    l->hub = h;
    l->number = number;
    l->keep_ms = INT64_MAX;
    l->max_size = UINT64_MAX;
    list_init(&l->readers);
    list_init(&l->followers);
    map_set(&h->logs, name, l);
    return l;
}

static struct store_log_view view_of(const struct hub_log *l)
{
    struct store_log_view v = {0};
    store_log_view(l->hub->store, l->number, &v);
    return v;
}

void hub_each_log(const struct hub *h, void (*fn)(void *arg, const struct store_log_view *v), void *arg)
{
    struct store_log_view v;
    for (uint32_t i = 1; h->store != NULL && store_log_view(h->store, i, &v); i++) {
        const struct hub_log *l = map_get(&h->logs, v.name);
        if (l != NULL && log_is_there(l))
            fn(arg, &v);
    }
}

/* Those that were there at the start and that no route names are read too. */
void logs_adopt(struct hub *h)
{
    struct store_log_view v;
    for (uint32_t i = 1; store_log_view(h->store, i, &v); i++)
        log_named(h, v.name);
}

/* What the routes in use say of age and size. */
void logs_use(struct hub *h)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&h->logs, &i)) != NULL;) {
        struct hub_log *l = e->value;
        l->keep_ms = INT64_MAX;
        l->max_size = UINT64_MAX;
    }
    for (size_t i = 0; i < h->routes->count; i++) {
        const struct route *r = h->routes->routes[i];
        if (r->log == NULL)
            continue;
        r->log->keep_ms = r->conf->log.keep_ms;
        r->log->max_size = r->conf->log.max_size;
    }
    if (h->logs.count > 0)
        logs_due(h);
}

static void reader_free(struct log_reader *r)
{
    list_remove(&r->log->readers, &r->link);
    list_remove(&r->log->followers, &r->wait_link);
    mem_free(r->key);
    mem_free(r->match);
    mem_free(r);
}

void hub_logs_free(struct hub *h)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&h->logs, &i)) != NULL;) {
        struct hub_log *l = e->value;
        while (!list_empty(&l->readers))
            reader_free(CONTAINER_OF(list_first(&l->readers), struct log_reader, link));
        log_remove_fini(l);
        mem_free(l);
    }
    map_fini(&h->logs);
    sched_clear(&h->sched, &h->log_due);
}

/* ---------------------------------------------------------------- retention */

static void trim(struct hub_log *l);

static void on_trimmed(void *arg, bool more)
{
    struct hub_log *l = arg;
    l->trimming = false;
    if (more)
        trim(l);
}

static void trim(struct hub_log *l)
{
    struct store_log_view v = view_of(l);
    int64_t now = l->hub->env.wall(l->hub->env.arg);
    int64_t before = l->keep_ms < now ? now - l->keep_ms : 0;
    if (l->trimming || l->removing || v.first > v.last || (v.bytes <= l->max_size && v.first_ms >= before))
        return;
    l->trimming = true;
    store_trim(l->hub->store, &(struct store_trim){.log = l->number, .before_ms = before, .bytes = l->max_size,
                                                   .limit = TRIM_ROWS}, on_trimmed, l);
}

void logs_due(struct hub *h)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&h->logs, &i)) != NULL;)
        trim(e->value);
    hub_schedule(h, &h->log_due, RETENTION_MS, true);
}

/* ---------------------------------------------------------------- places */

bool log_place_parse(struct hub *h, struct str text, struct log_place *out)
{
    static const char *const words[] = {[LOG_FIRST] = "first", [LOG_LAST] = "last", [LOG_NEXT] = "next"};
    int64_t age;
    *out = (struct log_place){.kind = LOG_FIRST};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_is(text, words[i])) {
            out->kind = (enum log_place_kind)i;
            return true;
        }
    }
    out->kind = LOG_OFFSET;
    if (str_parse_u64(text, &out->offset))
        return true;
    out->kind = LOG_TIME;
    if (str_parse_duration(text, &age)) {
        int64_t now = h->env.wall(h->env.arg);
        out->time_ms = age < now ? now - age : 1;
        return true;
    }
    return str_parse_time(text, &out->time_ms);
}

/* ---------------------------------------------------------------- reading */

static void reader_end(struct log_reader *r, bool failed)
{
    struct log_end end = {.next = r->after + 1, .damaged = r->damaged, .failed = failed};
    struct log_ask ask = r->ask;
    bool cancelled = r->cancelled;
    reader_free(r);
    if (!cancelled)
        ask.end(ask.arg, &end);
}

static bool beyond(const struct log_reader *r, const struct store_entry *e)
{
    const struct log_place *to = &r->ask.to;
    return (to->kind == LOG_OFFSET && e->offset > to->offset) || (to->kind == LOG_TIME && e->time_ms >= to->time_ms);
}

static bool has_all(const struct log_reader *r)
{
    return (r->ask.limit > 0 && r->count >= r->ask.limit) ||
           (r->ask.to.kind == LOG_OFFSET && r->after >= r->ask.to.offset);
}

/* False: the end was reached among them. */
static bool take_page(struct log_reader *r, const struct store_log_page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct store_entry *e = &page->entries[i];
        if (beyond(r, e))
            return false;
        r->after = e->offset;
        if (r->match != NULL && !filter_matches(str_of(r->match), e->subject, NULL))
            continue;
        r->count++;
        r->ask.entry(r->ask.arg, e);
        if (r->cancelled || has_all(r))
            return false;
    }
    r->after = page->through;
    return !has_all(r);
}

static void read_on(struct log_reader *r);

static void note_damage(struct log_reader *r, uint64_t damaged)
{
    struct store_log_view v = view_of(r->log);
    if (damaged == 0)
        return;
    char *name = str_dup(v.name);
    r->damaged += damaged;
    log_write(r->log->hub->env.log, LOG_ERROR, "log_entries_damaged", "log", name, "count", LOG_NUM(damaged), "before",
              LOG_NUM(r->after + 1), NULL);
    mem_free(name);
}

static void on_page(void *arg, const struct store_log_page *page)
{
    struct log_reader *r = arg;
    r->loading = false;
    r->since_ms = 0;
    r->busy = true;
    bool more = !r->cancelled && page->result == STORE_OK && take_page(r, page);
    r->busy = false;
    note_damage(r, page->damaged);
    if (!more || (page->at_end && !r->ask.follow))
        reader_end(r, page->result != STORE_OK);
    else if (page->at_end)
        list_push(&r->log->followers, &r->wait_link);
    else
        read_on(r);
}

static void read_on(struct log_reader *r)
{
    uint64_t left = r->ask.limit > 0 && r->match == NULL ? r->ask.limit - r->count : PAGE_ROWS;
    if (r->loading || r->busy || (r->ask.ready != NULL && !r->ask.ready(r->ask.arg)))
        return;
    list_remove(&r->log->followers, &r->wait_link);
    r->loading = true;
    store_load_log(r->log->hub->store, &(struct store_log_query){
        .log = r->log->number, .after = r->after, .since_ms = r->since_ms,
        .key = r->key != NULL ? r->ask.key : STR_NONE,
        .limit = left < PAGE_ROWS ? (uint32_t)left : PAGE_ROWS}, on_page, r);
}

/* Something was appended. One that has no room now is resumed by whoever reads. */
void log_wake(struct hub_log *l)
{
    LIST_EACH(&l->followers, n)
        read_on(CONTAINER_OF(n, struct log_reader, wait_link));
}

static void start_at(struct log_reader *r, const struct log_place *from)
{
    struct store_log_view v = view_of(r->log);
    const uint64_t after[] = {[LOG_FIRST] = 0, [LOG_LAST] = v.last > 0 ? v.last - 1 : 0, [LOG_NEXT] = v.last,
                              [LOG_OFFSET] = from->offset > 0 ? from->offset - 1 : 0, [LOG_TIME] = 0};
    r->after = after[from->kind];
    r->since_ms = from->kind == LOG_TIME ? from->time_ms : 0;
}

struct log_reader *hub_log_read(struct hub *h, const struct log_ask *ask)
{
    struct hub_log *l = map_get(&h->logs, ask->name);
    if (l == NULL || h->store == NULL || l->removing || !log_is_there(l))
        return NULL;
    struct log_reader *r = mem_zalloc(sizeof(*r));
    r->log = l;
    list_push(&l->readers, &r->link);
    r->ask = *ask;
    r->key = ask->key.n > 0 ? str_dup(ask->key) : NULL;
    r->ask.key = str_make(r->key, ask->key.n);
    r->match = ask->match.n > 0 ? str_dup(ask->match) : NULL;
    start_at(r, &ask->from);
    r->loading = true; /* the first page whatever ready() says: no callback before it is there */
    store_load_log(h->store, &(struct store_log_query){
        .log = l->number, .after = r->after, .since_ms = r->since_ms, .key = r->ask.key,
        .limit = ask->limit > 0 && ask->limit < PAGE_ROWS && r->match == NULL ? (uint32_t)ask->limit : PAGE_ROWS},
        on_page, r);
    return r;
}

void log_reader_resume(struct log_reader *r)
{
    read_on(r);
}

void log_reader_cancel(struct log_reader *r)
{
    r->cancelled = true;
    if (!r->loading && !r->busy)
        reader_free(r);
}
