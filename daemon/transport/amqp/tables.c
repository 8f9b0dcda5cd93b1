#include "transport/amqp/tables.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "msg/headers.h"
#include "msg/msg.h"
#include "transport/amqp/wire.h"
#include "transport/origin.h"
#include "wire/json.h"

/* ---------------------------------------------------------------- the check */

/* Bytes of a value by its kind; what is not here has a length of its own or is unknown. */
static const struct {
    char kind;
    uint8_t size;
} fixed_sizes[] = {{'t', 1}, {'b', 1}, {'B', 1}, {'s', 2}, {'u', 2}, {'I', 4}, {'i', 4}, {'f', 4},
                   {'l', 8}, {'L', 8}, {'d', 8}, {'T', 8}, {'D', 5}, {'V', 0}};

struct checker {
    struct str raw;
    size_t at;
    size_t ends[TABLE_DEPTH_MAX]; /* where each open container ends */
    bool named[TABLE_DEPTH_MAX];  /* a table: its values have names */
    size_t depth, items;
};

static size_t room(const struct checker *c)
{
    return (c->depth > 0 ? c->ends[c->depth - 1] : c->raw.n) - c->at;
}

static bool skip(struct checker *c, size_t n)
{
    if (n > room(c))
        return false;
    c->at += n;
    return true;
}

static bool take_length(struct checker *c, size_t *n)
{
    if (room(c) < 4)
        return false;
    *n = 0;
    for (int i = 0; i < 4; i++)
        *n = *n << 8 | (uint8_t)c->raw.p[c->at++];
    return *n <= room(c);
}

static bool open_container(struct checker *c, bool named)
{
    size_t n;
    if (c->depth == TABLE_DEPTH_MAX || !take_length(c, &n))
        return false;
    c->ends[c->depth] = c->at + n;
    c->named[c->depth++] = named;
    return true;
}

static bool check_value(struct checker *c)
{
    size_t n;
    if (room(c) < 1 || ++c->items > TABLE_ITEMS_MAX)
        return false;
    char kind = c->raw.p[c->at++];
    if (kind == 'F' || kind == 'A')
        return open_container(c, kind == 'F');
    if (kind == 'S' || kind == 'x')
        return take_length(c, &n) && skip(c, n);
    for (size_t i = 0; i < sizeof(fixed_sizes) / sizeof(fixed_sizes[0]); i++) {
        if (fixed_sizes[i].kind == kind)
            return skip(c, fixed_sizes[i].size);
    }
    return false;
}

static bool check_name(struct checker *c)
{
    return room(c) >= 1 && skip(c, 1 + (size_t)(uint8_t)c->raw.p[c->at]);
}

size_t table_check(struct str raw)
{
    struct checker c = {.raw = raw};
    if (!open_container(&c, true))
        return 0;
    while (c.depth > 0) {
        if (room(&c) == 0)
            c.depth--;
        else if ((c.named[c.depth - 1] && !check_name(&c)) || !check_value(&c))
            return 0;
    }
    return c.at;
}

/* ---------------------------------------------------------------- values as text */

static bool as_integer(const amqp_field_value_t *v, int64_t *out)
{
    switch (v->kind) {
    case AMQP_FIELD_KIND_I8: *out = v->value.i8; return true; /* NOLINT(bugprone-signed-char-misuse,cert-str34-c): a number */
    case AMQP_FIELD_KIND_U8: *out = v->value.u8; return true;
    case AMQP_FIELD_KIND_I16: *out = v->value.i16; return true;
    case AMQP_FIELD_KIND_U16: *out = v->value.u16; return true;
    case AMQP_FIELD_KIND_I32: *out = v->value.i32; return true;
    case AMQP_FIELD_KIND_U32: *out = v->value.u32; return true;
    case AMQP_FIELD_KIND_I64: *out = v->value.i64; return true;
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_TIMESTAMP: *out = (int64_t)v->value.u64; return v->value.u64 <= INT64_MAX;
    default: return false;
    }
}

