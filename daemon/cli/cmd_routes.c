#include <stdio.h>

#include "cli/cli.h"

#include "cli/list.h"

static const struct column columns[] = {
    { "ROUTE", "name", COLUMN_TEXT },     { "FROM", "from", COLUMN_TEXT },
    { "MATCH", "match", COLUMN_TEXT },    { "TO", "to", COLUMN_LIST },
    { "DURABLE", "durable", COLUMN_TEXT }, { "LOG", "log", COLUMN_TEXT },
    { "POLICY", "policy", COLUMN_TEXT },   { "MATCHED", "matched", COLUMN_COUNT },
    { NULL, NULL, COLUMN_TEXT },
};

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "routes", json_object(), &reply);
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK && json_array_size(json_object_get(reply, "routes")) == 0)
        puts("no routes");
    else if (rc == EXIT_OK)
        output_table(cli, json_object_get(reply, "routes"), columns);
    json_decref(reply);
    return rc;
}

const struct command command_routes = {
    .name = "routes",
    .summary = "Show the routes and how often each matched",
    .usage = "",
    .details = "First match wins among the routes of one source: the table is in that order.",
    .example = "bellhop routes",
    .run = run,
};
