#include "msg/code.h"

#include <assert.h>

static const char *const names[CODE_COUNT] = {
    "ok",        "bad-frame", "version", "denied",  "no-route",  "no-service", "timeout",  "unavailable",
    "overloaded", "too-large", "invalid", "expired", "duplicate", "failed",     "draining", "internal",
    "busy",
};

const char *code_name(enum code c)
{
    assert(c < CODE_COUNT);
    return names[c];
}

enum code code_parse(struct str word)
{
    for (unsigned c = CODE_BAD_FRAME; c < CODE_BUSY; c++) {
        if (str_is(word, names[c]))
            return (enum code)c;
    }
    return CODE_FAILED;
}
