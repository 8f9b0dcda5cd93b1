#include <inttypes.h>
#include <stdio.h>

#include "cli/dlq.h"
#include "cli/list.h"

static int edit(struct cli *cli, const struct dlq_selection *s, const struct buf *body)
{
    json_t *reply, *args = dlq_arguments(s);
    json_t *text = json_stringn((const char *)buf_data(body), body->len);
    if (args == NULL || text == NULL) {
        json_decref(args);
        json_decref(text);
        return cli_fail(cli, "the id and the new body have to be UTF-8");
    }
    json_object_set_new(args, "body", text);
    int rc = admin_call(cli, "dlq.edit", args, &reply);
    json_int_t n = json_integer_value(json_object_get(reply, "count"));
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK && n > 0)
        printf("%s %" JSON_INTEGER_FORMAT " dead letter%s\n", s->dry_run ? "would change" : "changed", n, n == 1 ? "" : "s");
    if (rc == EXIT_OK && n == 0)
        rc = cli_fail(cli, "no dead letter has the id %s", s->id);
    json_decref(reply);
    return rc;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct dlq_selection s = { 0 };
    struct buf body = BUF_EMPTY;
    int rc = cli_parse(cli, argc, argv, &s);
    if (rc >= 0)
        return rc;
    s.id = cli->argv[0];
    rc = cli_body(cli, cli->argv[1], &body) ? edit(cli, &s, &body) : EXIT_FAILED;
    buf_fini(&body);
    return rc;
}

static const struct option_row options[] = {
    { "dry-run", 0, OPTION_FLAG, offsetof(struct dlq_selection, dry_run), NULL, "only look whether it is there" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_dlq_edit = {
    .name = "edit",
    .summary = "Give a dead letter another body",
    .usage = "ID BODY|-",
    .details = "Subject and headers stay; `bellhop dlq redrive ID` sends it again. Dead letters of one message to\n"
               "several destinations share its id, and all are changed.",
    .example = "bellhop dlq edit 019ab6b0-0000-7000-8000-000000000001 '{\"total\":7}'",
    .options = options,
    .args_min = 2,
    .args_max = 2,
    .run = run,
};
