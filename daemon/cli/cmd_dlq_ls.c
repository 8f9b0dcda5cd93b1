#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

#include "cli/dlq.h"
#include "cli/list.h"

static const struct column columns[] = {
    { "ID", "id", COLUMN_TEXT },           { "ROUTE", "route", COLUMN_TEXT },
    { "DESTINATION", "destination", COLUMN_TEXT }, { "SUBJECT", "subject", COLUMN_TEXT },
    { "REASON", "reason", COLUMN_TEXT },   { "ATTEMPTS", "attempts", COLUMN_COUNT },
    { "LAST ERROR", "last_error", COLUMN_TEXT }, { "TIME", "time", COLUMN_TEXT },
    { "SIZE", "size", COLUMN_SIZE },
    { NULL, NULL, COLUMN_TEXT },
};

static void list_print(const struct cli *cli, const json_t *reply)
{
    const json_t *items = json_object_get(reply, "items");
    json_int_t total = json_integer_value(json_object_get(reply, "total"));
    size_t shown = json_array_size(items);
    if (shown > 0)
        output_table(cli, items, columns);
    else
        puts("no dead letters");
    if ((json_int_t)shown < total)
        cli_note(cli, "%zu of %" JSON_INTEGER_FORMAT " shown; --limit shows more", shown, total);
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct dlq_selection s = { .limit = 100 };
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, &s);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "dlq.ls", dlq_arguments(&s), &reply);
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK)
        list_print(cli, reply);
    json_decref(reply);
    return rc;
}

static const struct option_row options[] = {
    { "route", 'r', OPTION_TEXT, offsetof(struct dlq_selection, route), "NAME", "only those of this route" },
    { "match", 'm', OPTION_TEXT, offsetof(struct dlq_selection, match), "FILTER", "only those whose subject matches" },
    { "limit", 'n', OPTION_COUNT, offsetof(struct dlq_selection, limit), "N", "at most N (100)" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_dlq_ls = {
    .name = "ls",
    .summary = "List dead letters",
    .usage = "",
    .example = "bellhop dlq ls --route orders --match 'order.*' --limit 20",
    .options = options,
    .run = run,
};
