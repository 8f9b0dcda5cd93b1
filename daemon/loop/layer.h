#pragma once
/*
 * What may stand between a stream and its socket (TLS). Not for other folders. A layer embeds
 * struct layer as its first member; the stream frees it. None of these calls blocks.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/stream.h"

enum layer_step { LAYER_OK, LAYER_WANT_READ, LAYER_WANT_WRITE, LAYER_EOF, LAYER_FAILED };

struct layer;

struct layer_ops {
    enum layer_step (*handshake)(struct layer *y); /* LAYER_OK = open */
    /* Takes what is at hand, at most n bytes; *got > 0 exactly with LAYER_OK. */
    enum layer_step (*read)(struct layer *y, uint8_t *p, size_t n, size_t *got);
    /* *sent may be > 0 with any step; after a WANT the same bytes are offered again. */
    enum layer_step (*write)(struct layer *y, const uint8_t *p, size_t n, size_t *sent);
    bool (*pending)(const struct layer *y); /* holds input that no event will announce */
    void (*bye)(struct layer *y);           /* tells the peer that no more comes */
    const char *(*reason)(const struct layer *y); /* after LAYER_FAILED */
    const char *(*identity)(const struct layer *y);
    void (*free)(struct layer *y);
};

struct layer {
    const struct layer_ops *ops;
};

struct stream *stream_new_layer(struct loop *l, int fd, struct layer *layer,
                                const struct stream_ops *ops, void *arg);
