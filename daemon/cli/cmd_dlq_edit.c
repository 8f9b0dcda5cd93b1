#include <inttypes.h>
#include <stdio.h>

#include "cli/dlq.h"
#include "cli/list.h"

struct edit {
    struct dlq_selection selection;
    const char *subject;
    struct bellhop_headers headers;
};

/* False: it is not UTF-8. */
static bool text_add(json_t *args, const char *key, const void *text, size_t n)
{
    return text == NULL || json_object_set_new(args, key, json_stringn(text, n)) == 0;
}

static json_t *arguments(const struct edit *e, const struct buf *body)
{
    json_t *args = dlq_arguments(&e->selection);
    bool good = args != NULL && text_add(args, "subject", e->subject, e->subject != NULL ? strlen(e->subject) : 0) &&
                text_add(args, "headers", e->headers.data, e->headers.len) &&
                (body == NULL || json_object_set_new(args, "body", json_stringn((const char *)buf_data(body), body->len)) == 0);
    if (good)
        return args;
    json_decref(args);
    return NULL;
}

static int change(struct cli *cli, const struct edit *e, const struct buf *body)
{
    json_t *reply, *args = arguments(e, body);
    if (args == NULL)
        return cli_fail(cli, "the id and what is new have to be UTF-8");
    int rc = admin_call(cli, "dlq.edit", args, &reply);
    json_int_t n = json_integer_value(json_object_get(reply, "count"));
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK && n > 0)
        printf("%s %" JSON_INTEGER_FORMAT " dead letter%s\n", e->selection.dry_run ? "would change" : "changed", n, n == 1 ? "" : "s");
    if (rc == EXIT_OK && json_integer_value(json_object_get(reply, "skipped")) > 0)
        rc = cli_fail(cli, "not changed: headers above 64 KiB or 128 lines, those that the daemon adds counted");
    else if (rc == EXIT_OK && n == 0)
        rc = cli_fail(cli, "no dead letter has the id %s", e->selection.id);
    json_decref(reply);
    return rc;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct edit e = { 0 };
    struct buf body = BUF_EMPTY;
    int rc = cli_parse(cli, argc, argv, &e);
    if (rc >= 0)
        return rc;
    const char *text = cli->argc > 1 ? cli->argv[1] : NULL;
    e.selection.id = cli->argv[0];
    if (text == NULL && e.subject == NULL && e.headers.len == 0)
        rc = cli_misuse(cli, "nothing is to be changed: give a body, --subject or --header");
    else
        rc = cli_body(cli, text, &body) ? change(cli, &e, text != NULL ? &body : NULL) : EXIT_FAILED;
    buf_fini(&body);
    bellhop_headers_fini(&e.headers);
    return rc;
}

static const struct option_row options[] = {
    { "subject", 0, OPTION_TEXT, offsetof(struct edit, subject), "SUBJECT", "another subject" },
    { "header", 'H', OPTION_HEADER, offsetof(struct edit, headers), "NAME:VALUE",
      "in place of all headers of this name; without a value: away with them" },
    { "dry-run", 0, OPTION_FLAG, offsetof(struct edit, selection.dry_run), NULL, "only look whether it is there" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_dlq_edit = {
    .name = "edit",
    .summary = "Give a dead letter another body, subject or headers",
    .usage = "ID [BODY|-]",
    .details = "What is not named stays; `bellhop dlq redrive ID` sends it again. Dead letters of one message to\n"
               "several destinations share its id, and all are changed.",
    .example = "bellhop dlq edit 019ab6b0-0000-7000-8000-000000000001 '{\"total\":7}'\n"
               "bellhop dlq edit 019ab6b0-0000-7000-8000-000000000001 -H tenant:7 -H wrong:",
    .options = options,
    .args_min = 1,
    .args_max = 2,
    .run = run,
};
