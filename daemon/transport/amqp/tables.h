#pragma once
/*
 * AMQP field tables and properties <-> header blocks (msg/headers.h). Pure.
 *
 * In: a name is lower-cased; text, numbers, booleans and times become their text, tables and arrays
 * (`x-death`) JSON. What no header can hold is left out: names and values that are not legal, byte
 * strings that are no text, what goes beyond TABLE_LINES_MAX or TABLE_TEXT_MAX.
 * Out: every value is a long string; what the broker counts itself (`x-death`, `x-delivery-count`, …)
 * is left out.
 */
#include <amqp.h>
#include <amqp_framing.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"

#define TABLE_DEPTH_MAX 8
#define TABLE_ITEMS_MAX 4096 /* values in all its levels: each takes 24 bytes or more once decoded */
#define TABLE_LINES_MAX 96   /* header lines that one table may become */
#define TABLE_TEXT_MAX 49152 /* and their bytes */

/* The bytes of the table at the start of raw, 0 where it is malformed, too deep or too large: every
 * value has to end within what holds it. rabbitmq-c's own reader recurses as deep as the bytes say. */
size_t table_check(struct str raw);

/* Appends a line for each entry that can be one. Returns how many were left out. */
size_t table_headers(const amqp_table_t *t, struct buf *out);

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

size_t table_bytes(const amqp_table_t *t); /* at least what it takes once encoded, if it is of long strings */

/*
 * The properties of a message as header lines: content-type, content-encoding, message_id as `id`,
 * correlation_id as `correlation-id`, expiration as `ttl`, type, app_id, user_id, priority, timestamp
 * under `amqp-…`, then the table. Appends; returns how many entries were left out.
 */
size_t properties_headers(const amqp_basic_properties_t *p, struct buf *out);

/* The other way; properties and table borrow from headers. `id` and `correlation-id` that are too long
 * for a property stay in the table. */
void headers_properties(struct str headers, amqp_basic_properties_t *p, struct table *t);
