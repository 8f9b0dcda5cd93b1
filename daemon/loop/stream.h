#pragma once
/*
 * A connected byte stream, plain or TLS, over raw epoll events (poller.h). Reads are large (one read per event
 * into a buffer of the loop's) and parsed in place; all output of a turn leaves in one write at its
 * end (limits.eager: in two). An idle stream holds no buffer.
 *
 *     opening --(plain: next turn; TLS: handshake done)--> open --stream_finish--> finishing
 *        |                                                  |                          |
 *        +-------------- failure, EOF, limit ---------------+----> closed <------------+
 *
 * Every callback comes from the loop, never from inside a call of this header, and none comes
 * after stream_close().
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "loop/loop.h"

struct stream;
struct tls_context;

struct stream_ops {
    /* Ready to use (TLS: handshake and peer check done). May be NULL. */
    void (*on_open)(void *arg);
    /* n > 0 bytes are there: returns how many were consumed, 0 … n. What is left is shown again
     * from its start when more has come, or at the next turn after stream_resume(). Work per call
     * is bounded by STREAM_READ_MAX (or by one frame above it). The callback may pause, finish or
     * close its stream; after such a call its return value still counts. It may overwrite what it
     * consumes: a secret lies in the loop's buffer until others have taken its place. */
    size_t (*on_data)(void *arg, const uint8_t *p, size_t n);
    /* Output had passed the high mark and has fallen below half of it. May be NULL. */
    void (*on_drain)(void *arg);
    /* Once; the stream is gone after it (do not call stream_close). reason is for people:
     * "closed by peer", "closed by peer within a frame", "connection reset by peer", "incomplete
     * frame for 30s", "peer takes no data for 30s", "TLS: …". A dialled TLS 1.3 stream is open
     * before the other side has checked our certificate: a refusal comes as on_close after on_open. */
    void (*on_close)(void *arg, const char *reason);
};

#define STREAM_READ_MAX 131072 /* bytes taken per event at most; a quarter of it where frames are short */

struct stream_limits {
    size_t input;       /* unconsumed input at most: above it the stream closes (0 = STREAM_READ_MAX) */
    size_t high;        /* output mark for on_drain (0 = 1 MiB); the owner watches stream_pending */
    int64_t partial_ms; /* an unfinished frame (input left over) may wait this long, plus 1 s per
                           KiB that has come of it (0 = for ever; does not run while paused) */
    int64_t write_ms;   /* output without any progress (0 = for ever) */
    size_t eager;       /* plain only: once a turn, output of so many bytes leaves before the turn's end where the peer
                           has read all there was, so that it works beside us (0 = never) */
};

/* Takes fd (non-blocking, connected). arg and ops are borrowed and outlive the stream. */
struct stream *stream_new(struct loop *l, int fd, const struct stream_ops *ops, void *arg);

/* The same over TLS; ctx is referenced. name: the host we dialled, for SNI and the name check
 * (NULL on the accepting side). The handshake has to end within 10 s. */
struct stream_tls {
    struct tls_context *ctx;
    const char *name;
};

struct stream *stream_new_secure(struct loop *l, int fd, const struct stream_tls *tls,
                                 const struct stream_ops *ops, void *arg);

#define stream_new_tls(l, fd, ctx, name, ops, arg)                                                 \
    stream_new_secure((l), (fd), &(struct stream_tls){(ctx), (name)}, (ops), (arg))

void stream_limit(struct stream *s, const struct stream_limits *limits);

/*
 * Acknowledge early what no reply has acknowledged: a NestJS peer leaves Nagle's algorithm on and
 * would hold its next small frame back for up to 40 ms. LAZY waits 4 to 8 ms for a reply to go out;
 * EAGER does it at the end of the turn (a system call for each read that is not answered at once).
 * No effect on Unix sockets.
 */
enum stream_quickack { QUICKACK_OFF, QUICKACK_LAZY, QUICKACK_EAGER };
void stream_quickack(struct stream *s, enum stream_quickack how);

/* Where output goes: append to it with base/buf.h; it is written at the end of this turn. Ask for it
 * again in each turn: asking is what marks the stream as having output. */
struct buf *stream_out(struct stream *s); /* a secret behind buf_secret(): overwritten once it is written */
size_t stream_pending(const struct stream *s); /* bytes not yet given to the kernel */

/* The next input, up to the first call of on_data that consumes all there is, holds a secret: of what it leaves over no copy
 * stays behind. What it consumes it wipes itself. */
void stream_secret_input(struct stream *s);

/* No on_data until stream_resume(); time-outs of input stand still. While the peer's data waits, a
 * paused stream does not notice that the peer has gone. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);
bool stream_paused(const struct stream *s);

/* Closes now: no further callback, pending output is lost. The memory is freed at the end of the
 * turn. NULL is legal. */
void stream_close(struct stream *s);

/* Reads no more, writes what is pending, tells the peer the end and drops what still comes until it
 * closes too (5 s at most in all; a reset could overtake our last words; where so many others wait like
 * this, not at all); no further callback. The owner forgets the pointer. */
#define STREAM_LINGER_MAX 1024
void stream_finish(struct stream *s);

/* Gives the socket back, open and the caller's; the rest as stream_close(). For a protocol that begins TLS on a
 * connection that has spoken before: only of a plain stream that is open. */
int stream_release(struct stream *s);

int stream_fd(const struct stream *s);                 /* for getsockopt */
const char *stream_peer(const struct stream *s);       /* "127.0.0.1:51234", "[::1]:4000" or "unix" */
const char *stream_identity(const struct stream *s);   /* the peer's SAN that was accepted, or NULL */
