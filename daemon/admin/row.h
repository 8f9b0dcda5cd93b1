#pragma once
/*
 * JSON by hand, where there may be thousands of rows: jansson takes ten times as long for them, on the loop. Apart from
 * internal.h, for jansson.h and wire/json.h have names in common. Commas come by themselves.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* A value: in a list (key NULL), or a member of an object. key needs no escapes. */
void row_open(struct buf *out, const char *key, char bracket); /* '{' or '[' */
void row_close(struct buf *out, char bracket);                 /* '}' or ']' */
void row_text(struct buf *out, const char *key, const char *text); /* NULL = null */
void row_str(struct buf *out, const char *key, struct str text);   /* what is not UTF-8 is said to be none */
void row_u64(struct buf *out, const char *key, uint64_t number);
void row_i64(struct buf *out, const char *key, int64_t number);
void row_bool(struct buf *out, const char *key, bool is);
