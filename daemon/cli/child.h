#pragma once
/*
 * A command that runs beside us: its standard input is fed, its output and the beginning of its
 * errors are collected, all without blocking; the errors also go to our own standard error. The owner polls, pumps, and says when it has exited.
 */
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/str.h"

#define CHILD_FDS 3

struct child {
    pid_t pid;
    int fds[CHILD_FDS]; /* our ends of its standard input, output and error; -1 = closed */
    struct buf input;   /* not written yet */
    struct buf output;
    size_t output_max;
    bool output_over;   /* it wrote more than output_max; the rest is dropped */
    struct buf error;   /* the first few KiB */
};

/* Starts argv[0] (looked up in PATH) with that environment and input (copied). NULL with errno text
 * in *why when it cannot be started. SIGPIPE must be ignored in this process; the child gets
 * default signals. */
struct child *child_start(char *const *argv, char *const *envp, struct str input, size_t output_max,
                          const char **why);
/* Fills fds[0..2] with what to poll for. */
void child_poll(const struct child *c, struct pollfd *fds);
/* Moves what can be moved after poll(). */
void child_pump(struct child *c, const struct pollfd *fds);
/* The process was reaped: reads what is left in the pipes and closes them. What a grandchild writes
 * later is not waited for. */
void child_finish(struct child *c);
/* Frees; a process that still runs is left alone. NULL is legal. */
void child_free(struct child *c);
/* The first line of what it wrote to standard error, at most 500 bytes of valid UTF-8 without control
 * characters; "" when there is none. The caller's. */
char *child_error_line(const struct child *c);
