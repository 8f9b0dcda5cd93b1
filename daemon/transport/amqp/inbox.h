#pragma once
/* The answers to what we have asked: they come by direct reply-to, on the channel that publishes. */
#include "transport/amqp/flights.h"
#include "transport/amqp/internal.h"
#include "transport/nest.h"

struct inbox;

struct inbox *inbox_new(struct endpoint *e, struct flights *flights, struct broker *conn); /* borrowed; to be freed before them */
void inbox_free(struct inbox *b);
void inbox_down(struct inbox *b); /* the channel has gone: nothing more comes of a stream that waits for its asker */

struct str inbox_id(const struct inbox *b, uint64_t number, char out[static NEST_ID_DIGITS + 1]); /* as nest_id() */

/* Of one content, in this order. What is no answer to anything that waits is passed over. The second may report. */
void inbox_properties(struct inbox *b, const amqp_basic_properties_t *properties);
void inbox_content(struct inbox *b, struct str body, bool oversized);
