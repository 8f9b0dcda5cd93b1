#include "loop/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "loop/tls_impl.h"

#define READ_BUFFER 65536 /* one system call may bring several records */
#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"

/* Handshakes and checks of OpenSSL that ran out of memory halfway are not worth telling apart. */

static void *openssl_alloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size > 0 ? mem_alloc(size) : NULL;
}

static void *openssl_realloc(void *p, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    if (size > 0)
        return mem_realloc(p, size);
    mem_free(p);
    return NULL;
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    mem_free(p);
}

/* A key with a pass phrase would make OpenSSL ask on the terminal and block. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static const char *openssl_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = ERR_reason_error_string(code);
    if (ERR_SYSTEM_ERROR(code))
        return strerror(ERR_GET_REASON(code));
    return text != NULL ? text : "unknown error";
}

static bool fail_file(const struct tls_settings *s, const char *what, const char *path,
                      struct err *err)
{
    const char *why = access(path, R_OK) != 0 ? strerror(errno) : openssl_reason();
    return err_add(err, "tls profile %s: %s %s: %s", s->name, what, path, why);
}

/* Which files the profile needs for this role. */
static bool check_settings(const struct tls_settings *s, enum tls_role role, struct err *err)
{
    bool accepts = role == TLS_ACCEPT;
    if ((accepts || s->verify == TLS_MUTUAL) && s->cert == NULL)
        return err_add(err, "tls profile %s: cert is missing (%s)", s->name,
                       accepts ? "a listener needs one" : "verify: mutual needs one");
    if ((s->cert == NULL) != (s->key == NULL))
        return err_add(err, "tls profile %s: cert and key belong together: %s is missing", s->name,
                       s->cert == NULL ? "cert" : "key");
    if (accepts && s->verify == TLS_MUTUAL && s->ca == NULL)
        return err_add(err, "tls profile %s: ca is missing (verify: mutual needs one)", s->name);
    return true;
}

static int64_t asn1_wall_ms(const ASN1_TIME *t)
{
    struct tm tm = {0};
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

static bool check_dates(struct tls_context *c, const struct tls_settings *s, struct err *err)
{
    X509 *own = SSL_CTX_get0_certificate(c->ssl);
    int64_t now = clock_wall_ms(), begins = asn1_wall_ms(X509_get0_notBefore(own));
    char when[32];
    c->expires = asn1_wall_ms(X509_get0_notAfter(own));
    if (c->expires <= now)
        return err_add(err, "tls profile %s: cert %s has expired (%s)", s->name, s->cert,
                       clock_rfc3339(c->expires, when));
    if (begins > now)
        return err_add(err, "tls profile %s: cert %s is not valid before %s", s->name, s->cert,
                       clock_rfc3339(begins, when));
    return true;
}

static bool load_own(struct tls_context *c, const struct tls_settings *s, struct err *err)
{
    if (s->cert == NULL)
        return true;
    if (SSL_CTX_use_certificate_chain_file(c->ssl, s->cert) != 1)
        return fail_file(s, "cert", s->cert, err);
    if (!check_dates(c, s, err))
        return false;
    if (SSL_CTX_use_PrivateKey_file(c->ssl, s->key, SSL_FILETYPE_PEM) != 1) {
        if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
            return err_add(err, "tls profile %s: key %s does not belong to cert %s", s->name, s->key,
                           s->cert);
        return fail_file(s, "key", s->key, err);
    }
    return true;
}

static bool load_ca(struct tls_context *c, const struct tls_settings *s, struct err *err)
{
    bool asks = c->role == TLS_CONNECT ? c->verify != TLS_NONE : c->verify == TLS_MUTUAL;
    if (!asks)
        return true;
    if (s->ca == NULL) {
        SSL_CTX_set_default_verify_paths(c->ssl);
        return true;
    }
    if (SSL_CTX_load_verify_file(c->ssl, s->ca) != 1)
        return fail_file(s, "ca", s->ca, err);
    if (c->role == TLS_ACCEPT)
        SSL_CTX_set_client_CA_list(c->ssl, SSL_load_client_CA_file(s->ca));
    return true;
}

static void set_options(struct tls_context *c, const struct tls_settings *s)
{
    SSL_CTX *x = c->ssl;
    SSL_CTX_set_min_proto_version(x, s->min_version == TLS_V1_2 ? TLS1_2_VERSION : TLS1_3_VERSION);
    SSL_CTX_set_cipher_list(x, CIPHERS_1_2);
    SSL_CTX_set_options(x, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                               SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(x, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
    /* A resumed session would skip the check of a peer that the profile has since shut out. */
    SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(x, 0);
    SSL_CTX_set_read_ahead(x, 1);
    SSL_CTX_set_default_read_buffer_len(x, READ_BUFFER);
    SSL_CTX_set_default_passwd_cb(x, no_passphrase);
    /* An intermediate in `ca` is trusted for itself. */
    X509_STORE_set_flags(SSL_CTX_get_cert_store(x), X509_V_FLAG_PARTIAL_CHAIN);
}

struct tls_context *tls_context_new(const struct tls_settings *s, enum tls_role role, struct err *err)
{
    if (!check_settings(s, role, err))
        return NULL;
    CRYPTO_set_mem_functions(openssl_alloc, openssl_realloc, openssl_free); /* heeded before its first allocation */
    struct tls_context *c = mem_zalloc(sizeof(*c));
    c->refs = 1;
    c->name = mem_strdup(s->name);
    c->role = role;
    c->verify = s->verify;
    c->peers = mem_calloc(s->peer_count, sizeof(*c->peers));
    for (size_t i = 0; i < s->peer_count; i++)
        c->peers[c->peer_count++] = mem_strdup(s->peers[i]);
    ERR_clear_error();
    c->ssl = SSL_CTX_new(role == TLS_ACCEPT ? TLS_server_method() : TLS_client_method());
    if (c->ssl == NULL) {
        err_add(err, "tls profile %s: %s", s->name, openssl_reason());
        goto fail;
    }
    set_options(c, s);
    if (load_own(c, s, err) && load_ca(c, s, err))
        return c;
fail:
    ERR_clear_error();
    tls_context_unref(c);
    return NULL;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    c->refs++;
    return c;
}

void tls_context_unref(struct tls_context *c)
{
    if (c == NULL || --c->refs > 0)
        return;
    SSL_CTX_free(c->ssl);
    for (size_t i = 0; i < c->peer_count; i++)
        mem_free(c->peers[i]);
    mem_free(c->peers);
    mem_free(c->name);
    mem_free(c);
}

int64_t tls_context_expires(const struct tls_context *c)
{
    return c->expires;
}
