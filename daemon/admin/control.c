/* `reload` and `drain`: what changes the daemon. */
#include "admin/internal.h"
#include "admin/row.h"
#include "base/mem.h"

struct reload_call {
    struct list_node link; /* in admin.reload_calls */
    struct visitor *visitor;
    uint64_t id;
    struct reload_ask *ask;
};

static void put_reloaded(struct buf *out, const struct reload_answer *r)
{
    row_open(out, NULL, '{');
    row_u64(out, "generation", r->generation);
    row_open(out, "changes", '[');
    for (size_t i = 0; i < r->changes->count; i++)
        row_text(out, NULL, r->changes->items[i]);
    row_close(out, ']');
    row_close(out, '}');
}

static void call_end(struct reload_call *call)
{
    list_remove(&call->visitor->admin->reload_calls, &call->link);
    mem_free(call);
}

static void on_reloaded(void *arg, const struct reload_answer *r)
{
    struct reload_call *call = arg;
    if (r->good) {
        struct buf reply = BUF_EMPTY;
        put_reloaded(&reply, r);
        visitor_send_text(call->visitor, VERB_REP, call->id, buf_str(&reply));
        buf_fini(&reply);
    } else {
        char *text = err_text(r->err);
        visitor_error(call->visitor, call->id, CODE_INVALID, text);
        mem_free(text);
    }
    call_end(call);
}

void reload_cancel_calls(struct visitor *v)
{
    LIST_EACH(&v->admin->reload_calls, n) {
        struct reload_call *call = CONTAINER_OF(n, struct reload_call, link);
        if (call->visitor != v)
            continue;
        v->admin->env.ops->reload_cancel(v->admin->env.app, call->ask);
        call_end(call);
    }
}

static json_t *run_reload(struct admin *a, struct call *c)
{
    const char *why = NULL;
    struct reload_call *call = mem_zalloc(sizeof(*call));
    call->visitor = c->visitor;
    call->id = c->id;
    call->ask = a->env.ops->reload(a->env.app, &(struct reload_request){arg_true(c, "dry_run"), on_reloaded, call}, &why);
    if (call->ask == NULL) {
        mem_free(call);
        return command_fail(c, CODE_INVALID, "%s", why);
    }
    list_push(&a->reload_calls, &call->link);
    return NULL;
}

static json_t *run_drain(struct admin *a, struct call *c)
{
    json_t *answer = json_pack("{s:I,s:I}", "services", (json_int_t)server_clients(a->env.server), "inflight",
                               (json_int_t)hub_live(a->env.hub));
    if (!arg_true(c, "dry_run"))
        a->env.ops->drain(a->env.app);
    return answer;
}

const struct command command_reload = {.name = "reload", .run = run_reload, .changes = true, .streams = true};
const struct command command_drain = {.name = "drain", .run = run_drain, .changes = true};
