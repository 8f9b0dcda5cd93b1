#pragma once
/* A stream, for the files that work on it: stream.c and stream_sweep.c. */
#include "base/list.h"
#include "base/spares.h"
#include "loop/impl.h"
#include "loop/quickack.h"
#include "loop/stream.h"

enum stream_state { STREAM_OPENING, STREAM_OPEN, STREAM_FINISHING, STREAM_CLOSED };

struct stream {
    struct stream_hub *hub;
    const struct stream_ops *ops;
    void *arg;
    struct layer *layer;     /* NULL = plain */
    char *peer;              /* NULL = Unix socket */
    struct buf in, out;      /* in: what on_data has left over */
    struct list_node dirty;  /* may have output */
    struct list_node timed;  /* has a deadline */
    struct quickack quick;   /* took input, has not answered */
    struct list_node queue;  /* goes on without an event; closed: waits to be freed */
    struct stream_limits limits;
    int64_t partial_since, write_since;
    int fd;
    uint32_t armed; /* what the poller watches for */
    uint8_t state;
    bool reading : 1;      /* EPOLLIN is wanted */
    bool blocked : 1;      /* output waits for EPOLLOUT (or the layer's input) */
    bool want_write : 1;   /* the layer's read or handshake waits for EPOLLOUT */
    bool edge : 1;         /* plain TCP: told once of what comes, and takes all of it: */
    bool unread : 1;       /*   the socket may hold more, of which no event will tell */
    bool ended : 1;        /*   and the peer's end is behind that */
    bool paused : 1;
    bool resumed : 1;      /* the leftover is to be shown without new input */
    bool above : 1;        /* output has passed the high mark */
    bool early : 1;        /* some of this turn's output has left */
    bool lingering : 1;    /* all written, waits for the peer's end */
};

/* What the streams of a loop share. */
struct stream_hub {
    struct loop *loop;
    struct poller *poller;
    uint8_t *input; /* INPUT_HEAD + READ_USUAL bytes, from the first read on */
    struct list ready, dirty, timed, dead;
    size_t lingering;
    struct quickacks quick;
    struct spares spares;
    struct timer *sweep;
    int64_t sweep_at, swept; /* INT64_MAX = not planned */
};

/* Only from the loop: the owner hears of it at once. */
void stream_fail(struct stream *s, const char *reason);

/* stream_sweep.c. Deadlines: one sweep over the streams that have one; the others cost nothing. */
void stream_retime(struct stream *s); /* after what a deadline depends on has changed */
void stream_sweep(void *hub);         /* of hub->sweep */
