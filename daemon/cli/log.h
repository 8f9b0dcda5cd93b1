#pragma once
/* What `bellhop log show` and `bellhop replay` share: which entries of a log. */
#include "cli/cli.h"

struct log_selection {
    const char *from, *to, *match, *key;
    uint64_t limit;
};

/* The arguments of the admin command; NULL where one is not UTF-8: a restriction must never be left out. */
json_t *log_arguments(const char *name, const struct log_selection *s);

#define LOG_OPTIONS(type)                                                                                              \
    { "from", 'f', OPTION_TEXT, offsetof(struct type, log.from), "PLACE", "from here on: an offset, a time, an age" }, \
    { "to", 't', OPTION_TEXT, offsetof(struct type, log.to), "PLACE", "to this offset, or before this time" },         \
    { "match", 'm', OPTION_TEXT, offsetof(struct type, log.match), "FILTER", "only subjects that match" },             \
    { "key", 'k', OPTION_TEXT, offsetof(struct type, log.key), "KEY", "only those of this key" },                      \
    { "limit", 'n', OPTION_COUNT, offsetof(struct type, log.limit), "N", "at most N entries" }
