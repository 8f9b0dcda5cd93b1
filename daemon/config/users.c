/* What only the host can tell: the users and groups of services, as the numbers that the kernel tells of a peer, and
 * whether the files of TLS profiles are there. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/arena.h"
#include "config/config.h"

/* A number stands for itself; -1 in both is "no id" to the kernel, and matches nobody here either. */
static bool id_of(const char *name, bool group, unsigned *id)
{
    uint64_t number;
    if (str_parse_u64(str_of(name), &number)) {
        *id = (unsigned)number;
        return number < UINT32_MAX;
    }
    const struct passwd *pw = group ? NULL : getpwnam(name);
    const struct group *gr = group ? getgrnam(name) : NULL;
    if (pw != NULL)
        *id = pw->pw_uid;
    if (gr != NULL)
        *id = gr->gr_gid;
    return pw != NULL || gr != NULL;
}

static void unknown(struct config *c, const struct service_conf *s, const char *what, const char *name)
{
    struct buf line = BUF_EMPTY;
    buf_printf(&line,
               "%s:%u:%u: service `%s`: this host knows no %s `%s`: nobody attaches by it until it does and the "
               "configuration is read again",
               c->file, s->place.line, s->place.column, s->name, what, name);
    texts_add(&c->warnings, buf_steal(&line));
}

static void find(struct config *c, const struct service_conf *s, bool group, struct ids *ids)
{
    const struct texts *names = group ? &s->groups : &s->users;
    ids->count = 0;
    ids->items = arena_alloc(c->arena, names->count * sizeof(*ids->items));
    for (size_t i = 0; i < names->count; i++) {
        if (id_of(names->items[i], group, &ids->items[ids->count]))
            ids->count++;
        else
            unknown(c, s, group ? "group" : "user", names->items[i]);
    }
}

static void find_group(struct config *c, const char *key, const char *group)
{
    struct buf line = BUF_EMPTY;
    if (group == NULL || getgrnam(group) != NULL)
        return;
    buf_printf(&line, "%s: `%s`: this host knows no group `%s`, and the socket needs it", c->file, key, group);
    texts_add(&c->warnings, buf_steal(&line));
}

void config_find_users(struct config *c)
{
    find_group(c, "local.group", c->local.group);
    find_group(c, "admin.group", c->admin.group);
    for (size_t i = 0; i < c->service_count; i++) {
        find(c, &c->services[i], false, &c->services[i].uids);
        find(c, &c->services[i], true, &c->services[i].gids);
    }
}

void config_find_files(struct config *c)
{
    for (size_t i = 0; i < c->tls_count; i++) {
        const struct tls_conf *t = &c->tls[i];
        const char *const files[][2] = {{"ca", t->ca}, {"cert", t->cert}, {"key", t->key}};
        for (size_t k = 0; k < 3; k++) {
            struct buf line = BUF_EMPTY;
            if (files[k][1] == NULL || access(files[k][1], R_OK) == 0)
                continue;
            buf_printf(&line, "%s:%u:%u: tls profile `%s`: %s %s: %s", c->file, t->place.line, t->place.column, t->name,
                       files[k][0], files[k][1], strerror(errno));
            texts_add(&c->warnings, buf_steal(&line));
        }
    }
}
