#include "local/server.h"

#include "base/mem.h"
#include "local/internal.h"

static void on_accept(void *arg, int fd)
{
    session_open(arg, fd);
}

/* The oldest stand first: those that have not greeted in time go, the rest waits for the next look. */
static void on_greeting(void *arg)
{
    struct server *s = arg;
    int64_t now = loop_now(s->env.loop);
    LIST_EACH(&s->sessions, n) {
        struct session *session = CONTAINER_OF(n, struct session, link);
        if (session->state == SESSION_GREETING && now - session->since_ms >= GREETING_MS)
            session_drop(session, CODE_BAD_FRAME, "no HELLO within 10s");
    }
    timer_after(s->greeting, GREETING_MS / 4);
}

struct server *server_open(const struct server_env *env, struct err *err)
{
    struct server *s = mem_zalloc(sizeof(*s));
    const struct local_conf *local = &env->conf->local;
    s->env = *env;
    list_init(&s->sessions);
    struct listen_spec spec = {.path = local->socket, .mode = local->mode, .group = local->group,
                               .fd = env->listen_fd};
    s->listener = listen_open(env->loop, &spec, on_accept, s, err);
    if (s->listener == NULL) {
        mem_free(s);
        return NULL;
    }
    s->intake = hub_intake(env->hub, "local", "local");
    s->pool = msg_pool_new();
    s->greeting = timer_new(env->loop, on_greeting, s);
    timer_after(s->greeting, GREETING_MS / 4);
    return s;
}

void server_reload(struct server *s, const struct config *conf)
{
    struct map_entry *e;
    s->env.conf = conf;
    for (size_t i = 0; (e = map_next(&s->services, &i)) != NULL;) {
        struct service *sv = e->value;
        sv->conf = sv->subscription == UINT32_MAX ? config_service(conf, sv->name) : NULL;
    }
}

void server_stop(struct server *s)
{
    s->stopped = true;
    listen_close(s->listener); /* newcomers are refused at once instead of waiting in vain */
    s->listener = NULL;
}

void server_bye(struct server *s)
{
    LIST_EACH(&s->sessions, n)
        session_bye(CONTAINER_OF(n, struct session, link));
}

size_t server_clients(const struct server *s)
{
    return s->sessions.count;
}

size_t server_busy(const struct server *s)
{
    size_t busy = 0;
    LIST_EACH(&s->sessions, n) {
        const struct session *session = CONTAINER_OF(n, struct session, link);
        busy += session->inflight > 0 || session->asks.count > 0 ||
                (session->stream != NULL && stream_pending(session->stream) > 0);
    }
    return busy;
}

void server_close(struct server *s)
{
    struct map_entry *e;
    if (s == NULL)
        return;
    while (!list_empty(&s->sessions))
        session_close(CONTAINER_OF(list_first(&s->sessions), struct session, link), "the daemon exits");
    for (size_t i = 0; (e = map_next(&s->services, &i)) != NULL;) {
        struct service *sv = e->value;
        hub_disown(s->env.hub, &sv->sink);
        service_free(sv);
    }
    map_fini(&s->services);
    idmap_fini(&s->users);
    msg_pool_close(s->pool);
    timer_free(s->greeting);
    listen_close(s->listener);
    mem_free(s);
}

size_t server_attached(const struct server *s, const char *name)
{
    const struct service *sv = map_get(&s->services, str_of(name));
    return sv != NULL ? sv->attached : 0;
}

void server_give_up(struct server *s, const char *name)
{
    struct service *sv = map_remove(&s->services, str_of(name));
    if (sv == NULL)
        return;
    hub_disown(s->env.hub, &sv->sink);
    service_free(sv);
}

struct service_status server_service(const struct server *s, const char *name)
{
    const struct service *sv = map_get(&s->services, str_of(name));
    struct service_status st = {0};
    if (sv == NULL)
        return st;
    st.instances = sv->members.count;
    LIST_EACH(&sv->members, n) {
        const struct session *session = CONTAINER_OF(n, struct member, link)->session;
        st.credit += session->credit;
        st.inflight += session->inflight;
    }
    return st;
}

void server_counts(const struct server *s, struct server_counts *out)
{
    *out = s->counts;
}
