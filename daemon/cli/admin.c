#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#include "base/mem.h"

#define ADMIN_TIMEOUT_MS 30000

struct call {
    struct cli *cli;
    bool (*on_item)(struct cli *cli, const json_t *item, void *user); /* or NULL */
    void *user;
    json_t **reply; /* or NULL */
    bool done;
    bool ended; /* by us: the stream was cancelled */
    int rc;
};

static json_t *body_parse(struct call *c, const struct bellhop_answer *a)
{
    json_error_t error;
    json_t *value = json_loadb(a->body, a->body_len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (value == NULL)
        c->rc = cli_fail(c->cli, "the daemon's answer is not JSON: %s", error.text);
    return value;
}

static void item_received(struct call *c, struct bellhop *b, const struct bellhop_answer *a)
{
    json_t *item = c->on_item != NULL && !c->ended ? body_parse(c, a) : NULL;
    if (item != NULL && (!c->on_item(c->cli, item, c->user) || ferror(stdout))) {
        bellhop_cancel(b, (int64_t)a->id);
        c->done = c->ended = true;
    }
    json_decref(item);
}

static void on_answer(struct bellhop *b, const struct bellhop_answer *a, void *user)
{
    struct call *c = user;
    if (a->result == BELLHOP_MORE) {
        item_received(c, b, a);
        return;
    }
    c->done = true;
    if (a->result == BELLHOP_ERROR)
        c->rc = cli_fail_answer(c->cli, a);
    else if (c->reply != NULL)
        *c->reply = body_parse(c, a);
}

/* What is still in the output (a CANCEL) goes out before we leave. */
static void call_run(struct call *c, struct bellhop *b, int64_t id)
{
    while (!c->done && cli_turn(c->cli, b, -1))
        continue;
    if (!c->done && c->cli->interrupted)
        bellhop_cancel(b, id);
    else if (!c->done)
        c->rc = cli_lost(c->cli, b);
    bellhop_flush(b);
}

static int call(struct call *c, const char *command, json_t *args, int64_t timeout_ms)
{
    if (args == NULL)
        return c->rc = cli_misuse(c->cli, "an argument is not UTF-8");
    char *path = cli_admin_socket(c->cli);
    char *body = json_dumps(args, JSON_COMPACT);
    struct bellhop *b = cli_attach_path(c->cli, path, "bellhop", NULL, NULL);
    mem_free(path);
    if (b == NULL) {
        free(body);
        return c->rc = EXIT_FAILED;
    }
    struct bellhop_msg msg = { .subject = command, .body = body, .body_len = strlen(body) };
    int64_t id = bellhop_request(b, &msg, timeout_ms, on_answer, c);
    if (id < 0)
        c->rc = cli_fail_send(c->cli, b, (int)id);
    else
        call_run(c, b, id);
    free(body);
    bellhop_free(b);
    return c->rc;
}

int admin_call(struct cli *cli, const char *command, json_t *args_take, json_t **reply)
{
    struct call c = { .cli = cli, .reply = reply };
    *reply = NULL;
    call(&c, command, args_take, ADMIN_TIMEOUT_MS);
    json_decref(args_take);
    return c.rc;
}

int admin_stream(struct cli *cli, const char *command, json_t *args_take,
                 bool (*on_item)(struct cli *cli, const json_t *item, void *user), void *user)
{
    struct call c = { .cli = cli, .on_item = on_item, .user = user };
    cli_signals(cli);
    call(&c, command, args_take, 0);
    json_decref(args_take);
    return c.rc;
}
