#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "base/list.h"
#include "base/mem.h"
#include "loop/tls.h"
#include "rig.h"

/* A certificate authority and what it signs, made when the test starts. */
struct authority {
    EVP_PKEY *key;
    X509 *cert;
};

static struct rig rig;
static struct err err;
static char folder[40];
static struct authority ca, other_ca;
static struct end server, client;

static const char *file(const char *name)
{
    static char paths[16][128];
    static int next;
    char *p = paths[next++ % 16];
    snprintf(p, sizeof(paths[0]), "%s/%s", folder, name);
    return p;
}

static void extend(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert_ptr_nonnull(e);
    X509_add_ext(cert, e, -1);
    X509_EXTENSION_free(e);
}

static X509 *certificate(EVP_PKEY *key, const char *name, long from_s, long to_s)
{
    static long serial = 1;
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), from_s);
    X509_gmtime_adj(X509_getm_notAfter(x), to_s);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    return x;
}

static void save_cert(const char *name, X509 *x)
{
    FILE *f = fopen(file(name), "w");
    ck_assert_int_eq(PEM_write_X509(f, x), 1);
    fclose(f);
}

static void authority_make(struct authority *a, const char *name)
{
    a->key = EVP_EC_gen("P-256");
    a->cert = certificate(a->key, name, -3600, 86400);
    X509_set_issuer_name(a->cert, X509_get_subject_name(a->cert));
    extend(a->cert, NID_basic_constraints, "critical,CA:TRUE");
    X509_sign(a->cert, a->key, EVP_sha256());
    save_cert(name, a->cert);
}

static void authority_free(struct authority *a)
{
    EVP_PKEY_free(a->key);
    X509_free(a->cert);
}

