#include <stdio.h>

#include "cli/cli.h"

#include "cli/list.h"

static const struct column head[] = {
    { "node", "node", COLUMN_TEXT },      { "version", "version", COLUMN_TEXT },
    { "state", "state", COLUMN_STATE },   { "pid", "pid", COLUMN_COUNT },
    { "up for", "uptime_ms", COLUMN_DURATION }, { "memory", "memory_bytes", COLUMN_SIZE },
    { "configuration", "config.file", COLUMN_TEXT },
    { "generation", "config.generation", COLUMN_COUNT },
    { "store", "store.path", COLUMN_TEXT }, { "store is", "store.state", COLUMN_STATE },
    { "store holds", "store.bytes", COLUMN_SIZE },
    { "last reload failed", "config.error", COLUMN_TEXT },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column messages[] = {
    { "ACCEPTED", "accepted", COLUMN_COUNT }, { "STORED", "stored", COLUMN_COUNT },
    { "READY", "ready", COLUMN_COUNT },
    { "PARKED", "parked", COLUMN_COUNT },
    { "WAITING", "waiting", COLUMN_COUNT },   { "INFLIGHT", "inflight", COLUMN_COUNT },
    { "DONE", "done", COLUMN_COUNT },         { "DEAD", "dead", COLUMN_COUNT },
    { "EXPIRED", "expired", COLUMN_COUNT },   { "DROPPED", "dropped", COLUMN_COUNT },
    { "MISSING", "unaccounted", COLUMN_COUNT },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column services[] = {
    { "SERVICE", "name", COLUMN_TEXT },     { "INSTANCES", "instances", COLUMN_COUNT },
    { "CREDIT", "credit", COLUMN_COUNT },   { "INFLIGHT", "inflight", COLUMN_COUNT },
    { "QUEUED", "queued", COLUMN_COUNT },   { "STORED", "stored", COLUMN_COUNT },
    { "DONE", "done", COLUMN_COUNT },
    { "FAILED", "failed", COLUMN_COUNT },   { "BREAKER", "breaker", COLUMN_STATE },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column endpoints[] = {
    { "ENDPOINT", "name", COLUMN_TEXT }, { "ROLE", "role", COLUMN_TEXT },
    { "STATE", "state", COLUMN_STATE },  { "CONNECTIONS", "connections", COLUMN_COUNT },
    { "URL", "url", COLUMN_TEXT },       { "ERROR", "error", COLUMN_TEXT },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column schedules[] = {
    { "SCHEDULE", "name", COLUMN_TEXT }, { "SUBJECT", "subject", COLUMN_TEXT },
    { "STATE", "state", COLUMN_STATE },  { "NEXT", "next", COLUMN_TEXT },
    { "LAST", "last", COLUMN_TEXT },     { "DRIFT", "drift_ms", COLUMN_DURATION },
    { "PUBLISHED", "published", COLUMN_COUNT }, { "LOST", "lost", COLUMN_COUNT },
    { NULL, NULL, COLUMN_TEXT },
};

static void section(const struct cli *cli, const json_t *rows, const char *none, const struct column *columns)
{
    printf("\n");
    if (json_array_size(rows) > 0)
        output_table(cli, rows, columns);
    else
        printf("%s\n", none);
}

static void status_print(const struct cli *cli, const json_t *status)
{
    json_t *counts = json_pack("[O?]", json_object_get(status, "messages"));
    output_record(cli, status, head);
    section(cli, counts, "no messages", messages);
    section(cli, json_object_get(status, "services"), "no services", services);
    section(cli, json_object_get(status, "endpoints"), "no endpoints", endpoints);
    if (json_array_size(json_object_get(status, "schedules")) > 0)
        section(cli, json_object_get(status, "schedules"), "", schedules);
    json_decref(counts);
}

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *status;
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "status", json_object(), &status);
    if (rc == EXIT_OK && cli->json)
        output_json(status);
    else if (rc == EXIT_OK)
        status_print(cli, status);
    json_decref(status);
    return rc;
}

const struct command command_status = {
    .name = "status",
    .summary = "Show the daemon, its messages, services, endpoints and schedules",
    .usage = "",
    .example = "bellhop status\n"
               "bellhop status -o json | jq .messages.unaccounted",
    .run = run,
};
