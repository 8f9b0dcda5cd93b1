#pragma once
/*
 * An outgoing connection that is kept up for ever: dial, TLS, reconnect with full jitter. Every
 * connecting transport uses it; the transport brings only its protocol.
 *
 *     connecting --connected (and TLS done)--> up --lost--> pausing --(back-off)--> connecting
 *         +---------------- failed ---------------------------^
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/rand.h"
#include "loop/loop.h"
#include "loop/stream.h"
#include "loop/tls.h"

struct link;

struct link_ops {
    void (*on_up)(void *arg);                               /* connected: may write */
    size_t (*on_data)(void *arg, const uint8_t *p, size_t n); /* as stream_ops.on_data */
    void (*on_drain)(void *arg);                            /* may be NULL */
    void (*on_down)(void *arg, const char *reason);         /* was up, is not any more */
};

struct link_spec {
    struct loop *loop;
    const char *name;          /* the endpoint's, for the log */
    const char *host, *port;   /* borrowed for the link's life */
    struct tls_context *tls;   /* NULL = plain; referenced */
    struct stream_limits limits;
    enum stream_quickack quickack;
    int64_t min_pause_ms, max_pause_ms; /* back-off; 0 = 100 ms, 30 s */
};

struct link *link_new(const struct link_spec *spec, const struct link_ops *ops, void *arg); /* starts dialling */
void link_free(struct link *l); /* no callback afterwards; NULL is legal */
void link_set_tls(struct link *l, struct tls_context *tls); /* from the next connection on */

/* Something is wrong with this connection: closes it and dials again; on_down is called from inside. */
void link_reset(struct link *l, const char *reason);

bool link_is_up(const struct link *l);
struct stream *link_stream(const struct link *l); /* NULL unless up */
const char *link_state(const struct link *l);     /* "up" | "connecting" | "down" */
const char *link_error(const struct link *l);     /* the last one, or NULL while up */
uint64_t link_connects(const struct link *l);     /* how often it came up */
