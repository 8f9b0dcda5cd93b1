#include "loop/resolve.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netdb.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "loop/impl.h"

/* Lives only while something is looked up: it costs memory and sockets, and its view of
 * resolv.conf ages. */
struct resolver {
    struct loop *loop;
    struct evdns_base *dns;
    size_t users;
};

struct lookup {
    struct loop *loop;
    struct resolver *resolver; /* NULL: needed none */
    struct evdns_getaddrinfo_request *request;
    resolve_fn *fn; /* NULL: cancelled */
    void *arg;
    struct address found[RESOLVE_MAX];
    size_t count;
    char *reason;
};

static struct resolver *resolver_ref(struct loop *l)
{
    struct resolver *r = l->resolver;
    if (r == NULL) {
        r = mem_zalloc(sizeof(*r));
        r->loop = l;
        r->dns = evdns_base_new(l->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
        if (r->dns != NULL)
            evdns_base_resolv_conf_parse(r->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
        l->resolver = r;
    }
    r->users++;
    return r;
}

static void resolver_unref(struct resolver *r)
{
    if (r == NULL || --r->users > 0)
        return;
    if (r->dns != NULL)
        evdns_base_free(r->dns, 0);
    r->loop->resolver = NULL;
    mem_free(r);
}

/* Runs from loop_later(): evdns may not be freed inside its callbacks. */
static void lookup_finish(void *arg)
{
    struct lookup *u = arg;
    if (u->fn != NULL)
        u->fn(u->arg, u->found, u->count, u->reason);
    resolver_unref(u->resolver);
    mem_free(u->reason);
    mem_free(u);
}

static void lookup_add(struct lookup *u, const struct sockaddr *a, socklen_t size)
{
    if (u->count == RESOLVE_MAX || size > sizeof(u->found[0].sa))
        return;
    bytes_copy((char *)&u->found[u->count].sa, a, size);
    u->found[u->count++].size = size;
}

static void lookup_fail(struct lookup *u, const char *host, const char *why)
{
    struct buf text = BUF_EMPTY;
    buf_printf(&text, "cannot resolve \"%s\": %s", host, why);
    mem_free(u->reason);
    u->reason = buf_steal(&text);
}

static bool lookup_numeric(struct lookup *u, const char *host, const char *port, int *rc)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    *rc = getaddrinfo(host, port, &hints, &found);
    if (*rc == EAI_MEMORY)
        mem_fail();
    if (*rc != 0)
        return false;
    for (struct addrinfo *a = found; a != NULL; a = a->ai_next)
        lookup_add(u, a->ai_addr, a->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

/* RFC 6761 6.3: localhost and what ends in it never goes to a name server. */
static bool host_is_local(const char *host)
{
    size_t n = strlen(host);
    n -= n > 0 && host[n - 1] == '.';
    return n >= 9 && strncasecmp(host + n - 9, "localhost", 9) == 0 &&
           (n == 9 || host[n - 10] == '.');
}

static void lookup_on_dns(int rc, struct evutil_addrinfo *found, void *arg)
{
    struct lookup *u = arg;
    u->request = NULL;
    loop_woke(u->loop);
    for (struct evutil_addrinfo *a = rc == 0 ? found : NULL; a != NULL; a = a->ai_next)
        lookup_add(u, a->ai_addr, (socklen_t)a->ai_addrlen);
    if (found != NULL)
        evutil_freeaddrinfo(found);
    if (u->count > 0)
        mem_free(u->reason);
    if (u->count > 0)
        u->reason = NULL;
    else if (rc != 0)
        lookup_fail(u, u->reason, evutil_gai_strerror(rc));
    loop_later(u->loop, lookup_finish, u);
}

static void lookup_dns(struct lookup *u, const char *host, const char *port)
{
    struct evutil_addrinfo hints = {.ai_socktype = SOCK_STREAM};
    u->resolver = resolver_ref(u->loop);
    u->reason = mem_strdup(host); /* the name, until there is an answer */
    if (u->resolver->dns == NULL) {
        lookup_fail(u, host, "no resolver");
        loop_later(u->loop, lookup_finish, u);
        return;
    }
    /* May call back before it returns. */
    struct evdns_getaddrinfo_request *request =
        evdns_getaddrinfo(u->resolver->dns, host, port, &hints, lookup_on_dns, u);
    u->request = request;
}

struct lookup *resolve_start(struct loop *l, const char *host, const char *port, resolve_fn *fn,
                             void *arg)
{
    struct lookup *u = mem_zalloc(sizeof(*u));
    int rc = EAI_NONAME;
    uint64_t number;
    u->loop = l;
    u->fn = fn;
    u->arg = arg;
    if (!str_parse_u64(str_of(port), &number) || number > UINT16_MAX) /* getaddrinfo cuts it */
        u->reason = mem_strdup("a port is a number from 0 to 65535");
    else if (*host == '\0')
        u->reason = mem_strdup("there is no host");
    else if (host_is_local(host)) {
        lookup_numeric(u, "127.0.0.1", port, &rc);
        lookup_numeric(u, "::1", port, &rc);
    } else if (!lookup_numeric(u, host, port, &rc) && rc == EAI_NONAME) {
        lookup_dns(u, host, port);
        return u;
    }
    if (u->count == 0 && u->reason == NULL)
        lookup_fail(u, host, gai_strerror(rc));
    loop_later(l, lookup_finish, u);
    return u;
}

void resolve_cancel(struct lookup *u)
{
    if (u == NULL)
        return;
    u->fn = NULL;
    if (u->request != NULL)
        evdns_getaddrinfo_cancel(u->request); /* calls back once more */
}
