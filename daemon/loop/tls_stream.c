#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "loop/layer.h"
#include "loop/tls_impl.h"

struct tls_layer {
    struct layer layer;
    struct tls_context *context;
    SSL *ssl;
    char *name;         /* the host dialled, or NULL */
    char *identity;
    struct buf reason;  /* set by whoever finds the cause first */
    enum layer_step end; /* the end or failure that a read has met behind its data; else LAYER_OK */
    bool drained;       /* OpenSSL holds no whole record */
};

static struct tls_layer *tls_of(const struct layer *y)
{
    return CONTAINER_OF(y, struct tls_layer, layer);
}

/* Texts for what people meet; the rest are OpenSSL's own. */
static const struct {
    int reason;
    const char *text;
} reasons[] = {
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "peer sent no certificate"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "peer wants a certificate, we have none"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "peer does not trust the CA of our certificate"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "peer refused our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "peer says that our certificate has expired"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "peer refused our certificate"},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, "peer does not allow our certificate"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "peer refused the handshake"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "peer speaks another version of TLS"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "peer speaks an older version of TLS"},
    {SSL_R_NO_SHARED_CIPHER, "no cipher in common"},
    {SSL_R_WRONG_VERSION_NUMBER, "peer does not speak TLS"},
    {SSL_R_HTTP_REQUEST, "peer speaks HTTP, not TLS"},
    {SSL_R_PACKET_LENGTH_TOO_LONG, "peer does not speak TLS"},
};

static const char *reason_text(unsigned long code)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == reasons[i].reason)
            return reasons[i].text;
    const char *text = ERR_reason_error_string(code);
    return text != NULL ? text : "unknown error";
}

static enum layer_step tls_step(struct tls_layer *t, int rc)
{
    int error = errno, kind = SSL_get_error(t->ssl, rc);
    unsigned long code = ERR_peek_error();
    if (kind == SSL_ERROR_WANT_READ)
        return LAYER_WANT_READ;
    if (kind == SSL_ERROR_WANT_WRITE)
        return LAYER_WANT_WRITE;
    if (kind == SSL_ERROR_ZERO_RETURN ||
        (kind == SSL_ERROR_SSL && ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING))
        return LAYER_EOF;
    if (t->reason.len > 0)
        return LAYER_FAILED;
    if (kind == SSL_ERROR_SYSCALL && code == 0)
        buf_puts(&t->reason, error == ECONNRESET ? "connection reset by peer"
                             : error == EPIPE || error == 0 ? "closed by peer" : strerror(error));
    else
        buf_printf(&t->reason, "TLS: %s", reason_text(code));
    ERR_clear_error();
    return LAYER_FAILED;
}

static enum layer_step tls_handshake(struct layer *y)
{
    struct tls_layer *t = tls_of(y);
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(t->ssl);
    return rc == 1 ? LAYER_OK : tls_step(t, rc);
}

static enum layer_step tls_read(struct layer *y, uint8_t *p, size_t n, size_t *got)
{
    struct tls_layer *t = tls_of(y);
    *got = 0;
    if (t->end != LAYER_OK)
        return t->end;
    ERR_clear_error();
    t->drained = false;
    while (*got < n) {
        size_t more = 0;
        errno = 0;
        int rc = SSL_read_ex(t->ssl, p + *got, n - *got, &more);
        if (rc != 1) {
            enum layer_step step = tls_step(t, rc);
            t->drained = true;
            if (step == LAYER_EOF || step == LAYER_FAILED)
                t->end = step;
            return *got > 0 ? LAYER_OK : step;
        }
        *got += more;
        /* Stops before the read that would only find nothing. */
        t->drained = SSL_has_pending(t->ssl) == 0;
        if (t->drained)
            break;
    }
    return LAYER_OK;
}

static enum layer_step tls_write(struct layer *y, const uint8_t *p, size_t n, size_t *sent)
{
    struct tls_layer *t = tls_of(y);
    ERR_clear_error();
    for (*sent = 0; *sent < n;) {
        size_t more = 0;
        errno = 0;
        int rc = SSL_write_ex(t->ssl, p + *sent, n - *sent, &more);
        if (rc != 1)
            return tls_step(t, rc);
        *sent += more;
    }
    return LAYER_OK;
}

