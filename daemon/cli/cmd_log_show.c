#include <inttypes.h>
#include <stdio.h>

#include "cli/list.h"
#include "cli/log.h"

struct show {
    struct log_selection log;
    bool follow, bodies;
};

static bool on_item(struct cli *cli, const json_t *item, void *user)
{
    const struct show *s = user;
    const char *key = json_text(item, "key");
    if (cli->json) {
        json_t *whole = json_copy((json_t *)(uintptr_t)item);
        output_split_headers(whole);
        output_json_line(whole);
        json_decref(whole);
        return true;
    }
    printf("%8" JSON_INTEGER_FORMAT "  %s  ", json_integer_value(json_object_get(item, "offset")), json_text(item, "time"));
    output_text(json_text(item, "subject"));
    if (*key != '\0') {
        printf("  ");
        output_text(key);
        printf("@%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(item, "version")));
    }
    printf("  %" JSON_INTEGER_FORMAT "B", json_integer_value(json_object_get(item, "size")));
    if (s->bodies) {
        printf("  ");
        output_text(json_object_get(item, "body") != NULL ? json_text(item, "body") : "(binary)");
    }
    putchar('\n');
    fflush(stdout);
    return true;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct show s = { 0 };
    int rc = cli_parse(cli, argc, argv, &s);
    if (rc >= 0)
        return rc;
    json_t *args = log_arguments(cli->argv[0], &s.log);
    if (args != NULL) {
        json_object_set_new(args, "follow", json_boolean(s.follow));
        json_object_set_new(args, "bodies", json_boolean(s.bodies));
    }
    return admin_stream(cli, "log.show", args, on_item, &s);
}

static const struct option_row options[] = {
    LOG_OPTIONS(show),
    { "follow", 'F', OPTION_FLAG, offsetof(struct show, follow), NULL, "at the end wait for more" },
    { "bodies", 0, OPTION_FLAG, offsetof(struct show, bodies), NULL, "with the bodies" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_log_show = {
    .name = "show",
    .summary = "Show the entries of an event log",
    .usage = "NAME",
    .details = "A line for each: offset, time, subject, key@version, size. A PLACE is an offset, a time such as\n"
               "2026-01-31T08:00:00Z, an age such as 2h, or first, last or next.",
    .example = "bellhop log show orders --from 2h --match 'order.*' --bodies\n"
               "bellhop log show orders --from last --follow -o json",
    .options = options,
    .args_min = 1,
    .args_max = 1,
    .run = run,
};
