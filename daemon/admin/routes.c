/* `routes` and `explain`: where a message would go, and why. */
#include <string.h>

#include "admin/internal.h"
#include "admin/row.h"
#include "codec/nest.h"
#include "delivery/policy.h"

static void add_route(void *arg, const struct route_view *r)
{
    struct buf *out = arg;
    row_open(out, NULL, '{');
    row_text(out, "name", r->name);
    row_text(out, "from", r->from);
    row_text(out, "match", r->match != NULL ? r->match : ">");
    row_open(out, "to", '[');
    for (size_t i = 0; i < r->to_count; i++)
        row_text(out, NULL, r->to[i].name);
    row_close(out, ']');
    row_bool(out, "durable", r->durable);
    if (r->log != NULL)
        row_text(out, "log", r->log);
    row_text(out, "policy", r->policy->name);
    row_u64(out, "matched", r->matched);
    row_close(out, '}');
}

static json_t *run_routes(struct admin *a, struct call *c)
{
    struct buf out = BUF_EMPTY;
    row_open(&out, NULL, '{');
    row_open(&out, "routes", '[');
    hub_each_route(a->env.hub, add_route, &out);
    row_close(&out, ']');
    row_close(&out, '}');
    visitor_send_text(c->visitor, VERB_REP, c->id, buf_str(&out));
    buf_fini(&out);
    return NULL;
}

static json_t *describe_policy(const struct policy_conf *p)
{
    json_int_t worst = (json_int_t)retry_worst_case_ms(p);
    return json_pack("{s:s,s:I,s:I,s:I,s:b,s:b}", "name", p->name, "timeout_ms", (json_int_t)p->timeout_ms,
                     "attempts", (json_int_t)p->retry.attempts, "worst_case_ms", worst, "dead_letter",
                     p->dead_letter, "idempotent", p->idempotent);
}

static json_t *describe_targets(const struct route_view *r, struct str subject, const struct captures *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->to_count; i++) {
        struct buf text = BUF_EMPTY;
        if (r->to[i].subject != NULL)
            template_expand(str_of(r->to[i].subject), c, &text);
        else
            buf_str_put(&text, subject);
        json_array_append_new(list, json_pack("{s:s,s:o}", "destination", r->to[i].name, "subject",
                                              json_of(buf_str(&text))));
        buf_fini(&text);
    }
    return list;
}

struct search {
    const char *from;
    bool found;
};

static void search_route(void *arg, const struct route_view *r)
{
    struct search *s = arg;
    s->found |= strcmp(r->from, s->from) == 0;
}

static json_t *explain(struct admin *a, const char *from, struct str subject)
{
    struct captures c = {.count = 0};
    struct route_view r;
    struct buf why = BUF_EMPTY;
    if (!hub_explain(a->env.hub, from, subject, &r, &c)) {
        struct search s = {.from = from};
        hub_each_route(a->env.hub, search_route, &s);
        buf_printf(&why, s.found ? "no route from `%s` matches this subject" : "no route is from `%s`", from);
        json_t *none = json_pack("{s:n,s:o,s:[],s:[],s:n}", "route", "why", json_of(buf_str(&why)), "captures",
                                 "to", "policy");
        buf_fini(&why);
        return none;
    }
    json_t *captures = json_array();
    for (size_t i = 0; i < c.count; i++)
        json_array_append_new(captures, json_of(c.text[i]));
    buf_printf(&why, "the first route from `%s` whose match `%s` covers it", from,
               r.match != NULL ? r.match : ">");
    json_t *answer = json_pack("{s:s,s:o,s:o,s:o,s:o}", "route", r.name, "why", json_of(buf_str(&why)), "captures",
                               captures, "to", describe_targets(&r, subject, &c), "policy",
                               describe_policy(r.policy));
    buf_fini(&why);
    return answer;
}

static json_t *run_explain(struct admin *a, struct call *c)
{
    const char *from = arg_text(c, "from"), *subject = arg_text(c, "subject");
    struct buf text = BUF_EMPTY;
    if (subject == NULL)
        return command_fail(c, CODE_INVALID, "`subject` is needed");
    if (!nest_subject_text(str_of(subject), &text)) {
        buf_fini(&text);
        return command_fail(c, CODE_INVALID, "`%s` is no legal subject", subject);
    }
    json_t *answer = explain(a, from != NULL ? from : "local", buf_str(&text));
    buf_fini(&text);
    return answer;
}

const struct command command_routes = {.name = "routes", .run = run_routes, .streams = true};
const struct command command_explain = {.name = "explain", .run = run_explain};
