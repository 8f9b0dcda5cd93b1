#include "transport/redis/redis.h"

#include <stddef.h>

#include "base/mem.h"
#include "transport/redis/internal.h"

/* ---------------------------------------------------------------- configuration */

static const char *const schemes[] = {"redis", "rediss", NULL};
static const char *const ack_choices[] = {"inherit", "yes", "no", NULL};
static const char *const receiver_choices[] = {"any", "required", NULL};
static const char *const start_choices[] = {"$", "0", NULL};
static const char *const trim_choices[] = {"none", "delete", NULL};

static const struct key endpoint_keys[] = {
    {.name = "ack", .type = KEY_BOOL, .offset = offsetof(struct redis_conf, ack), .standard = "false",
     .help = "send events as requests, so that a NestJS event handler's success or failure is known"},
    {.name = "concurrency", .type = KEY_COUNT, .offset = offsetof(struct redis_conf, concurrency),
     .standard = "1024", .min = 1, .max = 65535, .help = "unanswered messages at a time"},
    {.name = "reply_timeout", .type = KEY_DURATION, .offset = offsetof(struct redis_conf, reply_timeout_ms),
     .standard = "10s", .min = 100, .max = 3600000, .help = "how long the server may owe an answer before the "
                                                            "connection is made anew"},
    {.name = "reconnect_max", .type = KEY_DURATION, .offset = offsetof(struct redis_conf, reconnect_max_ms),
     .standard = "5s", .min = 100, .max = 3600000, .help = "the longest pause between two tries to connect"},
    {.name = NULL},
};

static const struct key source_keys[] = {
    {.name = "channel", .type = KEY_TEXT, .offset = offsetof(struct redis_source, channel),
     .help = "the channel to subscribe to"},
    {.name = "pattern", .type = KEY_TEXT, .offset = offsetof(struct redis_source, pattern),
     .help = "the pattern of channels to subscribe to (PSUBSCRIBE)"},
    {.name = "stream", .type = KEY_TEXT, .offset = offsetof(struct redis_source, stream),
     .help = "the stream to read; made when it is not there"},
    {.name = "group", .type = KEY_TEXT, .offset = offsetof(struct redis_source, group), .standard = "bellhop",
     .help = "the consumer group to read it as; made when it is not there"},
    {.name = "consumer", .type = KEY_TEXT, .offset = offsetof(struct redis_source, consumer),
     .help = "this daemon's name in the group; `node` where absent"},
    {.name = "start", .type = KEY_CHOICE, .offset = offsetof(struct redis_source, start), .standard = "$",
     .choices = start_choices, .help = "where a group that is made begins: behind the last entry ($) or at the first (0)"},
    {.name = "count", .type = KEY_COUNT, .offset = offsetof(struct redis_source, count), .standard = "256", .min = 1,
     .max = 65535, .help = "entries in hand at a time: read, and not acknowledged yet"},
    {.name = "block", .type = KEY_DURATION, .offset = offsetof(struct redis_source, block_ms), .standard = "5s",
     .min = 10, .max = 60000, .help = "how long one read waits for entries"},
    {.name = "claim_idle", .type = KEY_DURATION, .offset = offsetof(struct redis_source, claim_idle_ms),
     .standard = "1m", .min = 100, .max = 86400000,
     .help = "entries that another consumer has left unacknowledged for so long are taken over"},
    {.name = "trim", .type = KEY_CHOICE, .offset = offsetof(struct redis_source, trim), .standard = "none",
     .choices = trim_choices, .help = "whether acknowledged entries stay in the stream (none) or are deleted (delete)"},
    {.name = NULL},
};

static const struct key target_keys[] = {
    {.name = "ack", .type = KEY_CHOICE, .offset = offsetof(struct redis_target, ack), .standard = "inherit",
     .choices = ack_choices, .help = "as the endpoint's ack, for this route"},
    {.name = "receiver", .type = KEY_CHOICE, .offset = offsetof(struct redis_target, receiver), .standard = "any",
     .choices = receiver_choices,
     .help = "whether an event that no subscriber has received was delivered (any) or is tried again (required)"},
    {.name = "stream", .type = KEY_TEXT, .offset = offsetof(struct redis_target, stream),
     .help = "the stream to add entries to; absent: messages are published on the channel that is their subject"},
    {.name = "maxlen", .type = KEY_COUNT, .offset = offsetof(struct redis_target, maxlen), .standard = "0",
     .min = 0, .max = 1e15, .help = "about how many entries the stream keeps (MAXLEN ~); 0 = all"},
    {.name = NULL},
};

