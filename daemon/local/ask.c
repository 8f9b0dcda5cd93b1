#include "base/mem.h"
#include "codec/nest.h"
#include "local/internal.h"
#include "msg/headers.h"

/* ---------------------------------------------------------------- answers of the core */

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *w)
{
    struct session *s = ctx;
    session_answer(s, VERB_MORE, token, item);
    if (!s->full)
        return true;
    if (w != NULL && w->in == NULL)
        waiter_enrol(w, &s->askers_waiting);
    return false;
}

static void on_reply(void *ctx, uint64_t token, const struct reply *r)
{
    struct session *s = ctx;
    idmap_remove(&s->asks, token);
    session_answer(s, r->code == CODE_OK ? VERB_REP : VERB_ERR, token, r);
}

static void on_settled(void *ctx, uint64_t token, const struct reply *r)
{
    struct session *s = ctx;
    struct reply plain = {.code = r->code, .headers = r->headers, .body = r->code == CODE_OK ? STR_NONE : r->body};
    idmap_remove(&s->asks, token);
    session_answer(s, r->code == CODE_OK ? VERB_OK : VERB_ERR, token, &plain);
}

static const struct asker_ops request_asker = {.more = on_more, .done = on_reply};
static const struct asker_ops event_asker = {.more = on_more, .done = on_settled};

/* ---------------------------------------------------------------- PUB and REQ */

static bool may_publish(const struct session *s, struct str subject)
{
    const struct service_conf *conf = s->member.service->conf;
    if (conf == NULL || !conf->has_publish)
        return true;
    for (size_t i = 0; i < conf->publish.count; i++) {
        if (filter_matches(str_of(conf->publish.items[i]), subject, NULL))
            return true;
    }
    return false;
}

/* A staged message has its id too: two receipts under one id, and one would outlive the session. */
bool ask_id_in_use(struct session *s, uint64_t id)
{
    if (id == 0 || idmap_get(&s->asks, id) != NULL || log_reading(s, id))
        return id != 0;
    LIST_EACH(&s->staged, n) {
        if (CONTAINER_OF(n, struct staged, link)->id == id)
            return true;
    }
    return false;
}

static struct str refused(struct session *s, const struct frame *f, struct str subject, enum code *code)
{
    *code = CODE_INVALID;
    if (subject.n == 0)
        return STR("a subject is needed (a JSON object as subject has to be a valid pattern)");
    if (f->verb == VERB_REQ && f->id == 0)
        return STR("REQ needs an id that is not 0: its answer names it");
    if (ask_id_in_use(s, f->id))
        return STR("this id is still waiting for its answer");
    *code = CODE_DENIED;
    if (!may_publish(s, subject))
        return STR("the configuration does not let this service publish that (services: publish)");
    *code = CODE_DRAINING;
    if (hub_draining(s->server->env.hub) && s->inflight == 0)
        return STR("the daemon is shutting down");
    return STR_NONE;
}

static const char *const accept_errors[CODE_COUNT] = {
    [CODE_NO_ROUTE] = "no route takes this subject from local services (routes: from: local)",
    [CODE_NO_SERVICE] = "no instance of the service is attached",
    [CODE_UNAVAILABLE] = "the destination is down or its circuit breaker is open",
    [CODE_OVERLOADED] = "the destination's queue, limits.memory or the store is full",
    [CODE_INVALID] = "header `delay` and `deliver-at` need a store, `expected-version` a route with a log and a `key`",
};

/* A refusal is told, unless nobody wants to hear of it; with CODE_BUSY w is enrolled. */
static enum code offer(struct session *s, uint64_t id, struct msg *m, struct waiter *w)
{
    struct asker asker = {.ctx = s, .token = id,
                          .ops = m->kind == MSG_REQUEST ? &request_asker : &event_asker};
    struct receipt *receipt = NULL;
    enum code code = intake_accept(s->server->intake, m, id != 0 ? &asker : NULL, w, &receipt);
    if (code == CODE_BUSY)
        return code;
    const char *why = s->server->intake->why != NULL ? s->server->intake->why : accept_errors[code];
    if (code != CODE_OK && id != 0)
        session_error(s, id, code, why != NULL ? why : code_name(code));
    else if (receipt != NULL)
        idmap_add(&s->asks, id, receipt);
    return code;
}

