/* What two copies of a message have in common. */
#include "delivery/internal.h"
#include "msg/headers.h"

/* The name that its sender gave it; empty = none. */
static struct str given_name(const struct dedupe_conf *d, const struct msg *m)
{
    const char *header = dedupe_header(d);
    if (header != NULL)
        return headers_get(m->headers, header);
    return m->id_made ? STR_NONE : m->id;
}

static void put_part(struct buf *out, struct str s)
{
    uint64_t n = s.n;
    buf_put(out, &n, sizeof(n)); /* or "ab" and "c" would be "a" and "bc" */
    buf_str_put(out, s);
}

bool dedupe_name(const struct route *r, const struct msg *m, struct buf *name)
{
    if (r->conf == NULL || r->conf->dedupe.by == NULL)
        return false;
    struct str given = given_name(&r->conf->dedupe, m);
    const struct str parts[] = {str_of(r->conf->name), m->source, str_of(r->conf->dedupe.by), given};
    for (size_t i = 0; given.n > 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
        put_part(name, parts[i]);
    return given.n > 0;
}
