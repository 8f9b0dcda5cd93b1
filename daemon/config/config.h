#pragma once
/*
 * The configuration of the daemon as typed structs: parsed, checked and complete with defaults.
 * Immutable once loaded. See bellhop.yaml(5) for the meaning of each key.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/cron.h"
#include "config/schema.h"

struct endpoint_conf;

/* What a transport adds to the configuration; app/ hands the table of those that are linked. */
struct config_transport {
    const char *name;           /* "tcp" */
    const char *const *schemes; /* NULL-terminated: {"tcp", "tls", NULL}. With TLS are `tls` and what is another of them
                                   with an `s` behind it (redis, rediss); where there is none, each may have a profile */
    bool can_listen, can_connect;
    const struct key *endpoint_keys; /* further keys of an endpoint, or NULL */
    size_t endpoint_size;            /* of the struct they fill */
    const struct key *source_keys;   /* further keys of `from: {endpoint: …}`, or NULL */
    size_t source_size;
    const struct key *target_keys;   /* further keys of `to: {endpoint: …}`, or NULL */
    size_t target_size;
    const char *port;  /* where a URL names none; NULL = it must */
    unsigned codecs;   /* CODEC_BIT() of those it speaks; 0 = nest alone */
    /* What no single key can see; NULL = all is well, else what is wrong and what is allowed (static
     * text, shown behind the place). The functions may be NULL. */
    const char *(*check_endpoint)(const struct endpoint_conf *e);
    const char *(*check_source)(const void *keys);
    /* What the source itself selects by (a topic, a binding), as a filter (route/matcher.h) that captures what its wildcards
     * matched; out stays empty where it selects by none. false, or no valid filter: they are none that one could have. */
    bool (*source_filter)(const void *keys, struct buf *out);
    /* A source or target that speaks fewer codecs than the transport: what it is, for people ("a stream of redis"), and
     * which; NULL = it speaks all of them. */
    const char *(*source_codecs)(const void *keys, unsigned *codecs);
    const char *(*target_codecs)(const void *keys, unsigned *codecs);
    const char *(*check_target)(const void *keys);
};

struct arena;
struct config_index; /* the look-ups below */

struct local_conf { char *socket; unsigned mode; char *group; };
enum when_full { FULL_REJECT, FULL_BLOCK, FULL_DROP_OLDEST };
struct store_conf { char *path; uint64_t max_size; unsigned when_full; };
struct admin_conf { char *socket; unsigned mode; char *group; char *http; };
struct log_conf { unsigned level, format; char *file; }; /* enum log_level, enum log_format */
struct tracing_conf { char *otlp; double sample; };
struct limits_conf {
    uint64_t body;      /* bytes of a message's body */
    uint64_t clients;   /* local connections */
    uint64_t clients_per_user;
    uint64_t memory;    /* bytes of messages held */
    uint64_t queue;     /* deliveries waiting per destination */
    uint64_t dead;      /* dead letters held in memory */
    uint64_t history;   /* bytes of what `bellhop why` looks through */
    int64_t drain_timeout_ms; /* the top-level key `drain_timeout` */
};

struct tls_conf {
    char *name;
    struct place place;
    char *ca, *cert, *key;
    unsigned verify;      /* enum tls_verify (loop/tls.h): mutual | server | none */
    unsigned min_version; /* "1.3" | "1.2" */
    struct texts peers;
};

struct retry_conf { uint64_t attempts; int64_t delay_ms; double factor; int64_t max_delay_ms; unsigned jitter; };
enum jitter { JITTER_FULL, JITTER_NONE };
struct breaker_conf { uint64_t failures; int64_t open_for_ms; uint64_t probes; };

struct target_conf {
    char *name;        /* endpoint or service */
    struct place place;
    bool service;      /* name is a service (services, or open) */
    char *subject;     /* template with {1}…, or NULL = the message's own */
    unsigned codec;    /* enum codec_choice; CODEC_UNSET = the endpoint's */
    const struct config_transport *transport; /* of the endpoint; NULL for a service */
    void *extra;       /* the transport's target_keys struct, or NULL */
};

