#pragma once

#include "conn.h"

/* NestJS's TCP framing, `<length>#<json>`, as far as the bench needs it: everything it sends is
 * ASCII, so UTF-16 units are bytes. */

enum { NEST_ID = 21 };

/* The length of the frame at p, prefix included, or 0 while it is incomplete; *json is where its
 * text begins. Dies if it is no frame. */
size_t nest_frame(const char *p, size_t n, const char **json);

/* Answers the load generator's request (data second, id last) with its own data, as a frame. */
void nest_echo(const char *json, size_t n, struct buf *out);
