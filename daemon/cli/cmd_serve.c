/* A command as a service: one process per delivery, as many at once as the credit allows. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

#include "base/mem.h"
#include "cli/child.h"
#include "cli/env.h"
#include "cli/list.h"

#define EXIT_RETRY 75 /* EX_TEMPFAIL of sysexits.h */
#define CREDIT_MAX 1000
#define FIXED_FDS 2

struct job {
    struct child *child;
    struct bellhop_delivery *delivery;
    struct job *next;
};

struct serve {
    struct cli *cli;
    struct bellhop *b;
    uint64_t credit;
    const char *instance;
    const char *token_file;
    char **argv; /* of the command, NULL-terminated */
    struct job *jobs;
    size_t count;
    struct pollfd *fds;
    int signals;
    unsigned stops; /* SIGTERM or SIGINT, how often */
    bool away;      /* the daemon; it has been said */
};

static void on_delivery(struct bellhop *b, struct bellhop_delivery *d, void *user)
{
    struct serve *s = user;
    const char *why = NULL;
    struct str body = str_make(d->msg.body, d->msg.body_len);
    char **env = env_make(d, cli_socket(s->cli));
    struct child *child = child_start(s->argv, env, body, bellhop_info(b).limit_body, &why);
    env_free(env);
    if (child == NULL) {
        cli_fail(s->cli, "%s cannot be started: %s", s->argv[0], why);
        bellhop_delivery_error(d, "unavailable", why, BELLHOP_RETRY_YES);
        return;
    }
    struct job *job = mem_alloc(sizeof *job);
    *job = (struct job){ child, d, s->jobs };
    s->jobs = job;
    s->count++;
    d->user = job;
}

/* Nobody waits for the answer any more: the command is told, and may finish in its own way. */
static void on_cancel(struct bellhop *b, struct bellhop_delivery *d, void *user)
{
    struct job *job = d->user;
    (void)b, (void)user;
    if (job != NULL)
        kill(job->child->pid, SIGTERM);
}

static void on_closed(struct bellhop *b, const char *reason, int64_t retry_ms, void *user)
{
    struct serve *s = user;
    (void)b;
    if (retry_ms >= 0 && !s->away)
        cli_note(s->cli, "%s; trying again until it is back", reason);
    s->away = true;
}

static void on_ready(struct bellhop *b, void *user)
{
    struct serve *s = user;
    if (bellhop_reason(b)[0] != '\0')
        cli_note(s->cli, "attached again to %s", bellhop_info(b).node);
    s->away = false;
}

static void answer_failure(struct job *job, int64_t retry_ms, const char *otherwise)
{
    char *line = child_error_line(job->child);
    bellhop_delivery_error(job->delivery, "failed", line[0] != '\0' ? line : otherwise, retry_ms);
    mem_free(line);
}

static void answer_success(struct job *job)
{
    const struct buf *out = &job->child->output;
    struct bellhop_msg reply = { .body = buf_data(out), .body_len = out->len };
    if (job->child->output_over && job->delivery->kind == BELLHOP_REQUEST)
        bellhop_delivery_error(job->delivery, "too-large", "the command wrote more than a body may hold",
                               BELLHOP_RETRY_NO);
    else
        bellhop_delivery_reply(job->delivery, &reply);
}

/* The exit status decides. A signal is an accident, not the command's opinion: try again. */
static void answer(struct job *job, int status)
{
    char text[64];
    int code = WEXITSTATUS(status);
    if (WIFEXITED(status))
        snprintf(text, sizeof text, "the command ended with exit code %d", code);
    else
        snprintf(text, sizeof text, "the command was ended by signal %d", WTERMSIG(status));
    if (WIFEXITED(status) && code == 0)
        answer_success(job);
    else
        answer_failure(job, WIFEXITED(status) && code != EXIT_RETRY ? BELLHOP_RETRY_NO : BELLHOP_RETRY_YES, text);
}

static void job_end(struct serve *s, pid_t pid, int status)
{
    struct job **at = &s->jobs;
    while (*at != NULL && (*at)->child->pid != pid)
        at = &(*at)->next;
    struct job *job = *at;
    if (job == NULL)
        return;
    child_finish(job->child);
    answer(job, status);
    child_free(job->child);
    *at = job->next;
    mem_free(job);
    s->count--;
}

static void children_reap(struct serve *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        job_end(s, pid, status);
}

/* The first signal lets everything finish, the second asks the commands to end, the third makes them. */
static void stop(struct serve *s)
{
    if (s->stops++ == 0) {
        bellhop_bye(s->b);
        return;
    }
    for (struct job *job = s->jobs; job != NULL; job = job->next)
        kill(job->child->pid, s->stops == 2 ? SIGTERM : SIGKILL);
}

static void signals_read(struct serve *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            children_reap(s);
        else
            stop(s);
    }
}