struct policy_conf {
    char *name;
    struct place place;
    int64_t timeout_ms;
    int64_t ttl_ms;    /* events older than this expire; INT64_MAX = unlimited */
    struct retry_conf retry;
    struct breaker_conf breaker;
    bool dead_letter;             /* keep it; false = drop */
    struct target_conf *dead_letter_to; /* dead_letter: {to: …}, or NULL */
    uint64_t crashes; /* of the service with nothing else in hand: then it is given up; 0 = never */
    bool idempotent; /* requests may be repeated after they reached the service (default true) */
};

enum order_choice { ORDER_RELAXED, ORDER_STRICT };
struct ids { unsigned *items; size_t count; };

struct service_conf {
    char *name;
    struct place place;
    bool open;            /* the pseudo-row `open: true` sets config.services_open instead */
    struct texts users, groups; /* who may attach; both empty = anyone who reaches the socket */
    struct ids uids, gids;      /* theirs, by config_find_users(): what the host does not know is left out */
    char *token;          /* secret or NULL */
    uint64_t credit;      /* cap on a client's credit; 0 = its own wish */
    char *order_by;       /* "header:key", "json:order.customer" or NULL */
    unsigned order;       /* enum order_choice */
    struct texts publish; /* filters; has_publish false = anything */
    struct texts subscribe;
    bool has_publish, has_subscribe;
};

enum codec_choice { CODEC_UNSET, CODEC_NEST, CODEC_RAW, CODEC_CLOUDEVENTS };
#define CODEC_BIT(codec) (1u << (codec))

struct url {
    char *text;   /* as written, for messages: password masked */
    char *scheme, *user, *password, *host, *port, *path; /* NULL where absent; UTF-8 without control characters;
                                                            port has no default here */
};

struct endpoint_conf {
    char *name;
    struct place place;
    bool listen; /* else connect */
    struct url url;
    struct url *others; /* connect: further addresses, tried in turn; of the same scheme */
    size_t other_count;
    char *tls;      /* profile name or NULL */
    bool insecure;  /* plain beyond loopback is meant */
    unsigned codec; /* enum codec_choice */
    const struct config_transport *transport;
    void *extra;    /* the transport's endpoint_keys struct, or NULL */
    struct route_conf *sources; /* of the routes from it the first of each different `source`, by next_source */
};

struct dedupe_conf {
    char *by;          /* "id" or "header:NAME"; NULL = off */
    int64_t window_ms;
};

/* The header that `by` names; NULL = the id. */
static inline const char *dedupe_header(const struct dedupe_conf *d)
{
    static const char prefix[] = "header:";
    return strncmp(d->by, prefix, sizeof(prefix) - 1) == 0 ? d->by + sizeof(prefix) - 1 : NULL;
}

struct event_log_conf { /* log of a route */
    char *name;         /* NULL = the route has none */
    struct place place;
    int64_t keep_ms;    /* INT64_MAX = unlimited */
    uint64_t max_size;  /* UINT64_MAX = unlimited */
};

struct route_conf {
    char *name;    /* given, or made: "edge#3" */
    struct place place;
    char *from;    /* endpoint name, or "local" */
    const struct config_transport *from_transport; /* NULL for "local" */
    void *from_extra; /* source_keys struct, or NULL */
    char *source;  /* what tells sources apart: `from` and its keys as text ("rabbit, queue: orders") */
    struct route_conf *next_source; /* of the same endpoint */
    unsigned from_codec;
    char *match;   /* filter, or canonical JSON of an object pattern; NULL = everything (">") */
    char *filter;  /* without match: whose wildcards {1}… are, the source's own; NULL = none: {1} is all of the subject */
    struct target_conf *to;
    size_t to_count; /* 0 only where it has a log */
    bool durable;
    struct dedupe_conf dedupe; /* with durable only */
    struct event_log_conf log;
    char *policy;  /* name; "default" unless set */
};

