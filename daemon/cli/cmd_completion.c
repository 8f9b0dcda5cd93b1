/* Completion scripts for shells, made from the tables: they cannot be out of date. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#include "cli/list.h"

static void words_print(const struct option_row *rows)
{
    for (; rows != NULL && rows->name != NULL; rows++) {
        printf(" --%s", rows->name);
        if (rows->letter != 0)
            printf(" -%c", rows->letter);
    }
}

static void names_print(const struct command *const *list)
{
    for (; *list != NULL; list++)
        printf(" %s", (*list)->name);
}

static void bash_case(const char *path, const struct command *c)
{
    printf("    \"%s\") words='", path);
    if (c->subs != NULL)
        names_print(c->subs);
    words_print(c->options);
    printf("' ;;\n");
}

static void bash_print(void)
{
    printf("# bash completion for bellhop: eval \"$(bellhop completion bash)\"\n"
           "_bellhop() {\n"
           "  local cur=${COMP_WORDS[COMP_CWORD]} path='' words='' word\n"
           "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
           "    case $word in -*) ;; *) case \" $(_bellhop_names \"$path\") \" in *\" $word \"*) path=\"${path:+$path }$word\" ;; esac ;; esac\n"
           "  done\n"
           "  case $path in\n"
           "    '') words=\"$(_bellhop_names '')\" ;;\n");
    for (const struct command *const *c = commands; *c != NULL; c++) {
        bash_case((*c)->name, *c);
        for (const struct command *const *sub = (*c)->subs; sub != NULL && *sub != NULL; sub++) {
            char path[64];
            snprintf(path, sizeof path, "%s %s", (*c)->name, (*sub)->name);
            bash_case(path, *sub);
        }
    }
    printf("  esac\n  COMPREPLY=($(compgen -W \"$words");
    words_print(global_options);
    printf("\" -- \"$cur\"))\n"
           "  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- \"$cur\"))\n"
           "}\n"
           "_bellhop_names() {\n  case $1 in\n    '') echo");
    names_print(commands);
    printf(" ;;\n");
    for (const struct command *const *c = commands; *c != NULL; c++) {
        if ((*c)->subs == NULL)
            continue;
        printf("    %s) echo", (*c)->name);
        names_print((*c)->subs);
        printf(" ;;\n");
    }
    printf("  esac\n}\ncomplete -F _bellhop bellhop\n");
}

static void zsh_print(void)
{
    printf("#compdef bellhop\n# zsh completion for bellhop: eval \"$(bellhop completion zsh)\"\n"
           "autoload -U +X bashcompinit && bashcompinit\n");
    bash_print();
}

static void fish_rows(const char *condition, const struct option_row *rows)
{
    for (; rows != NULL && rows->name != NULL; rows++) {
        printf("complete -c bellhop %s -l %s", condition, rows->name);
        if (rows->letter != 0)
            printf(" -s %c", rows->letter);
        printf(" -d '%s'%s\n", rows->help, rows->type != OPTION_FLAG ? " -r" : "");
    }
}

static void fish_subs(const struct command *c)
{
    char condition[128];
    for (const struct command *const *sub = c->subs; sub != NULL && *sub != NULL; sub++) {
        printf("complete -c bellhop -f -n '__fish_seen_subcommand_from %s' -a %s -d '%s'\n", c->name, (*sub)->name,
               (*sub)->summary);
        snprintf(condition, sizeof condition, "-n '__fish_seen_subcommand_from %s; and __fish_seen_subcommand_from %s'",
                 c->name, (*sub)->name);
        fish_rows(condition, (*sub)->options);
    }
}

static void fish_print(void)
{
    char condition[96];
    printf("# fish completion for bellhop: bellhop completion fish | source\n");
    fish_rows("", global_options);
    for (const struct command *const *c = commands; *c != NULL; c++) {
        printf("complete -c bellhop -f -n __fish_use_subcommand -a %s -d '%s'\n", (*c)->name, (*c)->summary);
        snprintf(condition, sizeof condition, "-n '__fish_seen_subcommand_from %s'", (*c)->name);
        fish_rows(condition, (*c)->options);
        fish_subs(*c);
    }
}

struct shell {
    const char *name;
    void (*print)(void);
};

static const struct shell shells[] = { { "bash", bash_print }, { "zsh", zsh_print }, { "fish", fish_print } };

static int run(struct cli *cli, int argc, char **argv)
{
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(shells[i].name, cli->argv[0]) != 0)
            continue;
        shells[i].print();
        return EXIT_OK;
    }
    return cli_misuse(cli, "“%s” is not bash, zsh or fish", cli->argv[0]);
}

const struct command command_completion = {
    .name = "completion",
    .summary = "Print a completion script for a shell",
    .usage = "bash|zsh|fish",
    .example = "eval \"$(bellhop completion bash)\"\n"
               "bellhop completion fish >~/.config/fish/completions/bellhop.fish",
    .args_min = 1,
    .args_max = 1,
    .run = run,
};