/* NAME.pem and NAME.key in the folder; san as openssl writes it ("DNS:a,URI:b"), or NULL. */
static void issue(const struct authority *a, const char *name, const char *san, long to_s)
{
    char path[64];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = certificate(key, name, -7200, to_s);
    X509_set_issuer_name(x, X509_get_subject_name(a->cert));
    if (san != NULL)
        extend(x, NID_subject_alt_name, san);
    X509_sign(x, a->key, EVP_sha256());
    snprintf(path, sizeof(path), "%s.pem", name);
    save_cert(path, x);
    snprintf(path, sizeof(path), "%s.key", name);
    FILE *f = fopen(file(path), "w");
    ck_assert_int_eq(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void set_up(void)
{
    rig = rig_open();
    snprintf(folder, sizeof(folder), "/tmp/bellhop-tls-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    authority_make(&ca, "ca");
    authority_make(&other_ca, "other");
    issue(&ca, "shop", "URI:spiffe://example.org/ns/shop/sa/cart,DNS:cart.shop.internal", 3600);
    issue(&ca, "bank", "URI:spiffe://example.org/ns/bank/sa/till,DNS:till.bank.internal", 3600);
    issue(&ca, "local", "DNS:localhost,IP:127.0.0.1", 3600);
    issue(&ca, "old", "DNS:localhost", -60);
    issue(&other_ca, "stranger", "URI:spiffe://example.org/ns/shop/sa/cart,DNS:localhost", 3600);
}

static void tear_down(void)
{
    char command[64];
    rig_close(&rig);
    err_fini(&err);
    authority_free(&ca);
    authority_free(&other_ca);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

struct side {
    const char *cert; /* NULL = none */
    const char *ca;   /* NULL = "ca" */
    enum tls_verify verify;
    enum tls_version version;
    const char *peer; /* pattern or NULL */
};

static struct tls_context *context(const struct side *side, enum tls_role role)
{
    char cert[64], key[64];
    char *peers[1] = {(char *)(uintptr_t)side->peer};
    snprintf(cert, sizeof(cert), "%s.pem", side->cert);
    snprintf(key, sizeof(key), "%s.key", side->cert);
    struct tls_settings s = {
        .name = "mesh",
        .ca = file(side->ca != NULL ? side->ca : "ca"),
        .cert = side->cert != NULL ? file(cert) : NULL,
        .key = side->cert != NULL ? file(key) : NULL,
        .verify = side->verify,
        .min_version = side->version,
        .peers = peers,
        .peer_count = side->peer != NULL,
    };
    return tls_context_new(&s, role, &err);
}

static void end_secure(struct end *e, int fd, struct tls_context *c, const char *name)
{
    *e = (struct end){.rig = &rig};
    e->stream = stream_new_tls(rig.loop, fd, c, name, &end_ops, e);
}

/* Connects the two sides. The contexts may go at once: streams keep them. */
static void meet(const struct side *accepting, const struct side *dialling, const char *name)
{
    int fds[2];
    struct tls_context *a = context(accepting, TLS_ACCEPT), *d = context(dialling, TLS_CONNECT);
    ck_assert_msg(a != NULL && d != NULL, "%s", err.count > 0 ? err.texts[0] : "?");
    pair_tcp(fds);
    end_secure(&server, fds[0], a, NULL);
    end_secure(&client, fds[1], d, name);
    tls_context_unref(a);
    tls_context_unref(d);
}

static void part(void)
{
    end_fini(&server);
    end_fini(&client);
    rig_for(&rig, 5);
}

static void both_open(void)
{
    RIG_UNTIL(&rig, (server.opened && client.opened) || server.closed || client.closed);
    ck_assert_msg(!server.closed, "server: %s", server.reason);
    ck_assert_msg(!client.closed, "client: %s", client.reason);
}

static void says(const struct end *e, const char *why)
{
    ck_assert_msg(strstr(e->reason, why) != NULL, "\"%s\" does not say \"%s\"", e->reason, why);
}

START_TEST(mutual_carries_bytes_both_ways)
{
    struct buf sent = BUF_EMPTY;
    meet(&(struct side){.cert = "shop", .peer = "spiffe://example.org/ns/bank/*"},
         &(struct side){.cert = "bank", .peer = "spiffe://example.org/ns/shop/*"}, "10.9.8.7");
    buf_puts(stream_out(client.stream), "early\n"); /* waits for the handshake */
    both_open();
    ck_assert_str_eq(stream_identity(server.stream), "spiffe://example.org/ns/bank/sa/till");
    ck_assert_str_eq(stream_identity(client.stream), "spiffe://example.org/ns/shop/sa/cart");
    RIG_UNTIL(&rig, server.got.len == 6);
    server.echo = true;
    buf_clear(&server.got);
    for (int i = 0; sent.len < 3000000; i++)
        buf_printf(&sent, "line %d, long enough to make several records in the end\n", i);
    buf_str_put(stream_out(client.stream), buf_str(&sent));
    RIG_UNTIL(&rig, client.got.len == sent.len);
    ck_assert_mem_eq(buf_data(&client.got), buf_data(&sent), sent.len);
    buf_fini(&sent);
    part();
}
END_TEST

START_TEST(small_messages_ping_and_pong)
{
    meet(&(struct side){.cert = "shop"}, &(struct side){.cert = "bank"}, "cart.shop.internal");
    both_open();
    server.echo = true;
    for (size_t i = 1; i <= 200; i++) {
        buf_puts(stream_out(client.stream), "ping\n");
        RIG_UNTIL(&rig, client.got.len == 5 * i);
    }
    part();
}
END_TEST

START_TEST(pause_and_resume_with_data_inside_the_layer)
{
    meet(&(struct side){.cert = "shop"}, &(struct side){.cert = "bank"}, "cart.shop.internal");
    both_open();
    server.most = 1;
    server.pause = true;
    for (int i = 0; i < 100; i++)
        buf_puts(stream_out(client.stream), "abc\n");
    for (size_t i = 1; i <= 100; i++) {
        RIG_UNTIL(&rig, server.got.len == 4 * i);
        rig_for(&rig, i < 3 ? 10 : 0);
        ck_assert_uint_eq(server.got.len, 4 * i);
        stream_resume(server.stream);
    }
    part();
}
END_TEST

START_TEST(finish_reaches_the_peer)
{
    meet(&(struct side){.cert = "shop"}, &(struct side){.cert = "bank"}, "cart.shop.internal");
    both_open();
    for (int i = 0; i < 100000; i++)
        buf_puts(stream_out(server.stream), "0123456789\n");
    stream_finish(server.stream);
    server.finish = true;
    RIG_UNTIL(&rig, client.closed);
    ck_assert_uint_eq(client.got.len, 1100000);
    says(&client, "closed by peer");
    part();
}
END_TEST

START_TEST(one_sided_and_unchecked)
{
    meet(&(struct side){.cert = "local", .verify = TLS_SERVER}, &(struct side){.verify = TLS_SERVER},
         "localhost");
    both_open();
    ck_assert_ptr_null(stream_identity(server.stream));
    ck_assert_str_eq(stream_identity(client.stream), "localhost");
    part();
    meet(&(struct side){.cert = "local", .verify = TLS_SERVER}, &(struct side){.verify = TLS_SERVER},
         "127.0.0.1");
    both_open();
    part();
    meet(&(struct side){.cert = "stranger", .verify = TLS_NONE}, &(struct side){.verify = TLS_NONE},
         "anything");
    both_open();
    ck_assert_ptr_null(stream_identity(client.stream));
    part();
}
END_TEST

/* What a client gets that knows no more than TLS 1.2: 1 = connected. */
static int dial_1_2(enum tls_version least)
{
    int fds[2], rc = -1;
    struct side side = {.cert = "local", .verify = TLS_SERVER, .version = least};
    struct tls_context *a = context(&side, TLS_ACCEPT);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    SSL *ssl = SSL_new(ctx);
    pair_tcp(fds);
    end_secure(&server, fds[0], a, NULL);
    SSL_set_fd(ssl, fds[1]);
    while ((rc = SSL_connect(ssl)) != 1 && SSL_get_error(ssl, rc) == SSL_ERROR_WANT_READ)
        rig_for(&rig, 2);
    if (rc == 1)
        ck_assert_str_eq(SSL_get_cipher_name(ssl), "ECDHE-ECDSA-AES256-GCM-SHA384");
    RIG_UNTIL(&rig, server.opened || server.closed);
    end_fini(&server);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    tls_context_unref(a);
    close(fds[1]);
    return rc;
}

START_TEST(version_1_2_only_where_allowed)
{
    ck_assert_int_ne(dial_1_2(TLS_V1_3), 1);
    ck_assert_str_eq(server.reason, "TLS: peer speaks an older version of TLS");
    ck_assert_int_eq(dial_1_2(TLS_V1_2), 1);
}
END_TEST

START_TEST(client_without_certificate)
{
    meet(&(struct side){.cert = "local"}, &(struct side){.verify = TLS_SERVER}, "localhost");
    RIG_UNTIL(&rig, server.closed && client.closed);
    ck_assert(!server.opened);
    ck_assert_str_eq(server.reason, "TLS: peer sent no certificate");
    says(&client, "peer wants a certificate");
    part();
}
END_TEST

START_TEST(wrong_ca)
{
    meet(&(struct side){.cert = "local"}, &(struct side){.cert = "stranger"}, "localhost");
    RIG_UNTIL(&rig, server.closed && client.closed);
    ck_assert(!server.opened);
    says(&server, "TLS: unable to get local issuer certificate");
    says(&client, "TLS: peer does not trust the CA of our certificate");
    part();
    meet(&(struct side){.cert = "stranger"}, &(struct side){.cert = "local"}, "localhost");
    RIG_UNTIL(&rig, server.closed && client.closed);
    ck_assert(!client.opened);
    says(&client, "TLS: ");
    part();
}
END_TEST

START_TEST(wrong_san)
{
    meet(&(struct side){.cert = "shop", .peer = "spiffe://example.org/ns/shop/*"},
         &(struct side){.cert = "bank", .peer = "cart.shop.internal"}, "10.9.8.7");
    RIG_UNTIL(&rig, server.closed && client.closed);
    ck_assert(!server.opened);
    ck_assert_str_eq(server.reason,
                     "TLS: peer spiffe://example.org/ns/bank/sa/till, till.bank.internal is not "
                     "allowed by profile mesh (peers: spiffe://example.org/ns/shop/*)");
    part();
    meet(&(struct side){.cert = "shop"},
         &(struct side){.cert = "bank", .peer = "*.bank.internal"}, "cart.shop.internal");
    RIG_UNTIL(&rig, client.closed);
    ck_assert(!client.opened);
    says(&client, "is not allowed by profile mesh");
    part();
}
END_TEST

START_TEST(several_uris_match_no_uri_pattern)
{
    issue(&ca, "two", "URI:spiffe://example.org/ns/shop/sa/a,URI:spiffe://example.org/ns/shop/sa/b", 3600);
    meet(&(struct side){.cert = "shop", .peer = "spiffe://example.org/ns/shop/*"},
         &(struct side){.cert = "two"}, "cart.shop.internal");
    RIG_UNTIL(&rig, server.closed && client.closed);
    says(&server, "is not allowed");
    part();
}
END_TEST

START_TEST(wrong_host)
{
    meet(&(struct side){.cert = "local"}, &(struct side){.cert = "shop"}, "elsewhere.internal");
    RIG_UNTIL(&rig, client.closed);
    ck_assert(!client.opened);
    ck_assert_str_eq(client.reason, "TLS: certificate is not for elsewhere.internal but for localhost");
    part();
    meet(&(struct side){.cert = "local"}, &(struct side){.cert = "shop"}, "127.0.0.2");
    RIG_UNTIL(&rig, client.closed);
    ck_assert(!client.opened);
    part();
}
END_TEST

START_TEST(expired_peer)
{
    /* Ours would be refused when it is read; so its end comes while the context lives. */
    issue(&ca, "brief", "DNS:localhost", 2);
    struct side brief = {.cert = "brief", .verify = TLS_SERVER}, dials = {.verify = TLS_SERVER};
    struct tls_context *a = context(&brief, TLS_ACCEPT), *d = context(&dials, TLS_CONNECT);
    int fds[2];
    ck_assert_msg(a != NULL && d != NULL, "%s", err.count > 0 ? err.texts[0] : "?");
    ck_assert_int_gt(tls_context_expires(a), clock_wall_ms());
    ck_assert_int_eq(tls_context_expires(d), 0);
    rig_for(&rig, 3100);
    pair_tcp(fds);
    end_secure(&server, fds[0], a, NULL);
    end_secure(&client, fds[1], d, "localhost");
    tls_context_unref(a);
    tls_context_unref(d);
    RIG_UNTIL(&rig, client.closed && server.closed);
    ck_assert_str_eq(client.reason, "TLS: certificate has expired");
    ck_assert_str_eq(server.reason, "TLS: peer says that our certificate has expired");
    part();
}
END_TEST

START_TEST(peer_that_speaks_no_tls)
{
    int fds[2];
    struct tls_context *a = context(&(struct side){.cert = "local"}, TLS_ACCEPT);
    pair_tcp(fds);
    end_secure(&server, fds[0], a, NULL);
    ck_assert_int_eq(send(fds[1], "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    RIG_UNTIL(&rig, server.closed);
    ck_assert_str_eq(server.reason, "TLS: peer speaks HTTP, not TLS");
    close(fds[1]);
    end_fini(&server);
    pair_tcp(fds);
    end_secure(&server, fds[0], a, NULL);
    close(fds[1]);
    RIG_UNTIL(&rig, server.closed);
    ck_assert_str_eq(server.reason, "TLS: closed by peer during the handshake");
    end_fini(&server);
    tls_context_unref(a);
}
END_TEST

START_TEST(silent_peer_is_dropped_after_ten_seconds)
{
    int fds[2];
    struct tls_context *a = context(&(struct side){.cert = "local"}, TLS_ACCEPT);
    int64_t start = clock_mono_ms();
    pair_tcp(fds);
    end_secure(&server, fds[0], a, NULL);
    tls_context_unref(a);
    RIG_UNTIL(&rig, server.closed);
    ck_assert_str_eq(server.reason, "TLS: no handshake within 10s");
    ck_assert_int_ge(clock_mono_ms() - start, 9990);
    close(fds[1]);
    end_fini(&server);
}
END_TEST

START_TEST(swapped_context_leaves_streams_alone)
{
    static struct end kept_server, kept_client;
    int fds[2];
    struct side strict = {.cert = "shop", .peer = "spiffe://example.org/ns/nobody/*"};
    struct tls_context *a = context(&(struct side){.cert = "shop"}, TLS_ACCEPT);
    struct tls_context *d = context(&(struct side){.cert = "bank"}, TLS_CONNECT);
    pair_tcp(fds);
    end_secure(&kept_server, fds[0], a, NULL);
    end_secure(&kept_client, fds[1], d, "cart.shop.internal");
    RIG_UNTIL(&rig, kept_server.opened && kept_client.opened);
    tls_context_unref(a); /* a reload: the next ones meet another profile */
    tls_context_unref(d);
    meet(&strict, &(struct side){.cert = "bank"}, "cart.shop.internal");
    RIG_UNTIL(&rig, server.closed && client.closed);
    says(&server, "is not allowed");
    part();
    buf_puts(stream_out(kept_client.stream), "still here\n");
    RIG_UNTIL(&rig, kept_server.got.len == 11);
    end_fini(&kept_server);
    end_fini(&kept_client);
}
END_TEST

static void not_made(const struct side *side, enum tls_role role, const char *why)
{
    ck_assert_ptr_null(context(side, role));
    ck_assert_uint_eq(err.count, 1);
    ck_assert_msg(strstr(err.texts[0], why) != NULL, "\"%s\" does not say \"%s\"", err.texts[0], why);
    err_fini(&err);
}

START_TEST(bad_files_are_told)
{
    FILE *f = fopen(file("junk"), "w");
    fputs("no PEM\n", f);
    fclose(f);
    not_made(&(struct side){.cert = "old"}, TLS_ACCEPT, "has expired (2");
    not_made(&(struct side){.cert = "nowhere"}, TLS_ACCEPT, "No such file");
    not_made(&(struct side){.cert = "shop", .ca = "nowhere"}, TLS_ACCEPT, "No such file");
    not_made(&(struct side){.cert = "shop", .ca = "junk"}, TLS_ACCEPT, "ca ");
    not_made(&(struct side){.cert = NULL}, TLS_ACCEPT, "cert is missing (a listener needs one)");
    not_made(&(struct side){.cert = NULL}, TLS_CONNECT, "verify: mutual needs one");
    ck_assert_int_eq(rename(file("bank.key"), file("shop.key")), 0);
    not_made(&(struct side){.cert = "shop"}, TLS_ACCEPT, "does not belong to cert");
}
END_TEST

START_TEST(key_with_a_pass_phrase_does_not_ask)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *f = fopen(file("shop.key"), "w");
    PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
    fclose(f);
    EVP_PKEY_free(key);
    not_made(&(struct side){.cert = "shop"}, TLS_ACCEPT, "key ");
}
END_TEST

START_TEST(patterns)
{
    static const struct {
        const char *pattern, *san;
        bool match;
    } rows[] = {
        {"spiffe://example.org/ns/shop/*", "spiffe://example.org/ns/shop/sa/cart", true},
        {"spiffe://example.org/ns/shop/*", "spiffe://example.org/ns/shop/x", true},
        {"spiffe://example.org/ns/shop/*", "spiffe://example.org/ns/shop/", false},
        {"spiffe://example.org/ns/shop/*", "spiffe://example.org/ns/shop", false},
        {"spiffe://example.org/ns/shop/*", "spiffe://example.org/ns/shopper/sa/cart", false},
        {"spiffe://example.org/ns/shop/*", "spiffe://example.org/ns/shop/../bank", false},
        {"spiffe://example.org/ns/shop/*", "spiffe://example.org.evil/ns/shop/x", false},
        {"spiffe://example.org/ns/shop/*", "spiffe://example.org/ns/shop//x", false},
        {"spiffe://example.org/ns/*/sa/cart", "spiffe://example.org/ns/shop/sa/cart", true},
        {"spiffe://example.org/ns/*/sa/cart", "spiffe://example.org/ns/a/b/sa/cart", false},
        {"spiffe://example.org/ns/*/sa/cart", "spiffe://example.org/ns//sa/cart", false},
        {"spiffe://example.org/ns/*/sa/cart", "spiffe://example.org/ns/../sa/cart", false},
        {"spiffe://example.org/ns/shop-*", "spiffe://example.org/ns/shop-1", true},
        {"spiffe://example.org/ns/shop-*", "spiffe://example.org/ns/shop-1/x", false},
        {"spiffe://example.org/a", "spiffe://example.org/a", true},
        {"spiffe://example.org/a", "spiffe://example.org/A", false},
        {"spiffe://example.org/a", "spiffe://example.org/ab", false},
        {"spiffe://example.org/a*c*e", "spiffe://example.org/abcde", true},
        {"spiffe://example.org/a*c*e", "spiffe://example.org/abde", false},
        {"*.shop.internal", "cart.shop.internal", true},
        {"*.shop.internal", "CART.Shop.internal", true},
        {"*.shop.internal", "a.b.shop.internal", false},
        {"*.shop.internal", ".shop.internal", false},
        {"*.shop.internal", "shop.internal", false},
        {"cart-*.internal", "cart-7.internal", true},
        {"cart.internal", "cart.internal.evil", false},
        {"*", "host", true},
        {"*", "host.domain", false},
        {"", "host", false},
        {"*", "", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert_msg(tls_peer_matches(rows[i].pattern, rows[i].san) == rows[i].match, "%s %s",
                      rows[i].pattern, rows[i].san);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tls");
    TCase *t = tcase_create("tls");
    const TTest *const tests[] = {
        mutual_carries_bytes_both_ways, small_messages_ping_and_pong,
        pause_and_resume_with_data_inside_the_layer, finish_reaches_the_peer,
        one_sided_and_unchecked, version_1_2_only_where_allowed, client_without_certificate,
        wrong_ca, wrong_san, several_uris_match_no_uri_pattern, wrong_host, expired_peer,
        peer_that_speaks_no_tls, silent_peer_is_dropped_after_ten_seconds,
        swapped_context_leaves_streams_alone, bad_files_are_told,
        key_with_a_pass_phrase_does_not_ask, patterns,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
