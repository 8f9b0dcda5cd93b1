#pragma once
/* A loop with a clock that ends a test which hangs, and one end of a connection that records what
 * its stream tells. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "loop/loop.h"
#include "loop/stream.h"
#include "loop/timer.h"

#define RIG_PATIENCE_MS 20000

struct rig {
    struct log *log;
    struct loop *loop;
    struct timer *tick;
};

struct end {
    struct rig *rig;
    struct stream *stream;
    struct buf got;     /* what on_data has consumed, a line at a time */
    size_t shown;       /* calls of on_data */
    size_t most;        /* lines consumed per call; 0 = all */
    bool opened, closed, drained;
    bool pause;         /* after each on_data that consumed */
    bool close, finish; /* the same */
    bool echo;
    struct end *close_other;
    char reason[256];
};

static inline void rig_on_tick(void *arg)
{
    (void)arg;
}

static inline struct rig rig_open(void)
{
    struct rig r = {.log = log_new(LOG_ERROR, LOG_TEXT, NULL)};
    r.loop = loop_new(r.log);
    r.tick = timer_new(r.loop, rig_on_tick, NULL);
    return r;
}

static inline void rig_close(struct rig *r)
{
    timer_free(r->tick);
    loop_turn(r->loop, false);
    loop_free(r->loop);
    log_free(r->log);
}

static inline void rig_for(struct rig *r, int64_t ms)
{
    int64_t end = clock_mono_ms() + ms;
    while (clock_mono_ms() < end) {
        timer_at(r->tick, end);
        loop_turn(r->loop, true);
    }
}

/* Turns until the condition holds. */
#define RIG_UNTIL(r, condition)                                                                    \
    do {                                                                                           \
        int64_t give_up = clock_mono_ms() + RIG_PATIENCE_MS;                                       \
        while (!(condition)) {                                                                     \
            ck_assert_msg(clock_mono_ms() < give_up, "waited in vain for: %s", #condition);        \
            timer_at((r)->tick, clock_mono_ms() + 50);                                             \
            loop_turn((r)->loop, true);                                                            \
        }                                                                                          \
    } while (0)

static inline void end_on_open(void *arg)
{
    struct end *e = arg;
    ck_assert(!e->opened && !e->closed);
    e->opened = true;
}

static inline size_t end_on_data(void *arg, const uint8_t *p, size_t n)
{
    struct end *e = arg;
    size_t used = 0, lines = 0;
    ck_assert(e->opened && !e->closed && n > 0);
    e->shown++;
    if (e->most == 0) {
        const uint8_t *lf = memrchr(p, '\n', n);
        used = lf != NULL ? (size_t)(lf + 1 - p) : 0;
    }
    for (size_t i = 0; i < n && lines < e->most; i++)
        if (p[i] == '\n') {
            used = i + 1;
            lines++;
        }
    buf_put(&e->got, p, used);
    if (used == 0)
        return 0;
    if (e->echo)
        buf_put(stream_out(e->stream), p, used);
    if (e->pause)
        stream_pause(e->stream);
    if (e->close_other != NULL) {
        stream_close(e->close_other->stream);
        e->close_other = NULL;
    }
    if (e->finish)
        stream_finish(e->stream);
    if (e->close)
        stream_close(e->stream);
    return used;
}

static inline void end_on_drain(void *arg)
{
    struct end *e = arg;
    ck_assert(!e->closed);
    e->drained = true;
}

static inline void end_on_close(void *arg, const char *reason)
{
    struct end *e = arg;
    ck_assert(!e->closed);
    e->closed = true;
    snprintf(e->reason, sizeof(e->reason), "%s", reason);
}

static const struct stream_ops end_ops = {end_on_open, end_on_data, end_on_drain, end_on_close};

static inline void end_init(struct end *e, struct rig *r, int fd)
{
    *e = (struct end){.rig = r};
    e->stream = stream_new(r->loop, fd, &end_ops, e);
}

static inline void end_fini(struct end *e)
{
    if (!e->closed && !e->close && !e->finish)
        stream_close(e->stream);
    buf_fini(&e->got);
}

static inline void fd_nonblock(int fd)
{
    ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

/* fds[0] for a stream, fds[1] for the test; both do not block. */
static inline void pair_unix(int fds[2], int type)
{
    ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), 0);
}

static inline void pair_tcp(int fds[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&a, size), 0);
    ck_assert_int_eq(listen(listening, 1), 0);
    ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&a, &size), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fds[1], (struct sockaddr *)&a, size), 0);
    fds[0] = accept(listening, NULL, NULL);
    ck_assert_int_ge(fds[0], 0);
    close(listening);
    fd_nonblock(fds[0]);
    fd_nonblock(fds[1]);
}

static inline int run_suite(Suite *s)
{
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
