#pragma once
/* scheme://[user[:password]@]host[:port][/path]; IPv6 hosts in brackets, kept without them. */
#include <stdbool.h>

#include "config/walk.h"

/*
 * Reads a URL from a scalar. References may stand for any part, or for the whole URL; `${file:…}`
 * for the user, the password or the whole. User and password are percent-decoded where they are literal.
 * url->text never holds a password; where a file gave the whole URL it holds nothing but the scheme.
 */
bool url_read(struct walk *w, const struct node *n, const char *key, struct url *url);
bool url_equal(const struct url *a, const struct url *b);
bool url_loopback(const struct url *url); /* 127.0.0.0/8, ::1, localhost */

/* "host:port" of the listener of the admin HTTP address; false where it is not of that form. */
bool address_valid(const char *text);