/* 12345 with 2 decimals is 123.45. */
static void put_decimal(struct buf *out, amqp_decimal_t d)
{
    char digits[300];
    int places = d.decimals;
    int n = snprintf(digits, sizeof(digits), "%0*" PRIu32, places + 1, d.value);
    buf_put(out, digits, (size_t)(n - places));
    if (places > 0) {
        buf_putc(out, '.');
        buf_put(out, digits + n - places, (size_t)places);
    }
}

/* What is no container and no text, as it stands in JSON too; false = neither. */
static bool put_plain(struct buf *out, const amqp_field_value_t *v)
{
    int64_t integer;
    if (as_integer(v, &integer))
        buf_printf(out, "%" PRId64, integer);
    else if (v->kind == AMQP_FIELD_KIND_BOOLEAN)
        buf_puts(out, v->value.boolean ? "true" : "false");
    else if (v->kind == AMQP_FIELD_KIND_U64 || v->kind == AMQP_FIELD_KIND_TIMESTAMP)
        buf_printf(out, "%" PRIu64, v->value.u64);
    else if (v->kind == AMQP_FIELD_KIND_F32 && v->value.f32 - v->value.f32 == 0)
        buf_printf(out, "%.9g", (double)v->value.f32);
    else if (v->kind == AMQP_FIELD_KIND_F64 && v->value.f64 - v->value.f64 == 0)
        buf_printf(out, "%.17g", v->value.f64);
    else if (v->kind == AMQP_FIELD_KIND_DECIMAL)
        put_decimal(out, v->value.decimal);
    else
        return false;
    return true;
}

static bool is_text(const amqp_field_value_t *v)
{
    return (v->kind == AMQP_FIELD_KIND_UTF8 || v->kind == AMQP_FIELD_KIND_BYTES) && str_utf8(bytes_of(v->value.bytes));
}

/* A container that is being written as JSON. */
struct level {
    const amqp_field_value_t *of;
    int next;
};

static int items_of(const amqp_field_value_t *v)
{
    return v->kind == AMQP_FIELD_KIND_TABLE ? v->value.table.num_entries : v->value.array.num_entries;
}

/* The comma and the name before the next item, which it returns. */
static const amqp_field_value_t *next_item(struct buf *out, struct level *l)
{
    int i = l->next++;
    if (i > 0)
        buf_putc(out, ',');
    if (l->of->kind == AMQP_FIELD_KIND_ARRAY)
        return &l->of->value.array.entries[i];
    struct str name = bytes_of(l->of->value.table.entries[i].key);
    json_quote(str_utf8(name) ? name : STR("?"), out);
    buf_putc(out, ':');
    return &l->of->value.table.entries[i].value;
}

static bool is_container(const amqp_field_value_t *v)
{
    return v->kind == AMQP_FIELD_KIND_TABLE || v->kind == AMQP_FIELD_KIND_ARRAY;
}

static void put_leaf(struct buf *out, const amqp_field_value_t *v)
{
    if (is_text(v))
        json_quote(bytes_of(v->value.bytes), out);
    else if (!put_plain(out, v))
        buf_puts(out, "null");
}

/* No deeper than table_check() has let through. */
static void put_json(struct buf *out, const amqp_field_value_t *root)
{
    struct level levels[TABLE_DEPTH_MAX];
    size_t depth = 0;
    const amqp_field_value_t *v = root;
    for (;;) {
        if (is_container(v) && depth < TABLE_DEPTH_MAX) {
            levels[depth++] = (struct level){v, 0};
            buf_putc(out, v->kind == AMQP_FIELD_KIND_TABLE ? '{' : '[');
        } else {
            put_leaf(out, v);
        }
        while (depth > 0 && levels[depth - 1].next == items_of(levels[depth - 1].of)) {
            depth--;
            buf_putc(out, levels[depth].of->kind == AMQP_FIELD_KIND_TABLE ? '}' : ']');
        }
        if (depth == 0)
            return;
        v = next_item(out, &levels[depth - 1]);
    }
}

/* ---------------------------------------------------------------- table -> headers */

