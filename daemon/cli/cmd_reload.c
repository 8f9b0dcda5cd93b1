#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

#include "cli/list.h"

struct reload {
    bool dry_run;
};

static void reload_print(const struct reload *r, const json_t *reply)
{
    const json_t *changes = json_object_get(reply, "changes");
    size_t i;
    const json_t *line;
    json_array_foreach(changes, i, line)
        printf("%s\n", json_is_string(line) ? json_string_value(line) : "?");
    if (json_array_size(changes) == 0)
        printf("nothing changes\n");
    printf("%s generation %" JSON_INTEGER_FORMAT "\n", r->dry_run ? "still" : "now",
           json_integer_value(json_object_get(reply, "generation")));
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct reload r = { 0 };
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, &r);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "reload", json_pack("{s:b}", "dry_run", r.dry_run), &reply);
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK)
        reload_print(&r, reply);
    json_decref(reply);
    return rc;
}

static const struct option_row options[] = {
    { "dry-run", 0, OPTION_FLAG, offsetof(struct reload, dry_run), NULL, "show what would change" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_reload = {
    .name = "reload",
    .summary = "Read the configuration again",
    .usage = "",
    .details = "A file with errors changes nothing; they are printed and the exit code is 1. Nothing in flight is\n"
               "lost, and what did not change in the file is not touched.",
    .example = "bellhop reload --dry-run\n"
               "bellhop reload",
    .options = options,
    .run = run,
};
