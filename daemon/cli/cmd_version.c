#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"

#include "base/mem.h"
#include "cli/list.h"

/* The daemon's version where one answers; its absence is no error here. */
static json_t *daemon_version(struct cli *cli)
{
    char *path = cli_admin_socket(cli);
    json_t *reply = NULL;
    if (access(path, R_OK | W_OK) == 0)
        admin_call(cli, "version", json_object(), &reply);
    mem_free(path);
    return reply;
}

static int run(struct cli *cli, int argc, char **argv)
{
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    json_t *reply = daemon_version(cli);
    const char *version = json_string_value(json_object_get(reply, "version"));
    if (cli->json) {
        json_t *both = json_pack("{s:s,s:s?}", "bellhop", BELLHOP_VERSION, "bellhopd", version);
        output_json(both);
        json_decref(both);
    } else {
        printf("bellhop  %s\nbellhopd %s\n", BELLHOP_VERSION, version != NULL ? version : "(not reached)");
    }
    json_decref(reply);
    return EXIT_OK;
}

const struct command command_version = {
    .name = "version",
    .summary = "Show the versions of the tool and of the daemon",
    .usage = "",
    .example = "bellhop version",
    .run = run,
};
