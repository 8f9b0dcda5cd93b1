#pragma once
/* What the files of this folder share. */
#include <jansson.h>

#include "admin/admin.h"
#include "base/buf.h"
#include "base/list.h"
#include "loop/http.h"
#include "loop/listen.h"
#include "loop/stream.h"
#include "wire/frame.h"

#define ADMIN_BODY_MAX (1u << 20)
#define ADMIN_OUTPUT_MAX (4u << 20) /* a reader of `tap` that is slower than this loses lines */

struct admin {
    struct admin_env env;
    struct listener *listener;
    struct http_server *http;
    struct list visitors; /* struct visitor */
    struct list taps;     /* struct tap_watch */
    struct visitor *audit_for; /* who waits for the audit that runs, or NULL */
    uint64_t audit_id;
    struct list why_calls;  /* why.c: the same */
    struct list dead_calls; /* dlq.c: commands that wait for the store */
    struct examination *examination; /* doctor.c: the one that runs, or NULL */
    struct list log_calls;  /* log.c */
    struct list reload_calls; /* control.c */
};

/* One connection of the tool. */
struct visitor {
    struct admin *admin;
    struct stream *stream;
    struct list_node link;
    bool greeted, closed;
    unsigned uid;
};

/* One `tap` that is running. */
struct tap_watch {
    struct list_node link;
    struct visitor *visitor;
    uint64_t id, lost;
    char *match, *route; /* NULL = any */
    bool bodies;
};

/* A command: gets its arguments (an object, never NULL), returns its answer (owned by the caller), or
 * NULL after command_fail(). `streams`: answers later by itself with visitor_more(). */
struct call {
    struct visitor *visitor;
    uint64_t id;
    const json_t *args;
    enum code code; /* set by command_fail() */
    char *detail;
};

struct command {
    const char *name;
    json_t *(*run)(struct admin *a, struct call *c);
    bool changes; /* logged with the caller's uid */
    bool streams;
};

extern const struct command command_status, command_routes, command_explain, command_dlq_ls,
    command_dlq_show, command_dlq_redrive, command_dlq_edit, command_dlq_purge, command_tap, command_reload, command_drain,
    command_version, command_audit, command_why, command_doctor, command_log_ls, command_log_show, command_log_rm, command_replay;

json_t *command_fail(struct call *c, enum code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Arguments by name; wrong types count as absent. */
const char *arg_text(const struct call *c, const char *name); /* NULL when absent */
bool arg_true(const struct call *c, const char *name);
size_t arg_count(const struct call *c, const char *name);

/* Text of a peer as JSON; what is not UTF-8 becomes U+FFFD-free hex. Never NULL. */
json_t *json_of(struct str text);

/* visitor.c */
void visitor_open(struct admin *a, int fd);
void visitor_close(struct visitor *v);
void visitor_send(struct visitor *v, enum verb verb, uint64_t id, const json_t *body);
void visitor_send_text(struct visitor *v, enum verb verb, uint64_t id, struct str json);

void visitor_error(struct visitor *v, uint64_t id, enum code code, const char *detail);

/* dlq.c */
void dlq_cancel(struct visitor *v, uint64_t id); /* id 0 = all of this visitor's */

/* why.c */
void why_cancel(struct visitor *v);
/* "body", or "body_base64" where it is no text. */
void json_add_body(json_t *row, struct str body);

/* log.c */
void log_cancel_calls(struct visitor *v, uint64_t id); /* id 0 = all of this visitor's */
void log_drained(struct visitor *v);                   /* its output has room again */

/* control.c */
void reload_cancel_calls(struct visitor *v);

/* audit.c */
void audit_cancel(struct visitor *v);

/* doctor.c */
void doctor_cancel(struct visitor *v);

/* tap.c */
void tap_cancel(struct visitor *v, uint64_t id); /* id 0 = all of this visitor's */

/* pages.c, metrics.c */
void pages_serve(void *admin, const char *path, const char *query, struct http_reply *reply);
void metrics_write(struct admin *a, struct buf *out);
