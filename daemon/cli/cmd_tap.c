#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#include "cli/list.h"

struct tap {
    const char *match;
    const char *route;
    uint64_t count; /* 0 = until interrupted */
    uint64_t seen;
    bool bodies;
};

static const char *event_color(const char *event)
{
    if (strcmp(event, "dead") == 0 || strcmp(event, "expired") == 0)
        return "\033[31m";
    return strcmp(event, "retry") == 0 ? "\033[33m" : "\033[32m";
}

static void event_print(const struct cli *cli, const json_t *item)
{
    const char *event = json_text(item, "event");
    const char *time = json_text(item, "time");
    const char *clock = strchr(time, 'T');
    json_int_t attempt = json_integer_value(json_object_get(item, "attempt"));
    printf("%.12s  %s%-9s%s  %s  ", clock != NULL ? clock + 1 : time, cli->color ? event_color(event) : "", event,
           cli->color ? "\033[0m" : "", json_text(item, "id"));
    output_text(json_text(item, "subject"));
    printf("  %s", json_text(item, "from"));
    if (json_text(item, "to")[0] != '\0')
        printf(" -> %s", json_text(item, "to"));
    if (attempt > 1)
        printf("  attempt %" JSON_INTEGER_FORMAT, attempt);
    printf("  %" JSON_INTEGER_FORMAT "B", json_integer_value(json_object_get(item, "size")));
    if (json_object_get(item, "body") != NULL) {
        printf("  ");
        output_text(json_text(item, "body"));
    }
    putchar('\n');
    fflush(stdout);
}

static bool on_item(struct cli *cli, const json_t *item, void *user)
{
    struct tap *t = user;
    if (cli->json)
        output_json_line(item);
    else
        event_print(cli, item);
    t->seen++;
    return t->count == 0 || t->seen < t->count;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct tap t = { 0 };
    int rc = cli_parse(cli, argc, argv, &t);
    if (rc >= 0)
        return rc;
    json_t *args = json_pack("{s:b,s:s*,s:s*}", "bodies", t.bodies, "match", t.match, "route", t.route);
    return admin_stream(cli, "tap", args, on_item, &t);
}

static const struct option_row options[] = {
    { "match", 'm', OPTION_TEXT, offsetof(struct tap, match), "FILTER", "only subjects that match" },
    { "route", 'r', OPTION_TEXT, offsetof(struct tap, route), "NAME", "only this route" },
    { "bodies", 0, OPTION_FLAG, offsetof(struct tap, bodies), NULL, "with the bodies" },
    { "count", 'n', OPTION_COUNT, offsetof(struct tap, count), "N", "end after N events" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_tap = {
    .name = "tap",
    .summary = "Watch messages pass, live",
    .usage = "",
    .details = "One line for each thing that happens to a message: accepted, delivered, done, retry, dead,\n"
               "expired. It ends at SIGINT or SIGTERM.",
    .example = "bellhop tap --match 'order.>' --bodies\n"
               "bellhop tap --route orders -o json",
    .options = options,
    .run = run,
};
