#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define ROWS_MAX 32
#define LONG_FIRST 256 /* values of getopt_long for options without a letter */
#define GLOBAL_FIRST 512

const struct option_row global_options[] = {
    { "socket", 's', OPTION_TEXT, offsetof(struct cli, socket), "SOCKET",
      "the daemon's socket (else BELLHOP_SOCKET, else " SOCKET_DEFAULT ")" },
    { "output", 'o', OPTION_TEXT, offsetof(struct cli, output), "json|table",
      "for programs or for people (table)" },
    { "no-color", 0, OPTION_FLAG, offsetof(struct cli, no_color), NULL,
      "no colours on a terminal either (NO_COLOR does the same)" },
    { "help", 'h', OPTION_FLAG, 0, NULL, "this text" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

/* What getopt_long wants, made from our tables. */
struct grammar {
    struct option longs[ROWS_MAX + 1];
    char shorts[2 * ROWS_MAX + 3];
    size_t count, used;
};

static void grammar_add(struct grammar *g, const struct option_row *rows, int first)
{
    for (int i = 0; rows != NULL && rows[i].name != NULL && g->count < ROWS_MAX; i++) {
        bool value = rows[i].type != OPTION_FLAG;
        g->longs[g->count++] = (struct option){ rows[i].name, value ? required_argument : no_argument,
                                                NULL, first + i };
        if (rows[i].letter == 0)
            continue;
        g->shorts[g->used++] = rows[i].letter;
        if (value)
            g->shorts[g->used++] = ':';
    }
}

static void grammar_init(struct grammar *g, const char *prefix, const struct option_row *rows)
{
    *g = (struct grammar){ .used = strlen(prefix) };
    bytes_copy(g->shorts, prefix, g->used);
    grammar_add(g, rows, LONG_FIRST);
    grammar_add(g, global_options, GLOBAL_FIRST);
}

static const struct option_row *row_by_letter(const struct option_row *rows, int letter)
{
    for (; rows != NULL && rows->name != NULL; rows++)
        if (rows->letter != 0 && rows->letter == letter)
            return rows;
    return NULL;
}

static int wrong_value(const struct cli *cli, const struct option_row *row, const char *text,
                       const char *allowed)
{
    return cli_misuse(cli, "--%s: “%s” is not %s", row->name, text, allowed);
}

static int store_count(struct cli *cli, const struct option_row *row, const char *text, void *at)
{
    uint64_t n;
    if (!str_parse_u64(str_of(text), &n) || n == 0)
        return wrong_value(cli, row, text, "a whole number above 0");
    *(uint64_t *)at = n;
    return -1;
}

static int store_duration(struct cli *cli, const struct option_row *row, const char *text, void *at)
{
    int64_t ms;
    if (!str_parse_duration(str_of(text), &ms) || ms == 0)
        return wrong_value(cli, row, text, "a duration such as 250ms, 5s or 1h30m");
    *(int64_t *)at = ms;
    return -1;
}

static int store_size(struct cli *cli, const struct option_row *row, const char *text, void *at)
{
    uint64_t n;
    if (!str_parse_size(str_of(text), &n) && !str_parse_u64(str_of(text), &n))
        return wrong_value(cli, row, text, "a size such as 100, 64KiB or 4MiB");
    *(uint64_t *)at = n;
    return -1;
}

static int store_rate(struct cli *cli, const struct option_row *row, const char *text, void *at)
{
    int64_t pause_us;
    if (!str_parse_rate(str_of(text), &pause_us))
        return wrong_value(cli, row, text, "a rate such as 50/s, 30/m or 100/h");
    *(const char **)at = text;
    return -1;
}

static int store_header(struct cli *cli, const struct option_row *row, const char *text, void *at)
{
    const char *colon = strchr(text, ':');
    if (colon == NULL)
        return wrong_value(cli, row, text, "NAME:VALUE");
    char *name = str_dup(str_make(text, (size_t)(colon - text)));
    const char *value = colon + 1 + strspn(colon + 1, " ");
    int rc = bellhop_headers_add(at, name, value);
    free(name);
    if (rc == -EMSGSIZE)
        return cli_misuse(cli, "--%s: more than 128 headers or 64 KiB of them", row->name);
    if (rc != 0)
        return wrong_value(cli, row, text,
                           "NAME:VALUE with a lower-case name and a value of UTF-8 without control characters");
    return -1;
}

static int row_store(struct cli *cli, const struct option_row *row, const char *text, char *values)
{
    assert(values != NULL); /* a command without a struct for its options has no rows */
    void *at = values + row->offset;
    switch (row->type) {
    case OPTION_FLAG:
        *(bool *)at = true;
        return -1;
    case OPTION_TEXT:
        *(const char **)at = text;
        return -1;
    case OPTION_COUNT:
        return store_count(cli, row, text, at);
    case OPTION_DURATION:
        return store_duration(cli, row, text, at);
    case OPTION_SIZE:
        return store_size(cli, row, text, at);
    case OPTION_RATE:
        return store_rate(cli, row, text, at);
    case OPTION_HEADER:
        return store_header(cli, row, text, at);
    }
    return -1;
}

static int help_print(const struct cli *cli)
{
    if (cli->command == NULL)
        help_tool();
    else
        help_command(cli);
    return EXIT_OK;
}

/* One option that getopt found. */
static int option_take(struct cli *cli, int found, const struct option_row *rows, void *values)
{
    const struct option_row *global = found >= GLOBAL_FIRST ? &global_options[found - GLOBAL_FIRST]
                                                            : row_by_letter(global_options, found);
    const struct option_row *own = found >= LONG_FIRST && found < GLOBAL_FIRST
                                       ? &rows[found - LONG_FIRST]
                                       : row_by_letter(rows, found);
    if (own != NULL && found < GLOBAL_FIRST)
        return row_store(cli, own, optarg, values);
    if (global == NULL)
        return cli_misuse(cli, "an option that does not exist");
    if (global->letter == 'h')
        return help_print(cli);
    return row_store(cli, global, optarg, (char *)cli);
}

static int mistake(const struct cli *cli, int found, char **argv)
{
    const char *what = found == ':' ? "needs a value" : "does not exist here, or takes no value";
    if (optopt > 0 && optopt < LONG_FIRST)
        return cli_misuse(cli, "option -%c %s", optopt, what);
    return cli_misuse(cli, "option %s %s", argv[optind - 1], what);
}

static int globals_check(struct cli *cli)
{
    if (cli->output != NULL && strcmp(cli->output, "json") != 0 && strcmp(cli->output, "table") != 0)
        return cli_misuse(cli, "--output: “%s” is not json or table", cli->output);
    const char *term = getenv("TERM");
    const char *no_color = getenv("NO_COLOR");
    bool plain = cli->no_color || (no_color != NULL && no_color[0] != '\0') ||
                 (term != NULL && strcmp(term, "dumb") == 0);
    cli->json = cli->output != NULL && strcmp(cli->output, "json") == 0;
    cli->color = !plain && !cli->json && isatty(STDOUT_FILENO);
    cli->color_err = !plain && isatty(STDERR_FILENO);
    return -1;
}

static int parse(struct cli *cli, int argc, char **argv, const char *prefix, void *values)
{
    const struct option_row *rows = values != NULL && cli->command != NULL ? cli->command->options : NULL;
    struct grammar g;
    int found;
    grammar_init(&g, prefix, rows);
    optind = 0; /* glibc: start afresh, the prefix is read again */
    opterr = 0;
    while ((found = getopt_long(argc, argv, g.shorts, g.longs, NULL)) != -1) {
        int rc = found == '?' || found == ':' ? mistake(cli, found, argv)
                                              : option_take(cli, found, rows, values);
        if (rc >= 0)
            return rc;
    }
    cli->argc = argc - optind;
    cli->argv = argv + optind;
    return globals_check(cli);
}

int cli_parse_global(struct cli *cli, int argc, char **argv)
{
    return parse(cli, argc, argv, "+:", NULL);
}

int cli_parse(struct cli *cli, int argc, char **argv, void *values)
{
    const struct command *c = cli->command;
    int rc = parse(cli, argc, argv, ":", values);
    if (rc >= 0)
        return rc;
    if (cli->argc < c->args_min)
        return cli_misuse(cli, "too few arguments: %s %s", cli->path, c->usage);
    if (c->args_max >= 0 && cli->argc > c->args_max)
        return cli_misuse(cli, "“%s” is one argument too many: %s%s%s", cli->argv[c->args_max], cli->path,
                          *c->usage != '\0' ? " " : "", c->usage);
    return -1;
}
