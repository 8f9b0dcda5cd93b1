#pragma once
/* The table entry of every command, each defined in its own file. */
#include "cli/cli.h"

extern const struct command command_audit, command_bench, command_check, command_completion, command_dlq, command_doctor,
    command_drain, command_explain, command_publish, command_reload, command_request, command_routes,
    command_serve, command_status, command_subscribe, command_tap, command_version, command_log, command_log_ls, command_log_show, command_log_rm, command_replay,
    command_why;

extern const struct command command_dlq_edit, command_dlq_ls, command_dlq_show, command_dlq_redrive, command_dlq_purge;
