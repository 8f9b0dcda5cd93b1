#pragma once
/*
 * AMQP 0-9-1 frames. Pure: bytes in, decoded methods and slices out. The methods and properties are
 * read and written by rabbitmq-c (`amqp_decode_*`, `amqp_encode_*`), which trusts its peer: what is
 * handed to it was checked here first. What every message has (deliver, publish, properties) is read and
 * written here.
 *
 *     type(1) channel(2) size(4) payload(size) 0xCE
 *     content = a method that has some, one header frame, body frames up to its body size
 */
#include <amqp.h>
#include <amqp_framing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define WIRE_FRAME_MIN 4096   /* what every peer has to take */
#define WIRE_FRAME_MAX 131072 /* what we offer */
#define WIRE_FRAME_EXTRA 8    /* bytes of a frame beside its payload */
#define WIRE_SHORT_MAX 255    /* bytes of a short string: names, keys, ids */

enum wire_kind { WIRE_MORE, WIRE_METHOD, WIRE_HEADER, WIRE_BODY, WIRE_HEARTBEAT, WIRE_BAD };

struct wire_frame {
    uint16_t channel;
    size_t used;          /* bytes of the whole frame */
    amqp_method_t method; /* WIRE_METHOD */
    const amqp_basic_properties_t *properties; /* WIRE_HEADER */
    uint64_t body_size;   /* WIRE_HEADER */
    struct str body;      /* WIRE_BODY: a slice */
    const char *what;     /* WIRE_BAD: static text */
};

struct wire {
    amqp_pool_t pool;   /* of what the last frame was decoded to, and these two */
    amqp_basic_deliver_t deliver;
    amqp_basic_properties_t properties;
    uint32_t frame_max; /* bytes of a frame at most, both ways; tuned by the owner */
};

void wire_init(struct wire *w);
void wire_fini(struct wire *w);

/*
 * Looks for one frame at the start of in. WIRE_MORE: unfinished, call again with the same start and
 * more bytes. WIRE_BAD: the connection cannot go on. What is decoded is valid until the next call and
 * as long as the bytes of in are. Only methods that a server may send to a client are let through,
 * tables of at most TABLE_DEPTH_MAX levels, properties of class basic.
 */
enum wire_kind wire_next(struct wire *w, struct str in, struct wire_frame *out);

/* ---- out ---- */

extern const struct str wire_protocol_header; /* "AMQP" 0 0 9 1 */
extern const struct str wire_heartbeat;       /* a whole frame */

/* false, and out as it was, where it does not fit into a frame of WIRE_FRAME_MIN, or a short string is too long. */
bool wire_put_method(struct buf *out, uint16_t channel, amqp_method_number_t id, void *method);

struct wire_content {
    amqp_basic_publish_t publish;
    amqp_basic_properties_t properties; /* without its table */
    struct str entries; /* of the table `headers`, encoded; none where empty */
    struct str body;
};

/* basic.publish, its header and its body in as many frames as it takes. false, and out as it was, where
 * a short string is too long or the properties do not fit into one frame: this can never be sent. */
bool wire_put_content(const struct wire *w, struct buf *out, uint16_t channel, const struct wire_content *c);

/* ---- content that comes in ---- */

enum assembly_step { ASSEMBLY_MORE, ASSEMBLY_DONE, ASSEMBLY_BAD };

/*
 * Puts one content together: begin with the method's frame, then one header frame, then body frames. A
 * body that comes in one frame is a slice of it, else it is copied. A body above limit is counted and
 * not kept: it ends as ASSEMBLY_DONE with `oversized` set. Zeroed is idle.
 *
 *     idle --begin--> header wanted --header--> body wanted --(all of it)--> idle
 */
struct assembly {
    enum { ASSEMBLY_IDLE, ASSEMBLY_HEADER, ASSEMBLY_BODY } state;
    uint64_t wanted, got; /* bytes of body */
    uint64_t limit;
    bool oversized;
    struct buf body;      /* of several frames */
    struct buf headers;   /* the owner's: what it made of the properties */
};

void assembly_begin(struct assembly *a, uint64_t limit);
enum assembly_step assembly_header(struct assembly *a, uint64_t body_size);
/* DONE: *body is the whole body, valid during the frame. */
enum assembly_step assembly_body(struct assembly *a, struct str part, struct str *body);
void assembly_fini(struct assembly *a); /* idle again, its memory freed */

static inline struct str bytes_of(amqp_bytes_t b)
{
    return str_make(b.bytes, b.len);
}

static inline amqp_bytes_t amqp_of(struct str s)
{
    return (amqp_bytes_t){.len = s.n, .bytes = (void *)(uintptr_t)s.p};
}
