/* Shares of the users: one of them cannot take every connection. */
#include <unistd.h>

#include "base/mem.h"
#include "local/internal.h"

struct user {
    unsigned uid;
    size_t sessions;
};

/* Whoever could stop or trace the daemon anyway has no share. */
static bool unbounded(unsigned uid)
{
    return uid == 0 || uid == geteuid();
}

bool user_join(struct session *s)
{
    struct server *server = s->server;
    if (unbounded(s->uid))
        return true;
    struct user *u = idmap_get(&server->users, s->uid);
    if (u != NULL && u->sessions >= server->env.conf->limits.clients_per_user)
        return false;
    if (u == NULL) {
        u = mem_zalloc(sizeof(*u));
        u->uid = s->uid;
        idmap_add(&server->users, u->uid, u);
    }
    u->sessions++;
    s->user = u;
    return true;
}

void user_leave(struct session *s)
{
    struct user *u = s->user;
    s->user = NULL;
    if (u == NULL || --u->sessions > 0)
        return;
    idmap_remove(&s->server->users, u->uid);
    mem_free(u);
}
