#include "admin/quote.h"

#include "wire/json.h"

void quote_put(struct buf *out, const char *text)
{
    json_quote(str_of(text), out);
}
