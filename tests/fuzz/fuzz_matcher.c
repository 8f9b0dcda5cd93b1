/* daemon/route/matcher.h. The input is lines: `+filter` adds, `-filter` takes away, anything else is a
 * subject: the matcher must agree with filter_matches() on every filter. */
#include "fuzz.h"
#include "route/matcher.h"

#define FILTERS_MAX 24
#define SUBJECTS_MAX 64

struct world {
    struct matcher *m;
    struct str filters[FILTERS_MAX]; /* p == NULL: gone again */
    uint32_t count;
    unsigned seen[FILTERS_MAX];
};

static void on_value(void *arg, uint32_t value)
{
    struct world *w = arg;
    HOLDS(value < w->count);
    w->seen[value]++;
}

static void check_captures(const struct captures *c, struct str filter, struct str subject)
{
    struct captures again;
    struct buf out = BUF_EMPTY;
    size_t wildcards = filter_wildcards(filter);
    HOLDS(c->count == (wildcards < 9 ? wildcards : 9));
    HOLDS(filter_matches(filter, subject, &again) && again.count == c->count);
    for (size_t i = 0; i < c->count; i++) {
        HOLDS(fuzz_inside(c->text[i], subject));
        HOLDS(c->text[i].p == again.text[i].p && c->text[i].n == again.text[i].n);
    }
    if (template_valid(subject, c->count, NULL))
        template_expand(subject, c, &out);
    buf_fini(&out);
}

static void check_covers(const struct world *w, uint32_t narrow, struct str subject)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->filters[i].p != NULL && filter_covers(w->filters[i], w->filters[narrow]))
            HOLDS(filter_matches(w->filters[i], subject, NULL));
    }
}

static void check_subject(struct world *w, struct str subject)
{
    struct captures c;
    uint32_t first = MATCH_NONE;
    for (uint32_t i = 0; i < w->count; i++)
        w->seen[i] = 0;
    matcher_all(w->m, subject, on_value, w);
    for (uint32_t i = 0; i < w->count; i++) {
        bool yes = w->filters[i].p != NULL && filter_matches(w->filters[i], subject, NULL);
        HOLDS(w->seen[i] == yes);
        if (yes)
            check_covers(w, i, subject);
        if (yes && first == MATCH_NONE)
            first = i;
    }
    HOLDS(matcher_first(w->m, subject, &c) == first);
    if (first != MATCH_NONE)
        check_captures(&c, w->filters[first], subject);
}

static void add(struct world *w, struct str filter)
{
    const char *why = NULL;
    if (!filter_valid(filter, &why)) {
        HOLDS(why != NULL);
        return;
    }
    if (w->count == FILTERS_MAX)
        return;
    HOLDS(filter_covers(filter, filter));
    w->filters[w->count] = filter;
    matcher_add(w->m, filter, w->count++);
}

static void take_away(struct world *w, struct str filter)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->filters[i].p == NULL || !str_eq(w->filters[i], filter))
            continue;
        HOLDS(matcher_remove(w->m, filter, i));
        HOLDS(!matcher_remove(w->m, filter, i));
        w->filters[i] = STR_NONE;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.m = matcher_new()};
    struct str rest = str_make(data, size);
    unsigned subjects = 0;
    while (rest.n > 0 && subjects < SUBJECTS_MAX) {
        struct str line = str_cut(&rest, '\n'), text = line.n > 0 ? str_make(line.p + 1, line.n - 1) : line;
        if (line.n > 0 && line.p[0] == '+')
            add(&w, text);
        else if (line.n > 0 && line.p[0] == '-')
            take_away(&w, text);
        else
            check_subject(&w, line), subjects++;
    }
    size_t left = 0;
    for (uint32_t i = 0; i < w.count; i++)
        left += w.filters[i].p != NULL;
    HOLDS(matcher_count(w.m) == left);
    matcher_free(w.m);
    return 0;
}
