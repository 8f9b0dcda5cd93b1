#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#include "cli/dlq.h"
#include "cli/list.h"

static const struct column rows[] = {
    { "id", "id", COLUMN_TEXT },             { "route", "route", COLUMN_TEXT },
    { "destination", "destination", COLUMN_TEXT }, { "source", "source", COLUMN_TEXT },
    { "subject", "subject", COLUMN_TEXT },   { "kind", "kind", COLUMN_TEXT },
    { "reason", "reason", COLUMN_TEXT },     { "attempts", "attempts", COLUMN_COUNT },
    { "first error", "first_error", COLUMN_TEXT }, { "last error", "last_error", COLUMN_TEXT },
    { "sent", "sent", COLUMN_TEXT },         { "accepted", "accepted", COLUMN_TEXT },
    { "died", "time", COLUMN_TEXT },         { "size", "size", COLUMN_SIZE },
    { NULL, NULL, COLUMN_TEXT },
};

static void letter_print(const struct cli *cli, const json_t *letter)
{
    const json_t *body = json_object_get(letter, "body");
    output_record(cli, letter, rows);
    output_title(cli, "Headers");
    fputs(json_text(letter, "headers"), stdout);
    output_title(cli, "Body");
    if (body == NULL)
        puts("(not UTF-8; -o json shows it in base64)");
    else
        output_body(json_string_value(body), json_string_length(body), false);
}

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "dlq.show", json_pack("{s:s}", "id", cli->argv[0]), &reply);
    if (rc == EXIT_OK && cli->json) {
        output_split_headers(reply);
        output_json(reply);
    } else if (rc == EXIT_OK) {
        letter_print(cli, reply);
    }
    json_decref(reply);
    return rc;
}

const struct command command_dlq_show = {
    .name = "show",
    .summary = "Show one dead letter with headers and body",
    .usage = "ID",
    .example = "bellhop dlq show 019ab6b0-0000-7000-8000-000000000001",
    .args_min = 1,
    .args_max = 1,
    .run = run,
};
