/* The adapter of libbellhop for tests/conformance (README there): serves the handlers, does what standard input says, a JSON
 * object a line. One loop over the connection, standard input and SIGTERM; nothing in it blocks. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "bellhop.h"

#define BODY_SHOWN 4096
#define EXTEND_EVERY_MS 100
#define WORKS 64
#define FILTERS 16

/* A delivery that is worked on until due_ms; extended every so often when wait_ms is set. */
struct work {
    struct bellhop_delivery *delivery;
    int64_t due_ms;
    int64_t wait_ms;
};

struct filter {
    char text[256];
    int64_t id;
};

struct adapter {
    struct bellhop *b;
    bool busy;    /* a command waits for its answer */
    bool leaving;
    bool released_once;
    json_t *items;  /* of the stream being read, or NULL */
    int64_t pause_ms; /* on its first item */
    json_t *events; /* noted since last asked */
    struct work works[WORKS];
    size_t work_count;
    struct filter filters[FILTERS];
    size_t filter_count;
    char input[1 << 16];
    size_t input_len;
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void say(struct adapter *a, json_t *object_take)
{
    json_dumpf(object_take, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(object_take);
    a->busy = false;
}

static void say_failed(struct adapter *a, const char *code, int64_t retry_ms)
{
    char retry[24] = "";
    if (retry_ms == BELLHOP_RETRY_NO)
        snprintf(retry, sizeof retry, "no");
    else if (retry_ms >= 0)
        snprintf(retry, sizeof retry, "%lld", (long long)retry_ms);
    say(a, json_pack("{s:b,s:s,s:s}", "ok", 0, "code", code, "retry", retry));
}

static json_t *text(const void *p, size_t len)
{
    json_t *value = json_stringn(p, len);
    return value != NULL ? value : json_string("");
}

/* ---- handlers ------------------------------------------------------------------------------------------------ */

static void reply(struct bellhop_delivery *d, const char *body)
{
    bellhop_delivery_reply(d, &(struct bellhop_msg){ .body = body, .body_len = strlen(body) });
}

static void refuse(struct bellhop_delivery *d)
{
    bellhop_delivery_error(d, "invalid", "no good", BELLHOP_RETRY_NO);
}

static void serve_sum(struct adapter *a, struct bellhop_delivery *d)
{
    json_t *list = json_loadb(d->msg.body, d->msg.body_len, 0, NULL);
    json_int_t sum = 0;
    char out[32];
    size_t i;
    json_t *n;
    (void)a;
    json_array_foreach(list, i, n)
        sum += json_integer_value(n);
    json_decref(list);
    snprintf(out, sizeof out, "%" JSON_INTEGER_FORMAT, sum);
    reply(d, out);
}

static void serve_echo(struct adapter *a, struct bellhop_delivery *d)
{
    struct bellhop_headers h = { 0 };
    struct bellhop_header line;
    size_t pos = 0;
    (void)a;
    while (bellhop_header_next(d->msg.headers, d->msg.headers_len, &pos, &line)) {
        char *name = strndup(line.name, line.name_len), *value = strndup(line.value, line.value_len);
        if (strncmp(name, "x-", 2) == 0)
            bellhop_headers_add(&h, name, value);
        free(name);
        free(value);
    }
    struct bellhop_msg msg = { .headers = h.data, .headers_len = h.len, .body = d->msg.body, .body_len = d->msg.body_len };
    bellhop_delivery_reply(d, &msg);
    bellhop_headers_fini(&h);
}

static long number(const struct bellhop_delivery *d)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%.*s", (int)d->msg.body_len, (const char *)d->msg.body);
    return strtol(digits, NULL, 10);
}

static void serve_count(struct adapter *a, struct bellhop_delivery *d)
{
    char item[24];
    long n = number(d);
    (void)a;
    for (long i = 1; i <= n; i++) {
        snprintf(item, sizeof item, "%ld", i);
        bellhop_delivery_more(d, &(struct bellhop_msg){ .body = item, .body_len = strlen(item) });
    }
    bellhop_delivery_ok(d);
}

static void serve_fail(struct adapter *a, struct bellhop_delivery *d)
{
    (void)a;
    refuse(d);
}

static void reply_attempt(struct bellhop_delivery *d)
{
    char out[16];
    snprintf(out, sizeof out, "%u", bellhop_delivery_attempt(d));
    reply(d, out);
}

static void serve_flaky(struct adapter *a, struct bellhop_delivery *d)
{
    (void)a;
    if (bellhop_delivery_attempt(d) == 1)
        bellhop_delivery_error(d, "failed", "not yet", 20);
    else
        reply_attempt(d);
}

static void serve_release(struct adapter *a, struct bellhop_delivery *d)
{
    if (a->released_once) {
        reply_attempt(d);
        return;
    }
    a->released_once = true;
    bellhop_delivery_release(d);
}

static void work_add(struct adapter *a, struct bellhop_delivery *d, int64_t wait_ms)
{
    if (a->work_count == WORKS) {
        bellhop_delivery_error(d, "overloaded", NULL, 100);
        return;
    }
    a->works[a->work_count++] = (struct work){ d, now_ms() + number(d), wait_ms };
}

static void serve_extend(struct adapter *a, struct bellhop_delivery *d)
{
    work_add(a, d, now_ms() + EXTEND_EVERY_MS);
}

static void serve_slow(struct adapter *a, struct bellhop_delivery *d)
{
    work_add(a, d, 0);
}

static void on_staged(struct bellhop *b, const struct bellhop_answer *answer, void *user)
{
    (void)b, (void)answer, (void)user; /* the scenario looks at the frames */
}

static void stage(struct bellhop_delivery *d)
{
    char *subject = strndup(d->msg.body, d->msg.body_len);
    bellhop_delivery_publish(d, &(struct bellhop_msg){ .subject = subject, .body = "staged", .body_len = 6 }, on_staged, NULL);
    free(subject);
}

static void serve_stage(struct adapter *a, struct bellhop_delivery *d)
{
    (void)a;
    stage(d);
    reply(d, "done");
}

static void serve_stagefail(struct adapter *a, struct bellhop_delivery *d)
{
    (void)a;
    stage(d);
    refuse(d);
}

static void note(struct adapter *a, struct bellhop_delivery *d)
{
    json_array_append_new(a->events, json_sprintf("%s %.*s", d->msg.subject, (int)d->msg.body_len, (const char *)d->msg.body));
    bellhop_delivery_ok(d);
}

struct handler {
    const char *subject;
    void (*serve)(struct adapter *a, struct bellhop_delivery *d);
    bool prefix;
};

static const struct handler handlers[] = {
    { "{\"cmd\":\"sum\"}", serve_sum, false },   { "conf.echo", serve_echo, false },
    { "zażółć.", serve_echo, true },             { "conf.count", serve_count, false },
    { "conf.fail", serve_fail, false },          { "conf.flaky", serve_flaky, false },
    { "conf.release", serve_release, false },    { "conf.extend", serve_extend, false },
    { "conf.slow", serve_slow, false },          { "conf.stage", serve_stage, false },
    { "conf.stagefail", serve_stagefail, false }, { "", note, true }, /* conf.event.> and what was subscribed to */
};

static void on_delivery(struct bellhop *b, struct bellhop_delivery *d, void *user)
{
    const struct handler *h = handlers;
    (void)b;
    while (h->prefix ? strncmp(h->subject, d->msg.subject, strlen(h->subject)) != 0 : strcmp(h->subject, d->msg.subject) != 0)
        h++;
    h->serve(user, d);
}

/* Answers what is done, extends what is not. Returns ms until the next of either, -1 = nothing to do. */
static int works_run(struct adapter *a)
{
    int64_t now = now_ms(), next = INT64_MAX;
    for (size_t i = 0; i < a->work_count;) {
        struct work *w = &a->works[i];
        if (w->due_ms <= now) {
            reply(w->delivery, "done");
            *w = a->works[--a->work_count];
            continue;
        }
        if (w->wait_ms > 0 && w->wait_ms <= now) {
            bellhop_delivery_wait(w->delivery);
            w->wait_ms = now + EXTEND_EVERY_MS;
        }
        int64_t at = w->wait_ms > 0 && w->wait_ms < w->due_ms ? w->wait_ms : w->due_ms;
        next = at < next ? at : next;
        i++;
    }
    return next == INT64_MAX ? -1 : (int)(next - now);
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static const char *member(const json_t *command, const char *key)
{
    const char *value = json_string_value(json_object_get(command, key));
    return value != NULL ? value : "";
}

static int64_t member_number(const json_t *command, const char *key)
{
    return json_integer_value(json_object_get(command, key));
}

static void on_ready(struct bellhop *b, void *user)
{
    struct adapter *a = user;
    (void)b;
    if (a->busy && a->items == NULL && bellhop_pending(b) == 0)
        say(a, json_pack("{s:b}", "ok", 1));
}

static void on_closed(struct bellhop *b, const char *reason, int64_t retry_ms, void *user)
{
    (void)b, (void)user;
    fprintf(stderr, "closed: %s (%lld)\n", reason, (long long)retry_ms);
}

static void on_answer(struct bellhop *b, const struct bellhop_answer *answer, void *user)
{
    struct adapter *a = user;
    json_t *stream = a->items;
    (void)b;
    if (a->pause_ms > 0)
        poll(NULL, 0, (int)a->pause_ms);
    a->pause_ms = 0;
    if (stream != NULL && answer->body_len > 0 && answer->result != BELLHOP_ERROR)
        json_array_append_new(stream, text(answer->body, answer->body_len));
    if (answer->result == BELLHOP_MORE)
        return;
    a->items = NULL;
    if (answer->result == BELLHOP_ERROR) {
        say_failed(a, answer->code, answer->retry_ms);
        json_decref(stream);
    } else if (stream != NULL) {
        say(a, json_pack("{s:b,s:o}", "ok", 1, "items", stream));
    } else if (answer->result == BELLHOP_OK) {
        say(a, json_pack("{s:b}", "ok", 1));
    } else {
        say(a, json_pack("{s:b,s:o,s:o,s:I}", "ok", 1, "body",
                         text(answer->body, answer->body_len <= BODY_SHOWN ? answer->body_len : 0), "headers",
                         text(answer->headers, answer->headers_len), "size", (json_int_t)answer->body_len));
    }
}

/* A call that was refused by the library has no answer to wait for. */
static void refused_check(struct adapter *a, int64_t rc)
{
    if (rc >= 0)
        return;
    json_decref(a->items);
    a->items = NULL;
    say_failed(a, rc == -EMSGSIZE ? "too-large" : rc == -EINVAL ? "invalid" : "unavailable", BELLHOP_RETRY_POLICY);
}

static char *message_make(const json_t *command, struct bellhop_msg *msg)
{
    size_t fill = (size_t)member_number(command, "fill");
    char *filled = fill > 0 ? malloc(fill) : NULL;
    if (filled != NULL)
        memset(filled, 'x', fill);
    *msg = (struct bellhop_msg){ .subject = member(command, "subject"), .headers = member(command, "headers"),
                                 .headers_len = strlen(member(command, "headers")),
                                 .body = filled != NULL ? filled : member(command, "body"),
                                 .body_len = filled != NULL ? fill : strlen(member(command, "body")) };
    return filled;
}

static void do_start(struct adapter *a, const json_t *command)
{
    struct bellhop_handlers on = { .ready = on_ready, .delivery = on_delivery, .closed = on_closed };
    unsigned credit = (unsigned)member_number(command, "credit");
    a->b = bellhop_new(member(command, "name"), &on, a);
    if (a->b != NULL && credit > 0)
        bellhop_set_credit(a->b, credit);
    if (a->b != NULL && member(command, "token")[0] != '\0')
        bellhop_set_token(a->b, member(command, "token"));
    if (a->b == NULL || bellhop_connect(a->b, member(command, "socket")) != 0) {
        say_failed(a, "unavailable", BELLHOP_RETRY_POLICY);
        return;
    }
    bellhop_set_reconnect(a->b, 20, 500);
}

static void do_request(struct adapter *a, const json_t *command)
{
    struct bellhop_msg msg;
    char *filled = message_make(command, &msg);
    if (strcmp(member(command, "do"), "stream") == 0) {
        a->items = json_array();
        a->pause_ms = member_number(command, "pause_ms");
    }
    refused_check(a, bellhop_request(a->b, &msg, member_number(command, "timeout_ms"), on_answer, a));
    free(filled);
}

static void do_publish(struct adapter *a, const json_t *command)
{
    struct bellhop_msg msg;
    char *filled = message_make(command, &msg);
    bool ack = json_is_true(json_object_get(command, "ack"));
    int64_t rc = bellhop_publish(a->b, &msg, ack ? on_answer : NULL, a);
    free(filled);
    refused_check(a, rc);
    if (rc >= 0 && !ack)
        say(a, json_pack("{s:b}", "ok", 1));
}

static void do_subscribe(struct adapter *a, const json_t *command)
{
    const char *group = member(command, "group");
    const char *filter = member(command, "filter");
    int64_t id = a->filter_count == FILTERS ? -EINVAL
                                            : bellhop_subscribe(a->b, filter, group[0] != '\0' ? group : NULL, on_answer, a);
    refused_check(a, id);
    if (id < 0)
        return;
    struct filter *f = &a->filters[a->filter_count++];
    snprintf(f->text, sizeof f->text, "%s", filter);
    f->id = id;
}

static void do_unsubscribe(struct adapter *a, const json_t *command)
{
    for (size_t i = 0; i < a->filter_count; i++) {
        if (strcmp(a->filters[i].text, member(command, "filter")) != 0)
            continue;
        bellhop_unsubscribe(a->b, a->filters[i].id);
        a->filters[i] = a->filters[--a->filter_count];
        refused_check(a, bellhop_ping(a->b, on_answer, a)); /* PONG: the daemon has seen the UNSUB too */
        return;
    }
    say_failed(a, "invalid", BELLHOP_RETRY_NO);
}

static void do_events(struct adapter *a, const json_t *command)
{
    (void)command;
    say(a, json_pack("{s:b,s:o}", "ok", 1, "events", a->events));
    a->events = json_array();
}

static void do_quit(struct adapter *a, const json_t *command)
{
    (void)command;
    a->leaving = true;
    say(a, json_pack("{s:b}", "ok", 1));
}

struct verb {
    const char *name;
    void (*run)(struct adapter *a, const json_t *command);
};

static const struct verb verbs[] = {
    { "start", do_start },         { "request", do_request },         { "stream", do_request }, { "publish", do_publish },
    { "subscribe", do_subscribe }, { "unsubscribe", do_unsubscribe }, { "events", do_events },  { "quit", do_quit },
};

static void command_run(struct adapter *a, const char *line, size_t len)
{
    json_t *command = json_loadb(line, len, 0, NULL);
    a->busy = true;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(member(command, "do"), verbs[i].name) != 0)
            continue;
        verbs[i].run(a, command);
        json_decref(command);
        return;
    }
    json_decref(command);
    say_failed(a, "invalid", BELLHOP_RETRY_NO);
}

