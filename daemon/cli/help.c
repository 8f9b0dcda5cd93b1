#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define HELP_COLUMN 30

static void row_print(const struct option_row *row)
{
    char left[64];
    char letter[8] = "    ";
    if (row->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", row->letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, row->name, row->value != NULL ? " " : "",
             row->value != NULL ? row->value : "");
    printf("%-*s%s%s\n", HELP_COLUMN, left, strlen(left) >= HELP_COLUMN ? " " : "", row->help);
}

static void rows_print(const char *title, const struct option_row *rows)
{
    if (rows == NULL)
        return;
    printf("\n%s:\n", title);
    for (; rows->name != NULL; rows++)
        row_print(rows);
}

static void list_print(const struct command *const *list)
{
    printf("\nCommands:\n");
    for (; *list != NULL; list++)
        printf("  %-13s%s\n", (*list)->name, (*list)->summary);
}

static void example_print(const char *example)
{
    printf("\nExample:\n");
    while (*example != '\0') {
        size_t n = strcspn(example, "\n");
        printf("  %.*s\n", (int)n, example);
        example += n + (example[n] == '\n');
    }
}

void help_tool(void)
{
    printf("Usage: bellhop [OPTION…] COMMAND [ARGUMENT…]\n"
           "Speaks with bellhopd: sends and serves messages, shows and steers the daemon.\n");
    list_print(commands);
    rows_print("Options", global_options);
    printf("\n`bellhop COMMAND --help` says more; the manual is bellhop(1).\n"
           "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n");
}

void help_command(const struct cli *cli)
{
    const struct command *c = cli->command;
    printf("Usage: %s [OPTION…] %s\n%s.\n", cli->path, c->usage, c->summary);
    if (c->details != NULL)
        printf("\n%s\n", c->details);
    if (c->subs != NULL)
        list_print(c->subs);
    rows_print("Options", c->options);
    rows_print("Options of every command", global_options);
    example_print(c->example);
}
