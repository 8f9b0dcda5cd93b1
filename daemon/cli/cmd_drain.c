#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

#include "cli/list.h"

struct drain {
    bool yes;
    bool dry_run;
};

static void drain_print(const struct drain *d, json_int_t services, json_int_t inflight)
{
    printf("%s: %" JSON_INTEGER_FORMAT " service%s, %" JSON_INTEGER_FORMAT " deliver%s in flight\n",
           d->dry_run ? "would drain" : "draining", services, services == 1 ? "" : "s", inflight,
           inflight == 1 ? "y" : "ies");
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct drain d = { 0 };
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, &d);
    if (rc >= 0)
        return rc;
    if (!d.yes && !d.dry_run)
        return cli_needs_yes(cli, "stops the daemon after what is in flight");
    rc = admin_call(cli, "drain", json_pack("{s:b}", "dry_run", d.dry_run), &reply);
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK)
        drain_print(&d, json_integer_value(json_object_get(reply, "services")),
                    json_integer_value(json_object_get(reply, "inflight")));
    json_decref(reply);
    return rc;
}

static const struct option_row options[] = {
    { "yes", 'y', OPTION_FLAG, offsetof(struct drain, yes), NULL, "do it" },
    { "dry-run", 0, OPTION_FLAG, offsetof(struct drain, dry_run), NULL, "show what is in flight" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_drain = {
    .name = "drain",
    .summary = "Stop the daemon after what is in flight",
    .usage = "--yes",
    .details = "The daemon takes nothing new, tells its clients BYE, finishes what is in flight and exits.",
    .example = "bellhop drain --dry-run\n"
               "bellhop drain --yes",
    .options = options,
    .run = run,
};
