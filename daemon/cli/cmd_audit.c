#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

#include "cli/list.h"

static const struct column books[] = {
    { "ACCEPTED", "accepted", COLUMN_COUNT }, { "READY", "ready", COLUMN_COUNT },
    { "DELAYED", "delayed", COLUMN_COUNT },   { "DONE", "done", COLUMN_COUNT },
    { "DEAD", "dead", COLUMN_COUNT },         { "EXPIRED", "expired", COLUMN_COUNT },
    { "DROPPED", "dropped", COLUMN_COUNT },   { "QUARANTINED", "quarantined", COLUMN_COUNT },
    { NULL, NULL, COLUMN_TEXT },
};

static void audit_print(const struct cli *cli, const json_t *reply)
{
    json_t *rows = json_pack("[O?]", json_object_get(reply, "books"));
    const json_t *findings = json_object_get(reply, "findings"), *line;
    size_t i;
    output_table(cli, rows, books);
    json_decref(rows);
    json_array_foreach(findings, i, line)
        printf("%s\n", json_string_value(line));
    if (json_array_size(findings) == 0)
        puts("the books add up");
}

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "audit", json_object(), &reply);
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK)
        audit_print(cli, reply);
    if (rc == EXIT_OK && (json_array_size(json_object_get(reply, "findings")) > 0 ||
                          json_integer_value(json_object_get(reply, "unaccounted")) != 0))
        rc = EXIT_FAILED;
    json_decref(reply);
    return rc;
}

const struct command command_audit = {
    .name = "audit",
    .summary = "Recount the store and name what does not add up",
    .usage = "",
    .details = "Every accepted delivery is in exactly one state. Reads every record, between the commits: it takes a while where there are many. "
               "Exit code 1 where something is missing.",
    .example = "bellhop audit",
    .run = run,
};
