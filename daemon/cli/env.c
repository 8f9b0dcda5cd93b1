#include "cli/env.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define HEADER_PREFIX "BELLHOP_HEADER_"

struct env {
    char **items; /* NULL-terminated */
    size_t count, cap;
};

static void env_add_take(struct env *e, char *item)
{
    if (e->count + 2 > e->cap) {
        e->cap = e->cap * 2 + 64;
        e->items = mem_realloc(e->items, e->cap * sizeof *e->items);
    }
    e->items[e->count++] = item;
    e->items[e->count] = NULL;
}

static void env_set(struct env *e, const char *name, const char *value)
{
    struct buf item = BUF_EMPTY;
    buf_printf(&item, "%s=%s", name, value);
    env_add_take(e, buf_steal(&item));
}

/* What we set ourselves must not shine through from a `bellhop serve` around us. */
static bool is_ours(const char *item)
{
    static const char *const names[] = { "BELLHOP_SUBJECT=", "BELLHOP_KIND=", "BELLHOP_ID=", "BELLHOP_ATTEMPT=",
                                         "BELLHOP_SOCKET=", HEADER_PREFIX };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(item, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void name_put(struct buf *out, const struct bellhop_header *h)
{
    buf_puts(out, HEADER_PREFIX);
    for (size_t i = 0; i < h->name_len; i++) {
        char c = h->name[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        buf_putc(out, (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_');
    }
    buf_putc(out, '=');
}

/* A name that repeats is one variable, its values joined by ", ". `from`: where our headers begin. */
static void header_add(struct env *e, size_t from, const struct bellhop_header *h)
{
    struct buf item = BUF_EMPTY;
    name_put(&item, h);
    size_t name_len = item.len;
    for (size_t i = from; i < e->count; i++) {
        if (strncmp(e->items[i], buf_cstr(&item), name_len) != 0)
            continue;
        buf_printf(&item, "%s, %.*s", e->items[i] + name_len, (int)h->value_len, h->value);
        mem_free(e->items[i]);
        e->items[i] = buf_steal(&item);
        return;
    }
    buf_put(&item, h->value, h->value_len);
    env_add_take(e, buf_steal(&item));
}

static void delivery_add(struct env *e, const struct bellhop_delivery *d)
{
    char number[24];
    struct bellhop_header h;
    env_set(e, "BELLHOP_SUBJECT", d->msg.subject);
    env_set(e, "BELLHOP_KIND", d->kind == BELLHOP_REQUEST ? "request" : "event");
    snprintf(number, sizeof number, "%u", bellhop_delivery_attempt(d));
    env_set(e, "BELLHOP_ATTEMPT", number);
    bellhop_header_find(d->msg.headers, d->msg.headers_len, "id", &h);
    char *id = mem_strndup(h.value_len > 0 ? h.value : "", h.value_len);
    env_set(e, "BELLHOP_ID", id);
    mem_free(id);
}

char **env_make(const struct bellhop_delivery *d, const char *socket)
{
    struct env e = { 0 };
    struct bellhop_header h;
    size_t pos = 0;
    for (char **item = environ; *item != NULL; item++)
        if (!is_ours(*item))
            env_add_take(&e, mem_strdup(*item));
    env_set(&e, "BELLHOP_SOCKET", socket);
    delivery_add(&e, d);
    size_t from = e.count;
    while (bellhop_header_next(d->msg.headers, d->msg.headers_len, &pos, &h))
        header_add(&e, from, &h);
    return e.items;
}

void env_free(char **env)
{
    for (char **item = env; item != NULL && *item != NULL; item++)
        mem_free(*item);
    mem_free(env);
}
