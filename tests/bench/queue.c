#include "queue.h"

#include <errno.h>
#include <string.h>

/* JetStream: messages of a pull; the next is sent when one is used up, so that two are always open. Of 8 to
 * 256 messages, pulls of 64 were the fastest at a window of 256. */
enum { PULL = 64 };

static bool starts(const char *p, const char *end, const char *text)
{
    size_t n = strlen(text);

    return (size_t)(end - p) >= n && memcmp(p, text, n) == 0;
}

static void unexpected(const char *p, const char *end)
{
    errno = 0;
    die("no acknowledgement: %.*s", (int)(end - p), p);
}

/* --- local protocol --- */

static void local_put(struct conn *c, uint64_t id, const char *body, size_t len)
{
    buf_text(&c->out, "PUB ");
    buf_decimal(&c->out, id);
    buf_text(&c->out, " 0 ");
    buf_decimal(&c->out, len);
    buf_text(&c->out, " bench.0\n");
    buf_add(&c->out, body, len);
}

static size_t local_acked(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    struct frame f;

    while (used < n && (len = local_parse(p + used, n - used, &f))) {
        if (local_is(&f, "OK"))
            books_acked(arg, c, f.id);
        else
            local_other(c, &f, p + used);
        used += len;
    }
    return used;
}

static size_t local_delivered(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    struct frame f;

    while (used < n && (len = local_parse(p + used, n - used, &f))) {
        if (local_is(&f, "PUB")) {
            local_answer(&c->out, "OK", f.id, p, 0);
            books_delivered(arg, f.body, f.body_len);
        } else {
            local_other(c, &f, p + used);
        }
        used += len;
    }
    return used;
}

/* --- JetStream --- */

/* A request whose answer shows the configuration only if it was granted. */
static void jet_ask(struct conn *c, const char *subject, const char *json)
{
    buf_printf(&c->out, "PUB $JS.API.%s _INBOX.api %zu\r\n%s\r\n", subject, strlen(json), json);
    converse(c, "\"config\":{");
}

static void jet_create(struct conn *c, int epfd, const struct settings *s)
{
    nats_login(c, epfd, s);
    buf_text(&c->out, "SUB _INBOX.api 1\r\n");
    jet_ask(c, "STREAM.CREATE.BENCH", "{\"name\":\"BENCH\",\"subjects\":[\"bench.>\"],"
            "\"retention\":\"workqueue\",\"storage\":\"file\"}");
    jet_ask(c, "CONSUMER.DURABLE.CREATE.BENCH.sink", "{\"stream_name\":\"BENCH\",\"config\":"
            "{\"durable_name\":\"sink\",\"ack_policy\":\"explicit\",\"max_ack_pending\":65535}}");
}

/* Acknowledgements come to _INBOX.<descriptor>.<id>. */
static void jet_publisher(struct conn *c, int epfd, const struct settings *s)
{
    nats_login(c, epfd, s);
    buf_printf(&c->out, "SUB _INBOX.%d.* 1\r\nPING\r\n", c->fd);
    converse(c, "PONG\r\n");
}

static void jet_put(struct conn *c, uint64_t id, const char *body, size_t len)
{
    buf_text(&c->out, "PUB bench.0 _INBOX.");
    buf_decimal(&c->out, (uint64_t)c->fd);
    buf_text(&c->out, ".");
    buf_decimal(&c->out, id);
    buf_text(&c->out, " ");
    buf_decimal(&c->out, len);
    buf_text(&c->out, "\r\n");
    buf_add(&c->out, body, len);
    buf_text(&c->out, "\r\n");
}

/* `MSG _INBOX.<descriptor>.<id> 1 <size>` with {"stream":"BENCH", "seq":N}; a refusal has "error". */
static size_t jet_acked(void *arg, struct conn *c, const char *p, size_t n)
{
    static const char inbox[] = "MSG _INBOX.", granted[] = "{\"stream\":\"BENCH\", \"seq\":";
    size_t used = 0, len;
    struct nats_line l;

    while (used < n && (len = nats_parse(c, p + used, n - used, &l))) {
        if (l.body) {
            const char *id = l.line + strlen(inbox);

            if (!starts(l.line, l.end, inbox) || !starts(l.body, l.body + l.body_len, granted))
                unexpected(l.line, l.body + l.body_len);
            decimal(&id, l.end);
            id++;
            books_acked(arg, c, decimal(&id, l.end));
        }
        used += len;
    }
    return used;
}

