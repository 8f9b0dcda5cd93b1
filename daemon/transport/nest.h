#pragma once
/*
 * What every transport that speaks NestJS does alike: answers and errors for NestJS clients, requests for
 * NestJS servers and what their replies mean. Packets are written as the frames of codec/nest.h; a
 * transport that frames by itself takes nest_unframed().
 */
#include "codec/nest.h"
#include "transport/transport.h"

/* ---- to a NestJS client: id is the raw JSON value of its request, echoed byte for byte ---- */

void nest_put_value(struct buf *out, struct str id, const struct reply *r, bool last); /* nothing where there is
                                                                     no value and it is not the last */
void nest_put_end(struct buf *out, struct str id, const struct reply *r); /* what asker.done() has brought */
/* detail: JSON that goes as it is, or text, or empty. */
void nest_put_error(struct buf *out, struct str id, enum code code, struct str detail);

/* Why intake_accept() has just refused a message, for people; valid until i is offered the next one. */
const char *nest_refusal(const struct intake *i, enum code code);

/* ---- to a NestJS server ---- */

#define NEST_ID_DIGITS 21 /* as NestJS writes them: lower-case hex */

/* Ids are a salt, so that another daemon's differ, and a number. */
struct str nest_id(uint32_t salt, uint64_t number, char out[static NEST_ID_DIGITS + 1]);
bool nest_id_parse(struct str raw, uint32_t salt, uint64_t *number); /* false: not one of ours */

/* For protocols without headers of their own. The packet of a handover whose body is data (nest_body_json()); id {NULL, 0} = an event. Of a request the time
 * that is left crosses the hop. */
void nest_put_handover(struct buf *out, const struct handover *h, struct str data, struct str id, int64_t now_ms);

#define NEST_NO_BODY "NestJS needs a body of JSON or UTF-8 text"

/* The last reply to h: settles it. */
void nest_settle(struct handover *h, const struct nest_reply *r);
struct reply nest_item(const struct nest_reply *r); /* a value among others */

/* The JSON of the one frame that was written into a buffer. */
static inline struct str nest_unframed(const struct buf *frame)
{
    struct str rest = buf_str(frame);
    (void)str_cut(&rest, '#');
    return rest;
}
