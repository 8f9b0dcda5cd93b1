#pragma once
/* What the files of this folder share; nobody else includes it. */
#include "base/list.h"
#include "base/map.h"
#include "codec/codec.h"
#include "config/config.h"
#include "transport/redis/conn.h"
#include "transport/redis/redis.h"
#include "transport/origin.h"
#include "transport/transport.h"

#define REDIS_PORT "6379"
#define OUTPUT_HIGH (1u << 20)   /* unwritten bytes above which a connection is given no more */
#define ENVELOPE_MAX 131072      /* what a message may hold beside its body */
#define READ_BYTES (16u << 20)   /* of a read of several entries; one entry may be larger */
#define REFUSED_MS 5000          /* until a command that was denied is tried again */

struct redis_conf { /* the further keys of an endpoint */
    bool ack;
    uint64_t concurrency;
    int64_t reply_timeout_ms, reconnect_max_ms;
};

enum start { START_END, START_BEGINNING };
enum trim { TRIM_NONE, TRIM_DELETE };

struct redis_source { /* the further keys of `from: {endpoint: …}` */
    char *channel, *pattern, *stream; /* one of them */
    char *group, *consumer;
    unsigned start, trim;
    int64_t block_ms, claim_idle_ms;
    uint64_t count;
};

enum ack { ACK_INHERIT, ACK_YES, ACK_NO };
enum receiver { RECEIVER_ANY, RECEIVER_REQUIRED };

struct redis_target { /* the further keys of `to: {endpoint: …}` */
    unsigned ack, receiver;
    char *stream;
    uint64_t maxlen; /* 0 = unlimited */
};

struct replies;
struct subscriber;
struct reader;

struct endpoint {
    struct sink sink; /* first */
    const struct endpoint_conf *conf;
    const struct redis_conf *keys;
    struct endpoint_env env;
    struct conn *commands;
    struct replies *replies;       /* of NestJS servers; NULL until the first request */
    struct subscriber *subscriber; /* NULL without a channel or pattern to listen to */
    struct reader **readers;       /* one for each stream */
    size_t reader_count;
    /* sink.c */
    struct idmap waiting;   /* number -> struct handover: sent, the answer is awaited */
    uint64_t next_id;
    uint32_t salt;
    struct list refused;    /* handovers that can never be sent, settled at the turn's end */
    bool refusing, starved;
    char *denied;           /* what a command was refused for by the server, until one succeeds */
    struct buf packet;      /* scratch */
    struct codec_room room; /* scratch */
    struct doctor *doctor;  /* who asked for the server's settings, or NULL */
    uint64_t doctor_number;
    struct msg_pool *pool;
    uint64_t received, sent, bad;
};

struct str redis_user(const struct url *url);     /* {NULL, 0} = the default user */
struct str redis_database(const struct url *url); /* "3" of redis://host/3; empty = the first */
size_t redis_reply_max(const struct endpoint *e);

/* sink.c: PUBLISH and XADD */
extern const struct sink_ops redis_sink_ops;
extern const struct conn_ops redis_commands_ops;
void sink_fini(struct endpoint *e);
void sink_wake(struct endpoint *e); /* there may be room again */
/* Ends a handover that waits (or waited for its channel): h is gone after it. */
void sink_settle(struct endpoint *e, struct handover *h, enum outcome outcome, const struct reply *r);
void sink_lost(struct endpoint *e, struct handover *h, const char *reason);
void sink_lose(struct endpoint *e, bool asked_only, const char *reason); /* all of them, or those with a channel */
void sink_request(struct endpoint *e, struct handover *h); /* its channel is there: publishes it */
/* A command of ours was answered with an error (a NUL behind it) that a person has to see to, or (STR_NONE) with none. */
void redis_denied(struct endpoint *e, struct str error);

/* doctor.c: settings of the server */
void redis_doctor(struct endpoint *e, struct doctor *d);
void doctor_end(struct endpoint *e); /* with what was found so far */

/* replies.c: the channels on which NestJS servers answer */
struct replies *replies_new(struct endpoint *e);
void replies_free(struct replies *r); /* settles nothing; NULL is legal */
/* OPEN: publish it. ASKED: h waits for its channel, then goes to sink_request(). FULL: too many channels are in use,
 * not now. But for FULL h->carrier is set until replies_leave(). */
enum replies_join { REPLIES_OPEN, REPLIES_ASKED, REPLIES_FULL };
enum replies_join replies_join(struct replies *r, struct handover *h);
void replies_leave(struct handover *h); /* h is settled or cancelled: it needs its channel no more */
struct conn *replies_conn(const struct replies *r);

/* channels.c: what is published, and NestJS clients */
struct subscriber *subscriber_new(struct endpoint *e);
void subscriber_free(struct subscriber *s); /* withdraws its receipts; NULL is legal */
void subscriber_stop(struct subscriber *s);
size_t subscriber_busy(const struct subscriber *s);
void subscriber_drained(struct subscriber *s); /* the output of commands has become little */
struct conn *subscriber_conn(const struct subscriber *s); /* NULL once stopped */
const char *subscriber_error(const struct subscriber *s);

/* streams.c: one stream, as a consumer of a group */
struct reader *reader_new(struct endpoint *e, const struct endpoint_source *source);
void reader_free(struct reader *r); /* withdraws its receipts; NULL is legal */
void reader_stop(struct reader *r);
size_t reader_busy(const struct reader *r);
size_t reader_unsettled(const struct reader *r); /* accepted by the core, which has not settled them */
void reader_on_commands(struct reader *r); /* the connection for commands is ready */
struct conn *reader_conn(const struct reader *r); /* NULL once stopped */
const char *reader_error(const struct reader *r);

/* entry.c: the codecs, and the fields of an entry as a message; pure */
#define FIELD_BODY "body"
#define FIELD_TYPE "content-type"
#define FIELD_SUBJECT "subject"
extern const struct codec redis_channel_codecs[], redis_entry_codecs[]; /* by enum codec_choice, but for nest */
/* raw, unless the route's side or the endpoint says cloudevents: no NestJS stands at a stream. */
unsigned entry_codec(unsigned side, const struct endpoint_conf *e);

struct entry_place {
    struct str stream;
    uint64_t deliveries; /* 0 = the first, or not known */
    unsigned codec;
};

/* What the entries of one stream have in common: their origin, and the beginning of the ids that are made. */
struct entry_names {
    struct origin origin;
    struct buf id;
    size_t id_prefix;
};

void entry_names_init(struct entry_names *n, struct str stream); /* n is zeroed, or was begun before */
void entry_names_fini(struct entry_names *n);

struct entry_room { /* scratch of one stream */
    struct codec_room *codec;
    struct buf *body; /* one that was made */
    struct entry_names *names;
};

/* Its parts, as slices of the entry and of room; source and pool are the caller's. false: *what (static) says why it is
 * no message. */
bool entry_decode(const struct entry *entry, const struct entry_place *place, const struct entry_room *room,
                  struct msg_input *out, const char **what);
