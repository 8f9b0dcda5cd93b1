#include <stdarg.h>
#include <sys/socket.h>

#include "admin/internal.h"
#include "base/mem.h"

static const struct command *const commands[] = {
    &command_status,   &command_routes,      &command_explain, &command_dlq_ls, &command_dlq_show,
    &command_dlq_redrive, &command_dlq_purge, &command_tap,     &command_reload, &command_drain,
    &command_version, &command_audit, &command_dlq_edit, &command_log_ls, &command_log_show, &command_log_rm,
    &command_replay, &command_doctor, &command_why,
};

static const struct stream_ops visitor_ops;

void visitor_open(struct admin *a, int fd)
{
    struct visitor *v = mem_zalloc(sizeof(*v));
    struct ucred peer = {.uid = 65534};
    socklen_t n = sizeof(peer);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n);
    v->admin = a;
    v->uid = peer.uid;
    v->stream = stream_new(a->env.loop, fd, &visitor_ops, v);
    stream_limit(v->stream, &(struct stream_limits){
        .input = ADMIN_BODY_MAX + FRAME_HEADERS_MAX + FRAME_LINE_MAX, .high = ADMIN_OUTPUT_MAX,
        .partial_ms = 10000, .write_ms = 30000});
    list_push(&a->visitors, &v->link);
}

static void visitor_end(struct visitor *v)
{
    if (v->closed)
        return;
    v->closed = true;
    tap_cancel(v, 0);
    dlq_cancel(v, 0);
    why_cancel(v);
    audit_cancel(v);
    doctor_cancel(v);
    log_cancel_calls(v, 0);
    reload_cancel_calls(v);
    list_remove(&v->admin->visitors, &v->link);
    loop_later(v->admin->env.loop, mem_free, v);
}

void visitor_close(struct visitor *v)
{
    stream_finish(v->stream);
    visitor_end(v);
}

void visitor_send_text(struct visitor *v, enum verb verb, uint64_t id, struct str json)
{
    struct buf *out = stream_out(v->stream);
    frame_head(out, &(struct frame_line){.verb = verb, .id = id, .body = json.n});
    buf_str_put(out, json);
}

void visitor_send(struct visitor *v, enum verb verb, uint64_t id, const json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    visitor_send_text(v, verb, id, str_of(text != NULL ? text : "null"));
    mem_free(text);
}

void visitor_error(struct visitor *v, uint64_t id, enum code code, const char *detail)
{
    struct buf *out = stream_out(v->stream);
    frame_head(out, &(struct frame_line){VERB_ERR, id, 0, strlen(detail), str_of(code_name(code))});
    buf_puts(out, detail);
}

json_t *command_fail(struct call *c, enum code code, const char *fmt, ...)
{
    struct buf text = BUF_EMPTY;
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    mem_free(c->detail);
    c->code = code;
    c->detail = buf_steal(&text);
    return NULL;
}

const char *arg_text(const struct call *c, const char *name)
{
    return json_string_value(json_object_get(c->args, name));
}

bool arg_true(const struct call *c, const char *name)
{
    return json_is_true(json_object_get(c->args, name));
}

size_t arg_count(const struct call *c, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(c->args, name));
    return n > 0 ? (size_t)n : 0;
}

json_t *json_of(struct str text)
{
    json_t *j = text.p != NULL ? json_stringn(text.p, text.n) : json_string("");
    return j != NULL ? j : json_string("(not UTF-8)");
}

static const struct command *command_find(struct str name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (str_is(name, commands[i]->name))
            return commands[i];
    }
    return NULL;
}

static void run(struct visitor *v, const struct command *cmd, uint64_t id, json_t *args)
{
    struct call c = {.visitor = v, .id = id, .args = args};
    if (cmd->changes)
        log_write(v->admin->env.log, LOG_INFO, "admin_command", "command", cmd->name, "uid", LOG_NUM(v->uid),
                  "dry_run", arg_true(&c, "dry_run") ? "yes" : "no", NULL);
    json_t *answer = cmd->run(v->admin, &c);
    if (answer != NULL)
        visitor_send(v, VERB_REP, id, answer);
    else if (!cmd->streams || c.detail != NULL)
        visitor_error(v, id, c.code, c.detail != NULL ? c.detail : "failed");
    json_decref(answer);
    mem_free(c.detail);
}

static void on_request(struct visitor *v, const struct frame *f)
{
    const struct command *cmd = command_find(f->subject);
    json_error_t e;
    json_t *args = f->body.n > 0 ? json_loadb(f->body.p, f->body.n, 0, &e) : json_object();
    if (cmd == NULL)
        visitor_error(v, f->id, CODE_INVALID, "no such command; see bellhop(1)");
    else if (!json_is_object(args))
        visitor_error(v, f->id, CODE_INVALID, "the body has to be a JSON object");
    else
        run(v, cmd, f->id, args);
    json_decref(args);
}

static void greet(struct visitor *v, const struct frame *f)
{
    static const char headers[] = "version: 1\n";
    if (f->verb != VERB_HELLO) {
        visitor_error(v, 0, CODE_BAD_FRAME, "the first frame has to be HELLO");
        visitor_close(v);
        return;
    }
    v->greeted = true;
    frame_head(stream_out(v->stream), &(struct frame_line){.verb = VERB_HELLO, .headers = sizeof(headers) - 1,
                                                           .subject = STR("bellhopd")});
    buf_puts(stream_out(v->stream), headers);
}

static void on_cancel(struct visitor *v, uint64_t id)
{
    if (id == 0)
        return;
    tap_cancel(v, id);
    dlq_cancel(v, id);
    log_cancel_calls(v, id);
}

static void dispatch(struct visitor *v, const struct frame *f)
{
    if (!v->greeted)
        greet(v, f);
    else if (f->verb == VERB_REQ)
        on_request(v, f);
    else if (f->verb == VERB_CANCEL)
        on_cancel(v, f->id);
    else if (f->verb == VERB_PING)
        frame_bare(stream_out(v->stream), VERB_PONG, f->id);
    else if (f->verb == VERB_PUB || f->verb == VERB_SUB)
        visitor_error(v, f->id, CODE_INVALID, "this is the admin socket: it takes REQ with a command");
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    struct visitor *v = arg;
    size_t used = 0;
    while (used < n && !v->closed) {
        struct frame f = {0};
        struct frame_error e;
        enum frame_status s = frame_parse(p + used, n - used, ADMIN_BODY_MAX, &f, &e);
        if (s == FRAME_MORE)
            break;
        if (s != FRAME_OK) {
            visitor_error(v, 0, s == FRAME_BIG ? CODE_TOO_LARGE : CODE_BAD_FRAME,
                       s == FRAME_BIG ? "a body above 1 MiB" : e.what);
            visitor_close(v);
            break;
        }
        dispatch(v, &f);
        used += f.size;
    }
    return used;
}

static void on_close(void *arg, const char *reason)
{
    (void)reason;
    visitor_end(arg);
}

static void on_drain(void *arg)
{
    log_drained(arg);
}

static const struct stream_ops visitor_ops = {.on_data = on_data, .on_drain = on_drain, .on_close = on_close};
