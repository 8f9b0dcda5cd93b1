/* `tap`: messages as they pass, streamed until CANCEL. A slow reader loses lines, never the daemon time. */
#include "admin/internal.h"
#include "base/clock.h"
#include "base/mem.h"

static const char *const event_names[] = {"accepted", "delivered", "done", "retry", "dead", "expired",
                                            "failed", "duplicate"};

static json_t *line_of(const struct tap *t, bool bodies)
{
    char when[32];
    json_t *line = json_pack("{s:s,s:s,s:o,s:o,s:o,s:s,s:s,s:i,s:I}", "time",
                             clock_rfc3339(clock_wall_ms(), when), "event", event_names[t->event], "id",
                             json_of(t->msg->id), "subject", json_of(t->msg->subject), "from",
                             json_of(t->msg->source), "route", t->route, "to", t->to, "attempt",
                             (int)t->attempt, "size", (json_int_t)t->msg->body.n);
    if (bodies)
        json_object_set_new(line, "body", json_of(t->msg->body));
    return line;
}

static bool wanted(const struct tap_watch *w, const struct tap *t)
{
    return (w->match == NULL || filter_matches(str_of(w->match), t->msg->subject, NULL)) &&
           (w->route == NULL || strcmp(w->route, t->route) == 0);
}

static void on_tap(void *arg, const struct tap *t)
{
    struct admin *a = arg;
    LIST_EACH(&a->taps, n) {
        struct tap_watch *w = CONTAINER_OF(n, struct tap_watch, link);
        if (!wanted(w, t))
            continue;
        if (stream_pending(w->visitor->stream) > ADMIN_OUTPUT_MAX) {
            w->lost++;
            continue;
        }
        json_t *line = line_of(t, w->bodies);
        if (w->lost > 0)
            json_object_set_new(line, "lost", json_integer((json_int_t)w->lost));
        w->lost = 0;
        visitor_send(w->visitor, VERB_MORE, w->id, line);
        json_decref(line);
    }
}

void tap_cancel(struct visitor *v, uint64_t id)
{
    struct admin *a = v->admin;
    LIST_EACH(&a->taps, n) {
        struct tap_watch *w = CONTAINER_OF(n, struct tap_watch, link);
        if (w->visitor != v || (id != 0 && w->id != id))
            continue;
        list_remove(&a->taps, &w->link);
        mem_free(w->match);
        mem_free(w->route);
        mem_free(w);
    }
    if (list_empty(&a->taps))
        hub_tap(a->env.hub, NULL, NULL);
}

static json_t *run_tap(struct admin *a, struct call *c)
{
    const char *match = arg_text(c, "match"), *route = arg_text(c, "route"), *why;
    if (match != NULL && !filter_valid(str_of(match), &why))
        return command_fail(c, CODE_INVALID, "`match`: %s", why);
    struct tap_watch *w = mem_zalloc(sizeof(*w));
    w->visitor = c->visitor;
    w->id = c->id;
    w->match = match != NULL ? mem_strdup(match) : NULL;
    w->route = route != NULL ? mem_strdup(route) : NULL;
    w->bodies = arg_true(c, "bodies");
    list_push(&a->taps, &w->link);
    hub_tap(a->env.hub, on_tap, a);
    return NULL;
}

const struct command command_tap = {.name = "tap", .run = run_tap, .streams = true};