struct str redis_user(const struct url *url)
{
    return url->user != NULL && url->user[0] != '\0' ? str_of(url->user) : STR_NONE;
}

struct str redis_database(const struct url *url)
{
    struct str path = str_of(url->path);
    return path.n > 0 ? str_make(path.p + 1, path.n - 1) : path;
}

static const char *check_url(const struct url *url)
{
    uint64_t number;
    struct str database = redis_database(url);
    if (database.n > 0 && (!str_parse_u64(database, &number) || number > 65535))
        return "the path of the URL is the number of a database, such as redis://HOST/3";
    if (redis_user(url).p != NULL && url->password == NULL)
        return "the URL names a user without a password: redis://USER:PASSWORD@HOST";
    return NULL;
}

static const char *check_endpoint(const struct endpoint_conf *e)
{
    const char *why = check_url(&e->url);
    for (size_t i = 0; i < e->other_count && why == NULL; i++)
        why = check_url(&e->others[i]);
    return why;
}

static bool is_empty(const char *text)
{
    return text != NULL && text[0] == '\0';
}

static const char *check_source(const void *keys)
{
    const struct redis_source *s = keys;
    if ((s->channel != NULL) + (s->pattern != NULL) + (s->stream != NULL) != 1)
        return "a source of Redis has exactly one of `channel`, `pattern` and `stream`";
    if (is_empty(s->channel) || is_empty(s->pattern) || is_empty(s->stream) || is_empty(s->group) || is_empty(s->consumer))
        return "a channel, pattern, stream, group or consumer without a name";
    return NULL;
}

/* `orders.*`: a `*` that is all of the last token, which stands for the rest, dots and all. Any other is no filter's. */
static bool source_filter(const void *keys, struct buf *out)
{
    const char *pattern = ((const struct redis_source *)keys)->pattern;
    size_t n = pattern != NULL ? strlen(pattern) : 0, first = pattern != NULL ? strcspn(pattern, "*?[\\") : 0;
    if (first == n)
        return true;
    buf_put(out, pattern, n - 1);
    buf_putc(out, '>');
    return first == n - 1 && pattern[first] == '*' && (first == 0 || pattern[first - 1] == '.' || pattern[first - 1] == '/');
}

/* No NestJS stands at a stream. */
static const char *stream_codecs(const char *stream, unsigned *codecs)
{
    *codecs = CODEC_BIT(CODEC_RAW) | CODEC_BIT(CODEC_CLOUDEVENTS);
    return stream != NULL ? "a stream of redis" : NULL;
}

static const char *source_codecs(const void *keys, unsigned *codecs)
{
    return stream_codecs(((const struct redis_source *)keys)->stream, codecs);
}

static const char *target_codecs(const void *keys, unsigned *codecs)
{
    return stream_codecs(((const struct redis_target *)keys)->stream, codecs);
}

static const char *check_target(const void *keys)
{
    const struct redis_target *t = keys;
    if (is_empty(t->stream))
        return "a stream without a name";
    if (t->stream == NULL && t->maxlen > 0)
        return "`maxlen` is for a `stream`";
    if (t->stream != NULL && (t->ack != ACK_INHERIT || t->receiver != RECEIVER_ANY))
        return "`ack` and `receiver` are for channels: an entry of a stream is acknowledged by the server";
    return NULL;
}

/* ---------------------------------------------------------------- an endpoint */

size_t redis_reply_max(const struct endpoint *e)
{
    return READ_BYTES + (size_t)e->env.body_max + ENVELOPE_MAX;
}

static void add_readers(struct endpoint *e)
{
    e->readers = mem_calloc(e->env.source_count, sizeof(struct reader *));
    for (size_t i = 0; i < e->env.source_count; i++) {
        const struct redis_source *keys = e->env.sources[i].keys;
        if (keys->stream != NULL)
            e->readers[e->reader_count++] = reader_new(e, &e->env.sources[i]);
    }
}

static struct endpoint *redis_open(const struct endpoint_conf *conf, const struct endpoint_env *env, struct err *err)
{
    struct rand seed;
    struct endpoint *e = mem_zalloc(sizeof(*e));
    (void)err;
    rand_seed_os(&seed);
    *e = (struct endpoint){.conf = conf, .keys = conf->extra, .env = *env, .salt = (uint32_t)rand_u64(&seed),
                           .sink = {.name = conf->name, .ops = &redis_sink_ops}, .pool = msg_pool_new()};
    e->env.tls = env->tls != NULL ? tls_context_ref(env->tls) : NULL;
    list_init(&e->refused);
    e->commands = conn_new(e, &redis_commands_ops, e);
    e->subscriber = subscriber_new(e);
    add_readers(e);
    return e;
}

