#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "app/app.h"
#include "app/transports.h"
#include "base/buf.h"
#include "base/mem.h"

#define DEFAULT_FILE "/etc/bellhop/bellhop.yaml"
#define EXIT_USAGE 2

struct options {
    const char *file;
    bool check, print;
};

static const char usage[] =
    "usage: bellhopd [-c FILE] [--check | --print-config]\n"
    "\n"
    "Bellhop's daemon: carries messages between the outside world and local services.\n"
    "Runs in the foreground and prints one `ready` line when every socket is open.\n"
    "\n"
    "  -c, --config FILE   configuration (default " DEFAULT_FILE ")\n"
    "      --check         check the configuration, start nothing; exit 78 if it is wrong\n"
    "      --print-config  print it with every default, secrets masked\n"
    "  -V, --version       print the version\n"
    "  -h, --help          print this\n"
    "\n"
    "SIGTERM drains and exits, a second one exits now; SIGHUP reloads; SIGUSR1 reopens the log.\n"
    "Manual: bellhopd(8), bellhop.yaml(5), bellhop-protocol(7)\n";

/* Returns -1 to go on, else the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
        {"print-config", no_argument, NULL, 'p'}, {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "c:Vh", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->file = optarg;
            break;
        case 'k':
            o->check = true;
            break;
        case 'p':
            o->print = true;
            break;
        case 'V':
            puts("bellhopd " BELLHOP_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            fputs(usage, stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "bellhopd: unexpected argument: %s\n%s", argv[optind], usage);
        return EXIT_USAGE;
    }
    return -1;
}

static int complain(struct err *err, int status)
{
    char *text = err_text(err);
    fputs(text, stderr);
    mem_free(text);
    err_fini(err);
    return status;
}

static int show(struct config *c, const struct options *o)
{
    struct buf text = BUF_EMPTY;
    for (size_t i = 0; i < c->warnings.count; i++)
        fprintf(stderr, "%s\n", c->warnings.items[i]);
    if (o->print)
        config_print(c, &text);
    if (text.len > 0)
        fputs(buf_cstr(&text), stdout);
    buf_fini(&text);
    config_free(c);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct options o = {.file = DEFAULT_FILE};
    struct err err = {0};
    int status = read_options(argc, argv, &o);
    if (status >= 0)
        return status;
    struct config *conf = config_load(o.file, app_config_transports, &err);
    if (conf == NULL)
        return complain(&err, EX_CONFIG);
    if (o.check || o.print)
        return show(conf, &o);
    struct app *a = app_new(conf, &err);
    if (a == NULL)
        return complain(&err, EXIT_FAILURE);
    status = app_run(a);
    return app_free(a) ? status : EXIT_FAILURE;
}
