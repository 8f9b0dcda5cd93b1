#include <stdio.h>

#include "cli/cli.h"

#include "cli/list.h"

static const struct column columns[] = {
    { "NAME", "name", COLUMN_TEXT },             { "ENTRIES", "entries", COLUMN_COUNT },
    { "SIZE", "bytes", COLUMN_SIZE },            { "FIRST", "first", COLUMN_COUNT },
    { "LAST", "last", COLUMN_COUNT },            { "FROM", "first_time", COLUMN_TEXT },
    { "TO", "last_time", COLUMN_TEXT },          { NULL, NULL, COLUMN_TEXT },
};

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "log.ls", json_object(), &reply);
    const json_t *logs = json_object_get(reply, "logs");
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK && json_array_size(logs) > 0)
        output_table(cli, logs, columns);
    else if (rc == EXIT_OK)
        puts("no event logs");
    json_decref(reply);
    return rc;
}

const struct command command_log_ls = {
    .name = "ls",
    .summary = "List event logs",
    .usage = "",
    .example = "bellhop log ls",
    .run = run,
};
