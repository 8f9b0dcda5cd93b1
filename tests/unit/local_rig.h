#pragma once
/* A server on a socket of its own, the real core behind it, and raw clients that say bytes and check
 * what they hear. */
#include <stdarg.h>
#include <sys/un.h>

#include "base/mem.h"
#include "local/server.h"
#include "rig.h"
#include "wire/frame.h"

#define LOCAL_BODY_MAX 65536

struct client {
    int fd;
    struct buf got;     /* not yet looked at */
    struct buf text;    /* the frame heard last */
    struct frame frame; /* of it; slices of text */
    bool ended;
};

static struct rig rig;
static struct hub *hub;
static struct timer *hub_timer;
static struct server *server;
static struct config *conf;
static char folder[] = "/tmp/test-local-XXXXXX";
static char address[64];

static const char local_conf[] =
    "version: 1\n"
    "node: here\n"
    "local: { socket: \"%s\" }\n"
    "limits: { body: 64KiB, clients: 1100, queue: 20 }\n"
    "services:\n"
    "  math: { credit: 4 }\n"
    "  shop: { publish: [\"shop.*\", \"{\\\"cmd\\\":\\\"buy\\\"}\"], subscribe: [\"news.*\"] }\n"
    "  asker: {}\n"
    "  reader: {}\n"
    "  vault: { token: \"s3cret-t0ken\" }\n"
    "  other: { users: [\"%s\"] }\n"
    "policies:\n"
    "  default: { timeout: 400ms, retry: { attempts: 3, delay: 10ms, max_delay: 10ms, jitter: none } }\n"
    "  brisk: { timeout: 2s }\n"
    "  slow: { timeout: 10s, retry: { attempts: 3, delay: 10ms, max_delay: 10ms, jitter: none } }\n"
    "routes:\n"
    "  - { from: local, match: \"math.*\", to: math }\n"
    "  - { from: local, match: \"shop.*\", to: shop }\n"
    "  - { from: local, match: { cmd: buy }, to: shop }\n"
    "  - { from: local, match: \"brisk.*\", to: math, policy: brisk }\n"
    "  - { from: local, match: \"slow.*\", to: math, policy: slow }\n"
    "%s";

static inline int64_t local_now(void *arg)
{
    (void)arg;
    return loop_now(rig.loop);
}

static inline int64_t local_wall(void *arg)
{
    (void)arg;
    return clock_wall_ms();
}

static inline void local_arm(void *arg, int64_t when_ms)
{
    (void)arg;
    timer_at(hub_timer, when_ms);
}

static inline void local_tick(void *arg)
{
    (void)arg;
    hub_tick(hub);
}

static inline struct config *local_parse(const char *more)
{
    static const struct config_transport *const none[] = {NULL};
    struct err e = {0};
    char whole[4096];
    snprintf(whole, sizeof(whole), local_conf, address, getuid() == 0 ? "nobody" : "root", more);
    struct config *c = config_parse("t.yaml", str_of(whole), none, &e);
    char *why = err_text(&e);
    ck_assert_msg(c != NULL, "%s", why);
    mem_free(why);
    err_fini(&e);
    config_find_users(c);
    return c;
}

static inline void local_open(const char *more)
{
    struct err e = {0};
    snprintf(address, sizeof(address), "%s/s", folder);
    conf = local_parse(more);
    struct hub_limits limits = {.memory = conf->limits.memory, .queue = conf->limits.queue, .dead = conf->limits.dead};
    struct hub_env env = {.now = local_now, .wall = local_wall, .arm = local_arm, .seed = 3};
    hub = hub_new(&env, &limits);
    struct route_set *set = route_set_new(NULL, NULL);
    route_set_default(set, config_policy(conf, "default"));
    for (size_t i = 0; i < conf->route_count; i++)
        route_set_add(set, &conf->routes[i], config_policy(conf, conf->routes[i].policy));
    hub_use(hub, set);
    server = server_open(&(struct server_env){.loop = rig.loop, .log = NULL, .hub = hub, .conf = conf, .listen_fd = -1}, &e);
    ck_assert_ptr_nonnull(server);
}

static inline void local_close(void)
{
    server_close(server);
    loop_turn(rig.loop, false);
    hub_free(hub);
    config_free(conf);
    server = NULL;
}

static inline void set_up(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    rig = rig_open();
    hub_timer = timer_new(rig.loop, local_tick, NULL);
    local_open("");
}

static inline void tear_down(void)
{
    char lock[80];
    ck_assert_int_eq(hub_unaccounted(hub), 0);
    local_close();
    timer_free(hub_timer);
    rig_close(&rig);
    snprintf(lock, sizeof(lock), "%s.lock", address);
    unlink(lock);
    rmdir(folder);
}

