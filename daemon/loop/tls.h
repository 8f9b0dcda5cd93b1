#pragma once
/*
 * TLS contexts (OpenSSL), one per profile and role, reference-counted: a stream keeps the one it
 * began with, a reload makes a new one and swaps the pointer.
 * TLS 1.3 (1.2 where the profile says so: AEAD and ECDHE only), no renegotiation, compression or
 * early data.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum tls_verify { TLS_MUTUAL, TLS_SERVER, TLS_NONE };
enum tls_version { TLS_V1_3, TLS_V1_2 };

struct tls_settings {
    const char *name; /* the profile's, for messages */
    const char *ca, *cert, *key; /* PEM paths or NULL */
    enum tls_verify verify;
    enum tls_version min_version;
    /* Who may be at the other end: patterns over URI and DNS SANs, "*" stands for any run of
     * characters within one path segment or DNS label, a final "/" and "*" for any rest. Empty = anyone
     * whom the CA has signed. An empty or several URI SANs never match a URI pattern. */
    char *const *peers;
    size_t peer_count;
};

enum tls_role { TLS_ACCEPT, TLS_CONNECT };

struct tls_context;

/* Reads and checks the files (key belongs to certificate, not expired). Text in err on failure. */
struct tls_context *tls_context_new(const struct tls_settings *s, enum tls_role role, struct err *err);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c); /* NULL is legal */
int64_t tls_context_expires(const struct tls_context *c); /* own certificate, wall ms; 0 = none */
bool tls_peer_matches(const char *pattern, const char *san); /* pure; "URI:spiffe://…" without prefix */
