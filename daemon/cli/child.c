#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define ERROR_MAX 4096
#define LINE_MAX_BYTES 500

/* Pipe i: our end into ours[i], the child's into theirs[i]. */
static bool pipes_open(int *ours, int *theirs)
{
    for (int i = 0; i < CHILD_FDS; i++)
        ours[i] = theirs[i] = -1;
    for (int i = 0; i < CHILD_FDS; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0)
            return false;
        ours[i] = i == 0 ? ends[1] : ends[0];
        theirs[i] = i == 0 ? ends[0] : ends[1];
        fcntl(ours[i], F_SETFL, O_NONBLOCK);
    }
    return true;
}

static void fds_close(int *fds)
{
    for (int i = 0; i < CHILD_FDS; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

static int spawn(pid_t *pid, const int *theirs, char *const *argv, char *const *envp)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    for (int i = 0; i < CHILD_FDS; i++)
        posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    /* a group of its own: Ctrl-C at the terminal is for us, and we let the command finish */
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawnp(pid, argv[0], &actions, &attr, argv, envp);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

struct child *child_start(char *const *argv, char *const *envp, struct str input, size_t output_max,
                          const char **why)
{
    struct child *c = mem_zalloc(sizeof *c);
    int theirs[CHILD_FDS];
    c->output_max = output_max;
    int rc = pipes_open(c->fds, theirs) ? spawn(&c->pid, theirs, argv, envp) : errno;
    fds_close(theirs);
    if (rc != 0) {
        *why = strerror(rc);
        child_free(c);
        return NULL;
    }
    buf_str_put(&c->input, input);
    if (input.n == 0) {
        close(c->fds[0]);
        c->fds[0] = -1;
    }
    return c;
}

void child_poll(const struct child *c, struct pollfd *fds)
{
    for (int i = 0; i < CHILD_FDS; i++)
        fds[i] = (struct pollfd){ .fd = c->fds[i], .events = i == 0 ? POLLOUT : POLLIN };
}

static void fd_close(struct child *c, int i)
{
    close(c->fds[i]);
    c->fds[i] = -1;
}

/* A command need not read its input: EPIPE is as good as done. */
static void input_write(struct child *c)
{
    ssize_t n = write(c->fds[0], buf_data(&c->input), c->input.len);
    if (n > 0)
        buf_consume(&c->input, (size_t)n);
    if (c->input.len == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        fd_close(c, 0);
}

/* Reads once. False when there is nothing (more) to read. */
static bool output_read(struct child *c, int i, struct buf *to, size_t max)
{
    uint8_t scratch[65536];
    ssize_t n = read(c->fds[i], scratch, sizeof scratch);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        fd_close(c, i);
    if (n <= 0)
        return false;
    if (i == 2)
        fwrite(scratch, 1, (size_t)n, stderr);
    size_t room = max - to->len;
    size_t keep = (size_t)n < room ? (size_t)n : room;
    buf_put(to, scratch, keep);
    if (keep < (size_t)n && i == 1)
        c->output_over = true;
    return true;
}

void child_pump(struct child *c, const struct pollfd *fds)
{
    if (c->fds[0] >= 0 && fds[0].revents != 0)
        input_write(c);
    if (c->fds[1] >= 0 && fds[1].revents != 0)
        output_read(c, 1, &c->output, c->output_max);
    if (c->fds[2] >= 0 && fds[2].revents != 0)
        output_read(c, 2, &c->error, ERROR_MAX);
}

/* At most what a pipe holds: a grandchild that goes on writing must not keep us here. */
static void rest_read(struct child *c, int i, struct buf *to, size_t max)
{
    for (int turns = 0; turns < 32 && c->fds[i] >= 0; turns++)
        if (!output_read(c, i, to, max))
            return;
}

void child_finish(struct child *c)
{
    rest_read(c, 1, &c->output, c->output_max);
    rest_read(c, 2, &c->error, ERROR_MAX);
    fds_close(c->fds);
}

void child_free(struct child *c)
{
    if (c == NULL)
        return;
    fds_close(c->fds);
    buf_fini(&c->input);
    buf_fini(&c->output);
    buf_fini(&c->error);
    mem_free(c);
}

char *child_error_line(const struct child *c)
{
    struct str all = buf_str(&c->error);
    struct str line = str_cut(&all, '\n');
    if (line.n > LINE_MAX_BYTES)
        line.n = LINE_MAX_BYTES;
    while (line.n > 0 && !str_printable(line)) /* cut through a character, or not text at all */
        line.n--;
    return str_dup(line);
}
