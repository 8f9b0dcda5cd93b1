#pragma once
/* The head of an HTTP/1.x request, as far as a read-only page server needs it. Pure. */
#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

#define HTTP_HEAD_MAX 16384

struct http_request {
    bool head;   /* HEAD, not GET */
    char *path;  /* decoded, begins with "/", no control characters; the caller's */
    char *query; /* as sent, no control characters, may be ""; the caller's */
};

/* Bytes of the head with its empty line, 0 when it is not complete yet. */
size_t http_head_size(struct str input);

/* head is a complete one. Returns 200, or the status to refuse it with (nothing is allocated then). */
int http_parse(struct str head, struct http_request *r);
void http_request_fini(struct http_request *r);
const char *http_status_text(int status);
