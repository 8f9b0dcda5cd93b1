/* `audit`: recounts the store and names what does not add up. */
#include "admin/internal.h"

static json_t *lines_of(struct str text)
{
    json_t *lines = json_array();
    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
        json_array_append_new(lines, json_of(str_make(text.p, n)));
        text = str_make(text.p + n + (end != NULL), text.n - n - (end != NULL));
    }
    return lines;
}

static void on_audited(void *arg, const struct store_totals *t, struct str findings)
{
    struct admin *a = arg;
    json_t *books = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "accepted", (json_int_t)t->accepted, "ready",
                              (json_int_t)t->ready, "delayed", (json_int_t)t->delayed, "done", (json_int_t)t->done,
                              "expired", (json_int_t)t->expired, "dropped", (json_int_t)t->dropped, "dead",
                              (json_int_t)t->dead, "quarantined", (json_int_t)t->quarantined);
    json_t *reply = json_pack("{s:o,s:o,s:I}", "books", books, "findings", lines_of(findings), "unaccounted",
                              (json_int_t)hub_unaccounted(a->env.hub));
    visitor_send(a->audit_for, VERB_REP, a->audit_id, reply);
    a->audit_for = NULL;
    json_decref(reply);
}

void audit_cancel(struct visitor *v)
{
    if (v->admin->audit_for != v)
        return;
    v->admin->audit_for = NULL;
    hub_audit_cancel(v->admin->env.hub);
}

static json_t *run_audit(struct admin *a, struct call *c)
{
    if (hub_store(a->env.hub) == NULL)
        return command_fail(c, CODE_INVALID, "there is no store to audit (configuration: store)");
    if (!hub_audit(a->env.hub, on_audited, a))
        return command_fail(c, CODE_UNAVAILABLE, "another audit is under way; try again when it has ended");
    a->audit_for = c->visitor;
    a->audit_id = c->id;
    return NULL;
}

const struct command command_audit = {.name = "audit", .run = run_audit, .streams = true};
