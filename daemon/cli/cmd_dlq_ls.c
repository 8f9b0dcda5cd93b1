#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

#include "cli/dlq.h"
#include "cli/list.h"

#define LIMIT 100

static const struct column columns[] = {
    { "ID", "id", COLUMN_TEXT },           { "ROUTE", "route", COLUMN_TEXT },
    { "DESTINATION", "destination", COLUMN_TEXT }, { "SUBJECT", "subject", COLUMN_TEXT },
    { "REASON", "reason", COLUMN_TEXT },   { "ATTEMPTS", "attempts", COLUMN_COUNT },
    { "TIME", "time", COLUMN_TEXT },       { "SIZE", "size", COLUMN_SIZE },
    { "LAST ERROR", "last_error", COLUMN_TEXT },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column groups[] = {
    { "COUNT", "count", COLUMN_COUNT },    { "ROUTE", "route", COLUMN_TEXT },
    { "DESTINATION", "destination", COLUMN_TEXT }, { "REASON", "reason", COLUMN_TEXT },
    { "FIRST", "first", COLUMN_TEXT },     { "LAST", "last", COLUMN_TEXT },
    { "EXAMPLE", "example", COLUMN_TEXT }, { "ERROR", "error", COLUMN_TEXT },
    { NULL, NULL, COLUMN_TEXT },
};

static void groups_print(const struct cli *cli, const json_t *reply)
{
    const json_t *items = json_object_get(reply, "groups");
    if (json_array_size(items) > 0)
        output_table(cli, items, groups);
    else
        puts("no dead letters");
}

static json_t *arguments(const struct dlq_selection *s)
{
    json_t *args = dlq_arguments(s);
    if (args != NULL && s->group)
        json_object_set_new(args, "group", json_true());
    if (args != NULL && s->limit == 0 && !s->group)
        json_object_set_new(args, "limit", json_integer(LIMIT));
    return args;
}

static void list_print(const struct cli *cli, const json_t *reply, uint64_t limit)
{
    const json_t *items = json_object_get(reply, "items");
    json_int_t total = json_integer_value(json_object_get(reply, "total"));
    size_t shown = json_array_size(items);
    if (shown > 0)
        output_table(cli, items, columns);
    else
        puts(total > 0 ? "no dead letter matches" : "no dead letters");
    if (shown >= (limit > 0 ? limit : LIMIT) && (json_int_t)shown < total)
        cli_note(cli, "%zu of %" JSON_INTEGER_FORMAT " shown; --limit shows more", shown, total);
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct dlq_selection s = { 0 };
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, &s);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "dlq.ls", arguments(&s), &reply);
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK && s.group)
        groups_print(cli, reply);
    else if (rc == EXIT_OK)
        list_print(cli, reply, s.limit);
    json_decref(reply);
    return rc;
}

static const struct option_row options[] = {
    { "route", 'r', OPTION_TEXT, offsetof(struct dlq_selection, route), "NAME", "only those of this route" },
    { "match", 'm', OPTION_TEXT, offsetof(struct dlq_selection, match), "FILTER", "only those whose subject matches" },
    { "limit", 'n', OPTION_COUNT, offsetof(struct dlq_selection, limit), "N", "at most N (100)" },
    { "group", 'g', OPTION_FLAG, offsetof(struct dlq_selection, group), NULL, "count those that failed alike" },
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
