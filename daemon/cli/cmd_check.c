/* The configuration, checked in this process by the daemon's own code: no daemon is needed. */
#include <stdio.h>

#include "cli/cli.h"

#include "base/err.h"
#include "cli/list.h"
#include "cli/transports.h"
#include "config/config.h"

static json_t *texts_json(char *const *texts, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(texts[i]));
    return list;
}

static void report_json(const struct config *c, const struct err *err)
{
    json_t *report = json_pack("{s:b,s:o,s:o}", "ok", c != NULL, "errors", texts_json(err->texts, err->count),
                               "warnings", c != NULL ? texts_json(c->warnings.items, c->warnings.count) : json_array());
    output_json(report);
    json_decref(report);
}

static void report_text(const struct cli *cli, const char *file, const struct config *c, const struct err *err)
{
    for (size_t i = 0; i < err->count; i++)
        fprintf(stderr, "%s%s%s\n", cli->color_err ? "\033[31m" : "", err->texts[i], cli->color_err ? "\033[0m" : "");
    if (c == NULL) {
        cli_fail(cli, "%s: %zu error%s", file, err->total, err->total == 1 ? "" : "s");
        return;
    }
    for (size_t i = 0; i < c->warnings.count; i++)
        fprintf(stderr, "%s%s%s\n", cli->color_err ? "\033[33m" : "", c->warnings.items[i],
                cli->color_err ? "\033[0m" : "");
    printf("%s: good, %zu endpoint%s, %zu service%s, %zu route%s\n", file, c->endpoint_count,
           c->endpoint_count == 1 ? "" : "s", c->service_count, c->service_count == 1 ? "" : "s", c->route_count,
           c->route_count == 1 ? "" : "s");
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct err err = { 0 };
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    const char *file = cli->argc > 0 ? cli->argv[0] : "/etc/bellhop/bellhop.yaml";
    struct config *c = config_load(file, app_config_transports, &err);
    if (cli->json)
        report_json(c, &err);
    else
        report_text(cli, file, c, &err);
    rc = c != NULL ? EXIT_OK : EXIT_CONFIG;
    config_free(c);
    err_fini(&err);
    return rc;
}

const struct command command_check = {
    .name = "check",
    .summary = "Check a configuration file without starting anything",
    .usage = "[FILE]",
    .details = "FILE is /etc/bellhop/bellhop.yaml unless given. All errors are printed, each with its place and what is\n"
               "allowed there; exit code 78. Warnings name routes that can never match, names that nothing uses,\n"
               "endpoints that share an address, and users and certificates that this host does not have.",
    .example = "bellhop check /etc/bellhop/bellhop.yaml",
    .args_max = 1,
    .run = run,
};