struct schedule_conf {
    char *name;
    struct place place;
    char *cron;        /* or NULL: then every_ms is set */
    struct cron times; /* what cron says */
    int64_t every_ms;
    char *subject;     /* no wildcards; an object pattern in canonical JSON */
    char *body;        /* or NULL = empty */
    char *headers;     /* a checked block, or NULL = none */
};

struct config {
    char *file;
    uint64_t version;
    char *node;
    struct local_conf local;
    struct store_conf store;
    bool store_named; /* the file has a section `store` */
    struct admin_conf admin;
    struct log_conf log;
    struct tracing_conf tracing;
    struct limits_conf limits;
    bool services_open;
    struct tls_conf *tls;
    size_t tls_count;
    struct policy_conf *policies; /* `default` is always there */
    size_t policy_count;
    struct service_conf *services;
    size_t service_count;
    struct endpoint_conf *endpoints;
    size_t endpoint_count;
    struct route_conf *routes;
    size_t route_count;
    struct schedule_conf *schedules;
    size_t schedule_count;
    struct arena *arena; /* holds everything above and below but the warnings */
    struct config_index *index;
    struct texts warnings; /* "file:line:column: …": routes that never match, unused names, shared addresses */
};

/*
 * Reads, checks and completes a file. transports: the linked ones, NULL-terminated array of pointers.
 * NULL on failure with every error in err, each "file:line:column: what is wrong, what is allowed".
 */
struct config *config_load(const char *file, const struct config_transport *const *transports,
                           struct err *err);
/* The same from memory (tests, fuzzing), without config_find_…(); `file` is only named in messages. */
struct config *config_parse(const char *file, struct str text,
                            const struct config_transport *const *transports, struct err *err);
/* Looks up the users and groups of services and sockets, which may block, so that nobody has to later; a warning for each
 * that this host does not know. */
void config_find_users(struct config *c);
void config_find_files(struct config *c); /* a warning for each file of a TLS profile that cannot be read */
void config_free(struct config *c); /* NULL is legal; secrets are wiped */

/* The effective configuration as YAML with every default, secrets as "********". Appends to out. */
void config_print(const struct config *c, struct buf *out);

/* Does it need the store? Where the file has a section `store`, a durable route, or one with a log. */
bool config_stores(const struct config *c);

/* Look-ups by name; NULL when there is none. */
const struct tls_conf *config_tls(const struct config *c, const char *name);
const struct policy_conf *config_policy(const struct config *c, const char *name);
const struct service_conf *config_service(const struct config *c, const char *name);
const struct endpoint_conf *config_endpoint(const struct config *c, const char *name);
const struct schedule_conf *config_schedule(const struct config *c, const char *name);

/* Same meaning? By every key, secrets included. For the diff of a reload. */
bool endpoint_conf_equal(const struct endpoint_conf *a, const struct endpoint_conf *b);
bool endpoint_sources_equal(const struct endpoint_conf *a, const struct endpoint_conf *b); /* in any order */
bool tls_conf_equal(const struct tls_conf *a, const struct tls_conf *b);
bool schedule_conf_equal(const struct schedule_conf *a, const struct schedule_conf *b);

/* The first time of a schedule after that one, in ms since 1970; INT64_MAX = never. Intervals are
 * counted from 1970 on, so that they keep their phase whenever the daemon starts. */
int64_t schedule_next(const struct schedule_conf *s, int64_t after_wall_ms);

/* What differs between two configurations, a line each for people ("endpoint edge: changed",
 * "limits.body: 1MiB -> 2MiB (needs a restart)"). Appends to lines. */
void config_diff(const struct config *before, const struct config *after, struct texts *lines);
/* Gives `after` the values of `before` where a change needs a restart, so that nothing is half in force. */
void config_keep(struct config *after, const struct config *before);
void texts_add(struct texts *t, char *item_take);
void texts_fini(struct texts *t);

/* The manual's list of keys from the tables, mdoc rows; for `make check`. Appends to out. */
void config_keys_print(const struct config_transport *const *transports, struct buf *out);
