#include "delivery/order.h"

#include "base/mem.h"
#include "msg/headers.h"
#include "wire/json.h"

struct order {
    unsigned refs;
    bool json;
    char *spec;
    struct str path; /* of the spec: a header's name, or members with dots between */
};

struct order *order_new(struct str spec)
{
    struct order *o = mem_zalloc(sizeof(*o));
    o->refs = 1;
    o->spec = str_dup(spec);
    o->json = str_starts(spec, STR("json:"));
    size_t skip = o->json ? 5 : str_starts(spec, STR("header:")) ? 7 : 0;
    o->path = str_make(o->spec + skip, spec.n - skip);
    return o;
}

struct order *order_ref(struct order *o)
{
    o->refs++;
    return o;
}

void order_unref(struct order *o)
{
    if (o == NULL || --o->refs > 0)
        return;
    mem_free(o->spec);
    mem_free(o);
}

bool order_is(const struct order *o, struct str spec)
{
    return str_is(spec, o->spec);
}

/* {NULL, 0} where there is none. */
static struct str member_of(struct str body, struct str path, enum json_type *type)
{
    struct json_error e;
    struct str value = body;
    while (path.p != NULL) {
        struct json_member m = {.name = str_cut(&path, '.')};
        if (!json_members(value, &m, 1, NULL, &e) || m.value.p == NULL)
            return STR_NONE;
        value = m.value;
        *type = m.type;
    }
    return value;
}

static void put_member(struct buf *out, struct str body, struct str path)
{
    enum json_type type = JSON_NULL;
    struct str value = member_of(body, path, &type);
    if (type == JSON_STRING)
        json_unquote(value, out);
    else if (type == JSON_NUMBER || type == JSON_BOOL)
        buf_str_put(out, value);
}

bool order_key(const struct order *o, struct str headers, struct str body, struct buf *out)
{
    buf_puts(out, o->spec);
    buf_putc(out, '\n');
    size_t start = out->len;
    if (o->json)
        put_member(out, body, o->path);
    else
        buf_str_put(out, headers_get(headers, o->path.p));
    if (out->len - start > ORDER_KEY_MAX)
        out->len = start + ORDER_KEY_MAX;
    return out->len > start;
}
