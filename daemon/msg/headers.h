#pragma once
/*
 * A header block as it stands on the wire: lines `name: value LF`. Pure; nothing is copied.
 * Names are lower-case tokens, values UTF-8 without control characters, a name may repeat.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"

#define HEADERS_MAX_BYTES 65536
#define HEADERS_MAX_LINES 128
#define HEADER_NAME_MAX 128

/* Of these, what is kept free for what each delivery adds: `attempt`, `timeout`, `redelivered`. */
#define HEADERS_DELIVERY_BYTES 112
#define HEADERS_DELIVERY_LINES 3

struct header {
    struct str name, value;
};

/* false at the first line that is not legal; *what (static text) and *offset say why and where. */
bool headers_check(struct str block, const char **what, size_t *offset);

/* The next line of a checked block; *block moves on. false at its end. */
bool headers_next(struct str *block, struct header *h);

/* The first value of that name in a checked block; {NULL, 0} where there is none. */
struct str headers_get(struct str block, const char *name);

bool header_name_valid(struct str name);  /* 1 … 128 bytes of a-z 0-9 and !#$%&'*+-.^_`|~ */
bool header_value_valid(struct str value); /* printable UTF-8, no blank at either end */

/* What a character of a name is in lower case; 0 = it can be in none. */
extern const unsigned char header_token[256];

static inline void headers_put(struct buf *out, const char *name, struct str value)
{
    buf_puts(out, name);
    buf_put(out, ": ", 2);
    buf_str_put(out, value);
    buf_putc(out, '\n');
}
