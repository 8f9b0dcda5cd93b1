#include "cli/list.h"

static const struct command *const subs[] = { &command_log_ls, &command_log_show, &command_log_rm, NULL };

const struct command command_log = {
    .name = "log",
    .summary = "Look at event logs, and remove them",
    .usage = "ls|show|rm",
    .example = "bellhop log ls\n"
               "bellhop log show orders --from 2h",
    .subs = subs,
};
