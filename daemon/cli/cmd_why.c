#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/cli.h"

#include "cli/list.h"

#define SAME_MS 5

static const struct column head[] = {
    { "id", "id", COLUMN_TEXT },         { "subject", "subject", COLUMN_TEXT },
    { "kind", "kind", COLUMN_TEXT },     { "from", "source", COLUMN_TEXT },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column line[] = {
    { "TIME", "time", COLUMN_TEXT },               { "EVENT", "event", COLUMN_STATE },
    { "DESTINATION", "destination", COLUMN_TEXT }, { "ATTEMPT", "attempt", COLUMN_COUNT },
    { "PEER", "peer", COLUMN_TEXT },               { "DETAIL", "detail", COLUMN_TEXT },
    { NULL, NULL, COLUMN_TEXT },
};

static void put_detail(struct buf *out, const char *text)
{
    if (*text != '\0')
        buf_printf(out, "%s%s", out->len > 0 ? "; " : "", text);
}

static void put_span(struct buf *out, const char *what, const json_t *ms)
{
    char span[32];
    if (ms != NULL)
        buf_printf(out, "%s%s %s", out->len > 0 ? "; " : "", what, str_format_duration(json_integer_value(ms), span));
}

static json_t *row_at(const char *time, const char *event, struct buf *detail)
{
    json_t *row = json_pack("{s:s,s:s,s:s}", "time", time, "event", event, "detail", buf_cstr(detail));
    buf_fini(detail);
    return row;
}

static void copy(json_t *row, const json_t *item, const char *key)
{
    json_t *value = json_object_get(item, key);
    if (value != NULL)
        json_object_set(row, key, value);
}

/* The same acceptance, told by two notes: their clocks may differ a little. */
static bool is_acceptance(const json_t *row, const json_t *item)
{
    json_int_t at = json_integer_value(json_object_get(row, "accepted_ms"));
    json_int_t by = json_integer_value(json_object_get(item, "accepted_ms")) - at;
    return at != 0 && by >= -SAME_MS && by <= SAME_MS;
}

/* Once for each: the fan-out of a message has one, its copies have theirs. */
static void add_accepted(json_t *rows, const json_t *item)
{
    struct buf detail = BUF_EMPTY;
    const json_t *other;
    size_t i;
    json_array_foreach(rows, i, other) {
        if (is_acceptance(other, item))
            return;
    }
    buf_printf(&detail, "route %s", json_text(item, "route"));
    json_int_t generation = json_integer_value(json_object_get(item, "generation"));
    if (generation > 0)
        buf_printf(&detail, " of configuration %" JSON_INTEGER_FORMAT, generation);
    if (json_is_true(json_object_get(item, "stored")))
        put_detail(&detail, "on disk, then its source was told");
    json_t *row = row_at(json_text(item, "accepted"), "accepted", &detail);
    copy(row, item, "accepted_ms");
    json_array_append_new(rows, row);
}

static void add_handed_over(json_t *rows, const json_t *item)
{
    struct buf detail = BUF_EMPTY;
    const char *cause = json_text(item, "redelivered");
    if (*cause != '\0')
        buf_printf(&detail, "redelivered: %s", cause);
    json_t *row = row_at(json_text(item, "handed_over"), "handed over", &detail);
    copy(row, item, "destination");
    copy(row, item, "attempt");
    copy(row, item, "peer");
    json_array_append_new(rows, row);
}

static void add_event(json_t *rows, const json_t *item)
{
    struct buf detail = BUF_EMPTY;
    put_detail(&detail, json_text(item, "detail"));
    put_span(&detail, "after", json_object_get(item, "took_ms"));
    put_span(&detail, "again in", json_object_get(item, "pause_ms"));
    if (json_is_true(json_object_get(item, "told")))
        put_detail(&detail, "its source was told");
    json_t *row = row_at(json_text(item, "time"), json_text(item, "event"), &detail);
    copy(row, item, "destination");
    json_array_append_new(rows, row);
}

/* Times of one form: their text sorts as they do. What was added first comes first where they are the same. */
struct sorted {
    json_t *row;
    size_t at;
};

static int by_time(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    int order = strcmp(json_text(x->row, "time"), json_text(y->row, "time"));
    return order != 0 ? order : x->at < y->at ? -1 : 1;
}

static json_t *sort_rows(json_t *rows)
{
    size_t n = json_array_size(rows);
    struct sorted *list = mem_calloc(n, sizeof(*list));
    json_t *sorted = json_array();
    for (size_t i = 0; i < n; i++)
        list[i] = (struct sorted){json_array_get(rows, i), i};
    qsort(list, n, sizeof(*list), by_time);
    for (size_t i = 0; i < n; i++)
        json_array_append(sorted, list[i].row);
    mem_free(list);
    return sorted;
}

static json_t *rows_of(const json_t *items)
{
    json_t *rows = json_array(), *item;
    size_t i;
    json_array_foreach(items, i, item) {
        if (*json_text(item, "accepted") != '\0')
            add_accepted(rows, item);
        if (*json_text(item, "handed_over") != '\0')
            add_handed_over(rows, item);
        add_event(rows, item);
    }
    json_t *sorted = sort_rows(rows);
    json_decref(rows);
    return sorted;
}

static void story_print(const struct cli *cli, json_t *reply)
{
    const json_t *items = json_object_get(reply, "items");
    json_t *first = json_array_get(items, 0), *rows = rows_of(items);
    json_object_set(first, "id", json_object_get(reply, "id"));
    json_object_set_new(first, "kind", json_string(json_is_true(json_object_get(first, "request")) ? "request"
                                                                                                  : "event"));
    output_record(cli, first, head);
    putchar('\n');
    output_table(cli, rows, line);
    json_decref(rows);
}

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *reply;
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "why", json_pack("{s:s}", "id", cli->argv[0]), &reply);
    if (rc == EXIT_OK && cli->json)
        output_json(reply);
    else if (rc == EXIT_OK && json_array_size(json_object_get(reply, "items")) > 0)
        story_print(cli, reply);
    if (rc == EXIT_OK && !json_is_true(json_object_get(reply, "complete")))
        cli_note(cli, "there is more than this: the store could not be read, or there is too much of it");
    if (rc == EXIT_OK && json_array_size(json_object_get(reply, "items")) == 0)
        rc = cli_fail(cli, "nothing is known of %s: no message had this id, or it was so long ago that its notes have "
                      "made room for others (limits.history)", cli->argv[0]);
    json_decref(reply);
    return rc;
}

const struct command command_why = {
    .name = "why",
    .summary = "Tell what became of a message, from its acceptance to its end",
    .usage = "ID",
    .details = "Which route took it, each attempt with who had it and how it ended, its dead letter, redrive, copies that "
               "were left out, and what it waits for now. Stored deliveries and all that went wrong are remembered on "
               "disk (limits.history), but for the last 5 seconds before a crash; the last 65,536 best-effort "
               "deliveries that just went well in memory only, without their subject.",
    .example = "bellhop why 019ab6b0-0000-7000-8000-000000000001",
    .args_min = 1,
    .args_max = 1,
    .run = run,
};