static bool tls_pending(const struct layer *y)
{
    const struct tls_layer *t = tls_of(y);
    return !t->drained || t->end != LAYER_OK;
}

static void tls_bye(struct layer *y)
{
    struct tls_layer *t = tls_of(y);
    ERR_clear_error();
    if (t->end != LAYER_FAILED && SSL_is_init_finished(t->ssl))
        SSL_shutdown(t->ssl);
}

static const char *tls_reason(const struct layer *y)
{
    struct tls_layer *t = tls_of(y);
    return t->reason.len > 0 ? buf_cstr(&t->reason) : "TLS: unknown error";
}

static const char *tls_identity(const struct layer *y)
{
    return tls_of(y)->identity;
}

static void tls_free(struct layer *y)
{
    struct tls_layer *t = tls_of(y);
    SSL_free(t->ssl);
    tls_context_unref(t->context);
    buf_fini(&t->reason);
    mem_free(t->identity);
    mem_free(t->name);
    mem_free(t);
}

static const struct layer_ops tls_ops = {
    .handshake = tls_handshake,
    .read = tls_read,
    .write = tls_write,
    .pending = tls_pending,
    .bye = tls_bye,
    .reason = tls_reason,
    .identity = tls_identity,
    .free = tls_free,
};

static void note_verify_error(struct tls_layer *t, X509_STORE_CTX *store)
{
    int error = X509_STORE_CTX_get_error(store), depth = X509_STORE_CTX_get_error_depth(store);
    X509 *cert = X509_STORE_CTX_get_current_cert(store);
    if (error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH) {
        buf_printf(&t->reason, "TLS: certificate is not for %s but for ", t->name);
        tls_peer_names(cert, &t->reason);
        return;
    }
    buf_printf(&t->reason, "TLS: %s", X509_verify_cert_error_string(error));
    if (depth > 0)
        buf_puts(&t->reason, " (its issuer)");
}

/* Runs inside the handshake, so that a peer we refuse is told so by an alert. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_layer *t = SSL_get_app_data(ssl);
    if (!ok) {
        if (t->reason.len == 0)
            note_verify_error(t, store);
        return 0;
    }
    if (X509_STORE_CTX_get_error_depth(store) > 0)
        return 1;
    mem_free(t->identity);
    if (tls_peer_check(t->context, X509_STORE_CTX_get_current_cert(store), &t->identity, &t->reason))
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static bool name_is_address(const char *name)
{
    unsigned char scratch[16];
    return inet_pton(AF_INET, name, scratch) == 1 || inet_pton(AF_INET6, name, scratch) == 1;
}

static void set_name(struct tls_layer *t, const char *name)
{
    bool address = name_is_address(name);
    t->name = mem_strdup(name);
    if (!address)
        SSL_set_tlsext_host_name(t->ssl, name);
    if (t->context->peer_count > 0 || t->context->verify == TLS_NONE)
        return;
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    int ok = address ? X509_VERIFY_PARAM_set1_ip_asc(param, name)
                     : X509_VERIFY_PARAM_set1_host(param, name, 0);
    assert(ok == 1);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
}

static void set_role(struct tls_layer *t)
{
    bool accepts = t->context->role == TLS_ACCEPT;
    bool asks = accepts ? t->context->verify == TLS_MUTUAL : t->context->verify != TLS_NONE;
    int mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_set_verify(t->ssl, asks ? mode : SSL_VERIFY_NONE, asks ? on_verify : NULL);
    if (accepts)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
}

struct stream *stream_new_secure(struct loop *l, int fd, const struct stream_tls *tls,
                                 const struct stream_ops *ops, void *arg)
{
    struct tls_layer *t = mem_zalloc(sizeof(*t));
    t->layer.ops = &tls_ops;
    t->context = tls_context_ref(tls->ctx);
    t->ssl = SSL_new(tls->ctx->ssl);
    int ok = t->ssl != NULL && SSL_set_fd(t->ssl, fd) == 1;
    assert(ok);
    SSL_set_app_data(t->ssl, (char *)t);
    set_role(t);
    if (tls->name != NULL)
        set_name(t, tls->name);
    return stream_new_layer(l, fd, &t->layer, ops, arg);
}
