#pragma once
/* Base64 (RFC 4648, section 4). Pure. */
#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

void base64_put(struct buf *out, struct str bytes);

/* The bytes of a text, appended. false, and out as it was, where it is not base64 as base64_put() writes it: padded,
 * no white space, no bits set behind the end. */
bool base64_parse(struct str text, struct buf *out);
