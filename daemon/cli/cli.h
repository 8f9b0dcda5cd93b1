#pragma once
/*
 * The contract of the tool `bellhop`: what a command is, and what all commands share. One command
 * is one file cmd_*.c with one constant table entry; commands.c lists them, main.c picks one.
 * Commands speak through libbellhop and never to a socket themselves.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.
 */
#include "bellhop.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_CONFIG = 78 };

#define SOCKET_DEFAULT "/run/bellhop/bellhop.sock"
#define ADMIN_DEFAULT "/run/bellhop/admin.sock"

struct cli;

enum option_type {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char *, into argv */
    OPTION_COUNT,    /* uint64_t, at least 1 */
    OPTION_DURATION, /* int64_t, ms, at least 1 */
    OPTION_SIZE,     /* uint64_t, bytes: 100, 64KiB */
    OPTION_RATE,     /* const char *, into argv: 50/s */
    OPTION_HEADER,   /* struct bellhop_headers; may be repeated */
};

/* A row of a command's options. The value is stored at `offset` of the struct that the command
 * hands to cli_parse(). A table ends with a row whose name is NULL. */
struct option_row {
    const char *name;  /* long name */
    char letter;       /* short name, or 0 */
    enum option_type type;
    size_t offset;
    const char *value; /* what the help calls the value; NULL for a flag */
    const char *help;
};

struct command {
    const char *name;
    const char *summary;              /* one line, without a full stop */
    const char *usage;                /* the arguments behind the name */
    const char *details;              /* further lines of the help, or NULL */
    const char *example;              /* lines, each a command that can be typed */
    const struct option_row *options; /* or NULL */
    const struct command *const *subs; /* further commands under this one, NULL-terminated; then run is NULL */
    int args_min, args_max;           /* arguments besides options; max -1 = any number */
    int (*run)(struct cli *cli, int argc, char **argv); /* argv[0] is its name; returns an exit code */
};

/* One run of the tool. */
struct cli {
    const char *socket; /* -s, or NULL */
    const char *output; /* -o, or NULL */
    bool no_color;
    bool json;          /* -o json */
    bool color;         /* stdout may be coloured */
    bool color_err;     /* and stderr */
    const struct command *command;
    char path[64];      /* "bellhop request", for messages */
    int argc;           /* arguments without options, after cli_parse() */
    char **argv;
    /* Called with the connection before it is connected, or NULL; false after an error message. */
    bool (*settings)(struct cli *cli, struct bellhop *b, void *user);
    int signals;        /* signalfd after cli_signals(), else -1 */
    bool interrupted;   /* SIGINT or SIGTERM came */
};

/* ---- commands.c ---- */
extern const struct command *const commands[]; /* NULL-terminated, in the order of the help */
const struct command *command_find(const struct command *const *list, const char *name);

/* ---- options.c ---- */
/* Parses a command's options into *values (which holds the defaults) and the global ones into
 * cli, and checks the number of arguments. Returns -1 to go on, else the exit code: help was
 * printed, or the mistake. */
int cli_parse(struct cli *cli, int argc, char **argv, void *values);
/* The global options in front of the command's name; returns like cli_parse. */
int cli_parse_global(struct cli *cli, int argc, char **argv);
extern const struct option_row global_options[];

/* ---- help.c ---- */
void help_tool(void);
void help_command(const struct cli *cli);

/* ---- report.c: what people read on stderr ---- */
/* "bellhop request: text"; returns EXIT_FAILED. */
int cli_fail(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same and a pointer to --help; returns EXIT_USAGE. */
int cli_misuse(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A remark, not an error. */
void cli_note(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The text of an answer that is an error: code and detail; returns EXIT_FAILED. */
int cli_fail_answer(const struct cli *cli, const struct bellhop_answer *a);
/* Why libbellhop refused to send a message (a negative errno); returns EXIT_FAILED. */
int cli_fail_send(const struct cli *cli, const struct bellhop *b, int rc);
/* Refuses a destructive command without --yes. Returns EXIT_USAGE. */
int cli_needs_yes(const struct cli *cli, const char *what);

/* ---- attach.c: connections ---- */
/* Connects to the service socket under `name` and waits for the daemon's HELLO; NULL after saying what
 * is wrong. Free with bellhop_free(). */
struct bellhop *cli_attach(struct cli *cli, const char *name, const struct bellhop_handlers *on,
                           void *user);
/* The paths the above and the admin commands use; the first is borrowed, the second the caller's. */
const char *cli_socket(const struct cli *cli);
char *cli_admin_socket(const struct cli *cli);
/* The same to a path. */
struct bellhop *cli_attach_path(struct cli *cli, const char *path, const char *name,
                                const struct bellhop_handlers *on, void *user);
/* From here on SIGINT and SIGTERM only set cli->interrupted, during cli_turn(). */
void cli_signals(struct cli *cli);
/* Waits for something to happen, at most timeout_ms (-1 = no limit), and lets the connection work.
 * False once the connection has ended for good or a signal came. */
bool cli_turn(struct cli *cli, struct bellhop *b, int timeout_ms);
/* Says why the connection ended; returns EXIT_FAILED. */
int cli_lost(const struct cli *cli, const struct bellhop *b);

/* ---- admin.c ---- */
/* Sends an administrative command with its JSON arguments (taken). EXIT_OK and *reply (the
 * caller's), or the exit code after the error was printed. */
int admin_call(struct cli *cli, const char *command, json_t *args_take, json_t **reply);
/* The same for a command that streams: on_item for each item until the stream ends, a signal comes
 * or on_item returns false. */
int admin_stream(struct cli *cli, const char *command, json_t *args_take,
                 bool (*on_item)(struct cli *cli, const json_t *item, void *user), void *user);

/* ---- body.c ---- */
/* Fills *body: the argument, standard input for "-", nothing for NULL. False after an error message. */
bool cli_body(struct cli *cli, const char *arg, struct buf *body);

/* ---- output.c: what programs and people read on stdout ---- */
enum column_type {
    COLUMN_TEXT,
    COLUMN_COUNT,
    COLUMN_DURATION, /* ms */
    COLUMN_SIZE,     /* bytes */
    COLUMN_LIST,     /* an array of texts */
    COLUMN_STATE,    /* coloured by its word */
};
struct column {
    const char *title; /* NULL ends the table */
    const char *key;
    enum column_type type;
};
/* An array of objects as a table. */
void output_table(const struct cli *cli, const json_t *rows, const struct column *columns);
/* An object as lines "title  value"; a key "a.b" reaches into the object a. What is absent, null or an empty
 * array is left out. */
void output_record(const struct cli *cli, const json_t *object, const struct column *rows);
/* Any value, indented, with a newline. */
void output_json(const json_t *value);
/* One line, flushed. */
void output_json_line(const json_t *value);
/* A heading over a table. */
void output_title(const struct cli *cli, const char *title);
/* A text for people: control characters, which would steer a terminal, are blanks. */
void output_text(const char *text);
/* The same in place; lines and tabs stay. */
void output_calm(char *text);
/* Bytes of a message: as they are, but on a terminal as output_text(), in lines; with a newline after them on a terminal or
 * for `line`. */
void output_body(const void *body, size_t len, bool line);
/* {"subject","headers","body" or "body_base64"} of a message; members that are NULL are left out. */
json_t *output_message(const struct bellhop_msg *msg);
/* Where object has the text "headers", as the daemon sends it, puts the object that output_message() makes in its place. */
void output_split_headers(json_t *object);
/* A text of a JSON object, or "". Borrowed. */
const char *json_text(const json_t *object, const char *key);
