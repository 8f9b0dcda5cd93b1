#include <assert.h>

#include "base/mem.h"
#include "codec/nest.h"
#include "local/internal.h"
#include "msg/headers.h"
#include "wire/json.h"

static bool is_alone(const struct session *s)
{
    return s->alone_until_ms > 0 && s->inflight > 0 && loop_now(s->server->env.loop) < s->alone_until_ms;
}

static bool has_room(const struct session *s)
{
    return s->state == SESSION_OPEN && s->inflight < s->credit && !s->full && !is_alone(s);
}

static void on_company(void *arg)
{
    service_room(arg);
}

/* It is handed a suspect. */
static void leave_alone(struct session *s)
{
    if (s->company == NULL)
        s->company = timer_new(s->server->env.loop, on_company, s);
    timer_after(s->company, ALONE_MS);
    s->alone_until_ms = loop_now(s->server->env.loop) + ALONE_MS;
}

/* Least outstanding first; among equals the one that has waited longest in the list. */
static struct session *choose(struct service *sv, bool alone)
{
    struct member *best = NULL;
    LIST_EACH(&sv->members, n) {
        struct member *m = CONTAINER_OF(n, struct member, link);
        if (has_room(m->session) && (best == NULL || m->session->inflight < best->session->inflight))
            best = m;
        if (best != NULL && best->session->inflight == 0)
            break;
    }
    if (best == NULL || (alone && best->session->inflight > 0))
        return NULL;
    if (sv->members.count > 1) {
        list_remove(&sv->members, &best->link);
        list_push(&sv->members, &best->link);
    }
    return best->session;
}

/* What differs per delivery stands in front of the message's own block; msg_new() left room for it. */
static size_t delivery_lines(struct session *s, const struct handover *h, char *out)
{
    char *at = bytes_copy(out, "attempt: ", 9);
    at = bytes_u64(at, h->attempt);
    *at++ = '\n';
    if (h->redelivered != NULL) {
        at = bytes_copy(at, "redelivered: ", 13);
        at = bytes_str(at, str_of(h->redelivered));
        *at++ = '\n';
    }
    if (h->kind == MSG_REQUEST) {
        int64_t left = h->deadline_ms - loop_now(s->server->env.loop);
        at = bytes_copy(at, "timeout: ", 9);
        at = bytes_u64(at, left > 0 ? (uint64_t)left : 0);
        at = bytes_copy(at, "ms\n", 3);
    }
    return (size_t)(at - out);
}

static void write_delivery(struct session *s, const struct handover *h, uint64_t id)
{
    char lines[HEADERS_DELIVERY_BYTES];
    struct buf *out = stream_out(s->stream);
    size_t extra = delivery_lines(s, h, lines);
    const struct msg *m = h->msg;
    char *start = (char *)buf_reserve(out, FRAME_LINE_ROOM + h->subject.n + extra + m->headers.n + m->body.n);
    char *at = frame_line_put(start, &(struct frame_line){
        .verb = h->kind == MSG_REQUEST ? VERB_REQ : VERB_PUB, .id = id, .headers = extra + m->headers.n,
        .body = m->body.n, .subject = h->subject});
    at = bytes_copy(at, lines, extra);
    at = bytes_copy(at, m->headers.p, m->headers.n + m->body.n); /* they stand side by side */
    buf_commit(out, (size_t)(at - start));
}

static bool service_send(struct sink *sink, struct handover *h)
{
    struct service *sv = (struct service *)sink;
    struct session *s = choose(sv, h->alone);
    if (s == NULL) {
        sv->starved = true;
        return false;
    }
    h->carrier = s;
    h->holder = &s->holder;
    h->carrier_id = slots_add(&s->deliveries, h);
    s->inflight++;
    s->alone_until_ms = 0;
    if (h->alone)
        leave_alone(s);
    write_delivery(s, h, h->carrier_id);
    s->full = stream_pending(s->stream) > SESSION_HIGH;
    return true;
}

static void service_cancel(struct sink *sink, struct handover *h, bool abandoned)
{
    struct session *s = h->carrier;
    (void)sink;
    slots_take(&s->deliveries, h->carrier_id);
    ask_staged_end(s, h->carrier_id, false);
    s->inflight--;
    if (abandoned)
        frame_bare(stream_out(s->stream), VERB_CANCEL, h->carrier_id);
    service_room(s);
}

static const struct sink_ops service_ops = {.send = service_send, .cancel = service_cancel};

static struct service *service_new(struct server *s, char *name_take)
{
    struct service *sv = mem_zalloc(sizeof(*sv));
    sv->server = s;
    sv->name = name_take;
    sv->subscription = UINT32_MAX;
    sv->sink = (struct sink){.ops = &service_ops, .name = sv->name, .service = true};
    list_init(&sv->members);
    sv->dest = hub_adopt(s->env.hub, &sv->sink);
    return sv;
}

void service_free(struct service *sv)
{
    assert(list_empty(&sv->members));
    mem_free(sv->name);
    mem_free(sv);
}

struct service *service_for(struct server *s, const char *name)
{
    struct service *sv = map_get(&s->services, str_of(name));
    if (sv == NULL) {
        sv = service_new(s, mem_strdup(name));
        sv->conf = config_service(s->env.conf, name);
        map_set(&s->services, str_of(name), sv);
    }
    return sv;
}

