/* bellhop, the tool of bellhopd: picks the command and hands over. */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* The name that is nearest to a mistyped one, or NULL. */
static const char *nearest(const struct command *const *list, const char *name)
{
    const char *best = NULL;
    unsigned least = 3;
    for (; *list != NULL; list++) {
        unsigned d = str_distance(str_of((*list)->name), str_of(name), 2);
        if (d >= least)
            continue;
        least = d;
        best = (*list)->name;
    }
    return best;
}

static int unknown(const struct cli *cli, const struct command *const *list, const char *name)
{
    const char *meant = nearest(list, name);
    if (meant != NULL)
        return cli_misuse(cli, "there is no command “%s”; did you mean “%s”?", name, meant);
    return cli_misuse(cli, "there is no command “%s”", name);
}

static int dispatch(struct cli *cli, const struct command *const *list, int argc, char **argv)
{
    const struct command *c = command_find(list, argv[0]);
    if (c == NULL)
        return unknown(cli, list, argv[0]);
    cli->command = c;
    size_t used = strlen(cli->path); /* "bellhop dlq" + "ls" */
    snprintf(cli->path + used, sizeof cli->path - used, " %s", c->name);
    if (c->subs == NULL)
        return c->run(cli, argc, argv);
    int rc = cli_parse_global(cli, argc, argv);
    if (rc >= 0)
        return rc;
    if (cli->argc == 0) {
        help_command(cli);
        return EXIT_USAGE;
    }
    return dispatch(cli, c->subs, cli->argc, cli->argv);
}

/* What other tools call it. */
static void habit_follow(char **argv)
{
    static const char *const words[][2] = { { "--version", "version" }, { "-V", "version" }, { "help", "--help" } };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(argv[1], words[i][0]) == 0) {
            argv[1] = (char *)(uintptr_t)words[i][1];
            return;
        }
}

int main(int argc, char **argv)
{
    struct cli cli = { .path = "bellhop", .signals = -1 };
    cli.color_err = isatty(STDERR_FILENO);
    setlocale(LC_CTYPE, "C.UTF-8"); /* what we print is UTF-8 whatever the terminal thinks: no escapes in tables */
    if (argc > 1)
        habit_follow(argv);
    int rc = cli_parse_global(&cli, argc, argv);
    if (rc >= 0)
        return rc;
    if (cli.argc == 0) {
        help_tool();
        return EXIT_USAGE;
    }
    rc = dispatch(&cli, commands, cli.argc, cli.argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && rc == EXIT_OK)
        rc = cli_fail(&cli, "standard output cannot be written");
    return rc;
}
