#pragma once
/*
 * AMQP field tables and properties <-> header blocks (msg/headers.h). Pure.
 *
 * In: text, numbers, booleans and times become their text, tables and arrays (`x-death`) JSON. Whether a
 * header can hold it is codec_header()'s to say (codec/codec.h).
 * Out: every value is a long string; what the broker counts itself (`x-death`, `x-delivery-count`, …)
 * is left out.
 */
#include <amqp.h>
#include <amqp_framing.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"
#include "codec/codec.h"

struct msg;

#define TABLE_DEPTH_MAX 8
#define TABLE_ITEMS_MAX 4096 /* values in all its levels: each takes 24 bytes or more once decoded */

/* The bytes of the table at the start of raw, 0 where it is malformed, too deep or too large: every
 * value has to end within what holds it. rabbitmq-c's own reader recurses as deep as the bytes say. */
size_t table_check(struct str raw);

/* How often the message was dead-lettered: the sum of the counts in its `x-death`; 0 = never. */
uint64_t table_deaths(const amqp_table_t *t);

/* The integer under that name. */
bool table_integer(const amqp_table_t *t, const char *name, int64_t *out);

/* A table in the making; its entries borrow from the names and values that were added. */
struct table {
    amqp_table_entry_t *entries;
    int count, cap;
};

void table_add(struct table *t, struct str name, struct str value);          /* a long string */
void table_add_integer(struct table *t, const char *name, int64_t value);
void table_add_bool(struct table *t, const char *name, bool value);
void table_add_table(struct table *t, const char *name, const struct table *inner); /* borrowed */
amqp_table_t table_made(const struct table *t); /* borrows from t */
void table_fini(struct table *t);

/*
 * The properties of a message as native headers, by codec_header(): message_id is `id`, correlation_id
 * `correlation-id`, expiration `ttl`, type, app_id, user_id, priority and timestamp stand under `amqp-…`; then
 * the entries of the table. Returns the content type, which is no header. scratch is the caller's.
 */
struct str properties_read(const amqp_basic_properties_t *p, const struct codec *c, struct codec_room *room,
                           struct buf *scratch);

/* The other way: p, which borrows from the header block, and the entries of the table, encoded, appended to it. `id` and
 * `correlation-id` that are too long for a property stay in the table; `ttl` is the caller's to set. */
void properties_write(struct str headers, amqp_basic_properties_t *p, struct buf *entries);
/* The same of all headers of a message, those that every message has without being looked for. */
void properties_write_message(const struct msg *m, amqp_basic_properties_t *p, struct buf *entries);
void properties_set_type(amqp_basic_properties_t *p, struct str content_type); /* {NULL, 0} = none */
