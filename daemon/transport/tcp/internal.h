#pragma once
/* What the files of this folder share; nobody else includes it. */
#include "base/list.h"
#include "base/map.h"
#include "codec/nest.h"
#include "loop/listen.h"
#include "loop/stream.h"
#include "transport/link.h"
#include "transport/tcp/memo.h"
#include "transport/tcp/tcp.h"

#define OUTPUT_HIGH (1u << 20) /* unwritten bytes above which a connection is given no more */
#define ENVELOPE_MAX 65536     /* what a frame may hold beside its data */

struct tcp_conf { /* the further keys of an endpoint */
    bool ack;              /* events go out as requests, so that their end is known */
    uint64_t concurrency;  /* connect: unanswered messages at a time */
    uint64_t connections;  /* listen: open at a time */
    int64_t frame_timeout_ms;
    int64_t write_timeout_ms;
};

struct tcp_target { /* the further keys of `to: {endpoint: …}` */
    unsigned ack; /* 0 = as the endpoint says, 1 = yes, 2 = no */
};

extern const struct key tcp_endpoint_keys[];
extern const struct key tcp_target_keys[];

struct endpoint {
    struct sink sink; /* first; used when connecting */
    const struct endpoint_conf *conf;
    const struct tcp_conf *keys;
    struct endpoint_env env;
    struct listener *listener; /* listen */
    struct list peers;         /* listen: struct peer */
    bool stopped;
    struct client *client;     /* connect */
    struct holder holder;      /* connect */
    struct buf subject; /* scratch of the packet that is being taken */
    struct memo memo;   /* listen: subjects of patterns */
    struct msg_pool *pool;   /* listen */
    struct list spare_asks;  /* listen: struct ask */
    uint64_t received, sent, bad;
};

struct peer;
struct client;

/* peer.c: the accepting side, NestJS clients */
void peer_open(struct endpoint *e, int fd);
void peer_close(struct peer *p);
void peer_stop(struct peer *p); /* reads nothing more; closes when the last answer is out */
void peers_fini(struct endpoint *e); /* what they shared, when the last has gone */
size_t peer_busy(const struct peer *p);
struct peer *peer_of(struct list_node *n);

/* client.c: the connecting side, a NestJS server */
struct client *client_new(struct endpoint *e);
void client_free(struct client *c);
void client_set_tls(struct client *c, struct tls_context *tls);
struct link *client_link(const struct client *c);
size_t client_busy(const struct client *c);

struct stream_limits tcp_limits(const struct endpoint *e);
