#include <string.h>

#include "cli/cli.h"

#include "cli/list.h"

const struct command *const commands[] = {
    &command_request, &command_publish, &command_subscribe, &command_serve,  &command_status,
    &command_routes,  &command_explain, &command_dlq,       &command_log,      &command_replay,  &command_tap,    &command_check,   &command_audit,
    &command_doctor,
    &command_reload,  &command_drain,   &command_bench,     &command_version, &command_completion,
    NULL,
};

const struct command *command_find(const struct command *const *list, const char *name)
{
    for (; *list != NULL; list++)
        if (strcmp((*list)->name, name) == 0)
            return *list;
    return NULL;
}
