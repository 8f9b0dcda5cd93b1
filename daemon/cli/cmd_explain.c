#include <stdio.h>

#include "cli/cli.h"

#include "cli/list.h"

struct explain {
    const char *from;
};

static const struct column head[] = {
    { "route", "route", COLUMN_TEXT },
    { "why", "why", COLUMN_TEXT },
    { "captures", "captures", COLUMN_LIST },
    { "policy", "policy.name", COLUMN_TEXT },
    { "time-out", "policy.timeout_ms", COLUMN_DURATION },
    { "attempts", "policy.attempts", COLUMN_COUNT },
    { "at worst settled after", "policy.worst_case_ms", COLUMN_DURATION },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column destinations[] = {
    { "DESTINATION", "destination", COLUMN_TEXT },
    { "SUBJECT", "subject", COLUMN_TEXT },
    { NULL, NULL, COLUMN_TEXT },
};

static void explain_print(const struct cli *cli, const json_t *reply)
{
    const json_t *to = json_object_get(reply, "to");
    output_record(cli, reply, head);
    if (json_array_size(to) == 0)
        return;
    printf("\n");
    output_table(cli, to, destinations);
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct explain e = { .from = "local" };
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, &e);
    if (rc >= 0)
        return rc;
    json_t *args = json_pack("{s:s,s:s}", "from", e.from, "subject", cli->argv[0]);
    rc = admin_call(cli, "explain", args, &reply);
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK)
        explain_print(cli, reply);
    json_decref(reply);
    return rc;
}

static const struct option_row options[] = {
    { "from", 'f', OPTION_TEXT, offsetof(struct explain, from), "ENDPOINT", "where the message comes from (local)" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_explain = {
    .name = "explain",
    .summary = "Show where a message would go, and why",
    .usage = "SUBJECT",
    .details = "Nothing is sent.",
    .example = "bellhop explain stock.reserve\n"
               "bellhop explain --from edge '{\"cmd\":\"sum\"}'",
    .options = options,
    .args_min = 1,
    .args_max = 1,
    .run = run,
};
