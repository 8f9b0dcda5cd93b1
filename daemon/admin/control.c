/* `reload` and `drain`: what changes the daemon. */
#include "admin/internal.h"
#include "base/mem.h"

static json_t *run_reload(struct admin *a, struct call *c)
{
    struct texts changes = {0};
    struct err err = {0};
    json_t *answer = NULL;
    if (a->env.ops->reload(a->env.app, arg_true(c, "dry_run"), &changes, &err)) {
        json_t *lines = json_array();
        for (size_t i = 0; i < changes.count; i++)
            json_array_append_new(lines, json_of(str_of(changes.items[i])));
        answer = json_pack("{s:I,s:o}", "generation", (json_int_t)a->env.ops->generation(a->env.app), "changes",
                           lines);
    } else {
        char *text = err_text(&err);
        command_fail(c, CODE_INVALID, "%s", text);
        mem_free(text);
    }
    texts_fini(&changes);
    err_fini(&err);
    return answer;
}

static json_t *run_drain(struct admin *a, struct call *c)
{
    json_t *answer = json_pack("{s:I,s:I}", "services", (json_int_t)server_clients(a->env.server), "inflight",
                               (json_int_t)hub_live(a->env.hub));
    if (!arg_true(c, "dry_run"))
        a->env.ops->drain(a->env.app);
    return answer;
}

const struct command command_reload = {.name = "reload", .run = run_reload, .changes = true};
const struct command command_drain = {.name = "drain", .run = run_drain, .changes = true};
