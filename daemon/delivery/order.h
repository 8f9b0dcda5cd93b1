#pragma once
/*
 * By what deliveries are ordered (services.NAME.order_by): `header:NAME`, or `json:MEMBER`, a member of the body,
 * dotted for those within (`json:order.customer`). Pure.
 */
#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

struct order; /* counted: lanes outlive the configuration that made them */

/* spec: a checked one; a bare name is that of a header. */
struct order *order_new(struct str spec);
struct order *order_ref(struct order *o);
void order_unref(struct order *o); /* NULL is legal */
bool order_is(const struct order *o, struct str spec);
/* Puts what tells a key from others into out: of this order, and at most ORDER_KEY_MAX bytes of the key; longer ones
 * that begin alike are one. false: there is none, for the header or member is not there or empty, the body is no JSON
 * object, or the member is null, an array or an object. A number is the same key as its text. */
#define ORDER_KEY_MAX 1024
bool order_key(const struct order *o, struct str headers, struct str body, struct buf *out);
