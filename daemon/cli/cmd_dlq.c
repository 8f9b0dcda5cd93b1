#include "cli/list.h"

static const struct command *const subs[] = {
    &command_dlq_ls, &command_dlq_show, &command_dlq_edit, &command_dlq_redrive, &command_dlq_purge, NULL,
};

const struct command command_dlq = {
    .name = "dlq",
    .summary = "Look at dead letters, send them again, or drop them",
    .usage = "ls|show|edit|redrive|purge",
    .example = "bellhop dlq ls --route orders\n"
               "bellhop dlq redrive --route orders --dry-run",
    .subs = subs,
};