static void put_entry(const amqp_table_entry_t *e, const struct codec *c, struct codec_room *room, struct buf *scratch)
{
    const amqp_field_value_t *v = &e->value;
    struct str text;
    buf_clear(scratch);
    if (v->kind == AMQP_FIELD_KIND_UTF8 || v->kind == AMQP_FIELD_KIND_BYTES) {
        text = bytes_of(v->value.bytes);
    } else {
        if (is_container(v))
            put_json(scratch, v);
        else if (!put_plain(scratch, v) && v->kind != AMQP_FIELD_KIND_VOID)
            return;
        text = buf_str(scratch);
    }
    codec_header(c, room, bytes_of(e->key), text);
}

static void put_entries(const amqp_table_t *t, const struct codec *c, struct codec_room *room, struct buf *scratch)
{
    for (int i = 0; i < t->num_entries; i++) {
        if (!origin_owns(STR("amqp-"), bytes_of(t->entries[i].key)))
            put_entry(&t->entries[i], c, room, scratch);
    }
}

static const amqp_field_value_t *find(const amqp_table_t *t, const char *name)
{
    for (int i = 0; i < t->num_entries; i++) {
        if (str_is(bytes_of(t->entries[i].key), name))
            return &t->entries[i].value;
    }
    return NULL;
}

bool table_integer(const amqp_table_t *t, const char *name, int64_t *out)
{
    const amqp_field_value_t *v = find(t, name);
    return v != NULL && as_integer(v, out);
}

uint64_t table_deaths(const amqp_table_t *t)
{
    const amqp_field_value_t *deaths = find(t, "x-death");
    uint64_t sum = 0;
    int64_t count;
    if (deaths == NULL || deaths->kind != AMQP_FIELD_KIND_ARRAY)
        return 0;
    for (int i = 0; i < deaths->value.array.num_entries; i++) {
        const amqp_field_value_t *d = &deaths->value.array.entries[i];
        if (d->kind == AMQP_FIELD_KIND_TABLE && table_integer(&d->value.table, "count", &count) && count > 0)
            sum += (uint64_t)count;
    }
    return sum;
}

/* ---------------------------------------------------------------- making one */

static amqp_field_value_t *add(struct table *t, struct str name)
{
    if (t->count == t->cap) {
        t->cap = t->cap > 0 ? 2 * t->cap : 16;
        t->entries = mem_realloc(t->entries, (size_t)t->cap * sizeof(*t->entries));
    }
    t->entries[t->count] = (amqp_table_entry_t){.key = amqp_of(name)};
    return &t->entries[t->count++].value;
}

void table_add(struct table *t, struct str name, struct str value)
{
    *add(t, name) = (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_of(value)};
}

void table_add_integer(struct table *t, const char *name, int64_t value)
{
    *add(t, str_of(name)) = (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I64, .value.i64 = value};
}

void table_add_bool(struct table *t, const char *name, bool value)
{
    *add(t, str_of(name)) = (amqp_field_value_t){.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = value};
}

void table_add_table(struct table *t, const char *name, const struct table *inner)
{
    *add(t, str_of(name)) = (amqp_field_value_t){.kind = AMQP_FIELD_KIND_TABLE, .value.table = table_made(inner)};
}

amqp_table_t table_made(const struct table *t)
{
    return (amqp_table_t){.num_entries = t->count, .entries = t->entries};
}

void table_fini(struct table *t)
{
    mem_free(t->entries);
    *t = (struct table){0};
}

/* ---------------------------------------------------------------- properties */

enum property_id { ENCODING, ID, CORRELATION, TYPE, APP, USER, CONTENT_TYPE };

/* Short strings: their header, where they stand, their flag. */
static const struct property {
    const char *header;
    size_t offset;
    amqp_flags_t flag;
} properties[] = {
    [ENCODING] = {"content-encoding", offsetof(amqp_basic_properties_t, content_encoding), AMQP_BASIC_CONTENT_ENCODING_FLAG},
    [ID] = {"id", offsetof(amqp_basic_properties_t, message_id), AMQP_BASIC_MESSAGE_ID_FLAG},
    [CORRELATION] = {"correlation-id", offsetof(amqp_basic_properties_t, correlation_id), AMQP_BASIC_CORRELATION_ID_FLAG},
    [TYPE] = {"amqp-type", offsetof(amqp_basic_properties_t, type), AMQP_BASIC_TYPE_FLAG},
    [APP] = {"amqp-app-id", offsetof(amqp_basic_properties_t, app_id), AMQP_BASIC_APP_ID_FLAG},
    [USER] = {"amqp-user-id", offsetof(amqp_basic_properties_t, user_id), AMQP_BASIC_USER_ID_FLAG},
    /* Read, it is no header: the codec has its own place for it. */
    [CONTENT_TYPE] = {"content-type", offsetof(amqp_basic_properties_t, content_type), AMQP_BASIC_CONTENT_TYPE_FLAG},
};

