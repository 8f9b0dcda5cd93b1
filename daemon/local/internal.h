#pragma once
/* What the files of this folder share; nobody else includes it. */
#include "base/list.h"
#include "base/map.h"
#include "base/slots.h"
#include "local/server.h"
#include "loop/listen.h"
#include "loop/stream.h"
#include "loop/timer.h"
#include "wire/frame.h"

#define SESSION_HIGH (1u << 20)   /* bytes of unwritten output above which a session gets no more */
#define CREDIT_DEFAULT 64
#define CREDIT_MAX 65535
#define GREETING_MS 10000         /* for HELLO */
#define STREAM_STALL_MS 2000      /* an asker that takes nothing of its stream for so long loses it */
#define ALONE_MS 30000            /* a suspect that has not killed its process so long gets company */
#define STAGED_MAX 1024           /* PUB `with` held per session */
#define STAGED_BYTES_MAX (16u << 20)
#define SUBSCRIPTIONS_MAX 1024    /* per session */

struct session;
struct user;

/* A destination: sessions of one name, or of one subscription group, sharing the load. */
struct service {
    struct sink sink; /* first */
    struct server *server;
    struct dest *dest;
    char *name;
    struct list members; /* struct member by link */
    size_t attached;     /* sessions that said HELLO under this name, leaving ones too */
    const struct service_conf *conf; /* NULL = no entry of its own (services are open) */
    uint32_t subscription; /* of a group or a single subscriber; UINT32_MAX = a service */
    bool starved;          /* a send has failed since the last time there was room */
};

struct member { /* a session in a service */
    struct service *service;
    struct session *session;
    struct list_node link;         /* in service->members */
    struct list_node session_link; /* in session->subscriptions, for all but the first */
    uint64_t sub_id;               /* the client's id of SUB */
};

/*
 *     greeting --HELLO--> open --BYE--> leaving --(all settled; peer closes)--> closed
 *         |                 |              |
 *         +-- bad frame, denied, time-out, EOF ------------------------------> closed
 */
enum session_state { SESSION_GREETING, SESSION_OPEN, SESSION_LEAVING, SESSION_CLOSED };

struct session {
    struct server *server;
    struct stream *stream;
    struct list_node link; /* in server->sessions */
    struct user *user;     /* whose share it counts in; NULL = nobody's */
    enum session_state state;
    unsigned uid, gid;
    int pid;
    struct holder holder;       /* of the deliveries it has; its text is owned */
    int64_t since_ms;
    struct member member;       /* in its own service */
    struct list subscriptions;  /* struct member by session_link */
    uint64_t number;            /* for people */
    uint32_t credit, inflight;
    struct slots deliveries;    /* our id -> struct handover */
    struct idmap asks;          /* the client's id -> struct receipt */
    struct list staged;         /* struct staged */
    size_t staged_bytes;
    struct list log_reads;      /* log.c */
    struct list askers_waiting; /* waiters that wait for our output to drain */
    struct waiter waiter;       /* we wait: for room at a destination, or for an asker */
    struct timer *patience;     /* with an asker that does not read its stream; NULL until needed */
    uint64_t stalled_id;        /* the delivery whose stream that is */
    uint64_t consumed;          /* bytes taken so far, for error messages */
    uint64_t skip;              /* bytes of a body above the limit, still to be thrown away */
    int64_t alone_until_ms;     /* what it holds is to be alone there, until then */
    struct timer *company;      /* … which is now; NULL until needed */
    bool shares_crash;          /* another connection of its process has ended with deliveries in hand */
    bool full;                  /* output above SESSION_HIGH */
    bool bye_sent;
};

struct staged {
    struct list_node link;
    struct msg *msg;
    uint64_t with, id;
};

struct server {
    struct server_env env;
    struct listener *listener;
    struct list sessions;  /* all, newest last */
    struct timer *greeting; /* drops those who never say HELLO */
    struct map services;   /* name -> struct service */
    struct idmap users;    /* uid -> struct user, of those with a session */
    struct intake *intake; /* "local" */
    struct msg_pool *pool;
    uint64_t sessions_ever, groups_ever;
    struct server_counts counts;
    bool stopped;
};

/* session.c */
void session_open(struct server *s, int fd);
void session_drop(struct session *s, enum code code, const char *why); /* ERR 0 CODE, then close */
void session_drop_bad(struct session *s, size_t offset, const char *what); /* offset: within this frame */
void session_close(struct session *s, const char *why);
void session_error(struct session *s, uint64_t id, enum code code, const char *detail);
void session_answer(struct session *s, enum verb v, uint64_t id, const struct reply *r);
void session_bye(struct session *s);

/* greet.c */
/* NULL = some service may attach under this uid; else why none may. */
const char *greet_stranger(struct session *s);
void greet_hello(struct session *s, const struct frame *f);

/* user.c */
bool user_join(struct session *s);  /* counts it; false: its user has limits.clients_per_user already */
void user_leave(struct session *s); /* legal when not joined */

/* ask.c: what a client asks of the daemon */
bool ask_message(struct session *s, const struct frame *f); /* false: not taken, s->waiter is enrolled */
void ask_cancel(struct session *s, const struct frame *f);
void ask_withdraw_all(struct session *s);
/* What was staged under that delivery is sent on, or dropped. Not CODE_OK: why one of them was refused; those
 * behind it are dropped. */
enum code ask_staged_end(struct session *s, uint64_t with, bool send);

bool ask_id_in_use(struct session *s, uint64_t id); /* by a message, a staged one or a log that is read */

/* log.c: event logs that a client reads */
#define LOG_PREFIX "$log/"
bool log_asked(struct session *s, const struct frame *f); /* false: the frame is not about a log */
bool log_reading(const struct session *s, uint64_t id);
void log_resume_all(struct session *s); /* its output has room again */
void log_cancel(struct session *s, uint64_t id);
void log_cancel_all(struct session *s);

/* answer.c: what a client answers to deliveries */
void answer_final(struct session *s, const struct frame *f);
void answer_more(struct session *s, const struct frame *f);
void answer_wait(struct session *s, const struct frame *f);
void answer_too_large(struct session *s, uint64_t id);
void answer_lost_all(struct session *s, const char *why, bool crashed); /* crashed: its process died */

/* service.c */
struct service *service_for(struct server *s, const char *name);
void service_join(struct service *sv, struct member *m, struct session *s);
void service_leave(struct member *m); /* legal when not joined */
void service_room(struct session *s); /* the session can take one more: wake its services */
void service_subscribe(struct session *s, const struct frame *f);
void service_unsubscribe(struct session *s, const struct frame *f);
void service_leave_all(struct session *s); /* its own service and every subscription */
void service_free(struct service *sv);