static struct msg *make(struct session *s, const struct frame *f, struct str subject, const char **what)
{
    struct msg_input in = {.kind = f->verb == VERB_REQ ? MSG_REQUEST : MSG_EVENT, .subject = subject,
                           .headers = f->headers, .body = f->body,
                           .source = str_of(s->member.service->name), .pool = s->server->pool};
    return msg_new(s->server->intake->factory, &in, what);
}

/* PUB with `with: N`: kept until N is answered. */
static void stage(struct session *s, const struct frame *f, struct str with, struct msg *m)
{
    uint64_t number = 0;
    const char *why = NULL;
    if (f->verb != VERB_PUB)
        why = "header `with` is for PUB only";
    else if (!str_parse_u64(with, &number) || slots_get(&s->deliveries, number) == NULL)
        why = "header `with` names no delivery that is being handled";
    else if (s->staged.count >= STAGED_MAX || s->staged_bytes + m->size > STAGED_BYTES_MAX)
        why = "more than 1,024 messages or 16 MiB staged on one connection";
    if (why != NULL) {
        hub_refused(s->server->env.hub, CODE_INVALID);
        if (f->id != 0)
            session_error(s, f->id, CODE_INVALID, why);
        msg_unref(m);
        return;
    }
    struct staged *st = mem_zalloc(sizeof(*st));
    st->msg = m;
    st->with = number;
    st->id = f->id;
    s->staged_bytes += m->size;
    list_push(&s->staged, &st->link);
}

static bool take(struct session *s, const struct frame *f, struct str subject)
{
    enum code code;
    const char *what = NULL;
    struct str why = refused(s, f, subject, &code);
    struct msg *m = why.p == NULL ? make(s, f, subject, &what) : NULL;
    if (m == NULL) {
        code = why.p != NULL ? code : CODE_INVALID;
        hub_refused(s->server->env.hub, code);
        if (f->id != 0 || f->verb != VERB_PUB) /* else nobody wants to hear of it */
            session_error(s, f->id, code, why.p != NULL ? why.p : what);
        return true;
    }
    struct str with = f->headers.n > 0 ? headers_get(f->headers, "with") : STR_NONE;
    if (with.p != NULL) {
        stage(s, f, with, m);
        return true;
    }
    enum code offered = offer(s, f->id, m, &s->waiter);
    msg_unref(m);
    return offered != CODE_BUSY;
}

bool ask_message(struct session *s, const struct frame *f)
{
    if (log_asked(s, f))
        return true;
    if (f->subject.n == 0 || f->subject.p[0] != '{')
        return take(s, f, f->subject);
    struct buf text = BUF_EMPTY;
    bool legal = nest_subject_text(f->subject, &text);
    bool taken = take(s, f, legal ? buf_str(&text) : STR_NONE);
    buf_fini(&text);
    return taken;
}

/* ---------------------------------------------------------------- staged messages */

enum code ask_staged_end(struct session *s, uint64_t with, bool send)
{
    enum code code = CODE_OK;
    LIST_EACH(&s->staged, n) {
        struct staged *st = CONTAINER_OF(n, struct staged, link);
        if (st->with != with)
            continue;
        list_remove(&s->staged, &st->link);
        s->staged_bytes -= st->msg->size;
        if (send && code == CODE_OK)
            code = offer(s, st->id, st->msg, NULL);
        else if (st->id != 0)
            session_error(s, st->id, CODE_FAILED, "dropped: the delivery it was staged under was not settled");
        msg_unref(st->msg);
        mem_free(st);
    }
    return code;
}

/* ---------------------------------------------------------------- CANCEL, disconnection */

void ask_cancel(struct session *s, const struct frame *f)
{
    struct receipt *r = idmap_remove(&s->asks, f->id);
    if (r != NULL)
        s->server->intake->ops->withdraw(r);
    else
        log_cancel(s, f->id);
}

void ask_withdraw_all(struct session *s)
{
    struct idmap_entry *e;
    for (size_t i = 0; (e = idmap_next(&s->asks, &i)) != NULL;)
        s->server->intake->ops->withdraw(e->value);
    idmap_fini(&s->asks);
    LIST_EACH(&s->staged, n) {
        struct staged *st = CONTAINER_OF(n, struct staged, link);
        list_remove(&s->staged, &st->link);
        msg_unref(st->msg);
        mem_free(st);
    }
}
