#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#include "cli/list.h"

struct subscribe {
    struct cli *cli;
    const char *group;
    const char *name;
    uint64_t count; /* 0 = until interrupted */
    uint64_t seen;
    bool refused;
};

static bool is_full(const struct subscribe *s)
{
    return (s->count > 0 && s->seen >= s->count) || ferror(stdout);
}

static void event_print(const struct subscribe *s, const struct bellhop_msg *msg)
{
    if (s->cli->json) {
        json_t *object = output_message(msg);
        output_json_line(object);
        json_decref(object);
        return;
    }
    printf("%s%s%s  ", s->cli->color ? "\033[36m" : "", msg->subject, s->cli->color ? "\033[0m" : "");
    output_body(msg->body, msg->body_len, true);
}

static void on_delivery(struct bellhop *b, struct bellhop_delivery *d, void *user)
{
    struct subscribe *s = user;
    if (is_full(s)) {
        bellhop_delivery_release(d); /* somebody else's */
        return;
    }
    s->seen++;
    event_print(s, &d->msg);
    if (ferror(stdout)) /* not taken: main() says why */
        bellhop_delivery_release(d);
    else
        bellhop_delivery_ok(d);
    if (is_full(s))
        bellhop_bye(b);
}

static void on_answer(struct bellhop *b, const struct bellhop_answer *a, void *user)
{
    struct subscribe *s = user;
    if (a->result == BELLHOP_OK || a->local)
        return;
    s->refused = true;
    cli_fail_answer(s->cli, a);
    bellhop_close(b, "refused");
}

static int subscribe_run(struct subscribe *s, struct bellhop *b)
{
    struct cli *cli = s->cli;
    int64_t id = bellhop_subscribe(b, cli->argv[0], s->group, on_answer, s);
    if (id < 0)
        return cli_fail_send(cli, b, (int)id);
    while (cli_turn(cli, b, -1))
        continue;
    if (cli->interrupted && !s->refused) { /* settle what is on its way, then leave */
        bellhop_bye(b);
        while (cli_turn(cli, b, 1000) && bellhop_is_open(b))
            continue;
        return EXIT_OK;
    }
    if (is_full(s))
        return EXIT_OK;
    return s->refused ? EXIT_FAILED : cli_lost(cli, b);
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct subscribe s = { .cli = cli, .name = "cli" };
    struct bellhop_handlers on = { .delivery = on_delivery };
    int rc = cli_parse(cli, argc, argv, &s);
    if (rc >= 0)
        return rc;
    struct bellhop *b = cli_attach(cli, s.name, &on, &s);
    if (b == NULL)
        return EXIT_FAILED;
    cli_signals(cli);
    rc = subscribe_run(&s, b);
    bellhop_free(b);
    return rc;
}

static const struct option_row options[] = {
    { "group", 'g', OPTION_TEXT, offsetof(struct subscribe, group), "NAME", "share the load with others of that group" },
    { "count", 'n', OPTION_COUNT, offsetof(struct subscribe, count), "N", "end after N messages" },
    { "name", 0, OPTION_TEXT, offsetof(struct subscribe, name), "NAME", "attach under this name (cli)" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_subscribe = {
    .name = "subscribe",
    .summary = "Print messages as they come",
    .usage = "FILTER",
    .details = "A filter is a subject with “*” for one token and “>” for the rest. Each message is one line,\n"
               "subject and body; with -o json one object. It ends at SIGINT or SIGTERM.",
    .example = "bellhop subscribe 'order.*'\n"
               "bellhop subscribe 'order.>' --group audit --count 10 -o json",
    .options = options,
    .args_min = 1,
    .args_max = 1,
    .run = run,
};