/* ---------------------------------------------------------------- clients */

static inline void client_open(struct client *c)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    *c = (struct client){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    bytes_copy(a.sun_path, address, strlen(address));
    ck_assert_int_eq(connect(c->fd, (struct sockaddr *)&a, sizeof(a)), 0);
}

static inline void client_close(struct client *c)
{
    close(c->fd);
    buf_fini(&c->got);
    buf_fini(&c->text);
}

/* Whole, however long it takes the other side to read it. */
static inline void say_bytes(struct client *c, const void *p, size_t n)
{
    size_t sent = 0;
    int64_t give_up = clock_mono_ms() + RIG_PATIENCE_MS;
    while (sent < n) {
        ssize_t k = send(c->fd, (const char *)p + sent, n - sent, MSG_NOSIGNAL);
        sent += k > 0 ? (size_t)k : 0;
        if (k < 0 && (errno != EAGAIN || clock_mono_ms() > give_up))
            ck_abort_msg("cannot send: %s", strerror(errno));
        if (k < 0)
            loop_turn(rig.loop, false);
    }
}

static inline void say(struct client *c, const char *text)
{
    say_bytes(c, text, strlen(text));
}

static inline void client_read(struct client *c)
{
    ssize_t n;
    do {
        n = recv(c->fd, buf_reserve(&c->got, 65536), 65536, 0);
        buf_commit(&c->got, n > 0 ? (size_t)n : 0);
    } while (n > 0);
    c->ended |= n == 0 || errno == ECONNRESET;
}

static inline bool frame_is_there(struct client *c)
{
    struct frame_error e;
    client_read(c);
    enum frame_status s = frame_parse(buf_data(&c->got), c->got.len, UINT32_MAX, &c->frame, &e);
    ck_assert_int_ne(s, FRAME_BAD);
    if (s != FRAME_OK)
        return false;
    buf_clear(&c->text);
    buf_put(&c->text, buf_data(&c->got), c->frame.size);
    buf_consume(&c->got, c->frame.size);
    frame_parse(buf_data(&c->text), c->text.len, UINT32_MAX, &c->frame, &e);
    return true;
}

/* The next frame, which has to be this verb with this id. */
static inline struct frame *hear(struct client *c, enum verb v, uint64_t id)
{
    RIG_UNTIL(&rig, frame_is_there(c) || c->ended);
    ck_assert_msg(c->text.len > 0 && (!c->ended || c->frame.size > 0), "the connection has ended");
    ck_assert_msg(c->frame.verb == v && c->frame.id == id, "%.*s instead of %s %llu", (int)c->text.len,
                  buf_cstr(&c->text), verb_name(v), (unsigned long long)id);
    return &c->frame;
}

/* The next frame, byte by byte. */
static inline void hear_exactly(struct client *c, const char *wanted)
{
    RIG_UNTIL(&rig, frame_is_there(c) || c->ended);
    ck_assert_str_eq(buf_cstr(&c->text), wanted);
}

/* The next frame is ERR id CODE, and its text says so. */
static inline void hear_error(struct client *c, uint64_t id, const char *code, const char *part)
{
    struct frame *f = hear(c, VERB_ERR, id);
    ck_assert_msg(str_is(f->subject, code), "%s", buf_cstr(&c->text));
    char *body = str_dup(f->body);
    ck_assert_msg(strstr(body, part) != NULL, "%s", buf_cstr(&c->text));
    mem_free(body);
}

static inline bool has_ended(struct client *c)
{
    client_read(c);
    return c->ended;
}

static inline void hear_the_end(struct client *c)
{
    RIG_UNTIL(&rig, has_ended(c));
    ck_assert_msg(c->got.len == 0, "before the end: %s", buf_cstr(&c->got));
}

/* All that was said has been read and answered; nothing else comes. */
static inline void hear_nothing(struct client *c)
{
    rig_for(&rig, 15);
    client_read(c);
    ck_assert_msg(c->got.len == 0 && !c->ended, "%s", buf_cstr(&c->got));
}

static inline void attach_with(struct client *c, const char *name, const char *headers)
{
    struct buf b = BUF_EMPTY;
    client_open(c);
    buf_printf(&b, "HELLO 0 %zu 0 %s\n%s", strlen(headers), name, headers);
    say_bytes(c, buf_data(&b), b.len);
    buf_fini(&b);
    hear(c, VERB_HELLO, 0);
}

static inline void attach(struct client *c, const char *name)
{
    attach_with(c, name, "version: 1\n");
}

/* Everything that was said up to here has been handled. */
static inline void in_step(struct client *c)
{
    say(c, "PING 4711 0 0\n");
    hear(c, VERB_PONG, 4711);
}
