#pragma once
/* What the TLS files share; OpenSSL stays in them. Not for other folders. */
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "loop/tls.h"

struct tls_context {
    SSL_CTX *ssl;
    size_t refs;
    char *name; /* the profile's */
    enum tls_role role;
    enum tls_verify verify;
    char **peers;
    size_t peer_count;
    int64_t expires; /* wall ms; 0 = no certificate of our own */
};

/* tls_verify.c. Whether the certificate's SANs satisfy the profile; *identity is the SAN that did
 * (or, without patterns, the first one), the caller's, may become NULL. why is filled on refusal. */
bool tls_peer_check(const struct tls_context *c, X509 *cert, char **identity, struct buf *why);
/* What the certificate says it is for ("DNS names a, b"), for messages. */
void tls_peer_names(X509 *cert, struct buf *out);
