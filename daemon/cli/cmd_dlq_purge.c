#include "cli/dlq.h"
#include "cli/list.h"

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct dlq_change change = { "dlq.purge", "dropped", "would drop", true };
    return dlq_change(cli, argc, argv, &change);
}

static const struct option_row options[] = {
    { "route", 'r', OPTION_TEXT, offsetof(struct dlq_selection, route), "NAME", "only those of this route" },
    { "match", 'm', OPTION_TEXT, offsetof(struct dlq_selection, match), "FILTER", "only those whose subject matches" },
    { "limit", 'n', OPTION_COUNT, offsetof(struct dlq_selection, limit), "N", "at most N, the oldest first" },
    { "dry-run", 0, OPTION_FLAG, offsetof(struct dlq_selection, dry_run), NULL, "only count them" },
    { "yes", 'y', OPTION_FLAG, offsetof(struct dlq_selection, yes), NULL, "do it" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_dlq_purge = {
    .name = "purge",
    .summary = "Drop dead letters for good",
    .usage = "[ID]",
    .details = "Without ID or options: all.",
    .example = "bellhop dlq purge --match 'metrics.>' --dry-run\n"
               "bellhop dlq purge --match 'metrics.>' --yes",
    .options = options,
    .args_max = 1,
    .run = run,
};
