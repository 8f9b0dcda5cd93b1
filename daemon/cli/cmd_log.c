#include "cli/list.h"

static const struct command *const subs[] = { &command_log_ls, &command_log_show, NULL };

const struct command command_log = {
    .name = "log",
    .summary = "Look at event logs",
    .usage = "ls|show",
    .example = "bellhop log ls\n"
               "bellhop log show orders --from 2h",
    .subs = subs,
};
