#pragma once
/*
 * An outgoing connection that is kept up for ever: dial, TLS, reconnect with full jitter, the next
 * address after each failure. Every connecting transport uses it; the transport brings only its protocol.
 *
 *     connecting --connected (and TLS done)--> greeting --link_ready()--> up
 *         ^  |                                     |                       |
 *         |  failed                              lost or link_reset() -> on_down
 *         |  v                                     |                       |
 *         pausing (back-off) <---------------------+-----------------------+
 *         refused (a long pause) <-- link_refused(): what a person has to see to
 *
 * A protocol without a greeting is up at once. One with a greeting has 10 s for it.
 *
 * TLS comes first, unless the protocol begins in the clear and asks for it (NATS, STARTTLS): then `tls_later` is set, on_up
 * finds a plain stream, and link_secure() is part of the greeting.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/rand.h"
#include "config/config.h"
#include "loop/loop.h"
#include "loop/stream.h"
#include "loop/tls.h"

struct link;

struct link_ops {
    void (*on_up)(void *arg); /* connected: may write; a protocol with a greeting begins it here */
    void (*on_secure)(void *arg); /* after link_secure(): the greeting goes on over TLS, on another stream; else NULL */
    size_t (*on_data)(void *arg, const uint8_t *p, size_t n); /* as stream_ops.on_data */
    void (*on_drain)(void *arg);                            /* may be NULL */
    void (*on_down)(void *arg, const char *reason); /* after each on_up(), once: the stream is gone */
};

struct link_spec {
    struct loop *loop;
    const struct endpoint_conf *conf; /* name and addresses; borrowed for the link's life */
    const char *port;          /* where an address names none; may be NULL where all do */
    bool greets;               /* the protocol has a greeting: up only after link_ready() */
    struct tls_context *tls;   /* NULL = plain; referenced */
    bool tls_later;            /* with tls and greets: only at link_secure() */
    struct stream_limits limits;
    enum stream_quickack quickack;
    int64_t min_pause_ms, max_pause_ms; /* back-off; 0 = 100 ms, 30 s */
};

struct link *link_new(const struct link_spec *spec, const struct link_ops *ops, void *arg); /* starts dialling */
void link_free(struct link *l); /* no callback afterwards; NULL is legal */
void link_set_tls(struct link *l, struct tls_context *tls); /* from the next connection on */

/* The greeting is over: errors are forgotten, the log says so. With tls and tls_later only after on_secure. */
void link_ready(struct link *l);

/*
 * With tls_later: TLS begins now; on_secure when it is there, on_down when it fails. Whoever calls it from inside on_data has taken
 * all that was there: bytes in the clear behind the word that asks for TLS are no peer's of ours (link_reset()).
 */
void link_secure(struct link *l);
bool link_wants_tls(const struct link *l); /* link_secure() is still to come, whatever the peer offers */

/* Something is wrong with this connection: closes it and dials again; on_down is called from inside. */
void link_reset(struct link *l, const char *reason);
/* The peer will not have us (credentials, rights, what is not there): as link_reset(), but the pause is a
 * long one (5 to 10 s) and the state tells. */
void link_refused(struct link *l, const char *reason);

/* Something tells that the peer is back: a pause after a failure ends now (not one after a refusal). */
void link_hurry(struct link *l);

bool link_is_open(const struct link *l);          /* greeting or up: there is a stream */
bool link_is_up(const struct link *l);
struct stream *link_stream(const struct link *l); /* NULL unless open */
const char *link_state(const struct link *l);     /* "up" | "connecting" | "down" | "refused" */
/* The one in the worse state, up before connecting before down before refused; b may be NULL. Of an endpoint with several
 * links it speaks for all. */
const struct link *link_worse(const struct link *a, const struct link *b);
const struct url *link_url(const struct link *l); /* the address in use, or tried next */
const char *link_error(const struct link *l);     /* the last one, or NULL while up */
uint64_t link_connects(const struct link *l);     /* how often it came up */
