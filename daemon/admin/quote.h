#pragma once
/* JSON by hand, where there are thousands of rows: jansson takes many times as long for them. Apart from internal.h, for
 * jansson.h and wire/json.h have names in common. */
#include "base/buf.h"

void quote_put(struct buf *out, const char *text); /* as a JSON string. text is UTF-8, as all of a configuration is */