#define TEXT_FLAGS (AMQP_BASIC_CONTENT_ENCODING_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG | \
                    AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_APP_ID_FLAG | AMQP_BASIC_USER_ID_FLAG) /* of those that are headers */

static amqp_bytes_t *slot(amqp_basic_properties_t *p, const struct property *of)
{
    return (amqp_bytes_t *)(void *)((char *)p + of->offset);
}

/* In ms; the broker takes off by itself what has passed. */
static void put_expiration(struct str ms, const struct codec *c, struct codec_room *room)
{
    uint64_t value;
    char text[32];
    if (str_parse_u64(ms, &value) && value > 0 && value <= INT64_C(10) * 365 * 86400000)
        codec_header(c, room, STR("ttl"), str_of(str_format_duration((int64_t)value, text)));
}

static void put_number(const char *name, uint64_t value, const struct codec *c, struct codec_room *room)
{
    char text[20];
    codec_header(c, room, str_of(name), str_make(text, (size_t)(bytes_u64(text, value) - text)));
}

struct str properties_read(const amqp_basic_properties_t *p, const struct codec *c, struct codec_room *room,
                           struct buf *scratch)
{
    for (size_t i = 0; (p->_flags & TEXT_FLAGS) != 0 && i < CONTENT_TYPE; i++) {
        struct str value = bytes_of(*slot((amqp_basic_properties_t *)(uintptr_t)p, &properties[i]));
        if ((p->_flags & properties[i].flag) != 0 && value.n > 0)
            codec_header(c, room, str_of(properties[i].header), value);
    }
    if ((p->_flags & AMQP_BASIC_EXPIRATION_FLAG) != 0)
        put_expiration(bytes_of(p->expiration), c, room);
    if ((p->_flags & AMQP_BASIC_PRIORITY_FLAG) != 0)
        put_number("amqp-priority", p->priority, c, room);
    if ((p->_flags & AMQP_BASIC_TIMESTAMP_FLAG) != 0)
        put_number("amqp-timestamp", p->timestamp, c, room);
    if ((p->_flags & AMQP_BASIC_HEADERS_FLAG) != 0)
        put_entries(&p->headers, c, room, scratch);
    return (p->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG) != 0 ? bytes_of(p->content_type) : STR_NONE;
}

/* What becomes of a header that goes out. */
enum fate {
    IN_TABLE,
    STAYS, /* the broker's own books, where we found the message, what the caller sets */
    TEXT,  /* a property; in the table where it is there already, or too long for one */
    TEXT_ONLY, /* likewise, but never in the table */
    PRIORITY, TIMESTAMP,
};

static const struct rule {
    const char *name;
    enum fate fate;
    enum property_id property;
} rules[][5] = { /* by the length of their names */
    [2] = {{"id", TEXT, ID}},
    [3] = {{.name = "ttl", STAYS}},
    [7] = {{.name = "x-death", STAYS}},
    [9] = {{"amqp-type", TEXT, TYPE}},
    [10] = {{.name = "amqp-queue", STAYS}},
    [11] = {{"amqp-app-id", TEXT, APP}, {.name = "amqp-deaths", STAYS}},
    /* The broker refuses a user_id that is not the connection's. */
    [12] = {{"content-type", TEXT_ONLY, CONTENT_TYPE}, {.name = "amqp-user-id", STAYS}},
    [13] = {{.name = "amqp-priority", PRIORITY}, {.name = "amqp-exchange", STAYS}},
    [14] = {{"correlation-id", TEXT, CORRELATION}, {.name = "amqp-timestamp", TIMESTAMP}},
    [16] = {{"content-encoding", TEXT, ENCODING}, {.name = "amqp-routing-key", STAYS}, {.name = "amqp-redelivered", STAYS},
            {.name = "x-delivery-count", STAYS}, {.name = "x-acquired-count", STAYS}},
};

