#pragma once
/*
 * `${NAME}`, `${NAME:-default}` and `${file:PATH}` in values; `$$` is a literal `$`. What comes in
 * is not looked at again: a value cannot bring further references.
 */
#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

#define EXPAND_FILE_MAX 65536u /* bytes of a secret file */

/*
 * Appends `text` with its references replaced. *secret is set (never cleared) when a part came
 * from a file. `decode`: the literal parts are percent-decoded (parts of URLs); what references
 * bring in never is. On failure false, and a text in `why` that holds no value, only names.
 */
bool expand(struct str text, bool decode, struct buf *out, bool *secret, struct buf *why);

/* Percent-decodes; false where a `%` is malformed. */
bool percent_decode(struct str text, struct buf *out);

/* Length of the reference that starts at text.p[i], or 0 where none does. To skip over them. */
size_t expand_skip(struct str text, size_t i);
