#pragma once
/* A content that a consumer gets, piece by piece: basic.deliver, properties, body; and what it is to us. */
#include "msg/msg.h"
#include "transport/amqp/internal.h"
#include "transport/origin.h"

enum incoming_text { IN_EXCHANGE, IN_KEY, IN_TYPE, IN_REPLY_TO, IN_CORRELATION, IN_TEXTS };

struct incoming { /* of one channel: contents of two may come interleaved */
    const struct amqp_source *keys;
    unsigned codec;
    struct buf queue;     /* its name, where the broker gave it */
    uint64_t tag;
    bool redelivered;
    struct origin origin; /* of this exchange, key and redelivered; count 0 = to be made */
    struct buf in[IN_TEXTS];
    struct codec_room room;
    struct buf subject, scratch;
};

void incoming_init(struct incoming *c, const struct amqp_source *keys, unsigned codec); /* keys: borrowed */
void incoming_fini(struct incoming *c);

void incoming_named(struct incoming *c, struct str queue); /* the broker has named it */

void incoming_deliver(struct incoming *c, const amqp_basic_deliver_t *m);
void incoming_properties(struct incoming *c, const amqp_basic_properties_t *p);
struct str incoming_text(const struct incoming *c, enum incoming_text which); /* empty where there is none */

/* What it is to become; source and pool of the input are the caller's. */
struct parcel {
    struct msg_input input;
    struct str id; /* nest: raw JSON; {NULL, 0} = none */
};

/* Slices of body and of c, until the next incoming_deliver(). false: *what (static) says why it is no message. */
bool incoming_read(struct incoming *c, struct str body, struct parcel *out, const char **what);
