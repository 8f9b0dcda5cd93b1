#include <stdio.h>

#include "cli/dlq.h"
#include "cli/list.h"

struct progress {
    json_t *last; /* what the daemon said last */
    bool moved;   /* a line of progress stands on the terminal */
};

static json_int_t number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void print(const struct cli *cli, const char *text)
{
    if (cli->json)
        return;
    fputs(text, stderr);
    fflush(stderr);
}

static bool on_item(struct cli *cli, const json_t *item, void *user)
{
    struct progress *p = user;
    char line[160];
    json_decref(p->last);
    p->last = json_incref((json_t *)(uintptr_t)item);
    if (cli->json)
        output_json_line(item);
    snprintf(line, sizeof line, "%ssent %" JSON_INTEGER_FORMAT ", done %" JSON_INTEGER_FORMAT ", failed %" JSON_INTEGER_FORMAT "%s",
             cli->color_err ? "\r" : "", number(item, "count"), number(item, "done"), number(item, "failed"),
             cli->color_err ? "" : "\n");
    print(cli, line);
    p->moved = cli->color_err;
    return true;
}

/* What was done stays, whichever way it ended. */
static int report(struct cli *cli, const struct dlq_selection *s, const struct progress *p, int rc)
{
    const json_t *sum = p->last;
    bool stopped = json_is_true(json_object_get(sum, "stopped"));
    if (p->moved)
        print(cli, "\n");
    if (s->id != NULL && sum != NULL && number(sum, "count") == 0 && !cli->interrupted)
        return dlq_unknown(cli, s);
    if (sum != NULL && !cli->json) {
        printf("%s %" JSON_INTEGER_FORMAT " dead letter%s", s->dry_run ? "would send again:" : "sent again:", number(sum, "count"),
               number(sum, "count") == 1 ? "" : "s");
        if (s->canary && !s->dry_run)
            printf("; done %" JSON_INTEGER_FORMAT ", failed %" JSON_INTEGER_FORMAT ", left %" JSON_INTEGER_FORMAT,
                   number(sum, "done"), number(sum, "failed"), number(sum, "left"));
        printf("\n");
    }
    if (cli->interrupted)
        return cli_fail(cli, "interrupted: what has been sent again stays so, the others are dead letters still");
    return stopped ? cli_fail(cli, "stopped, because some failed again") : rc;
}

static int follow(struct cli *cli, const struct dlq_selection *s)
{
    struct progress p = { 0 };
    json_t *args = dlq_arguments(s);
    if (args != NULL && s->rate != NULL)
        json_object_set_new(args, "rate", json_string(s->rate));
    if (args != NULL)
        json_object_set_new(args, "canary", json_boolean(s->canary));
    int rc = admin_stream(cli, "dlq.redrive", args, on_item, &p);
    if (rc == EXIT_OK)
        rc = report(cli, s, &p, rc);
    json_decref(p.last);
    return rc;
}

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct dlq_change change = { "dlq.redrive", "sent again:", "would send again:", false };
    struct dlq_selection s = { 0 };
    int rc = cli_parse(cli, argc, argv, &s);
    if (rc >= 0)
        return rc;
    s.id = cli->argc > 0 ? cli->argv[0] : NULL;
    return s.rate != NULL || s.canary ? follow(cli, &s) : dlq_change_run(cli, &s, &change);
}

static const struct option_row options[] = {
    { "route", 'r', OPTION_TEXT, offsetof(struct dlq_selection, route), "NAME", "only those of this route" },
    { "match", 'm', OPTION_TEXT, offsetof(struct dlq_selection, match), "FILTER", "only those whose subject matches" },
    { "limit", 'n', OPTION_COUNT, offsetof(struct dlq_selection, limit), "N", "at most N, the oldest first" },
    { "rate", 0, OPTION_RATE, offsetof(struct dlq_selection, rate), "N/s", "no faster than that (N/m and N/h too)" },
    { "canary", 0, OPTION_FLAG, offsetof(struct dlq_selection, canary), NULL, "one, then ten, then the rest, until one fails" },
    { "dry-run", 0, OPTION_FLAG, offsetof(struct dlq_selection, dry_run), NULL, "only count them" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_dlq_redrive = {
    .name = "redrive",
    .summary = "Send dead letters again",
    .usage = "[ID]",
    .details = "They start over with attempt 1, each to the destination it failed at. Without ID or options: all that are\n"
               "there now. With --canary each batch waits for what becomes of the one before it, and it stops by itself\n"
               "when one becomes a dead letter again (exit code 1). --rate and --canary need a store; interrupted, they\n"
               "leave what they have sent as it is.",
    .example = "bellhop dlq redrive --route orders --dry-run\n"
               "bellhop dlq redrive --route orders --canary --rate 50/s\n"
               "bellhop dlq redrive 019ab6b0-0000-7000-8000-000000000001",
    .options = options,
    .args_max = 1,
    .run = run,
};