static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* One turn. False once the connection has ended for good. */
static bool serve_turn(struct serve *s)
{
    nfds_t n = FIXED_FDS;
    bellhop_flush(s->b);
    /* after a reconnect there may be more children than credit */
    s->fds = mem_realloc(s->fds, (FIXED_FDS + CHILD_FDS * s->count) * sizeof *s->fds);
    s->fds[0] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
    s->fds[1] = (struct pollfd){ .fd = bellhop_fd(s->b), .events = bellhop_events(s->b) };
    for (struct job *job = s->jobs; job != NULL; job = job->next, n += CHILD_FDS)
        child_poll(job->child, &s->fds[n]);
    if (poll(s->fds, n, bellhop_timeout(s->b)) < 0 && errno != EINTR)
        return false;
    /* children first: signals and deliveries change the list that fds[] was made from */
    n = FIXED_FDS;
    for (struct job *job = s->jobs; job != NULL; job = job->next, n += CHILD_FDS)
        child_pump(job->child, &s->fds[n]);
    short revents = s->fds[1].revents;
    if (s->fds[0].revents != 0)
        signals_read(s);
    return bellhop_process(s->b, revents) == 0;
}

/* Ends what is still running when the connection is gone: its answers can reach nobody. */
static void jobs_drop(struct serve *s)
{
    while (s->jobs != NULL) {
        struct job *job = s->jobs;
        kill(job->child->pid, SIGTERM);
        s->jobs = job->next;
        bellhop_delivery_release(job->delivery);
        child_free(job->child);
        mem_free(job);
    }
}

static int serve_run(struct serve *s)
{
    bellhop_set_reconnect(s->b, 100, 5000);
    if (isatty(STDERR_FILENO))
        cli_note(s->cli, "serving %s on %s, %d at once; Ctrl-C ends it", s->cli->argv[0],
                 bellhop_info(s->b).node, (int)s->credit);
    while (serve_turn(s))
        continue;
    jobs_drop(s);
    mem_free(s->fds);
    return s->stops > 0 ? EXIT_OK : cli_lost(s->cli, s->b);
}

static bool token_set(struct cli *cli, struct bellhop *b, const char *file)
{
    char token[4096];
    FILE *f = fopen(file, "re");
    if (f == NULL) {
        cli_fail(cli, "%s: %s", file, strerror(errno));
        return false;
    }
    size_t n = fread(token, 1, sizeof token - 1, f);
    fclose(f);
    while (n > 0 && token[n - 1] == '\n')
        n--;
    token[n] = '\0';
    if (n > 0 && bellhop_set_token(b, token) == 0)
        return true;
    cli_fail(cli, "%s: a token is one line of UTF-8", file);
    return false;
}

static bool settings_apply(struct cli *cli, struct bellhop *b, void *user)
{
    const struct serve *s = user;
    bellhop_set_credit(b, (unsigned)s->credit);
    if (s->instance != NULL && bellhop_set_instance(b, s->instance) != 0) {
        cli_fail(cli, "--instance: “%s” is not one line of UTF-8", s->instance);
        return false;
    }
    return s->token_file == NULL || token_set(cli, b, s->token_file);
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct serve s = { .cli = cli, .credit = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) };
    struct bellhop_handlers on = { .ready = on_ready, .delivery = on_delivery, .cancel = on_cancel, .closed = on_closed };
    int rc = cli_parse(cli, argc, argv, &s);
    if (rc >= 0)
        return rc;
    if (s.credit > CREDIT_MAX)
        return cli_misuse(cli, "--credit: at most %d processes at once", CREDIT_MAX);
    s.argv = cli->argv + 1;
    cli->settings = settings_apply;
    s.signals = signals_open(); /* deliveries may come with the first turn */
    s.b = cli_attach(cli, cli->argv[0], &on, &s);
    if (s.b == NULL)
        return EXIT_FAILED;
    rc = serve_run(&s);
    bellhop_free(s.b);
    return rc;
}

static const struct option_row options[] = {
    { "credit", 'c', OPTION_COUNT, offsetof(struct serve, credit), "N", "run at most N at once (the number of CPUs)" },
    { "instance", 0, OPTION_TEXT, offsetof(struct serve, instance), "TEXT", "tell instances of one service apart" },
    { "token-file", 0, OPTION_TEXT, offsetof(struct serve, token_file), "FILE", "the service's token, where it has one" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_serve = {
    .name = "serve",
    .summary = "Run a command for each delivery to a service",
    .usage = "NAME -- COMMAND [ARGUMENT…]",
    .details =
        "The body is the command's standard input; BELLHOP_SUBJECT, BELLHOP_KIND (event or request),\n"
        "BELLHOP_ID, BELLHOP_ATTEMPT and BELLHOP_HEADER_… (upper case, other characters as _) are in its\n"
        "environment. Exit code 0: done, standard output is the reply. 75: try again by the route's policy.\n"
        "Any other: rejected, with the first line of standard error as the reason. SIGTERM: nothing new is\n"
        "taken, what runs is finished; a second one does not wait.",
    .example = "bellhop serve shout -- tr a-z A-Z\n"
               "bellhop serve billing --credit 8 -- ./bill.sh --fast",
    .options = options,
    .args_min = 2,
    .args_max = -1,
    .run = run,
};
