#pragma once

#include "conn.h"

/* The local protocol (bellhop-protocol(7)), client side, as far as the bench needs it. */

struct frame {
    const char *verb, *subject, *body;
    size_t verb_len, subject_len, header_len, body_len;
    uint64_t id;
};

/* Parses the frame at p. Returns its length or 0 while it is incomplete. */
size_t local_parse(const char *p, size_t n, struct frame *f);
bool local_is(const struct frame *f, const char *verb);

/* `VERB ID 0 BLEN` and the body. */
void local_answer(struct buf *out, const char *verb, uint64_t id, const char *body, size_t len);

/* Connects as `name`, waits for the daemon's HELLO. Dies if it is refused. */
void local_attach(struct conn *c, int epfd, const char *address, const char *name, unsigned credit);
