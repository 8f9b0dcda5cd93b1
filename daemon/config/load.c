#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "config/build.h"
#include "config/url.h"
#include "loop/tls.h"

void texts_add(struct texts *t, char *item_take)
{
    t->items = mem_realloc(t->items, (t->count + 1) * sizeof(*t->items));
    t->items[t->count++] = item_take;
}

void texts_fini(struct texts *t)
{
    for (size_t i = 0; i < t->count; i++)
        mem_free(t->items[i]);
    mem_free(t->items);
    *t = (struct texts){0};
}

static struct config *config_new(const char *file)
{
    struct config *c = mem_zalloc(sizeof(*c));
    c->arena = mem_zalloc(sizeof(*c->arena));
    c->index = mem_zalloc(sizeof(*c->index));
    c->file = arena_str(c->arena, str_of(file));
    return c;
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    struct map *maps[] = {&c->index->tls, &c->index->policies, &c->index->services,
                          &c->index->endpoints, &c->index->routes, &c->index->schedules};
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
        map_fini(maps[i]);
    texts_fini(&c->warnings);
    arena_free(c->arena);
    mem_free(c->arena);
    mem_free(c->index);
    mem_free(c);
}

const struct tls_conf *config_tls(const struct config *c, const char *name)
{
    return map_get(&c->index->tls, str_of(name));
}

const struct policy_conf *config_policy(const struct config *c, const char *name)
{
    return map_get(&c->index->policies, str_of(name));
}

const struct service_conf *config_service(const struct config *c, const char *name)
{
    return map_get(&c->index->services, str_of(name));
}

const struct endpoint_conf *config_endpoint(const struct config *c, const char *name)
{
    return map_get(&c->index->endpoints, str_of(name));
}

const struct schedule_conf *config_schedule(const struct config *c, const char *name)
{
    return map_get(&c->index->schedules, str_of(name));
}

/* ---- sections ---- */

void suggest_name(const char *word, const struct map *a, const struct map *b, struct buf *out)
{
    struct suggest s = {.word = str_of(word)};
    const struct map *maps[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        const struct map_entry *e;
        for (size_t at = 0; maps[i] != NULL && (e = map_next(maps[i], &at)) != NULL;)
            suggest_try(&s, e->key);
    }
    suggest_end(&s, out);
}

const char *build_name(struct walk *w, struct map *index, const struct node *n, void *item)
{
    if (!walk_name_valid(n->key)) {
        problem_add(w->errors, n->key_place, "not a name: " WALK_NAME_RULE);
        return NULL;
    }
    map_set(index, str_of(n->key), item);
    return arena_str(w->arena, str_make(n->key, n->key_size));
}

bool build_section(struct walk *w, const struct node *n, const char *name)
{
    if (n == NULL || node_empty(n))
        return false;
    return n->kind == NODE_MAP || walk_wrong(w, n, name, "a mapping of names");
}

static void tls_check(struct walk *w, const struct tls_conf *t, const struct node *n)
{
    if ((t->cert == NULL) != (t->key == NULL))
        problem_add(w->errors, n->key_place, "tls profile `%s`: `cert` and `key` go together",
                    t->name);
    if (t->verify == TLS_MUTUAL && (t->ca == NULL || (t->cert == NULL && t->key == NULL)))
        problem_add(w->errors, n->key_place,
                    "tls profile `%s`: `verify: mutual` (the default) needs `ca`, `cert` and `key`",
                    t->name);
    if (t->verify == TLS_NONE)
        problem_add(w->warnings, n->key_place,
                    "tls profile `%s`: `verify: none` lets anyone be at the other end", t->name);
}

void build_tls(struct walk *w, const struct node *n)
{
    struct config *c = w->config;
    if (!build_section(w, n, "tls"))
        return;
    c->tls = arena_alloc(w->arena, n->count * sizeof(*c->tls));
    for (const struct node *item = n->first; item != NULL; item = item->next) {
        struct tls_conf *t = &c->tls[c->tls_count++];
        t->place = item->key_place;
        t->name = (char *)(uintptr_t)build_name(w, &c->index->tls, item, t);
        if (walk_table(w, item, config_tls_keys, t) && t->name != NULL)
            tls_check(w, t, item);
    }
}

/* ---- the whole ---- */

