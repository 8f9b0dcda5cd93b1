#include "config/url.h"

#include <arpa/inet.h>

#include "config/expand.h"

#define URL_EXPECTS "a URL such as `tcp://127.0.0.1:4000`"

struct pieces { /* before references are replaced */
    struct str scheme, user, password, host, port, path;
    bool has_user, has_password, has_port, has_path;
};

/* First of `set` in s outside of references, or s.n. */
static size_t find_any(struct str s, const char *set)
{
    for (size_t i = 0; s.p != NULL && i < s.n; i++) {
        size_t skip = expand_skip(s, i);
        if (skip > 0)
            i += skip - 1;
        else if (strchr(set, s.p[i]) != NULL)
            return i;
    }
    return s.n;
}

static size_t find_last(struct str s, char c)
{
    size_t last = s.n;
    for (size_t i = 0; i < s.n; i++) {
        size_t skip = expand_skip(s, i);
        if (skip > 0)
            i += skip - 1;
        else if (s.p[i] == c)
            last = i;
    }
    return last;
}

static struct str str_tail(struct str s, size_t from)
{
    return from < s.n ? str_make(s.p + from, s.n - from) : str_make("", 0);
}

static size_t find_authority(struct str s)
{
    size_t colon = find_any(s, ":");
    return str_starts(str_tail(s, colon), STR("://")) ? colon : s.n;
}

static void split_host(struct str authority, struct pieces *p)
{
    size_t at = 0;
    if (str_starts(authority, STR("["))) {
        at = find_any(authority, "]");
        p->host = at < authority.n ? str_make(authority.p + 1, at - 1) : STR_NONE;
        at = at < authority.n ? at + 1 : at;
    } else {
        at = find_any(authority, ":");
        p->host = str_make(authority.p, at);
    }
    p->has_port = at < authority.n && authority.p[at] == ':';
    p->port = p->has_port ? str_tail(authority, at + 1) : STR_NONE;
    if (at < authority.n && !p->has_port)
        p->host = STR_NONE;
}

static bool split(struct str s, struct pieces *p)
{
    size_t colon = find_authority(s);
    if (s.p == NULL || colon == s.n)
        return false;
    p->scheme = str_make(s.p, colon);
    struct str rest = str_tail(s, colon + 3);
    /* The last `@` before the path, as every library does; a password may hold one. */
    size_t slash = find_any(rest, "/?#");
    struct str authority = str_make(rest.p, slash);
    size_t at = find_last(authority, '@');
    p->has_path = slash < rest.n;
    p->path = str_tail(rest, slash);
    p->has_user = at < authority.n;
    if (p->has_user) {
        struct str user = str_make(authority.p, at);
        size_t sep = find_any(user, ":");
        p->has_password = sep < user.n;
        p->user = str_make(user.p, sep);
        p->password = str_tail(user, sep + 1);
        authority = str_tail(authority, at + 1);
    }
    split_host(authority, p);
    return true;
}

struct url_reader {
    struct walk *w;
    const struct node *n;
    const char *key;
    bool whole_secret, secret_user, ok;
};

/* part of the user or password: decoded, and may come from a file. */
static char *piece(struct url_reader *r, struct str raw, bool credential, bool *from_file)
{
    struct buf text = BUF_EMPTY, why = BUF_EMPTY;
    bool secret = false;
    char *copy = NULL;
    if (!expand(raw, credential, &text, &secret, &why))
        r->ok = problem_add(r->w->errors, r->n->place, "`%s`: %s", r->key, buf_cstr(&why));
    else if (secret && !credential)
        r->ok = problem_add(r->w->errors, r->n->place,
                            "`%s`: `${file:…}` may stand for the user, the password or the whole URL, "
                            "not for this part",
                            r->key);
    else
        copy = arena_str(r->w->arena, buf_str(&text));
    buf_wipe(&text);
    buf_fini(&why);
    *from_file = secret;
    return copy;
}

static void url_fill(struct url_reader *r, const struct pieces *p, struct url *url)
{
    bool secret;
    url->scheme = piece(r, p->scheme, false, &secret);
    url->user = p->has_user ? piece(r, p->user, true, &r->secret_user) : NULL;
    url->password = p->has_password ? piece(r, p->password, true, &secret) : NULL;
    url->host = p->host.n > 0 ? piece(r, p->host, false, &secret) : NULL;
    url->port = p->has_port ? piece(r, p->port, false, &secret) : NULL;
    url->path = p->has_path ? piece(r, p->path, false, &secret) : NULL;
}

static void path_mask(struct buf *out, const char *path)
{
    size_t query = path != NULL ? strcspn(path, "?#") : 0;
    if (path == NULL)
        return;
    buf_put(out, path, query);
    buf_puts(out, path[query] == '?' ? "?********" : "");
}

