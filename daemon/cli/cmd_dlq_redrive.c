#include "cli/dlq.h"
#include "cli/list.h"

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct dlq_change change = { "dlq.redrive", "sent again:", "would send again:", false };
    return dlq_change(cli, argc, argv, &change);
}

static const struct option_row options[] = {
    { "route", 'r', OPTION_TEXT, offsetof(struct dlq_selection, route), "NAME", "only those of this route" },
    { "match", 'm', OPTION_TEXT, offsetof(struct dlq_selection, match), "FILTER", "only those whose subject matches" },
    { "limit", 'n', OPTION_COUNT, offsetof(struct dlq_selection, limit), "N", "at most N, the oldest first" },
    { "dry-run", 0, OPTION_FLAG, offsetof(struct dlq_selection, dry_run), NULL, "only count them" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_dlq_redrive = {
    .name = "redrive",
    .summary = "Send dead letters again",
    .usage = "[ID]",
    .details = "They start over with attempt 1, each to the destination it failed at. Without ID or options: all.",
    .example = "bellhop dlq redrive --route orders --dry-run\n"
               "bellhop dlq redrive 019ab6b0-0000-7000-8000-000000000001",
    .options = options,
    .args_max = 1,
    .run = run,
};
