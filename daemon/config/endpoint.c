#include "base/map.h"
#include "config/build.h"
#include "config/url.h"

#define ADDRESSES_MAX 16

/* Transports of the contract; those that no table of this build names are "not built in". */
static const char *const known_schemes[] = {
    "tcp",  "tls",   "http", "https", "grpc",  "grpcs", "redis", "rediss",
    "amqp", "amqps", "nats", "mqtt",  "mqtts", "kafka", NULL,
};

static bool custom_accept(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    (void)w;
    (void)key;
    (void)n;
    (void)base;
    return true;
}

const struct key_custom custom_ignored = {.expects = "a mapping", .read = custom_accept};

static bool url_print(struct printer *p, const struct key *key, const void *base)
{
    const struct endpoint_conf *e = base;
    if (e->listen != (strcmp(key->name, "listen") == 0))
        return false;
    buf_puts(p->out, e->other_count > 0 ? "[" : "");
    print_text(p, e->url.text);
    for (size_t i = 0; i < e->other_count; i++) {
        buf_puts(p->out, ", ");
        print_text(p, e->others[i].text);
    }
    buf_puts(p->out, e->other_count > 0 ? "]" : "");
    return true;
}

static bool url_same(const void *a, const void *b)
{
    const struct endpoint_conf *left = a, *right = b;
    bool same = left->listen == right->listen && url_equal(&left->url, &right->url) &&
                left->other_count == right->other_count;
    for (size_t i = 0; same && i < left->other_count; i++)
        same = url_equal(&left->others[i], &right->others[i]);
    return same;
}

const struct key_custom custom_url = {
    .expects = "a URL such as tcp://127.0.0.1:4000 (`connect`: or a list of them)",
    .read = custom_accept, /* read before the rest: its scheme says which keys there are */
    .print = url_print,
    .equal = url_same,
};

static const struct config_transport *transport_find(const struct walk *w, const char *scheme)
{
    for (size_t i = 0; w->transports != NULL && w->transports[i] != NULL; i++) {
        const char *const *names = w->transports[i]->schemes;
        for (size_t j = 0; names[j] != NULL; j++) {
            if (strcmp(names[j], scheme) == 0)
                return w->transports[i];
        }
    }
    return NULL;
}

static void schemes_put(const struct walk *w, struct buf *out)
{
    const char *between = "";
    for (size_t i = 0; w->transports != NULL && w->transports[i] != NULL; i++) {
        const char *const *names = w->transports[i]->schemes;
        for (size_t j = 0; names[j] != NULL; j++, between = ", ")
            buf_printf(out, "%s%s", between, names[j]);
    }
    if (*between == '\0')
        buf_puts(out, "none");
}

static void transport_missing(struct walk *w, const struct node *n, const char *scheme)
{
    struct buf built = BUF_EMPTY, hint = BUF_EMPTY;
    struct suggest s = {.word = str_of(scheme)};
    bool known = false;
    for (size_t i = 0; known_schemes[i] != NULL; i++) {
        known |= strcmp(known_schemes[i], scheme) == 0;
        suggest_try(&s, known_schemes[i]);
    }
    suggest_end(&s, &hint);
    schemes_put(w, &built);
    if (known)
        problem_add(w->errors, n->place, "`%s`: transport `%s` is not built in; built in are: %s",
                    n->key, scheme, buf_cstr(&built));
    else
        problem_add(w->errors, n->place, "`%s`: there is no transport `%.32s`%s Built in are: %s",
                    n->key, scheme, s.best != NULL ? buf_cstr(&hint) : ".", buf_cstr(&built));
    buf_fini(&built);
    buf_fini(&hint);
}

/* One URL, or a list of some to connect to: all of one scheme. */
static bool urls_read(struct walk *w, const struct node *n, struct endpoint_conf *e)
{
    const struct node *item = n->kind == NODE_LIST && !e->listen ? n->first : n;
    if (item == NULL)
        return walk_wrong(w, n, n->key, custom_url.expects);
    bool ok = url_read(w, item, n->key, &e->url);
    if (!ok || item == n)
        return ok;
    if (n->count > ADDRESSES_MAX)
        return problem_add(w->errors, n->place, "`connect`: at most %d addresses; found %u", ADDRESSES_MAX, n->count);
    e->others = arena_alloc(w->arena, n->count * sizeof(*e->others));
    for (item = item->next; item != NULL && ok; item = item->next) {
        struct url *url = &e->others[e->other_count++];
        ok = url_read(w, item, n->key, url);
        if (ok && strcmp(url->scheme, e->url.scheme) != 0)
            ok = problem_add(w->errors, item->place, "`connect`: all addresses must have one scheme; found %s and %s",
                             e->url.scheme, url->scheme);
    }
    return ok;
}

