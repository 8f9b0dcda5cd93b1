#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/list.h"
#include "cli/log.h"

struct replay {
    struct log_selection log;
    const char *service;
    const char *rate;
    bool dry_run;
    json_t *sum; /* as last told */
};

static json_int_t number(const json_t *sum, const char *key)
{
    return json_integer_value(json_object_get(sum, key));
}

static bool on_item(struct cli *cli, const json_t *item, void *user)
{
    struct replay *r = user;
    json_decref(r->sum);
    r->sum = json_incref((json_t *)(uintptr_t)item);
    if (!cli->json && !json_is_true(json_object_get(item, "done")) && isatty(STDERR_FILENO))
        fprintf(stderr, "\r%" JSON_INTEGER_FORMAT " sent, at offset %" JSON_INTEGER_FORMAT " ", number(item, "count"),
                number(item, "offset"));
    return true;
}

static void left_out(const struct cli *cli, const json_t *sum, const char *key, const char *why)
{
    if (number(sum, key) > 0)
        cli_note(cli, "%" JSON_INTEGER_FORMAT " left out: %s", number(sum, key), why);
}

static int sum_print(const struct cli *cli, const struct replay *r)
{
    json_int_t n = number(r->sum, "count");
    bool done = json_is_true(json_object_get(r->sum, "done"));
    const char *stopped = done ? json_text(r->sum, "stopped") : "interrupted";
    if (cli->json)
        output_json(r->sum);
    else
        printf("%s %" JSON_INTEGER_FORMAT " event%s\n", r->dry_run ? "would replay" : "replayed", n, n == 1 ? "" : "s");
    left_out(cli, r->sum, "skipped", "no route of the log takes them any more, or not to that service");
    if (*json_text(r->sum, "skipped_route") != '\0')
        cli_note(cli, "each goes through the route it took, by its name: the first of these took the route %s; see bellhop routes",
                 json_text(r->sum, "skipped_route"));
    if (done && n == 0 && number(r->sum, "skipped") + number(r->sum, "refused") + number(r->sum, "damaged") == 0)
        cli_note(cli, "nothing matched: no entry of the log is between these places and passes --match and --key");
    left_out(cli, r->sum, "refused", "their route did not accept them");
    left_out(cli, r->sum, "damaged", "the store has damaged them");
    if (*stopped == '\0')
        return number(r->sum, "refused") + number(r->sum, "damaged") > 0 ? EXIT_FAILED : EXIT_OK;
    return cli_fail(cli, "ended early: %s; it had read up to offset %" JSON_INTEGER_FORMAT, stopped, number(r->sum, "offset"));
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct replay r = { 0 };
    int rc = cli_parse(cli, argc, argv, &r);
    if (rc >= 0)
        return rc;
    json_t *args = log_arguments(cli->argv[0], &r.log);
    json_t *more = json_pack("{s:b,s:s*,s:s*}", "dry_run", r.dry_run, "rate", r.rate, "service", r.service);
    if (args != NULL && (more == NULL || json_object_update(args, more) != 0)) {
        json_decref(args);
        args = NULL;
    }
    json_decref(more);
    rc = admin_stream(cli, "replay", args, on_item, &r);
    if (rc == EXIT_OK && r.sum != NULL)
        rc = sum_print(cli, &r);
    else if (rc == EXIT_OK)
        rc = cli_fail(cli, "interrupted before the first event");
    json_decref(r.sum);
    return rc;
}

static const struct option_row options[] = {
    LOG_OPTIONS(replay),
    { "rate", 'r', OPTION_RATE, offsetof(struct replay, rate), "N/s", "no faster than that (N/m and N/h too)" },
    { "to-service", 0, OPTION_TEXT, offsetof(struct replay, service), "NAME", "to this target of the routes only" },
    { "dry-run", 0, OPTION_FLAG, offsetof(struct replay, dry_run), NULL, "only count them" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_replay = {
    .name = "replay",
    .summary = "Publish the entries of an event log again",
    .usage = "NAME",
    .details = "Each goes through the route it took, under its own id, marked with the header `replayed: yes`, and is not\n"
               "appended again. A PLACE is as for bellhop log show. It ends at SIGINT; what was sent stays sent.",
    .example = "bellhop replay orders --from 2026-01-31T08:00:00Z --to 1h --dry-run\n"
               "bellhop replay orders --from 1200 --match 'order.*' --rate 100/s --to-service billing",
    .options = options,
    .args_min = 1,
    .args_max = 1,
    .run = run,
};
