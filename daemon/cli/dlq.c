#include "cli/dlq.h"

#include <inttypes.h>
#include <stdio.h>

/* A restriction that cannot be said must never be left out: this may drop messages. */
static bool text_set(json_t *object, const char *key, const char *text)
{
    return text == NULL || json_object_set_new(object, key, json_string(text)) == 0;
}

json_t *dlq_arguments(const struct dlq_selection *s)
{
    json_t *args = json_object();
    if (!text_set(args, "id", s->id) || !text_set(args, "route", s->route) ||
        !text_set(args, "match", s->match)) {
        json_decref(args);
        return NULL;
    }
    if (s->limit > 0)
        json_object_set_new(args, "limit", json_integer((json_int_t)s->limit));
    json_object_set_new(args, "dry_run", json_boolean(s->dry_run));
    return args;
}

int dlq_unknown(const struct cli *cli, const struct dlq_selection *s)
{
    return cli_fail(cli, "no dead letter has the id %s", s->id);
}

int dlq_change_run(struct cli *cli, const struct dlq_selection *s, const struct dlq_change *change)
{
    json_t *reply;
    int rc = admin_call(cli, change->command, dlq_arguments(s), &reply);
    json_int_t n = json_integer_value(json_object_get(reply, "count"));
    if (rc == EXIT_OK && n == 0 && s->id != NULL)
        rc = dlq_unknown(cli, s);
    else if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK)
        printf("%s %" JSON_INTEGER_FORMAT " dead letter%s\n", s->dry_run ? change->would : change->done, n,
               n == 1 ? "" : "s");
    json_decref(reply);
    return rc;
}

int dlq_change(struct cli *cli, int argc, char **argv, const struct dlq_change *change)
{
    struct dlq_selection s = { 0 };
    int rc = cli_parse(cli, argc, argv, &s);
    if (rc >= 0)
        return rc;
    s.id = cli->argc > 0 ? cli->argv[0] : NULL;
    if (change->destructive && !s.yes && !s.dry_run)
        return cli_needs_yes(cli, "drops messages for good");
    return dlq_change_run(cli, &s, change);
}