void service_join(struct service *sv, struct member *m, struct session *s)
{
    m->service = sv;
    m->session = s;
    list_push(&sv->members, &m->link);
    sink_set_up(&sv->sink, true, "a client has attached");
    if (sv->starved)
        service_room(s);
}

void service_leave(struct member *m)
{
    struct service *sv = m->service;
    if (sv == NULL || !list_linked(&m->link))
        return;
    list_remove(&sv->members, &m->link);
    if (list_empty(&sv->members))
        sink_set_up(&sv->sink, false, "the last client has left");
}

static void offer_room(struct service *sv)
{
    if (!sv->starved)
        return;
    sv->starved = false;
    sv->sink.core->ready(&sv->sink);
}

void service_room(struct session *s)
{
    if (!has_room(s))
        return;
    offer_room(s->member.service);
    LIST_EACH(&s->subscriptions, n) {
        if (!has_room(s))
            break;
        offer_room(CONTAINER_OF(n, struct member, session_link)->service);
    }
}

/* ---------------------------------------------------------------- SUB and UNSUB */

static const char *sub_refused(struct session *s, struct str filter)
{
    const struct service_conf *conf = s->member.service->conf;
    const char *why;
    if (!filter_valid(filter, &why))
        return why;
    if (s->subscriptions.count >= SUBSCRIPTIONS_MAX)
        return "more than 1,024 subscriptions on one connection";
    if (conf == NULL || !conf->has_subscribe)
        return NULL;
    for (size_t i = 0; i < conf->subscribe.count; i++) {
        if (filter_covers(str_of(conf->subscribe.items[i]), filter))
            return NULL;
    }
    return "the configuration does not let this service subscribe to that (services: subscribe)";
}

static struct member *member_by_sub(struct session *s, uint64_t id)
{
    LIST_EACH(&s->subscriptions, n) {
        struct member *m = CONTAINER_OF(n, struct member, session_link);
        if (m->sub_id == id)
            return m;
    }
    return NULL;
}

/* Both may hold any text: the quotes tell where the group ends. */
static void put_group_name(struct buf *out, struct str group, struct str filter)
{
    buf_puts(out, "group ");
    json_quote(group, out);
    buf_puts(out, " of ");
    buf_str_put(out, filter);
}

/* One service per group of a filter; a SUB without a group has one of its own. */
static struct service *group_for(struct session *s, struct str filter, struct str group)
{
    struct server *server = s->server;
    struct buf name = BUF_EMPTY;
    if (group.n > 0)
        put_group_name(&name, group, filter);
    else
        buf_printf(&name, "subscription %llu of %s to %.*s", (unsigned long long)++server->groups_ever,
                   s->member.service->name, (int)filter.n, filter.p);
    struct service *sv = map_get(&server->services, buf_str(&name));
    if (sv == NULL) {
        sv = service_new(server, buf_steal(&name));
        sv->subscription = hub_subscribe(server->env.hub, filter, sv->dest);
        map_set(&server->services, str_of(sv->name), sv);
    }
    buf_fini(&name);
    return sv;
}

void service_subscribe(struct session *s, const struct frame *f)
{
    struct buf text = BUF_EMPTY;
    struct str group = headers_get(f->headers, "group");
    bool legal = nest_subject_text(f->subject, &text);
    const char *why = legal ? sub_refused(s, buf_str(&text)) : "no valid filter";
    if (why == NULL && (f->id == 0 || member_by_sub(s, f->id) != NULL))
        why = "SUB needs an id that is not 0 and not in use";
    if (why != NULL) {
        session_error(s, f->id, str_starts(str_of(why), STR("the conf")) ? CODE_DENIED : CODE_INVALID, why);
        buf_fini(&text);
        return;
    }
    struct member *m = mem_zalloc(sizeof(*m));
    m->sub_id = f->id;
    list_push(&s->subscriptions, &m->session_link);
    service_join(group_for(s, buf_str(&text), group), m, s);
    session_answer(s, VERB_OK, f->id, &(struct reply){0});
    buf_fini(&text);
}

static void service_end(struct service *sv)
{
    struct server *server = sv->server;
    map_remove(&server->services, str_of(sv->name));
    if (sv->subscription != UINT32_MAX)
        hub_unsubscribe(server->env.hub, sv->subscription);
    hub_retire(server->env.hub, sv->dest);
    service_free(sv);
}

/* The last member of a group takes the group with it: what waits there is dropped. */
static void member_end(struct session *s, struct member *m)
{
    struct service *sv = m->service;
    service_leave(m);
    list_remove(&s->subscriptions, &m->session_link);
    mem_free(m);
    if (list_empty(&sv->members))
        service_end(sv);
}

void service_unsubscribe(struct session *s, const struct frame *f)
{
    struct member *m = member_by_sub(s, f->id);
    if (m == NULL) {
        session_error(s, f->id, CODE_INVALID, "no subscription has this id");
        return;
    }
    member_end(s, m);
    session_answer(s, VERB_OK, f->id, &(struct reply){0});
}

void service_leave_all(struct session *s)
{
    struct service *own = s->member.service;
    while (!list_empty(&s->subscriptions))
        member_end(s, CONTAINER_OF(list_first(&s->subscriptions), struct member, session_link));
    service_leave(&s->member);
    own->attached--;
    if (own->attached == 0 && hub_forgettable(own->dest))
        service_end(own); /* a name that nobody uses any more */
}