static void url_mask(struct url_reader *r, struct url *url)
{
    struct buf text = BUF_EMPTY;
    bool six = url->host != NULL && strchr(url->host, ':') != NULL;
    buf_printf(&text, "%s://", url->scheme);
    if (r->whole_secret) {
        buf_puts(&text, "********");
    } else {
        /* A user without a password is often a token. */
        bool hide = r->secret_user || url->password == NULL;
        if (url->user != NULL)
            buf_printf(&text, "%s%s@", hide ? "********" : url->user,
                       url->password != NULL ? ":********" : "");
        buf_printf(&text, six ? "[%s]" : "%s", url->host != NULL ? url->host : "");
        if (url->port != NULL)
            buf_printf(&text, ":%s", url->port);
        path_mask(&text, url->path);
    }
    url->text = arena_str(r->w->arena, buf_str(&text));
    buf_fini(&text);
}

static bool port_valid(const char *port)
{
    uint64_t number;
    return str_parse_u64(str_of(port), &number) && number <= 65535;
}

static bool host_valid(const char *host)
{
    for (const char *c = host; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7F || strchr("\\\"'`<>{}|^[]", *c) != NULL)
            return false;
    }
    return *host != '\0';
}

/* The messages hold no part of the URL: nobody knows where its password is until it is well formed. */
static bool url_check(struct url_reader *r, const struct url *url)
{
    const char *what = NULL;
    if (!r->ok)
        return false;
    if (url->host == NULL || !host_valid(url->host))
        what = "it has no host, or one with illegal characters";
    else if (url->port != NULL && !port_valid(url->port))
        what = "its port is not a number from 0 to 65535";
    else if (url->password != NULL && !str_printable(str_of(url->password)))
        what = "its password holds control characters";
    else if (url->user != NULL && !str_printable(str_of(url->user)))
        what = "its user holds control characters";
    else if (url->path != NULL && !str_printable(str_of(url->path)))
        what = "its path holds control characters";
    if (what == NULL)
        return true;
    return problem_add(r->w->errors, r->n->place, "`%s` must be " URL_EXPECTS ": %s", r->key, what);
}

/* References stand for more than parts: replace them first, then split. */
static bool url_whole(struct url_reader *r, struct buf *whole, struct pieces *p)
{
    struct buf why = BUF_EMPTY;
    bool ok = expand(node_text(r->n), false, whole, &r->whole_secret, &why);
    if (!ok) {
        problem_add(r->w->errors, r->n->place, "`%s`: %s", r->key, buf_cstr(&why));
    } else if (!split(buf_str(whole), p)) {
        ok = problem_add(r->w->errors, r->n->place,
                         "`%s` must be " URL_EXPECTS "; this has no `://`",
                         r->key);
    }
    buf_fini(&why);
    return ok;
}

static char *decoded(struct url_reader *r, struct str raw)
{
    struct buf text = BUF_EMPTY;
    char *copy = NULL;
    if (percent_decode(raw, &text))
        copy = arena_str(r->w->arena, buf_str(&text));
    else
        r->ok = problem_add(r->w->errors, r->n->place,
                            "`%s`: `%%` must be followed by two hex digits",
                            r->key);
    buf_wipe(&text);
    return copy;
}

static char *literal(struct url_reader *r, bool there, struct str raw)
{
    return there ? arena_str(r->w->arena, raw) : NULL;
}

/* No further references in what a reference brought in. */
static void url_fill_literal(struct url_reader *r, const struct pieces *p, struct url *url)
{
    url->scheme = literal(r, true, p->scheme);
    url->user = p->has_user ? decoded(r, p->user) : NULL;
    url->password = p->has_password ? decoded(r, p->password) : NULL;
    url->host = literal(r, p->host.n > 0, p->host);
    url->port = literal(r, p->has_port, p->port);
    url->path = literal(r, p->has_path, p->path);
}

bool url_read(struct walk *w, const struct node *n, const char *key, struct url *url)
{
    struct url_reader r = {w, n, key, false, false, true};
    struct pieces p = {0};
    struct buf whole = BUF_EMPTY;
    if (n->kind != NODE_SCALAR || node_empty(n) || n->text_size == 0) {
        walk_wrong(w, n, key, URL_EXPECTS);
        return false;
    }
    if (split(node_text(n), &p))
        url_fill(&r, &p, url);
    else if ((r.ok = url_whole(&r, &whole, &p)))
        url_fill_literal(&r, &p, url);
    bool ok = r.ok && url_check(&r, url);
    if (ok)
        url_mask(&r, url);
    buf_wipe(&whole);
    return ok;
}

bool url_equal(const struct url *a, const struct url *b)
{
    return text_equal(a->scheme, b->scheme) && text_equal(a->user, b->user) &&
           text_equal(a->password, b->password) && text_equal(a->host, b->host) &&
           text_equal(a->port, b->port) && text_equal(a->path, b->path);
}

static bool host_loopback(const char *host)
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1)
        return (ntohl(four.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, host, &six) == 1)
        return IN6_IS_ADDR_LOOPBACK(&six);
    return strcmp(host, "localhost") == 0;
}

bool url_loopback(const struct url *url)
{
    return url->host != NULL && host_loopback(url->host);
}

bool address_valid(const char *text)
{
    struct pieces p = {0};
    split_host(str_of(text), &p);
    uint64_t port;
    return p.host.n > 0 && p.has_port && str_parse_u64(p.port, &port) && port <= 65535;
}