static void commands_run(struct adapter *a)
{
    char *lf;
    while (!a->busy && (lf = memchr(a->input, '\n', a->input_len)) != NULL) {
        size_t used = (size_t)(lf + 1 - a->input);
        command_run(a, a->input, used);
        a->input_len -= used;
        memmove(a->input, a->input + used, a->input_len);
    }
}

static void input_read(struct adapter *a)
{
    ssize_t n = read(STDIN_FILENO, a->input + a->input_len, sizeof a->input - a->input_len);
    if (n > 0)
        a->input_len += (size_t)n;
    else
        a->leaving = true;
}

static int shorter(int x, int y)
{
    return x < 0 ? y : y < 0 || x < y ? x : y;
}

/* One turn. False at the end. */
static bool turn(struct adapter *a, int signals)
{
    int wait = works_run(a);
    if (a->b != NULL)
        bellhop_flush(a->b);
    struct pollfd fds[3] = {
        { .fd = signals, .events = POLLIN },
        { .fd = a->leaving || a->busy ? -1 : STDIN_FILENO, .events = POLLIN },
        { .fd = a->b != NULL ? bellhop_fd(a->b) : -1, .events = a->b != NULL ? bellhop_events(a->b) : 0 },
    };
    poll(fds, 3, a->b != NULL ? shorter(wait, bellhop_timeout(a->b)) : -1);
    if (fds[0].revents != 0)
        a->leaving = true;
    if (fds[1].revents != 0)
        input_read(a);
    commands_run(a);
    if (a->leaving && (a->b == NULL || bellhop_bye(a->b) != 0))
        return false;
    return a->b == NULL || bellhop_process(a->b, fds[2].revents) == 0;
}

int main(void)
{
    struct adapter a = { .events = json_array() };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC);
    while (turn(&a, signals))
        continue;
    bellhop_free(a.b);
    json_decref(a.events);
    return a.leaving ? EXIT_SUCCESS : EXIT_FAILURE;
}
