#include "base/map.h"
#include "base/mem.h"
#include "config/build.h"
#include "route/matcher.h"

static bool print_flow_value(struct printer *p, const struct key *k, const void *extra)
{
    struct buf inner = BUF_EMPTY, *out = p->out;
    if (k->type != KEY_TABLE)
        return print_value(p, k, extra);
    p->out = &inner;
    print_flow(p, k->table, (const char *)extra + k->offset);
    p->out = out;
    bool set = inner.len > 0;
    if (set)
        buf_printf(out, "{ %s }", buf_cstr(&inner) + sizeof(", ") - 1);
    buf_fini(&inner);
    return set;
}

void print_flow(struct printer *p, const struct key *table, const void *extra)
{
    struct buf value = BUF_EMPTY, *out = p->out;
    for (const struct key *k = table; k != NULL && k->name != NULL; k++) {
        p->out = &value;
        bool set = print_flow_value(p, k, extra);
        p->out = out;
        if (set) {
            buf_printf(out, ", %s: ", k->name);
            buf_puts(out, buf_cstr(&value));
        }
        buf_clear(&value);
    }
    buf_fini(&value);
}

void print_codec(struct printer *p, unsigned codec)
{
    static const char *const words[] = {"", ", codec: nest", ", codec: raw",
                                        ", codec: cloudevents"};
    buf_puts(p->out, words[codec]);
}

static void target_unknown(struct walk *w, const struct node *n, const char *what, const char *name)
{
    const struct config_index *index = w->config->index;
    bool endpoint = strcmp(what, "endpoint") == 0, service = strcmp(what, "service") == 0;
    struct buf hint = BUF_EMPTY;
    suggest_name(name, service ? NULL : &index->endpoints, endpoint ? NULL : &index->services,
                 &hint);
    problem_add(w->errors, n->place, "there is no %s `%s`%s", what, name, buf_cstr(&hint));
    buf_fini(&hint);
}

/* Is `name` something to send to? `what`: "endpoint", "service", or both. */
static bool target_resolve(struct walk *w, const struct node *n, const char *what,
                           struct target_conf *t)
{
    const struct endpoint_conf *e = config_endpoint(w->config, t->name);
    bool endpoint_ok = strcmp(what, "service") != 0, service_ok = strcmp(what, "endpoint") != 0;
    if (strcmp(t->name, "local") == 0)
        return problem_add(w->errors, n->place, "`local` is no target: name the service");
    if (endpoint_ok && e != NULL) {
        t->transport = e->transport;
        return !e->listen || e->transport == NULL ||
               problem_add(w->errors, n->place,
                           "nothing can be sent to `%s`: it listens, and its peers get only replies",
                           t->name);
    }
    if (!endpoint_ok && e != NULL)
        return problem_add(w->errors, n->place, "there is no service `%s`: it is an endpoint", t->name);
    t->service = service_ok &&
                 (w->config->services_open || config_service(w->config, t->name) != NULL);
    if (!t->service)
        target_unknown(w, n, what, t->name);
    return t->service;
}

static bool target_named(struct walk *w, const struct node *n, const char *what,
                         struct target_conf *t)
{
    const char *name = walk_name(w, n, strchr(what, ' ') != NULL ? "to" : what);
    t->place = n->place;
    t->name = (char *)(uintptr_t)name;
    return name != NULL && target_resolve(w, n, what, t);
}

static bool target_extra(struct walk *w, const struct node *n, struct target_conf *t, bool lenient)
{
    struct part parts[] = {{config_target_keys, t}, {NULL, NULL}};
    if (t->transport != NULL && t->transport->target_keys != NULL) {
        t->extra = arena_alloc(w->arena, t->transport->target_size);
        parts[1] = (struct part){t->transport->target_keys, t->extra};
    }
    const struct node nothing = {.kind = NODE_MAP, .place = n->place};
    if (!walk_map(w, n->kind == NODE_MAP ? n : &nothing, parts, 2, lenient))
        return false;
    const char *why = t->transport != NULL && t->transport->check_target != NULL
                          ? t->transport->check_target(t->extra) : NULL;
    return why == NULL || problem_add(w->errors, n->place, "`to`: %s", why);
}

static bool target_map(struct walk *w, const struct node *n, const struct wildcards *may, struct target_conf *t)
{
    const struct node *endpoint = node_get(n, "endpoint"), *service = node_get(n, "service");
    const struct node *subject = node_get(n, "subject");
    const char *why;
    if ((endpoint == NULL) == (service == NULL))
        return problem_add(w->errors, n->place, "a target %s of the keys `endpoint` and `service`%s",
                           endpoint == NULL ? "needs one" : "has one", endpoint == NULL ? "" : ", not both");
    const struct node *name = endpoint != NULL ? endpoint : service;
    bool ok = target_named(w, name, name->key, t);
    ok &= target_extra(w, n, t, !t->service && t->transport == NULL);
    const struct side side = {t->codec, t->transport != NULL ? config_endpoint(w->config, t->name) : NULL, t->extra,
                              t->transport != NULL ? t->transport->target_codecs : NULL};
    check_side_codec(w, n, &side);
    if (t->service && t->codec != CODEC_UNSET)
        ok = problem_add(w->errors, node_get(n, "codec")->place,
                         "`codec` is for endpoints; a service gets headers and body as they are");
    if (t->subject != NULL && !template_valid(str_of(t->subject), may->count, &why))
        ok = problem_add(w->errors, subject->place, "`subject`: %s (%s %zu wildcard%s)", why, may->whose, may->count,
                         may->count == 1 ? "" : "s");
    return ok;
}

bool target_read(struct walk *w, const struct node *n, const struct wildcards *may, struct target_conf *t)
{
    t->place = n->place;
    if (n->kind == NODE_MAP)
        return target_map(w, n, may, t);
    if (n->kind != NODE_SCALAR || node_empty(n))
        return walk_wrong(w, n, "to", custom_to.expects);
    return target_named(w, n, "service or endpoint", t) && target_extra(w, n, t, false);
}

bool target_print(struct printer *p, const struct target_conf *t)
{
    bool plain = t->subject == NULL && t->codec == CODEC_UNSET && t->extra == NULL;
    if (plain) {
        print_text(p, t->name);
        return true;
    }
    buf_puts(p->out, t->service ? "{ service: " : "{ endpoint: ");
    print_text(p, t->name);
    if (t->subject != NULL) {
        buf_puts(p->out, ", subject: ");
        print_text(p, t->subject);
    }
    print_codec(p, t->codec);
    if (t->extra != NULL)
        print_flow(p, t->transport->target_keys, t->extra);
    buf_puts(p->out, " }");
    return true;
}

bool target_equal(const struct target_conf *a, const struct target_conf *b)
{
    if (!text_equal(a->name, b->name) || a->service != b->service ||
        !text_equal(a->subject, b->subject) || a->codec != b->codec || a->transport != b->transport)
        return false;
    return a->extra == NULL || table_equal(a->transport->target_keys, a->extra, b->extra);
}
