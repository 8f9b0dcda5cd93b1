/* Schedules: what is published by the clock. */
#include "base/map.h"
#include "base/mem.h"
#include "codec/nest.h"
#include "config/build.h"
#include "msg/headers.h"
#include "route/matcher.h"

static void read_times(struct walk *w, const struct node *n, struct schedule_conf *s)
{
    const struct node *cron = node_get(n, "cron");
    const char *why;
    if ((cron != NULL) == (node_get(n, "every") != NULL))
        problem_add(w->errors, n->key_place, "schedule `%s` must have %s", n->key,
                    cron != NULL ? "only one of `cron` and `every`" : "`cron` or `every`");
    if (cron == NULL || s->cron == NULL)
        return;
    if (!cron_parse(str_of(s->cron), &s->times, &why))
        problem_add(w->errors, cron->place, "`cron`: not a cron expression: `%s`: %s", s->cron, why);
    else if (cron_next(&s->times, 0) < 0)
        problem_add(w->errors, cron->place, "`cron`: `%s` never comes: there is no such day", s->cron);
}

/* ---- body ---- */

static bool body_read(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    const char *text = walk_lines(w, n, key->name);
    ((struct schedule_conf *)base)->body = (char *)(uintptr_t)text;
    return text != NULL;
}

static bool body_print(struct printer *p, const struct key *key, const void *base)
{
    const struct schedule_conf *s = base;
    (void)key;
    if (s->body != NULL)
        print_text(p, s->body);
    return s->body != NULL;
}

static bool body_equal(const void *a, const void *b)
{
    return text_equal(((const struct schedule_conf *)a)->body, ((const struct schedule_conf *)b)->body);
}

const struct key_custom custom_body = {.expects = "text", .read = body_read, .print = body_print, .equal = body_equal};

/* ---- headers ---- */

/* What an event of the clock has from the daemon, or cannot have. */
static bool header_taken(struct str name)
{
    static const char *const taken[] = {"id", "time", "schedule", "source", "attempt", "redelivered", "reason", "with",
                                        "deliver-at"};
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        if (str_is(name, taken[i]))
            return true;
    }
    return false;
}

static bool span_wrong(struct str name, struct str value)
{
    int64_t ms;
    bool span = str_is(name, "ttl") || str_is(name, "delay") || str_is(name, "timeout");
    return span && !str_parse_duration(value, &ms);
}

static bool header_read(struct walk *w, const struct node *n, struct buf *block)
{
    struct str name = str_make(n->key, n->key_size);
    if (!header_name_valid(name))
        return problem_add(w->errors, n->key_place, "not a header's name: lower-case letters, digits and "
                           "!#$%%&'*+-.^_`|~, at most 128");
    if (header_taken(name))
        return problem_add(w->errors, n->key_place, "the header `%s` is the daemon's own", n->key);
    const char *text = walk_open_text(w, n, n->key);
    if (text == NULL)
        return false;
    if (!header_value_valid(str_of(text)) || span_wrong(name, str_of(text)))
        return walk_wrong(w, n, n->key, span_wrong(name, str_of(text)) ? "a duration such as 30s or 2h"
                                                                       : "text without blanks at its ends");
    headers_put(block, n->key, str_of(text));
    return true;
}

#define SCHEDULE_HEADERS_MAX 64
#define SCHEDULE_HEADERS_BYTES 16384

static bool headers_read(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    struct buf block = BUF_EMPTY;
    bool ok = true;
    if (n->kind != NODE_MAP || n->count > SCHEDULE_HEADERS_MAX)
        return walk_wrong(w, n, key->name, key->custom->expects);
    for (const struct node *item = n->first; item != NULL; item = item->next)
        ok &= header_read(w, item, &block);
    if (block.len > SCHEDULE_HEADERS_BYTES)
        ok = walk_wrong(w, n, key->name, key->custom->expects);
    ((struct schedule_conf *)base)->headers = ok && block.len > 0 ? arena_str(w->arena, buf_str(&block)) : NULL;
    buf_fini(&block);
    return ok;
}

static bool headers_print(struct printer *p, const struct key *key, const void *base)
{
    const struct schedule_conf *s = base;
    struct str left = str_of(s->headers);
    struct header h;
    (void)key;
    if (s->headers == NULL)
        return false;
    for (const char *before = "{ "; headers_next(&left, &h); before = ", ") {
        char *name = str_dup(h.name), *value = str_dup(h.value);
        buf_puts(p->out, before);
        print_text(p, name);
        buf_puts(p->out, ": ");
        print_text(p, value);
        mem_free(name);
        mem_free(value);
    }
    buf_puts(p->out, " }");
    return true;
}

static bool headers_equal(const void *a, const void *b)
{
    return text_equal(((const struct schedule_conf *)a)->headers, ((const struct schedule_conf *)b)->headers);
}

const struct key_custom custom_headers = {
    .expects = "a mapping of at most 64 names to texts, 16 KiB of them",
    .read = headers_read,
    .print = headers_print,
    .equal = headers_equal,
};

/* ---- subject ---- */

/* Filters that are not one: a subject has no wildcards. */
static void read_subject(struct walk *w, const struct node *n, struct schedule_conf *s)
{
    struct buf canonical = BUF_EMPTY;
    const char *why = "at most 1,024 bytes, 5 levels deep, 20 members an object";
    bool ok = nest_subject_text(str_of(s->subject), &canonical);
    if (ok && !str_starts(buf_str(&canonical), STR("{"))) {
        ok = filter_valid(buf_str(&canonical), &why);
        if (ok && filter_wildcards(buf_str(&canonical)) > 0) {
            why = "it has wildcards";
            ok = false;
        }
    }
    if (ok)
        s->subject = arena_str(w->arena, buf_str(&canonical));
    else
        problem_add(w->errors, n->place, "`subject`: not a subject: `%s`: %s", s->subject, why);
    buf_fini(&canonical);
}

static void build_schedule(struct walk *w, const struct node *n, struct schedule_conf *s)
{
    uint64_t body_max = w->config->limits.body; /* 0: it was wrong, which is reported */
    s->place = n->key_place;
    s->name = (char *)(uintptr_t)build_name(w, &w->config->index->schedules, n, s);
    walk_table(w, n, config_schedule_keys, s);
    if (n->kind != NODE_MAP)
        return;
    read_times(w, n, s);
    if (s->subject != NULL)
        read_subject(w, node_get(n, "subject"), s);
    if (s->body != NULL && body_max > 0 && strlen(s->body) > body_max)
        problem_add(w->errors, node_get(n, "body")->place, "`body` is larger than limits.body");
}

void build_schedules(struct walk *w, const struct node *n)
{
    struct config *c = w->config;
    if (!build_section(w, n, "schedules"))
        return;
    c->schedules = arena_alloc(w->arena, n->count * sizeof(*c->schedules));
    for (const struct node *item = n->first; item != NULL; item = item->next)
        build_schedule(w, item, &c->schedules[c->schedule_count++]);
}

bool schedule_conf_equal(const struct schedule_conf *a, const struct schedule_conf *b)
{
    return table_equal(config_schedule_keys, a, b);
}

int64_t schedule_next(const struct schedule_conf *s, int64_t after_wall_ms)
{
    int64_t next = s->cron != NULL ? cron_next(&s->times, after_wall_ms)
                                   : (after_wall_ms / s->every_ms + 1) * s->every_ms;
    return next >= 0 ? next : INT64_MAX;
}