static struct sink *redis_sink(struct endpoint *e)
{
    return &e->sink;
}

static int redis_listen_fd(const struct endpoint *e)
{
    (void)e;
    return -1;
}

/* All connections that there are at the moment, one by one. */
static struct conn *conn_at(const struct endpoint *e, size_t i)
{
    if (i == 0)
        return e->commands;
    if (i == 1)
        return e->subscriber != NULL ? subscriber_conn(e->subscriber) : NULL;
    if (i == 2)
        return e->replies != NULL ? replies_conn(e->replies) : NULL;
    return reader_conn(e->readers[i - 3]);
}

static size_t conn_places(const struct endpoint *e)
{
    return 3 + e->reader_count;
}

static void redis_set_tls(struct endpoint *e, struct tls_context *tls)
{
    tls_context_unref(e->env.tls);
    e->env.tls = tls != NULL ? tls_context_ref(tls) : NULL;
    for (size_t i = 0; i < conn_places(e); i++) {
        if (conn_at(e, i) != NULL)
            link_set_tls(conn_link(conn_at(e, i)), tls);
    }
}

static void redis_stop_intake(struct endpoint *e)
{
    subscriber_stop(e->subscriber);
    for (size_t i = 0; i < e->reader_count; i++)
        reader_stop(e->readers[i]);
}

static size_t redis_busy(const struct endpoint *e)
{
    size_t busy = e->waiting.count + e->refused.count + subscriber_busy(e->subscriber);
    if (conn_ready(e->commands))
        busy += stream_pending(link_stream(conn_link(e->commands))) > 0;
    for (size_t i = 0; i < e->reader_count; i++)
        busy += reader_busy(e->readers[i]);
    return busy;
}

static size_t redis_unsettled(const struct endpoint *e)
{
    size_t sum = 0;
    for (size_t i = 0; i < e->reader_count; i++)
        sum += reader_unsettled(e->readers[i]);
    return sum;
}

/* What a person has to see to, wherever it came up. */
static const char *denial(const struct endpoint *e)
{
    const char *text = e->denied;
    if (text == NULL && e->subscriber != NULL)
        text = subscriber_error(e->subscriber);
    for (size_t i = 0; i < e->reader_count && text == NULL; i++)
        text = reader_error(e->readers[i]);
    return text;
}

/* The worst of its connections. */
static void redis_status(const struct endpoint *e, struct endpoint_status *out)
{
    const char *denied = denial(e);
    *out = (struct endpoint_status){.received = e->received, .sent = e->sent, .bad = e->bad,
                                    .state = denied != NULL ? "refused" : "up", .error = denied};
    for (size_t i = conn_places(e); i > 0; i--) {
        const struct conn *c = conn_at(e, i - 1);
        if (c == NULL)
            continue;
        const struct link *l = conn_link(c);
        out->connections += link_is_up(l);
        if (link_is_up(l))
            continue;
        out->state = link_state(l);
        out->error = link_error(l);
    }
}

static void forget(void *arg)
{
    mem_free(arg);
}

static void redis_close(struct endpoint *e)
{
    doctor_end(e);
    subscriber_free(e->subscriber);
    for (size_t i = 0; i < e->reader_count; i++)
        reader_free(e->readers[i]);
    replies_free(e->replies);
    conn_free(e->commands);
    sink_fini(e);
    tls_context_unref(e->env.tls);
    msg_pool_close(e->pool);
    mem_free(e->readers);
    loop_later(e->env.loop, forget, e); /* a settlement may still be due */
}

const struct transport redis_transport = {
    .conf = {.name = "redis", .schemes = schemes, .can_connect = true, .port = REDIS_PORT,
             .codecs = CODEC_BIT(CODEC_NEST) | CODEC_BIT(CODEC_RAW) | CODEC_BIT(CODEC_CLOUDEVENTS),
             .endpoint_keys = endpoint_keys, .endpoint_size = sizeof(struct redis_conf),
             .source_keys = source_keys, .source_size = sizeof(struct redis_source),
             .target_keys = target_keys, .target_size = sizeof(struct redis_target),
             .check_endpoint = check_endpoint, .check_source = check_source, .check_target = check_target,
             .source_filter = source_filter, .source_codecs = source_codecs, .target_codecs = target_codecs},
    .open = redis_open, .sink = redis_sink, .listen_fd = redis_listen_fd, .set_tls = redis_set_tls,
    .stop_intake = redis_stop_intake, .busy = redis_busy, .unsettled = redis_unsettled, .status = redis_status, .doctor = redis_doctor, .close = redis_close,
};
