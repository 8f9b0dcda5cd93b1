#pragma once
/*
 * A strict, bounded scanner for JSON (RFC 8259): finds the members of an object as slices of the
 * sender's own bytes, never builds a tree, never recurses, never allocates. Fast on the hot path;
 * jansson serves configuration and admin instead.
 *
 * Refused: anything that is not one JSON value with white space around it; depth above
 * JSON_DEPTH_MAX; invalid UTF-8; control characters in strings; lone surrogate escapes are kept
 * as they are (NestJS sends them).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define JSON_DEPTH_MAX 64

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_error {
    size_t offset;    /* byte where it went wrong */
    const char *what; /* static text: "expected a value", "nested deeper than 64", … */
};

/* One whole value, white space around it allowed. e may be NULL. */
bool json_valid(struct str text, enum json_type *type, struct json_error *e);

struct json_member {
    struct str name;  /* between the quotes, escapes as written */
    struct str value; /* the value's bytes without white space around it; {NULL, 0} = absent */
    enum json_type type;
};

/*
 * Scans one object and fills `members[0 … count-1]` by name: the caller sets `.name` (plain ASCII
 * without escapes), the scanner sets `.value` and `.type` (value.p == NULL where the member is
 * absent). A member that stands twice: the last one wins (as in JavaScript). A name written with
 * escapes is compared decoded. `*others` (may be NULL) counts members that were not asked for.
 * The whole text is checked. false with *e set when the text is not one JSON object.
 */
bool json_members(struct str text, struct json_member *members, size_t count, size_t *others,
                  struct json_error *e);

/* Walks the members of an object that json_valid has accepted: start with *at = 0. */
bool json_next_member(struct str object, size_t *at, struct json_member *out);

/* Walks the items of an array that json_valid has accepted: start with *at = 0. */
bool json_next_item(struct str array, size_t *at, struct str *item, enum json_type *type);

/* Takes the next character off the inside of a checked JSON string (text->n > 0): the code point
 * that it or its escape stands for; a lone surrogate is U+FFFD. Comparing these orders texts as
 * bytes of UTF-8 do. */
uint32_t json_char(struct str *text);

/* The text of a JSON string (with its quotes), escapes decoded, as UTF-8; lone surrogates become
 * U+FFFD. Appends to out. */
void json_unquote(struct str string, struct buf *out);

/* text as a JSON string with quotes; escapes what must be; text is valid UTF-8. */
void json_quote(struct str text, struct buf *out);
