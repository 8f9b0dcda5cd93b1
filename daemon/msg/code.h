#pragma once
/* The stable error codes of the local protocol (bellhop-protocol(7), "Error codes"). */
#include "base/str.h"

enum code {
    CODE_OK,
    CODE_BAD_FRAME,
    CODE_VERSION,
    CODE_DENIED,
    CODE_NO_ROUTE,
    CODE_NO_SERVICE,
    CODE_TIMEOUT,
    CODE_UNAVAILABLE,
    CODE_OVERLOADED,
    CODE_TOO_LARGE,
    CODE_INVALID,
    CODE_EXPIRED,
    CODE_DUPLICATE,
    CODE_FAILED,
    CODE_DRAINING,
    CODE_INTERNAL,
    CODE_BUSY, /* inside the daemon only: not taken, the source has to wait (transport.h) */
    CODE_COUNT
};

const char *code_name(enum code c); /* "no-route"; "ok" for CODE_OK */

/* A code as a peer wrote it. Unknown words are an application's own and count as CODE_FAILED. */
enum code code_parse(struct str word);
