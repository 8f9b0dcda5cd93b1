#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"

#define RED "\033[31m"
#define YELLOW "\033[33m"
#define PLAIN "\033[0m"

static void report(const struct cli *cli, const char *color, const char *fmt, va_list args)
{
    fflush(stdout);
    fprintf(stderr, "%s%s:%s ", cli->color_err ? color : "", cli->path, cli->color_err ? PLAIN : "");
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
}

int cli_fail(const struct cli *cli, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(cli, RED, fmt, args);
    va_end(args);
    return EXIT_FAILED;
}

int cli_misuse(const struct cli *cli, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(cli, RED, fmt, args);
    va_end(args);
    fprintf(stderr, "Try `%s --help`.\n", cli->path);
    return EXIT_USAGE;
}

void cli_note(const struct cli *cli, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(cli, YELLOW, fmt, args);
    va_end(args);
}

int cli_needs_yes(const struct cli *cli, const char *what)
{
    return cli_misuse(cli, "this %s; add --yes to do it, or --dry-run to see what it would do", what);
}

int cli_fail_send(const struct cli *cli, const struct bellhop *b, int rc)
{
    char limit[32];
    if (rc == -EMSGSIZE)
        return cli_fail(cli, "too-large: the daemon takes bodies up to %s and 64 KiB of headers",
                        str_format_size(bellhop_info(b).limit_body, limit));
    if (rc == -EINVAL)
        return cli_fail(cli, "invalid: a subject is at most 1024 bytes of UTF-8 without control characters");
    return cli_fail(cli, "it cannot be sent: %s", strerror(-rc));
}

int cli_fail_answer(const struct cli *cli, const struct bellhop_answer *a)
{
    char wait[64] = "";
    char text[32];
    if (a->retry_ms >= 0)
        snprintf(wait, sizeof wait, " (try again in %s)", str_format_duration(a->retry_ms, text));
    if (a->body_len == 0)
        return cli_fail(cli, "%s%s", a->code, wait);
    const char *body = a->body;
    char *detail = mem_strndup(body, a->body_len - (body[a->body_len - 1] == '\n'));
    output_calm(detail);
    int rc = cli_fail(cli, "%s:%s%s%s", a->code, strchr(detail, '\n') != NULL ? "\n" : " ", detail, wait);
    mem_free(detail);
    return rc;
}
