#pragma once
/* Which dead letters a command is about. NULL and 0 mean: not restricted by that. */
#include "cli/cli.h"

struct dlq_selection {
    const char *id; /* an argument, not an option */
    const char *route;
    const char *match;
    uint64_t limit;
    bool dry_run;
    bool yes;
    bool group;
    const char *rate;
    bool canary;
};

/* The JSON arguments of an administrative command; the caller's. NULL when a text is not UTF-8. */
json_t *dlq_arguments(const struct dlq_selection *s);

/* Says that nothing has the id; the exit code. */
int dlq_unknown(const struct cli *cli, const struct dlq_selection *s);

/* Runs dlq.redrive or dlq.purge on [ID] and the options; `done` and `would` head the report. */
struct dlq_change {
    const char *command, *done, *would;
    bool destructive;
};
int dlq_change(struct cli *cli, int argc, char **argv, const struct dlq_change *change);
int dlq_change_run(struct cli *cli, const struct dlq_selection *s, const struct dlq_change *change);
