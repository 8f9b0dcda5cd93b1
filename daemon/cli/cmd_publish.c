#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "cli/cli.h"

#include "base/clock.h"
#include "cli/list.h"

struct publish {
    struct cli *cli;
    struct bellhop_headers headers;
    uint64_t count;
    const char *name;
    int64_t timeout_ms;
    bool no_ack;
    bool dry_run;
    uint64_t accepted, refused;
    int rc;
};

static void on_answer(struct bellhop *b, const struct bellhop_answer *a, void *user)
{
    struct publish *p = user;
    (void)b;
    if (a->result == BELLHOP_OK)
        p->accepted++;
    else if (p->refused++ == 0) /* the first says it; a thousand more would not say more */
        p->rc = cli_fail_answer(p->cli, a);
}

/* Sends as many as fit the output buffer. False on a mistake. */
static bool events_send(struct publish *p, struct bellhop *b, const struct bellhop_msg *msg, uint64_t *sent)
{
    while (*sent < p->count) {
        int64_t id = bellhop_publish(b, msg, p->no_ack ? NULL : on_answer, p);
        if (id == -EAGAIN)
            return true;
        if (id < 0) {
            p->rc = cli_fail_send(p->cli, b, (int)id);
            return false;
        }
        ++*sent;
    }
    return true;
}

static void result_print(const struct publish *p, uint64_t sent)
{
    const char *word = p->no_ack ? "sent" : "accepted";
    uint64_t n = p->no_ack ? sent : p->accepted;
    if (p->cli->json)
        printf("{\"%s\":%" PRIu64 ",\"refused\":%" PRIu64 "}\n", word, n, p->refused);
    else if (n > 0)
        printf("%s %" PRIu64 " event%s\n", word, n, n == 1 ? "" : "s");
}

/* Without a durable route the answer waits for the destination's own, which may not even be attached. */
static void answers_await(struct publish *p, struct bellhop *b)
{
    int64_t end = clock_mono_ms() + p->timeout_ms;
    int64_t left = p->timeout_ms;
    while (left > 0 && cli_turn(p->cli, b, left > INT_MAX ? INT_MAX : (int)left))
        left = end - clock_mono_ms();
    if (left > 0 || p->rc != EXIT_OK)
        return;
    p->rc = cli_fail(p->cli, "timeout: %zu not answered: no destination has taken them yet, and one still may "
                     "(`bellhop status` shows what is queued)", bellhop_pending(b));
}

static int publish_all(struct publish *p, struct bellhop *b, const struct bellhop_msg *msg)
{
    uint64_t sent = 0;
    bool open = events_send(p, b, msg, &sent);
    while (open && sent < p->count)
        open = cli_turn(p->cli, b, -1) && events_send(p, b, msg, &sent);
    bellhop_bye(b); /* the connection ends when every answer is here and the output is written */
    answers_await(p, b);
    result_print(p, sent);
    if (p->rc == EXIT_OK && (sent < p->count || (!p->no_ack && p->accepted < sent)))
        p->rc = cli_lost(p->cli, b);
    return p->rc;
}

static int dry_run(const struct publish *p, const struct bellhop_msg *msg)
{
    json_t *object = output_message(msg);
    json_object_set_new(object, "count", json_integer((json_int_t)p->count));
    output_json(object);
    json_decref(object);
    return EXIT_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct publish p = { .cli = cli, .count = 1, .timeout_ms = 10000, .name = "cli" };
    struct buf body = BUF_EMPTY;
    int rc = cli_parse(cli, argc, argv, &p);
    if (rc >= 0)
        return rc;
    rc = EXIT_FAILED;
    struct bellhop *b = NULL;
    if (cli_body(cli, cli->argc > 1 ? cli->argv[1] : NULL, &body))
        b = cli_attach(cli, p.name, NULL, NULL);
    struct bellhop_msg msg = { cli->argv[0], p.headers.data, p.headers.len, buf_data(&body), body.len };
    if (b != NULL)
        rc = p.dry_run ? dry_run(&p, &msg) : publish_all(&p, b, &msg);
    bellhop_free(b);
    buf_fini(&body);
    bellhop_headers_fini(&p.headers);
    return rc;
}

static const struct option_row options[] = {
    { "header", 'H', OPTION_HEADER, offsetof(struct publish, headers), "NAME:VALUE", "a header; may be repeated" },
    { "count", 'n', OPTION_COUNT, offsetof(struct publish, count), "N", "send it N times (1)" },
    { "timeout", 't', OPTION_DURATION, offsetof(struct publish, timeout_ms), "DURATION", "wait that long for the answers (10s)" },
    { "no-ack", 0, OPTION_FLAG, offsetof(struct publish, no_ack), NULL, "do not ask whether it was accepted" },
    { "dry-run", 0, OPTION_FLAG, offsetof(struct publish, dry_run), NULL, "attach and print what would be sent" },
    { "name", 0, OPTION_TEXT, offsetof(struct publish, name), "NAME", "attach under this name (cli)" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_publish = {
    .name = "publish",
    .summary = "Publish an event",
    .usage = "SUBJECT [BODY|-]",
    .details = "Ends with exit code 0 once the daemon has accepted it under its route's promise: on a durable\n"
               "route it is on disk by then.",
    .example = "bellhop publish order.created '{\"id\":7}' -H key:7\n"
               "bellhop publish metrics.tick --count 1000 --no-ack",
    .options = options,
    .args_min = 1,
    .args_max = 2,
    .run = run,
};