static void log_sections(struct walk *w, const struct node *root)
{
    struct config *c = w->config;
    const struct node *admin = node_get(root, "admin"), *tracing = node_get(root, "tracing");
    const struct node *http = admin != NULL ? node_get(admin, "http") : NULL;
    const struct node *otlp = tracing != NULL ? node_get(tracing, "otlp") : NULL;
    if (http != NULL && c->admin.http != NULL && !address_valid(c->admin.http))
        walk_wrong(w, http, "http", "an address and a port such as 127.0.0.1:9180");
    if (otlp != NULL && !w->features->otlp)
        problem_add(w->errors, otlp->key_place,
                    "`otlp` is not built in yet: trace context is carried, spans are not exported");
    if (text_equal(c->local.socket, c->admin.socket) && c->local.socket != NULL)
        problem_add(w->errors, root->place, "`local.socket` and `admin.socket` are the same: %s",
                    c->local.socket);
}

static void build_root(struct walk *w, const struct node *root)
{
    struct part parts[] = {{config_root_keys, w->config}, {config_section_keys, w->config}};
    if (!walk_map(w, root, parts, 2, false) && root->kind != NODE_MAP)
        return;
    w->config->store_named = node_get(root, "store") != NULL;
    log_sections(w, root);
    build_tls(w, node_get(root, "tls"));
    build_endpoints(w, node_get(root, "endpoints"));
    build_services(w, node_get(root, "services"));
    build_policies(w, node_get(root, "policies"));
    build_routes(w, node_get(root, "routes"));
    build_schedules(w, node_get(root, "schedules"));
    check_event_logs(w);
    if (w->errors->total == 0)
        check_all(w);
}

bool config_stores(const struct config *c)
{
    bool durable = c->store_named;
    for (size_t i = 0; i < c->route_count; i++)
        durable |= c->routes[i].durable || c->routes[i].log.name != NULL;
    return durable;
}

static void problems_err(struct problems *p, struct err *err)
{
    problems_sort(p);
    for (size_t i = 0; i < p->count; i++) {
        struct buf line = BUF_EMPTY;
        problem_format(p, i, &line);
        err_add(err, "%s", buf_cstr(&line));
        buf_fini(&line);
    }
    err->total += p->total - p->count;
}

static void problems_texts(struct problems *p, struct texts *list)
{
    problems_sort(p);
    for (size_t i = 0; i < p->count; i++) {
        struct buf line = BUF_EMPTY;
        problem_format(p, i, &line);
        texts_add(list, buf_steal(&line));
    }
}

struct config *config_build(const char *file, struct str text, const struct walk *settings,
                            struct err *err)
{
    struct problems errors = {.file = file}, warnings = {.file = file};
    struct arena nodes = {0};
    struct config *c = config_new(file);
    struct walk w = *settings;
    w.arena = c->arena;
    w.errors = &errors;
    w.warnings = &warnings;
    w.config = c;
    struct node *root = node_parse(text, &nodes, &errors);
    if (root != NULL)
        build_root(&w, root);
    problems_texts(&warnings, &c->warnings);
    bool failed = errors.total > 0;
    problems_err(&errors, err);
    problems_fini(&errors);
    problems_fini(&warnings);
    arena_free(&nodes);
    if (failed) {
        config_free(c);
        return NULL;
    }
    return c;
}

struct config *config_parse(const char *file, struct str text,
                            const struct config_transport *const *transports, struct err *err)
{
    struct walk settings = {.features = &config_features, .transports = transports};
    return config_build(file, text, &settings, err);
}

/* Reads at most one byte more than is legal; node_parse says so. */
static bool file_read(const char *file, struct buf *out)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = fstat(fd, &st) == 0;
    if (ok && S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        ok = false;
    }
    size_t step = ok && st.st_size > 0 && st.st_size < (off_t)NODE_FILE_MAX ? (size_t)st.st_size + 1
                                                                           : 65536;
    ssize_t n = 1;
    while (ok && n > 0 && out->len <= NODE_FILE_MAX) {
        n = read(fd, buf_reserve(out, step), step);
        ok = n >= 0 || errno == EINTR;
        if (n > 0)
            buf_commit(out, (size_t)n);
        n = n < 0 ? 1 : n;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return ok;
}

struct config *config_load(const char *file, const struct config_transport *const *transports,
                           struct err *err)
{
    struct buf text = BUF_EMPTY;
    struct config *c = NULL;
    bool read = file_read(file, &text);
    if (read && text.len == 0) /* cut short by an editor: a reload may not take every route away */
        err_add(err, "%s:1:1: the file is empty", file);
    else if (read)
        c = config_parse(file, buf_str(&text), transports, err);
    else
        err_add(err, "%s: %s", file, strerror(errno));
    buf_wipe(&text);
    if (c != NULL) {
        config_find_users(c);
        config_find_files(c);
    }
    return c;
}
