#pragma once
/*
 * A small HTTP/1.1 server for the admin pages, over our own streams (libevent's evhttp has no limit
 * of connections). Read-only: GET and HEAD, one request a connection, which closes after the answer.
 */
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"

struct http_server;

struct http_reply {
    int status;               /* 200 unless set */
    const char *content_type; /* "text/plain; charset=utf-8" unless set; static text */
    struct buf body;          /* filled by the handler, freed by the server */
};

/* Runs on the loop and answers at once. path is decoded, without query; query may be "". */
typedef void http_fn(void *arg, const char *path, const char *query, struct http_reply *reply);

/* address: "127.0.0.1:9180". Request line and headers at most 16 KiB, body none, 64 connections (more
 * wait in the backlog), 10 s per request. NULL on failure with a text in err. */
struct http_server *http_open(struct loop *l, const char *address, http_fn *fn, void *arg, struct err *err);
unsigned http_port(const struct http_server *h);
void http_close(struct http_server *h); /* NULL is legal */