/* Without a URL there is no transport whose keys the others could be: names the one that is misspelt. */
static bool url_missing(struct walk *w, const struct node *n)
{
    struct buf hint = BUF_EMPTY;
    const struct node *at = NULL;
    for (const struct node *child = n->first; child != NULL && at == NULL; child = child->next) {
        struct suggest s = {.word = str_make(child->key, child->key_size)};
        suggest_try(&s, "listen");
        suggest_try(&s, "connect");
        buf_clear(&hint);
        suggest_end(&s, &hint);
        at = hint.len > 0 && str_printable(s.word) ? child : NULL;
    }
    if (at != NULL)
        problem_add(w->errors, at->key_place, "unknown key `%s`%s Endpoint `%s` must have `listen` or `connect`",
                    at->key, buf_cstr(&hint), n->key);
    else
        problem_add(w->errors, n->key_place, "endpoint `%s` must have `listen` or `connect`", n->key);
    buf_fini(&hint);
    return false;
}

static bool endpoint_url(struct walk *w, const struct node *n, struct endpoint_conf *e)
{
    const struct node *listen = node_get(n, "listen"), *connect = node_get(n, "connect");
    if (listen == NULL && connect == NULL)
        return url_missing(w, n);
    if (listen != NULL && connect != NULL)
        return problem_add(w->errors, n->key_place, "endpoint `%s` must have only one of `listen` and `connect`",
                           n->key);
    const struct node *url = listen != NULL ? listen : connect;
    e->listen = listen != NULL;
    if (!urls_read(w, url, e))
        return false;
    e->transport = transport_find(w, e->url.scheme);
    if (e->transport == NULL) {
        transport_missing(w, url, e->url.scheme);
        return false;
    }
    if (!(e->listen ? e->transport->can_listen : e->transport->can_connect))
        return problem_add(w->errors, url->key_place, "transport `%s` cannot %s", e->url.scheme,
                           url->key);
    return true;
}

static bool secure_scheme(const struct config_transport *t, const char *scheme)
{
    size_t stem = strlen(scheme) - 1;
    bool secure = strcmp(scheme, "tls") == 0;
    for (size_t i = 0; t->schemes[i] != NULL && scheme[stem] == 's'; i++)
        secure |= strlen(t->schemes[i]) == stem && memcmp(t->schemes[i], scheme, stem) == 0;
    return secure;
}

static bool has_secure_scheme(const struct config_transport *t)
{
    size_t i = 0;
    while (t->schemes[i] != NULL && !secure_scheme(t, t->schemes[i]))
        i++;
    return t->schemes[i] != NULL;
}

static void check_profile(struct walk *w, const struct node *n, const struct endpoint_conf *e)
{
    const struct node *at = node_get(n, "tls");
    const struct tls_conf *profile = config_tls(w->config, e->tls);
    struct buf hint = BUF_EMPTY;
    if (profile == NULL) {
        suggest_name(e->tls, &w->config->index->tls, NULL, &hint);
        problem_add(w->errors, at->place, "there is no tls profile `%s`%s", e->tls,
                    buf_cstr(&hint));
    } else if (e->listen && profile->cert == NULL) {
        problem_add(w->errors, at->place,
                    "tls profile `%s` has no `cert` and `key`, which a listener needs", e->tls);
    }
    buf_fini(&hint);
}

static void check_security(struct walk *w, const struct node *n, const struct endpoint_conf *e)
{
    bool secure = secure_scheme(e->transport, e->url.scheme);
    const struct node *url = node_get(n, e->listen ? "listen" : "connect");
    if (secure && e->tls == NULL)
        problem_add(w->errors, url->place, "`%s://` needs a profile: `tls: NAME`", e->url.scheme);
    if (!secure && has_secure_scheme(e->transport) && e->tls != NULL)
        problem_add(w->errors, node_get(n, "tls")->key_place,
                    "`tls` on a plain `%s://` URL; a URL with TLS has another scheme%s",
                    e->url.scheme, strcmp(e->url.scheme, "tcp") == 0 ? ": `tls://`" : "");
    else if (e->tls != NULL)
        check_profile(w, n, e);
    if (e->listen && e->tls == NULL && !secure && !e->insecure && !url_loopback(&e->url))
        problem_add(w->errors, url->place,
                    "listens beyond loopback without TLS; use `tls://` with a profile, or say "
                    "`insecure: true`");
}

static void check_port(struct walk *w, const struct node *n, const struct endpoint_conf *e, const struct url *url)
{
    const struct node *at = node_get(n, e->listen ? "listen" : "connect");
    if (e->transport->port == NULL && url->port == NULL)
        problem_add(w->errors, at->place, "`%s` needs a port: %s://HOST:PORT", at->key, url->scheme);
    else if (!e->listen && url->port != NULL && strcmp(url->port, "0") == 0)
        problem_add(w->errors, at->place, "`connect` needs a port other than 0");
}

static void check_ports(struct walk *w, const struct node *n, const struct endpoint_conf *e)
{
    check_port(w, n, e, &e->url);
    for (size_t i = 0; i < e->other_count; i++)
        check_port(w, n, e, &e->others[i]);
}

