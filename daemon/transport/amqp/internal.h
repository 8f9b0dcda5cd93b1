#pragma once
/* What the files of this folder share; nobody else includes it. */
#include "base/list.h"
#include "codec/codec.h"
#include "transport/amqp/amqp.h"
#include "transport/amqp/broker.h"

#define REPLY_QUEUE "amq.rabbitmq.reply-to" /* direct reply-to: replies come to whoever consumes it on that channel */

enum amqp_auth { AUTH_PLAIN, AUTH_EXTERNAL };

struct amqp_conf { /* the further keys of an endpoint */
    int64_t heartbeat_ms;
    int64_t confirm_timeout_ms;
    int64_t reconnect_max_ms;
    uint64_t concurrency; /* unconfirmed or unanswered messages at a time */
    unsigned auth;        /* enum amqp_auth */
    bool ack;             /* nest: events go out as requests, so that their end is known */
};

struct amqp_declare { /* the mapping `declare` of a source */
    bool given, durable, exclusive, auto_delete;
    unsigned type;          /* 0 = as the broker does */
    unsigned exchange_type;
    char *dead_letter_exchange, *dead_letter_routing_key;
    uint64_t delivery_limit, max_length; /* 0 = none */
    int64_t message_ttl_ms;              /* 0 = none */
};

struct amqp_source { /* the further keys of `from: {endpoint: …}` */
    char *queue;     /* NULL = one of its own, which the broker names */
    char *exchange;
    struct texts bind;
    uint64_t prefetch;
    struct amqp_declare declare;
};

struct amqp_target { /* the further keys of `to: {endpoint: …}` */
    char *exchange, *queue, *routing_key;
    bool mandatory, persistent;
    uint64_t priority; /* 0 = none */
    unsigned ack;      /* 0 = as the endpoint says, 1 = yes, 2 = no */
};

/* keys.c */
extern const struct key amqp_endpoint_keys[], amqp_source_keys[], amqp_target_keys[];
extern const char *const amqp_queue_types[], *const amqp_exchange_types[];
const char *amqp_check_endpoint(const struct endpoint_conf *e);
const char *amqp_check_source(const void *keys);
bool amqp_source_filter(const void *keys, struct buf *out);
const char *amqp_check_target(const void *keys);

struct publisher;
struct answers;
struct consumer;

struct endpoint {
    struct sink sink; /* first */
    const struct endpoint_conf *conf;
    const struct amqp_conf *keys;
    struct endpoint_env env;
    struct publisher *publisher;
    struct consumer *consumer; /* NULL without sources */
    struct doctor *doctor;     /* who asked, until the end of the turn */
    uint64_t received, sent, bad;
};

struct broker *amqp_connect(struct endpoint *e, const char *role);

static inline bool holds(const struct buf *b, struct str text)
{
    return b->len == text.n && (b->base == NULL || str_eq(buf_str(b), text));
}

/* The codec of a route's side, which is not nest. */
const struct codec *amqp_codec(unsigned choice);

/* ---- publish.c: the destination. A connection of its own, so that a broker without room does not keep us from
 * acknowledging what makes room. ---- */
struct publisher *publisher_new(struct endpoint *e);
void publisher_free(struct publisher *p);
struct broker *publisher_broker(const struct publisher *p);
struct answers *publisher_answers(const struct publisher *p);
size_t publisher_busy(const struct publisher *p);
const char *publisher_error(const struct publisher *p); /* of its channel, or NULL */

/* ---- answer.c: the answers to requests that came in, on the publisher's connection ---- */
struct answer {
    const struct msg *asked;
    struct str reply_to, correlation_id;
    unsigned codec; /* enum codec_choice */
    struct str id;  /* nest: raw JSON of the request's id */
    bool last;
};

struct answers *answers_new(struct endpoint *e, struct broker *conn);
void answers_free(struct answers *a); /* after its connection */
/* false: the broker cannot be reached, the answer is lost. */
bool answers_send(struct answers *a, const struct answer *to, const struct reply *r);
/* true: too much is waiting to go out, w is enrolled (unless NULL) until it has. */
bool answers_full(struct answers *a, struct waiter *w);

/* ---- doctor.c ---- */
void amqp_doctor(struct endpoint *e, struct doctor *d);
void amqp_doctor_end(struct endpoint *e);

/* ---- consume.c: the sources ---- */
struct consumer *consumer_new(struct endpoint *e);
void consumer_free(struct consumer *c);
struct broker *consumer_broker(const struct consumer *c);
void consumer_stop(struct consumer *c); /* takes nothing new */
size_t consumer_busy(const struct consumer *c);
size_t consumer_unsettled(const struct consumer *c); /* accepted by the core, which has not settled them */
bool consumer_is_ready(const struct consumer *c); /* all of its sources are consumed, or it was stopped */
const char *consumer_error(const struct consumer *c); /* of a source that cannot be consumed, or NULL */
