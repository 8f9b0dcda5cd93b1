#include "cli/cli.h"

#include "cli/list.h"

struct request {
    struct cli *cli;
    struct bellhop_headers headers;
    int64_t timeout_ms;
    const char *name;
    bool stream;
    size_t unseen; /* items of a stream that were not asked for */
    bool done;
    int rc;
};

static void answer_print(struct request *r, const struct bellhop_answer *a, bool line)
{
    struct bellhop_msg msg = { NULL, a->headers, a->headers_len, a->body, a->body_len };
    if (!r->cli->json) {
        output_body(a->body, a->body_len, line);
        return;
    }
    json_t *object = output_message(&msg);
    json_object_set_new(object, "last", json_boolean(a->result == BELLHOP_REPLY));
    output_json_line(object);
    json_decref(object);
}

static void on_answer(struct bellhop *b, const struct bellhop_answer *a, void *user)
{
    struct request *r = user;
    (void)b;
    if (a->result == BELLHOP_MORE && !r->stream) {
        r->unseen++;
        return;
    }
    if (a->result != BELLHOP_MORE)
        r->done = true;
    if (a->result == BELLHOP_ERROR)
        r->rc = cli_fail_answer(r->cli, a);
    else if (a->result == BELLHOP_MORE || !r->stream || a->body_len > 0)
        answer_print(r, a, r->stream);
}

static int request_send(struct request *r, struct bellhop *b, const struct buf *body)
{
    struct cli *cli = r->cli;
    struct bellhop_msg msg = { cli->argv[0], r->headers.data, r->headers.len, buf_data(body), body->len };
    int64_t id = bellhop_request(b, &msg, r->timeout_ms, on_answer, r);
    if (id < 0)
        return cli_fail_send(cli, b, (int)id);
    while (!r->done && cli_turn(cli, b, -1))
        continue;
    if (r->unseen > 0)
        cli_note(cli, "%zu items of a stream were not shown; --stream shows them", r->unseen);
    return r->done ? r->rc : EXIT_FAILED;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct request r = { .cli = cli, .timeout_ms = 5000, .name = "cli" };
    struct buf body = BUF_EMPTY;
    int rc = cli_parse(cli, argc, argv, &r);
    if (rc >= 0)
        return rc;
    struct bellhop *b = NULL;
    rc = EXIT_FAILED;
    if (cli_body(cli, cli->argc > 1 ? cli->argv[1] : NULL, &body))
        b = cli_attach(cli, r.name, NULL, NULL);
    if (b != NULL)
        rc = request_send(&r, b, &body);
    bellhop_free(b);
    buf_fini(&body);
    bellhop_headers_fini(&r.headers);
    return rc;
}

static const struct option_row options[] = {
    { "header", 'H', OPTION_HEADER, offsetof(struct request, headers), "NAME:VALUE", "a header; may be repeated" },
    { "timeout", 't', OPTION_DURATION, offsetof(struct request, timeout_ms), "DURATION", "give up after that long (5s)" },
    { "stream", 0, OPTION_FLAG, offsetof(struct request, stream), NULL, "print the items of a streamed reply, a line each" },
    { "name", 0, OPTION_TEXT, offsetof(struct request, name), "NAME", "attach under this name (cli)" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_request = {
    .name = "request",
    .summary = "Send a request and print the reply",
    .usage = "SUBJECT [BODY|-]",
    .details = "The body is the second argument, standard input for “-”, else empty. An error goes to standard\n"
               "error as “code: detail” and ends with exit code 1.",
    .example = "bellhop request '{\"cmd\":\"sum\"}' '[1,2,3]'\n"
               "bellhop request stock.reserve - -H key:42 --timeout 2s <order.json",
    .options = options,
    .args_min = 1,
    .args_max = 2,
    .run = run,
};
