#include <sys/socket.h>

#include "local/internal.h"
#include "msg/headers.h"

#define NAME_MAX_BYTES 128
#define NOBODY 65534 /* what a foreign user namespace looks like: never matches */
#define GROUPS_MAX 256

/* All groups of a peer: the one of SO_PEERCRED, and the supplementary ones. */
struct groups {
    gid_t ids[GROUPS_MAX];
    size_t count;
};

static void groups_of(struct groups *g, int fd, gid_t first)
{
    socklen_t size = sizeof(g->ids) - sizeof(g->ids[0]);
    g->ids[0] = first;
    g->count = 1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, g->ids + 1, &size) == 0)
        g->count += size / sizeof(g->ids[0]);
}

static bool listed(const struct ids *ids, unsigned id)
{
    for (size_t i = 0; i < ids->count; i++) {
        if (ids->items[i] == id)
            return true;
    }
    return false;
}

static bool uid_allowed(const struct service_conf *c, unsigned uid, const struct groups *g)
{
    if (c->users.count == 0 && c->groups.count == 0)
        return true;
    if (listed(&c->uids, uid))
        return true;
    for (size_t i = 0; i < g->count; i++) {
        if (listed(&c->gids, g->ids[i]))
            return true;
    }
    return false;
}

const char *greet_stranger(struct session *s)
{
    const struct config *c = s->server->env.conf;
    struct groups groups;
    if (s->uid == NOBODY)
        return "uid 65534 (nobody) does not tell who this is: run the service as a user of its own";
    if (c->services_open)
        return NULL;
    groups_of(&groups, stream_fd(s->stream), s->gid);
    for (size_t i = 0; i < c->service_count; i++) {
        if (uid_allowed(&c->services[i], s->uid, &groups))
            return NULL;
    }
    return "no service may attach under this uid (services: users)";
}

static bool name_legal(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '_' || c == '.' || c == '/' || c == '@'))
            return false;
    }
    return name.n > 0 && name.n <= NAME_MAX_BYTES;
}

/* In constant time for a given length, so that nobody learns a token by its bytes. */
static bool token_matches(const char *wanted, struct str given)
{
    size_t n = strlen(wanted);
    unsigned char differs = given.n != n;
    for (size_t i = 0; i < given.n; i++)
        differs |= (unsigned char)(given.p[i] ^ wanted[i < n ? i : 0]);
    return differs == 0;
}

/* NULL = may attach; else why not. Nothing of it tells a stranger which part was wrong. */
static const char *refusal(struct session *s, struct str token, const char *z)
{
    const struct config *c = s->server->env.conf;
    const struct service_conf *conf = config_service(c, z);
    struct groups groups;
    groups_of(&groups, stream_fd(s->stream), s->gid);
    if (config_endpoint(c, z) != NULL || strcmp(z, "local") == 0)
        return "this name belongs to an endpoint";
    if (conf == NULL)
        return c->services_open ? NULL : "no service of this name is configured (services)";
    if (!uid_allowed(conf, s->uid, &groups))
        return "this uid may not attach under this name (services: users)";
    if (conf->token != NULL && !token_matches(conf->token, token))
        return "a valid token is needed to attach under this name";
    return NULL;
}

static bool read_credit(struct session *s, const struct frame *f, const struct service_conf *conf)
{
    struct str text = headers_get(f->headers, "credit");
    uint64_t credit = CREDIT_DEFAULT;
    if (text.p != NULL && (!str_parse_u64(text, &credit) || credit < 1 || credit > CREDIT_MAX))
        return false;
    if (conf != NULL && conf->credit > 0 && credit > conf->credit)
        credit = conf->credit;
    s->credit = (uint32_t)credit;
    return true;
}

static void welcome(struct session *s)
{
    struct buf headers = BUF_EMPTY;
    const struct config *c = s->server->env.conf;
    buf_printf(&headers, "version: 1\nnode: %s\nlimits.body: %llu\nsession: %llu\n", c->node,
               (unsigned long long)c->limits.body, (unsigned long long)s->number);
    frame_head(stream_out(s->stream),
               &(struct frame_line){.verb = VERB_HELLO, .headers = headers.len, .subject = STR("bellhopd")});
    buf_put(stream_out(s->stream), buf_data(&headers), headers.len);
    buf_fini(&headers);
}

static void attach(struct session *s, const char *name)
{
    struct buf who = BUF_EMPTY;
    buf_printf(&who, "pid %d, client %llu", s->pid, (unsigned long long)s->number);
    s->holder.text = buf_steal(&who);
    s->state = SESSION_OPEN;
    welcome(s);
    struct service *sv = service_for(s->server, name);
    log_write(s->server->env.log, LOG_INFO, "client_attached", "service", name, "client", LOG_NUM(s->number),
              "uid", LOG_NUM(s->uid), "pid", LOG_NUM(s->pid), "credit", LOG_NUM(s->credit), NULL);
    sv->attached++;
    service_join(sv, &s->member, s);
    if (s->server->stopped)
        session_bye(s);
}

void greet_hello(struct session *s, const struct frame *f)
{
    struct str version = headers_get(f->headers, "version"), name = f->subject;
    char z[NAME_MAX_BYTES + 1];
    if (version.p != NULL && !str_is(version, "1")) {
        session_drop(s, CODE_VERSION, "this daemon speaks version 1");
        return;
    }
    if (f->id != 0 || !name_legal(name)) {
        session_drop_bad(s, 0, "HELLO 0 … NAME: a name of 1 to 128 letters, digits and - _ . / @");
        return;
    }
    *bytes_str(z, name) = '\0';
    const char *why = refusal(s, headers_get(f->headers, "token"), z);
    if (why != NULL)
        session_drop(s, CODE_DENIED, why);
    else if (!read_credit(s, f, config_service(s->server->env.conf, z)))
        session_drop(s, CODE_INVALID, "header `credit` has to be 1 to 65535");
    else
        attach(s, z);
}
