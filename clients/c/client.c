#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define READ_FIRST (256u * 1024) /* the size of one read, where nothing is left over */
#define READ_MORE (64u * 1024)   /* and behind an unfinished frame */
#define READS_PER_TURN 4
#define BODY_MAX (64u << 20)         /* the protocol's upper bound */
#define BODY_MAX_DEFAULT (1u << 20)  /* what may be sent until HELLO tells limits.body */

int64_t bellhop_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void bellhop_fail(struct bellhop *b, const char *format, ...)
{
    va_list args;
    if (b->reason[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(b->reason, sizeof b->reason, format, args);
    va_end(args);
}

static uint64_t random_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (uint64_t)bellhop_now_ms() ^ ((uint64_t)getpid() << 32);
    return seed | 1;
}

/* xorshift64*: spreads reconnects, keeps no secrets. */
static uint64_t random_next(struct bellhop *b)
{
    b->random ^= b->random >> 12;
    b->random ^= b->random << 25;
    b->random ^= b->random >> 27;
    return (b->random * UINT64_C(2685821657736338717)) >> 16;
}

struct bellhop *bellhop_new(const char *name, const struct bellhop_handlers *on, void *user)
{
    size_t len = strlen(name);
    if (len == 0 || len > BELLHOP_SUBJECT_MAX || !bellhop_text_is_valid(name, len))
        return NULL;
    struct bellhop *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->name = strdup(name);
    if (b->name == NULL) {
        free(b);
        return NULL;
    }
    if (on != NULL)
        b->on = *on;
    b->user = user;
    b->fd = -1;
    b->credit = BELLHOP_CREDIT_DEFAULT;
    b->out_limit = BELLHOP_OUTPUT_DEFAULT;
    b->limit_body = BODY_MAX_DEFAULT;
    b->random = random_seed();
    return b;
}

static void connection_release(struct bellhop *b)
{
    if (b->fd >= 0)
        close(b->fd);
    b->fd = -1;
    bellhop_buf_fini(&b->in);
    bellhop_buf_fini(&b->out);
}

static void client_destroy(struct bellhop *b)
{
    connection_release(b);
    bellhop_waiting_fini(&b->waiting);
    bellhop_subscription_fini(b);
    bellhop_delivery_fini(b);
    free(b->name);
    free(b->token);
    free(b->instance);
    free(b->path);
    free(b);
}

void bellhop_free(struct bellhop *b)
{
    if (b == NULL)
        return;
    if (!b->in_turn) {
        client_destroy(b);
        return;
    }
    b->free_wanted = true;
    bellhop_close(b, "freed");
}

/* ---- settings --------------------------------------------------------------------------------------------- */

int bellhop_set_credit(struct bellhop *b, unsigned credit)
{
    if (credit == 0 || credit > 65535)
        return -EINVAL;
    b->credit = credit;
    return 0;
}

static int text_set(char **slot, const char *text)
{
    size_t len = strlen(text);
    if (len > BELLHOP_SUBJECT_MAX * 4 || !bellhop_text_is_valid(text, len))
        return -EINVAL;
    char *copy = strdup(text);
    if (copy == NULL)
        return -ENOMEM;
    free(*slot);
    *slot = copy;
    return 0;
}

int bellhop_set_token(struct bellhop *b, const char *token)
{
    return text_set(&b->token, token);
}

int bellhop_set_instance(struct bellhop *b, const char *instance)
{
    return text_set(&b->instance, instance);
}

int bellhop_set_reconnect(struct bellhop *b, unsigned min_ms, unsigned max_ms)
{
    if (max_ms > 0 && (min_ms == 0 || min_ms > max_ms))
        return -EINVAL;
    b->retry_min_ms = min_ms;
    b->retry_max_ms = max_ms;
    return 0;
}

void bellhop_set_output(struct bellhop *b, size_t limit_bytes)
{
    b->out_limit = limit_bytes;
}

/* ---- opening and ending -------------------------------------------------------------------------------------- */

static int socket_open(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    size_t len = strlen(path);
    if (len >= sizeof addr.sun_path)
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* A Unix socket connects at once or not at all: EAGAIN means that the daemon's backlog is full. */
    if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

static int connection_start(struct bellhop *b, int fd)
{
    b->fd = fd;
    b->state = BELLHOP_GREETING;
    b->reason[0] = '\0';
    b->told_full = false;
    int rc = bellhop_put_hello(b);
    if (rc == 0)
        rc = bellhop_put_subscriptions(b);
    return rc;
}

static int connection_open(struct bellhop *b)
{
    int fd = socket_open(b->path);
    return fd < 0 ? fd : connection_start(b, fd);
}

/* A reason that is still set while CLOSED: connection_end() is telling everybody. */
static bool is_taken(const struct bellhop *b)
{
    return b->state != BELLHOP_CLOSED || b->reason[0] != '\0';
}

int bellhop_connect(struct bellhop *b, const char *path)
{
    if (is_taken(b))
        return -EISCONN;
    char *copy = strdup(path);
    if (copy == NULL)
        return -ENOMEM;
    free(b->path);
    b->path = copy;
    b->no_retry = false;
    int rc = connection_open(b);
    if (rc == 0)
        return 0;
    connection_release(b);
    bool retry = b->retry_max_ms > 0 && rc != -ENAMETOOLONG;
    b->state = retry ? BELLHOP_WAITING : BELLHOP_CLOSED;
    b->retry_at_ms = 0;
    return retry ? 0 : rc;
}

int bellhop_attach(struct bellhop *b, int fd)
{
    if (is_taken(b))
        return -EISCONN;
    free(b->path);
    b->path = NULL;
    b->no_retry = true;
    return connection_start(b, fd);
}

/* Full jitter: the wait is drawn from the whole range, so that a thousand clients come back spread out. */
static int64_t retry_draw_ms(struct bellhop *b)
{
    uint64_t range = b->retry_min_ms;
    for (unsigned i = 0; i < b->retry_count && range < b->retry_max_ms; i++)
        range *= 2;
    if (range > b->retry_max_ms)
        range = b->retry_max_ms;
    b->retry_count++;
    return (int64_t)(1 + random_next(b) % range);
}

static void connection_end(struct bellhop *b)
{
    int64_t wait_ms = -1;
    memcpy(b->ended, b->reason, sizeof b->ended);
    bool retry = b->path != NULL && b->retry_max_ms > 0 && !b->no_retry && b->state != BELLHOP_LEAVING;
    connection_release(b);
    bellhop_delivery_orphan(b);
    b->state = BELLHOP_CLOSED;
    bellhop_answer_fail_all(b, b->ended);
    b->reason[0] = '\0';
    if (retry && !b->free_wanted) {
        wait_ms = retry_draw_ms(b);
        b->retry_at_ms = bellhop_now_ms() + wait_ms;
        b->state = BELLHOP_WAITING;
    }
    if (b->on.closed != NULL && !b->free_wanted)
        b->on.closed(b, b->ended, wait_ms, b->user);
}

void bellhop_close(struct bellhop *b, const char *reason)
{
    b->no_retry = true;
    if (b->state != BELLHOP_CLOSED)
        bellhop_fail(b, "%s", reason != NULL && reason[0] != '\0' ? reason : "closed");
}

int bellhop_bye(struct bellhop *b)
{
    if (b->state == BELLHOP_LEAVING)
        return 0;
    if (b->state < BELLHOP_GREETING) {
        bellhop_close(b, "left");
        return 0;
    }
    int rc = bellhop_put_plain(b, BELLHOP_VERB_BYE, 0);
    if (rc != 0)
        return rc;
    b->state = BELLHOP_LEAVING;
    /* PONG comes behind the last delivery that crossed our BYE: leaving before it would lose that one an attempt. */
    struct bellhop_frame ping = { .verb = BELLHOP_VERB_PING };
    int64_t id = bellhop_ask(b, &ping, "", &(struct bellhop_waiting){ 0 });
    return id < 0 ? (int)id : 0;
}

bool bellhop_is_open(const struct bellhop *b)
{
    return b->state != BELLHOP_CLOSED;
}

bool bellhop_is_ready(const struct bellhop *b)
{
    return b->state == BELLHOP_READY && b->reason[0] == '\0';
}

const char *bellhop_reason(const struct bellhop *b)
{
    return b->ended;
}

struct bellhop_info bellhop_info(const struct bellhop *b)
{
    return (struct bellhop_info){ b->node, b->session, b->limit_body };
}

/* ---- what comes in ---------------------------------------------------------------------------------------------- */

static void header_copy(const struct bellhop_frame *f, const char *name, char *out, size_t size)
{
    struct bellhop_header h;
    bellhop_header_find(f->headers, f->headers_len, name, &h);
    snprintf(out, size, "%.*s", (int)h.value_len, h.value_len > 0 ? h.value : "");
}

static void hello_receive(struct bellhop *b, const struct bellhop_frame *f)
{
    char version[16], limit[24], *end;
    if (b->state != BELLHOP_GREETING && b->state != BELLHOP_LEAVING)
        return;
    header_copy(f, "version", version, sizeof version);
    header_copy(f, "node", b->node, sizeof b->node);
    header_copy(f, "session", b->session, sizeof b->session);
    header_copy(f, "limits.body", limit, sizeof limit);
    if (version[0] != '\0' && strcmp(version, "1") != 0) {
        b->no_retry = true;
        bellhop_fail(b, "version: the daemon speaks version %s, this library 1", version);
        return;
    }
    unsigned long long bytes = strtoull(limit, &end, 10);
    if (*end == '\0' && bytes > 0 && bytes <= BODY_MAX)
        b->limit_body = (size_t)bytes;
    b->retry_count = 0;
    if (b->state == BELLHOP_GREETING)
        b->state = BELLHOP_READY;
    if (b->on.ready != NULL)
        b->on.ready(b, b->user);
}

static void cancel_receive(struct bellhop *b, const struct bellhop_frame *f)
{
    bellhop_delivery_cancel(b, f->id);
}

static void ping_receive(struct bellhop *b, const struct bellhop_frame *f)
{
    if (bellhop_put_plain(b, BELLHOP_VERB_PONG, f->id) != 0)
        bellhop_fail(b, "out of memory");
}

static void bye_receive(struct bellhop *b, const struct bellhop_frame *f)
{
    (void)f;
    if (b->on.bye != NULL)
        b->on.bye(b, b->user);
}

/* What has no entry says nothing to a client and is passed over. */
static void (*const receivers[BELLHOP_VERB_COUNT])(struct bellhop *, const struct bellhop_frame *) = {
    [BELLHOP_VERB_HELLO] = hello_receive,
    [BELLHOP_VERB_PUB] = bellhop_delivery_receive,
    [BELLHOP_VERB_REQ] = bellhop_delivery_receive,
    [BELLHOP_VERB_OK] = bellhop_answer_receive,
    [BELLHOP_VERB_MORE] = bellhop_answer_receive,
    [BELLHOP_VERB_REP] = bellhop_answer_receive,
    [BELLHOP_VERB_ERR] = bellhop_answer_receive,
    [BELLHOP_VERB_PONG] = bellhop_answer_receive,
    [BELLHOP_VERB_CANCEL] = cancel_receive,
    [BELLHOP_VERB_PING] = ping_receive,
    [BELLHOP_VERB_BYE] = bye_receive,
};

static void frame_receive(struct bellhop *b, const struct bellhop_frame *f)
{
    if (f->subject != NULL)
        ((char *)(uintptr_t)f->subject)[f->subject_len] = '\0'; /* was the LF, in our own buffer */
    if (b->state == BELLHOP_GREETING && f->verb != BELLHOP_VERB_HELLO && f->verb != BELLHOP_VERB_ERR)
        bellhop_fail(b, "bad-frame: the daemon did not begin with HELLO");
    else if (receivers[f->verb] != NULL)
        receivers[f->verb](b, f);
}

/* Handles every whole frame in the buffer. Returns the bytes that the next read should have room for. */
static size_t input_parse(struct bellhop *b)
{
    struct bellhop_frame f;
    const char *why = NULL;
    while (b->reason[0] == '\0' && bellhop_buf_len(&b->in) > 0) {
        size_t len = bellhop_buf_len(&b->in);
        enum bellhop_parse rc = bellhop_frame_parse(b->in.data + b->in.start, len, BODY_MAX, &f, &why);
        if (rc == BELLHOP_PARSE_BAD)
            bellhop_fail(b, "bad-frame from the daemon: %s", why);
        if (rc == BELLHOP_PARSE_MORE)
            return f.size > len + READ_MORE ? f.size - len : READ_MORE;
        if (rc != BELLHOP_PARSE_FRAME)
            break;
        frame_receive(b, &f);
        bellhop_buf_consume(&b->in, f.size);
    }
    return READ_FIRST;
}

static void turn_read(struct bellhop *b)
{
    size_t want = bellhop_buf_len(&b->in) > 0 ? input_parse(b) : READ_FIRST;
    for (int i = 0; i < READS_PER_TURN && b->reason[0] == '\0'; i++) {
        if (!bellhop_buf_reserve(&b->in, want)) {
            bellhop_fail(b, "out of memory");
            return;
        }
        size_t room = b->in.cap - b->in.end;
        ssize_t n = recv(b->fd, b->in.data + b->in.end, room, MSG_DONTWAIT);
        if (n == 0)
            bellhop_fail(b, b->state == BELLHOP_LEAVING ? "left" : "the daemon closed the connection");
        else if (n < 0 && errno != EAGAIN && errno != EINTR)
            bellhop_fail(b, "read: %s", strerror(errno));
        if (n <= 0)
            return;
        b->in.end += (size_t)n;
        want = input_parse(b);
        if ((size_t)n < room)
            return;
    }
}

int bellhop_flush(struct bellhop *b)
{
    if (b->fd < 0)
        return -ENOTCONN;
    while (bellhop_buf_len(&b->out) > 0) {
        ssize_t n = send(b->fd, b->out.data + b->out.start, bellhop_buf_len(&b->out), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        bellhop_buf_consume(&b->out, (size_t)n);
    }
    return 0;
}

static void turn_write(struct bellhop *b)
{
    int rc = bellhop_flush(b);
    if (rc == 0)
        return;
    turn_read(b); /* the daemon's last words say why it hung up */
    bellhop_fail(b, "write: %s", strerror(-rc));
}

/* ---- turns ------------------------------------------------------------------------------------------------------ */

static bool owes_writable(const struct bellhop *b)
{
    return b->told_full && bellhop_buf_len(&b->out) <= b->out_limit / 2 && b->reason[0] == '\0';
}

static bool has_left(const struct bellhop *b)
{
    return b->state == BELLHOP_LEAVING && b->jobs == NULL && b->waiting.count == 0 && bellhop_buf_len(&b->out) == 0;
}

static void turn_reconnect(struct bellhop *b)
{
    if (b->reason[0] != '\0' || bellhop_now_ms() < b->retry_at_ms)
        return;
    int rc = connection_open(b);
    if (rc != 0)
        bellhop_fail(b, "%s: %s", b->path, strerror(-rc));
}

static void turn_connected(struct bellhop *b, short revents)
{
    if (revents & (POLLIN | POLLHUP | POLLERR))
        turn_read(b);
    if (b->waiting.count > 0 && b->waiting.earliest_ms != INT64_MAX)
        bellhop_answer_expire(b, bellhop_now_ms());
    if (b->reason[0] == '\0')
        turn_write(b);
    if (owes_writable(b)) {
        b->told_full = false;
        if (b->on.writable != NULL)
            b->on.writable(b, b->user);
    }
    if (has_left(b))
        bellhop_fail(b, "left");
}

int bellhop_process(struct bellhop *b, short revents)
{
    if (b->in_turn)
        return -EBUSY;
    b->in_turn = true;
    if (b->state == BELLHOP_WAITING)
        turn_reconnect(b);
    if (b->fd >= 0)
        turn_connected(b, revents);
    if (b->reason[0] != '\0' && b->state != BELLHOP_CLOSED)
        connection_end(b);
    b->in_turn = false;
    if (b->free_wanted) {
        client_destroy(b);
        return -ENOTCONN;
    }
    return b->state == BELLHOP_CLOSED ? -ENOTCONN : 0;
}

int bellhop_fd(const struct bellhop *b)
{
    return b->fd;
}

short bellhop_events(const struct bellhop *b)
{
    if (b->fd < 0)
        return 0;
    return bellhop_buf_len(&b->out) > 0 ? POLLIN | POLLOUT : POLLIN;
}

int bellhop_timeout(const struct bellhop *b)
{
    int64_t at = INT64_MAX;
    if (b->reason[0] != '\0' || owes_writable(b) || has_left(b))
        return 0;
    if (b->state == BELLHOP_WAITING)
        at = b->retry_at_ms;
    else if (b->waiting.count > 0)
        at = b->waiting.earliest_ms;
    if (at == INT64_MAX)
        return -1;
    int64_t left = at - bellhop_now_ms();
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static int wait_shorter(int a, int b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

int bellhop_run(struct bellhop *b, int timeout_ms)
{
    if (b->in_turn)
        return -EBUSY;
    int64_t end = timeout_ms >= 0 ? bellhop_now_ms() + timeout_ms : INT64_MAX;
    int left = timeout_ms;
    while (!b->stop) {
        bellhop_flush(b); /* usually takes all: then poll() need not watch for POLLOUT. Its error comes back as POLLHUP */
        struct pollfd pfd = { .fd = b->fd, .events = bellhop_events(b) };
        int n = poll(&pfd, b->fd >= 0 ? 1 : 0, wait_shorter(left, bellhop_timeout(b)));
        if (n < 0)
            return -errno;
        int rc = bellhop_process(b, pfd.revents);
        if (rc != 0)
            return rc;
        if (timeout_ms >= 0) {
            int64_t now = bellhop_now_ms();
            if (now >= end)
                return 0;
            left = (int)(end - now);
        }
    }
    b->stop = false;
    return 0;
}

void bellhop_stop(struct bellhop *b)
{
    b->stop = true;
}

size_t bellhop_output(const struct bellhop *b)
{
    return bellhop_buf_len(&b->out);
}

size_t bellhop_pending(const struct bellhop *b)
{
    return b->waiting.count;
}
