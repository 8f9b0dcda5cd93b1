#pragma once
/* What a handover is to the broker: exchange and key, properties, body. */
#include "transport/amqp/internal.h"

struct outgoing { /* scratch, zeroed at first */
    struct codec_room room;
    struct buf packet, scratch, entries;
    char expiration[24];
};

void outgoing_fini(struct outgoing *o);

/* Is an answer awaited? Of an event only in what NestJS takes for a request because it has an id. */
bool outgoing_asks(const struct endpoint *e, const struct handover *h);

const char *outgoing_exchange(const struct handover *h); /* "" = the default one */
struct str outgoing_key(const struct handover *h);       /* a queue's own name is its key at the default exchange */

/* id: NEST_ID_DIGITS bytes where an answer is awaited, else {NULL, 0}. c, zeroed before, borrows from o, h and id. The result is why it
 * can never be sent (static text), or NULL. */
const char *outgoing_make(struct outgoing *o, const struct endpoint *e, const struct handover *h, struct str id,
                          struct wire_content *c);