static void check_whole(struct walk *w, const struct node *n, const struct endpoint_conf *e)
{
    const char *why = e->transport->check_endpoint != NULL ? e->transport->check_endpoint(e) : NULL;
    if (why != NULL)
        problem_add(w->errors, n->place, "endpoint `%s`: %s", e->name, why);
}

static void codecs_put(struct buf *out, unsigned codecs)
{
    static const char *const words[] = {"", "nest", "raw", "cloudevents"};
    const char *between = "";
    for (unsigned i = CODEC_NEST; i <= CODEC_CLOUDEVENTS; i++) {
        if ((codecs & CODEC_BIT(i)) == 0)
            continue;
        buf_printf(out, "%s%s", between, words[i]);
        between = ", ";
    }
}

static void check_spoken(struct walk *w, const struct node *n, unsigned codec, const struct config_transport *t)
{
    struct buf words = BUF_EMPTY;
    unsigned spoken = t->codecs != 0 ? t->codecs : CODEC_BIT(CODEC_NEST);
    codecs_put(&words, spoken);
    if (codec != CODEC_UNSET && (spoken & CODEC_BIT(codec)) == 0)
        problem_add(w->errors, n->place, "`codec`: transport `%s` speaks %s", t->name, buf_cstr(&words));
    buf_fini(&words);
}

void check_codec(struct walk *w, const struct node *map, unsigned codec, const struct config_transport *t)
{
    const struct node *n = node_get(map, "codec");
    if (n != NULL && t != NULL)
        check_spoken(w, n, codec, t);
}

void check_side_codec(struct walk *w, const struct node *map, const struct side *s)
{
    const struct endpoint_conf *e = s->endpoint;
    const struct node *n = node_get(map, "codec");
    unsigned codecs = 0, used = s->codec != CODEC_UNSET || e == NULL ? s->codec : e->codec;
    const char *what = s->fewer != NULL && s->keys != NULL ? s->fewer(s->keys, &codecs) : NULL;
    check_codec(w, map, s->codec, e != NULL ? e->transport : NULL);
    if (what == NULL || used == CODEC_UNSET || (codecs & CODEC_BIT(used)) != 0)
        return;
    struct buf words = BUF_EMPTY;
    codecs_put(&words, codecs);
    if (n != NULL)
        problem_add(w->errors, n->place, "`codec`: %s speaks %s", what, buf_cstr(&words));
    else
        problem_add(w->errors, map->place, "%s speaks %s, but the `codec` of endpoint `%s` is neither: name one here", what,
                    buf_cstr(&words), e->name);
    buf_fini(&words);
}

static void build_endpoint(struct walk *w, const struct node *n, struct endpoint_conf *e)
{
    struct part parts[] = {{config_endpoint_keys, e}, {NULL, NULL}};
    e->place = n->key_place;
    e->name = (char *)(uintptr_t)build_name(w, &w->config->index->endpoints, n, e);
    if (strcmp(n->key, "local") == 0)
        problem_add(w->errors, n->key_place,
                    "`local` is what routes call the local services; no endpoint can have the name");
    if (n->kind != NODE_MAP) {
        walk_wrong(w, n, n->key, "a mapping with `listen` or `connect`");
        return;
    }
    bool url_ok = endpoint_url(w, n, e);
    if (e->transport != NULL && e->transport->endpoint_keys != NULL) {
        e->extra = arena_alloc(w->arena, e->transport->endpoint_size);
        parts[1] = (struct part){e->transport->endpoint_keys, e->extra};
    }
    walk_map(w, n, parts, 2, e->transport == NULL);
    check_codec(w, n, e->codec, e->transport);
    if (url_ok) {
        check_security(w, n, e);
        check_ports(w, n, e);
        check_whole(w, n, e);
    }
}

void build_endpoints(struct walk *w, const struct node *n)
{
    struct config *c = w->config;
    if (!build_section(w, n, "endpoints"))
        return;
    c->endpoints = arena_alloc(w->arena, n->count * sizeof(*c->endpoints));
    for (const struct node *item = n->first; item != NULL; item = item->next)
        build_endpoint(w, item, &c->endpoints[c->endpoint_count++]);
}

bool endpoint_conf_equal(const struct endpoint_conf *a, const struct endpoint_conf *b)
{
    return table_equal(config_endpoint_keys, a, b) && a->transport == b->transport &&
           (a->extra == NULL || table_equal(a->transport->endpoint_keys, a->extra, b->extra));
}

bool endpoint_sources_equal(const struct endpoint_conf *a, const struct endpoint_conf *b)
{
    struct map known = {0};
    size_t count = 0;
    for (struct route_conf *r = a->sources; r != NULL; r = r->next_source)
        map_set(&known, str_of(r->source), r);
    const struct route_conf *other = b->sources;
    for (; other != NULL && map_get(&known, str_of(other->source)) != NULL; other = other->next_source)
        count++;
    bool equal = other == NULL && count == known.count;
    map_fini(&known);
    return equal;
}

bool tls_conf_equal(const struct tls_conf *a, const struct tls_conf *b)
{
    return table_equal(config_tls_keys, a, b);
}
