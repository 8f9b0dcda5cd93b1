/* Schedules: what is published by the clock. */
#include "base/map.h"
#include "codec/nest.h"
#include "config/build.h"
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
