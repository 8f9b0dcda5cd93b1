#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

#include "cli/list.h"

struct choice {
    bool dry_run, yes;
};

static const struct option_row options[] = {
    { "dry-run", 0, OPTION_FLAG, offsetof(struct choice, dry_run), NULL, "only count its entries" },
    { "yes", 'y', OPTION_FLAG, offsetof(struct choice, yes), NULL, "do it" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

static const struct column columns[] = {
    { "ENTRIES", "entries", COLUMN_COUNT },
    { "SIZE", "bytes", COLUMN_SIZE },
    { NULL, NULL, COLUMN_TEXT },
};

static void print(struct cli *cli, const json_t *reply, bool dry_run)
{
    json_t *rows = json_pack("[O]", reply);
    printf("%s\n", dry_run ? "would remove" : "removed");
    output_table(cli, rows, columns);
    json_decref(rows);
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct choice choice = { 0 };
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, &choice);
    if (rc >= 0)
        return rc;
    if (!choice.yes && !choice.dry_run)
        return cli_needs_yes(cli, "removes the entries of a log for good");
    rc = admin_call(cli, "log.rm", json_pack("{s:s,s:b}", "name", cli->argv[0], "dry_run", choice.dry_run), &reply);
    const char *stopped = json_string_value(json_object_get(reply, "stopped"));
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK)
        print(cli, reply, choice.dry_run);
    if (rc == EXIT_OK && stopped != NULL)
        rc = cli_fail(cli, "it is not gone: %s", stopped);
    json_decref(reply);
    return rc;
}

const struct command command_log_rm = {
    .name = "rm",
    .summary = "Remove an event log that no route names any more",
    .usage = "NAME",
    .details = "Refused while a route appends to it, or somebody reads, follows or replays it. Where a route names it again later, its "
               "offsets go on.",
    .example = "bellhop log rm orders --dry-run\n"
               "bellhop log rm orders --yes",
    .options = options,
    .args_min = 1,
    .args_max = 1,
    .run = run,
};