static struct rule rule_of(struct str name)
{
    if (name.p[0] == 'x' && (str_starts(name, STR("x-first-death-")) || str_starts(name, STR("x-last-death-"))))
        return (struct rule){.fate = STAYS};
    if (name.n >= sizeof(rules) / sizeof(rules[0]))
        return (struct rule){.fate = IN_TABLE};
    const struct rule *r = rules[name.n];
    for (size_t i = 0; i < sizeof(rules[0]) / sizeof(rules[0][0]) && r[i].name != NULL; i++) {
        if (name.p[0] == r[i].name[0] && memcmp(name.p, r[i].name, name.n) == 0)
            return r[i];
    }
    return (struct rule){.fate = IN_TABLE};
}

static bool set_number(amqp_basic_properties_t *p, bool priority, struct str value)
{
    uint64_t n;
    if (!str_parse_u64(value, &n) || (priority && n > 255))
        return false;
    if (priority)
        p->priority = (uint8_t)n;
    else
        p->timestamp = n;
    p->_flags |= priority ? AMQP_BASIC_PRIORITY_FLAG : AMQP_BASIC_TIMESTAMP_FLAG;
    return true;
}

static bool set_text(amqp_basic_properties_t *p, const struct property *of, struct str value)
{
    if ((p->_flags & of->flag) != 0 || value.n > WIRE_SHORT_MAX)
        return false;
    *slot(p, of) = amqp_of(value);
    p->_flags |= of->flag;
    return true;
}

/* false: it belongs in the table. */
static bool set_property(amqp_basic_properties_t *p, const struct header *h)
{
    struct rule r = rule_of(h->name);
    if (r.fate == IN_TABLE || r.fate == STAYS)
        return r.fate == STAYS;
    if (r.fate == PRIORITY || r.fate == TIMESTAMP)
        return set_number(p, r.fate == PRIORITY, h->value);
    return set_text(p, &properties[r.property], h->value) || r.fate == TEXT_ONLY;
}

/* Name and long string. Names are at most HEADER_NAME_MAX long, which a short string holds. */
static void put_table_entry(struct buf *out, const struct header *h)
{
    char *start = (char *)buf_reserve(out, h->name.n + h->value.n + 6), *p = start;
    uint32_t length = htobe32((uint32_t)h->value.n);
    *p++ = (char)h->name.n;
    p = bytes_str(p, h->name);
    *p++ = 'S';
    p = bytes_copy(p, &length, sizeof(length));
    p = bytes_str(p, h->value);
    buf_commit(out, (size_t)(p - start));
}

void properties_write(struct str headers, amqp_basic_properties_t *p, struct buf *entries)
{
    struct header h;
    while (headers_next(&headers, &h)) {
        if (!set_property(p, &h))
            put_table_entry(entries, &h);
    }
}

/* As properties_write() does it for these two names. */
static void put_own(amqp_basic_properties_t *p, enum property_id which, const char *name, struct str value, struct buf *entries)
{
    if (!set_text(p, &properties[which], value))
        put_table_entry(entries, &(struct header){str_of(name), value});
}

void properties_write_message(const struct msg *m, amqp_basic_properties_t *p, struct buf *entries)
{
    if (m->made == 0) {
        properties_write(m->headers, p, entries);
        return;
    }
    put_own(p, ID, "id", m->id, entries);
    put_own(p, CORRELATION, "correlation-id", m->correlation_id, entries);
    put_table_entry(entries, &(struct header){STR("source"), m->source});
    put_table_entry(entries, &(struct header){STR("traceparent"), m->traceparent});
    properties_write(str_make(m->headers.p + m->made, m->headers.n - m->made), p, entries);
}

void properties_set_type(amqp_basic_properties_t *p, struct str content_type)
{
    if (content_type.n == 0 || content_type.n > WIRE_SHORT_MAX)
        return;
    p->content_type = amqp_of(content_type);
    p->_flags |= AMQP_BASIC_CONTENT_TYPE_FLAG;
}
