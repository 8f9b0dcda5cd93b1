#include <openssl/x509v3.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "loop/tls_impl.h"

#define NAMES_SHOWN 200 /* bytes of a peer's names in a message */

static bool byte_same(char a, char b, bool fold)
{
    if (fold && a >= 'A' && a <= 'Z')
        a = (char)(a + 32);
    if (fold && b >= 'A' && b <= 'Z')
        b = (char)(b + 32);
    return a == b;
}

/* One segment or label; "*" is any run of characters, but nothing alone does not match "*". */
static bool part_matches(struct str pattern, struct str text, bool fold)
{
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;
    if (str_is(pattern, "*"))
        return text.n > 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            from = t;
        } else if (p < pattern.n && byte_same(pattern.p[p], text.p[t], fold)) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

/* ".." would climb out of what a pattern allows, should anybody resolve it later. */
static bool part_is_dots(struct str s)
{
    return str_is(s, ".") || str_is(s, "..");
}

static bool rest_is_sound(struct str rest)
{
    if (rest.n == 0)
        return false;
    while (rest.p != NULL) {
        struct str part = str_cut(&rest, '/');
        if (part.n == 0 || part_is_dots(part))
            return false;
    }
    return true;
}

bool tls_peer_matches(const char *pattern, const char *san)
{
    bool uri = strstr(pattern, "://") != NULL;
    char separator = uri ? '/' : '.';
    struct str p = str_of(pattern), s = str_of(san);
    if (p.n == 0 || s.n == 0)
        return false;
    for (;;) {
        bool last = p.p != NULL && memchr(p.p, separator, p.n) == NULL;
        if (uri && last && str_is(p, "*"))
            return rest_is_sound(s);
        struct str pp = str_cut(&p, separator), sp = str_cut(&s, separator);
        if (!part_matches(pp, sp, !uri) || (uri && part_is_dots(sp)))
            return false;
        if (p.p == NULL || s.p == NULL)
            return p.p == NULL && s.p == NULL;
    }
}

struct sans {
    GENERAL_NAMES *names;
    int count;
    size_t uris;
};

/* The text of a URI or DNS SAN; NONE for other kinds and for those with a NUL inside. */
static struct str san_text(const struct sans *s, int i, int *type)
{
    const ASN1_STRING *text = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(s->names, i), type);
    if (*type != GEN_URI && *type != GEN_DNS)
        return STR_NONE;
    struct str t = str_make(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
    return t.n == 0 || memchr(t.p, '\0', t.n) != NULL ? STR_NONE : t;
}

static struct sans sans_of(X509 *cert)
{
    struct sans s = {X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL), 0, 0};
    s.count = s.names != NULL ? sk_GENERAL_NAME_num(s.names) : 0;
    for (int i = 0; i < s.count; i++)
        s.uris += sk_GENERAL_NAME_value(s.names, i)->type == GEN_URI;
    return s;
}

static void put_printable(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_putc(out, s.p[i] > ' ' && s.p[i] < 127 ? s.p[i] : '?');
}

void tls_peer_names(X509 *cert, struct buf *out)
{
    struct sans s = sans_of(cert);
    size_t start = out->len;
    char subject[NAMES_SHOWN];
    int type;
    for (int i = 0; i < s.count && out->len - start < NAMES_SHOWN; i++) {
        struct str text = san_text(&s, i, &type);
        if (text.n == 0)
            continue;
        if (out->len > start)
            buf_puts(out, ", ");
        put_printable(out, text.n < NAMES_SHOWN ? text : str_make(text.p, NAMES_SHOWN));
    }
    if (out->len == start) {
        X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof(subject));
        buf_printf(out, "%s (without a URI or DNS name)", subject);
    }
    GENERAL_NAMES_free(s.names);
}

static bool context_allows(const struct tls_context *c, const struct sans *s, const char *san,
                           bool uri)
{
    for (size_t i = 0; i < c->peer_count; i++) {
        bool uri_pattern = strstr(c->peers[i], "://") != NULL;
        if (uri_pattern == uri && (!uri || s->uris == 1) && tls_peer_matches(c->peers[i], san))
            return true;
    }
    return c->peer_count == 0;
}

static void refuse(const struct tls_context *c, X509 *cert, struct buf *why)
{
    buf_puts(why, "TLS: peer ");
    tls_peer_names(cert, why);
    buf_printf(why, " is not allowed by profile %s (peers:", c->name);
    for (size_t i = 0; i < c->peer_count; i++)
        buf_printf(why, "%s %s", i > 0 ? "," : "", c->peers[i]);
    buf_putc(why, ')');
}

bool tls_peer_check(const struct tls_context *c, X509 *cert, char **identity, struct buf *why)
{
    struct sans s = sans_of(cert);
    int type;
    *identity = NULL;
    for (int i = 0; i < s.count && *identity == NULL; i++) {
        struct str text = san_text(&s, i, &type);
        char *san = text.n > 0 ? str_dup(text) : NULL;
        if (san != NULL && context_allows(c, &s, san, type == GEN_URI))
            *identity = san;
        else
            mem_free(san);
    }
    GENERAL_NAMES_free(s.names);
    if (*identity != NULL || c->peer_count == 0)
        return true;
    refuse(c, cert, why);
    return false;
}