static void jet_pull(struct buf *out)
{
    buf_printf(out, "PUB $JS.API.CONSUMER.MSG.NEXT.BENCH.sink _INBOX.sink 15\r\n{\"batch\":%5d}\r\n", PULL);
}

static void jet_consumer(struct conn *c, int epfd, const struct settings *s)
{
    nats_login(c, epfd, s);
    buf_text(&c->out, "SUB _INBOX.sink 1\r\n");
    jet_pull(&c->out);
    jet_pull(&c->out);
    buf_text(&c->out, "PING\r\n");
    converse(c, "PONG\r\n");
}

/* `MSG bench.0 1 $JS.ACK.… <size>`: where +ACK goes is the third word. */
static void jet_answer(struct buf *out, const struct nats_line *l)
{
    const char *to = memchr(l->line, '$', (size_t)(l->end - l->line));
    const char *end = to ? memchr(to, ' ', (size_t)(l->end - to)) : NULL;

    if (!end)
        unexpected(l->line, l->end);
    buf_text(out, "PUB ");
    buf_add(out, to, (size_t)(end - to));
    buf_text(out, " 4\r\n+ACK\r\n");
}

static size_t jet_delivered(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, len;
    struct nats_line l;

    while (used < n && (len = nats_parse(c, p + used, n - used, &l))) {
        if (l.body) {
            jet_answer(&c->out, &l);
            if (books_delivered(arg, l.body, l.body_len) % PULL == 0)
                jet_pull(&c->out);
        }
        used += len;
    }
    return used;
}

/* --- Redis --- */

static void plain_login(struct conn *c, int epfd, const struct settings *s)
{
    conn_open(c, epfd, net_connect(s->address));
}

static void redis_put(struct conn *c, uint64_t id, const char *body, size_t len)
{
    (void)id;
    buf_text(&c->out, "*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nb\r\n$");
    buf_decimal(&c->out, len);
    buf_text(&c->out, "\r\n");
    buf_add(&c->out, body, len);
    buf_text(&c->out, "\r\n");
}

/* `$15`, and on a line of its own the entry's id: milliseconds, a hyphen, a number. */
static size_t redis_acked(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, head, line;
    const char *end, *id;

    while (used < n && (end = line_end(p + used, n - used, &head))) {
        if (p[used] != '$')
            unexpected(p + used, end);
        id = p + used + head;
        end = line_end(id, n - used - head, &line);
        if (!end)
            break;
        if (decimal(&id, end) == 0 || *id != '-')
            unexpected(p + used, end);
        books_acked(arg, c, 0);
        used += head + line;
    }
    return used;
}

/* --- beanstalkd --- */

static void bean_put(struct conn *c, uint64_t id, const char *body, size_t len)
{
    (void)id;
    buf_text(&c->out, "put 0 0 60 ");
    buf_decimal(&c->out, len);
    buf_text(&c->out, "\r\n");
    buf_add(&c->out, body, len);
    buf_text(&c->out, "\r\n");
}

static size_t bean_acked(void *arg, struct conn *c, const char *p, size_t n)
{
    size_t used = 0, line;
    const char *end;

    while (used < n && (end = line_end(p + used, n - used, &line))) {
        if (!starts(p + used, end, "INSERTED "))
            unexpected(p + used, end);
        books_acked(arg, c, 0);
        used += line;
    }
    return used;
}

static void local_publisher(struct conn *c, int epfd, const struct settings *s)
{
    dialect_find("local")->publisher(c, epfd, s);
}

static void local_consumer(struct conn *c, int epfd, const struct settings *s)
{
    dialect_find("local")->subscriber(c, epfd, s);
}

static const struct queue queues[] = {
    { "local", NULL, local_publisher, local_consumer, local_put, local_acked, local_delivered },
    { "jetstream", jet_create, jet_publisher, jet_consumer, jet_put, jet_acked, jet_delivered },
    { "redis", NULL, plain_login, NULL, redis_put, redis_acked, NULL },
    { "beanstalkd", NULL, plain_login, NULL, bean_put, bean_acked, NULL },
};

const struct queue *queue_find(const char *name)
{
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++)
        if (strcmp(queues[i].name, name) == 0)
            return &queues[i];
    return NULL;
}
