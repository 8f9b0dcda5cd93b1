#include <stddef.h>

#include "config/build.h"
#include "config/walk.h"
#include "transport/amqp/internal.h"

static const char *const ack_words[] = {"inherit", "yes", "no", NULL};
static const char *const auth_words[] = {"plain", "external", NULL};
const char *const amqp_queue_types[] = {"", "classic", "quorum", NULL};
const char *const amqp_exchange_types[] = {"topic", "direct", "fanout", "headers", NULL};

#define CONF(field) offsetof(struct amqp_conf, field)
#define DECLARE(field) offsetof(struct amqp_declare, field)
#define SOURCE(field) offsetof(struct amqp_source, field)
#define TARGET(field) offsetof(struct amqp_target, field)

const struct key amqp_endpoint_keys[] = {
    {.name = "ack", .type = KEY_BOOL, .offset = CONF(ack), .standard = "false",
     .help = "nest: send events as requests, so that a NestJS event handler's success or failure is known"},
    {.name = "auth", .type = KEY_CHOICE, .offset = CONF(auth), .standard = "plain", .choices = auth_words,
     .help = "plain: user and password of the URL; external: the client certificate says who we are"},
    {.name = "concurrency", .type = KEY_COUNT, .offset = CONF(concurrency), .standard = "1024", .min = 1, .max = 65535,
     .help = "published messages that are unconfirmed or unanswered at a time"},
    {.name = "confirm_timeout", .type = KEY_DURATION, .offset = CONF(confirm_timeout_ms), .standard = "1m", .min = 1000,
     .max = 3600000, .help = "how long a confirm may take before the connection is given up"},
    {.name = "heartbeat", .type = KEY_DURATION, .offset = CONF(heartbeat_ms), .standard = "5s", .min = 1000, .max = 3600000,
     .help = "how often both sides show that they are alive; three missed ones end the connection"},
    {.name = "reconnect_max", .type = KEY_DURATION, .offset = CONF(reconnect_max_ms), .standard = "5s", .min = 100,
     .max = 3600000, .help = "the longest pause between two tries to connect"},
    {.name = NULL},
};

static const struct key declare_keys[] = {
    {.name = "durable", .type = KEY_BOOL, .offset = DECLARE(durable), .standard = "true",
     .help = "the queue (and exchange) survives a restart of the broker"},
    {.name = "type", .type = KEY_CHOICE, .offset = DECLARE(type), .choices = amqp_queue_types,
     .help = "of the queue; unset: the broker's default"},
    {.name = "exclusive", .type = KEY_BOOL, .offset = DECLARE(exclusive), .standard = "false",
     .help = "ours alone, gone with the connection"},
    {.name = "auto_delete", .type = KEY_BOOL, .offset = DECLARE(auto_delete), .standard = "false",
     .help = "gone with its last consumer"},
    {.name = "dead_letter_exchange", .type = KEY_TEXT, .offset = DECLARE(dead_letter_exchange), .max = WIRE_SHORT_MAX,
     .help = "where the broker puts what was refused or has expired"},
    {.name = "dead_letter_routing_key", .type = KEY_TEXT, .offset = DECLARE(dead_letter_routing_key),
     .max = WIRE_SHORT_MAX, .help = "under this key instead of its own; without an exchange this is the name of a queue"},
    {.name = "delivery_limit", .type = KEY_COUNT, .offset = DECLARE(delivery_limit), .max = 1000000,
     .help = "quorum: deliveries of a message before it is dead-lettered"},
    {.name = "max_length", .type = KEY_COUNT, .offset = DECLARE(max_length), .max = 1e12,
     .help = "messages that the queue holds"},
    {.name = "message_ttl", .type = KEY_DURATION, .offset = DECLARE(message_ttl_ms), .max = 31536000000.0,
     .help = "how long a message may stay in the queue"},
    {.name = "exchange_type", .type = KEY_CHOICE, .offset = DECLARE(exchange_type), .standard = "topic",
     .choices = amqp_exchange_types, .help = "of the source's `exchange`"},
    {.name = NULL},
};

#define DECLARE_EXPECTS "true, false, or a mapping such as `{ durable: true, type: quorum }`"

static bool declare_read(struct walk *w, const struct key *key, const struct node *n, void *base)
{
    struct amqp_declare *d = &((struct amqp_source *)base)->declare;
    bool map = n->kind == NODE_MAP;
    struct str word = n->kind == NODE_SCALAR ? node_text(n) : STR_NONE;
    if (!map && !str_is(word, "true") && !str_is(word, "false"))
        return walk_wrong(w, n, key->name, DECLARE_EXPECTS);
    d->given = map || str_is(word, "true");
    if (map)
        return walk_table(w, n, declare_keys, d);
    walk_defaults(w, declare_keys, d);
    return true;
}

static bool declare_print(struct printer *p, const struct key *key, const void *base)
{
    const struct amqp_declare *d = &((const struct amqp_source *)base)->declare;
    struct buf flow = BUF_EMPTY, *out = p->out;
    (void)key;
    if (!d->given)
        return false;
    p->out = &flow;
    print_flow(p, declare_keys, d);
    p->out = out;
    buf_puts(out, "{ ");
    buf_puts(out, buf_cstr(&flow) + 2); /* the comma before the first */
    buf_puts(out, " }");
    buf_fini(&flow);
    return true;
}

static bool declare_equal(const void *a, const void *b)
{
    const struct amqp_declare *left = &((const struct amqp_source *)a)->declare;
    const struct amqp_declare *right = &((const struct amqp_source *)b)->declare;
    return left->given == right->given && (!left->given || table_equal(declare_keys, left, right));
}

static const struct key_custom custom_declare = {
    .expects = DECLARE_EXPECTS, .read = declare_read, .print = declare_print, .equal = declare_equal};

const struct key amqp_source_keys[] = {
    {.name = "queue", .type = KEY_TEXT, .offset = SOURCE(queue), .max = WIRE_SHORT_MAX,
     .help = "the queue to consume; none: one that the broker names, with `declare: { exclusive: true }`"},
    {.name = "exchange", .type = KEY_TEXT, .offset = SOURCE(exchange), .max = WIRE_SHORT_MAX,
     .help = "the exchange that the queue is bound to"},
    {.name = "bind", .type = KEY_TEXTS, .offset = SOURCE(bind),
     .help = "routing keys to bind it with; `*` is one word and `#` any number of them"},
    {.name = "prefetch", .type = KEY_COUNT, .offset = SOURCE(prefetch), .standard = "256", .min = 1, .max = 65535,
     .help = "messages that the broker hands out before the first is acknowledged"},
    {.name = "declare", .type = KEY_CUSTOM, .custom = &custom_declare,
     .help = "makes the queue, the exchange and the bindings where they do not exist"},
    {.name = NULL},
};

const struct key amqp_target_keys[] = {
    {.name = "ack", .type = KEY_CHOICE, .offset = TARGET(ack), .standard = "inherit", .choices = ack_words,
     .help = "as the endpoint's ack, for this route"},
    {.name = "queue", .type = KEY_TEXT, .offset = TARGET(queue), .max = WIRE_SHORT_MAX,
     .help = "straight into this queue, whatever the subject is"},
    {.name = "exchange", .type = KEY_TEXT, .offset = TARGET(exchange), .max = WIRE_SHORT_MAX,
     .help = "to this exchange; unset: the default one, where the routing key is a queue's name"},
    {.name = "routing_key", .type = KEY_TEXT, .offset = TARGET(routing_key), .max = WIRE_SHORT_MAX,
     .help = "unset: the subject"},
    {.name = "mandatory", .type = KEY_BOOL, .offset = TARGET(mandatory), .standard = "true",
     .help = "what no queue takes is refused instead of dropped"},
    {.name = "persistent", .type = KEY_BOOL, .offset = TARGET(persistent), .standard = "true",
     .help = "events are written to the broker's disk"},
    {.name = "priority", .type = KEY_COUNT, .offset = TARGET(priority), .max = 255, .help = "in a queue that has priorities"},
    {.name = NULL},
};

/* ---------------------------------------------------------------- what no single key can see */

const char *amqp_check_endpoint(const struct endpoint_conf *e)
{
    const struct amqp_conf *keys = e->extra;
    if (keys->auth == AUTH_EXTERNAL && e->tls == NULL)
        return "`auth: external` needs a `tls` profile with a client certificate";
    return NULL;
}

const char *amqp_check_source(const void *keys)
{
    const struct amqp_source *s = keys;
    const struct amqp_declare *d = &s->declare;
    if (s->queue == NULL && !(d->given && d->exclusive))
        return "a `queue` is needed, or `declare: { exclusive: true }` for one that the broker names";
    if ((s->exchange == NULL) != (s->bind.count == 0))
        return "`exchange` and `bind` go together";
    if (d->given && str_is(str_of(amqp_queue_types[d->type]), "quorum") &&
        (!d->durable || d->exclusive || d->auto_delete))
        return "a quorum queue is durable, and neither exclusive nor auto_delete";
    for (size_t i = 0; i < s->bind.count; i++) {
        if (strlen(s->bind.items[i]) > WIRE_SHORT_MAX)
            return "a routing key of `bind` is at most 255 bytes";
    }
    return NULL;
}

/* Of a topic exchange: `*` is one word in both, a `#` at the end is `>`; elsewhere that is no filter's. */
static void binding_filter(struct str binding, struct buf *out)
{
    while (binding.p != NULL) {
        struct str word = str_cut(&binding, '.');
        buf_puts(out, out->len > 0 ? "." : "");
        buf_str_put(out, str_is(word, "#") ? STR(">") : word);
    }
}

static bool has_wildcards(struct str binding)
{
    while (binding.p != NULL) {
        struct str word = str_cut(&binding, '.');
        if (str_is(word, "*") || str_is(word, "#"))
            return true;
    }
    return false;
}

/* Which of several bindings it was, the broker does not tell. */
bool amqp_source_filter(const void *keys, struct buf *out)
{
    const struct amqp_source *s = keys;
    bool topic = !s->declare.given || str_is(str_of(amqp_exchange_types[s->declare.exchange_type]), "topic");
    size_t wild = 0;
    for (size_t i = 0; topic && i < s->bind.count; i++)
        wild += has_wildcards(str_of(s->bind.items[i]));
    if (wild > 0)
        binding_filter(str_of(s->bind.items[0]), out);
    return wild == 0 || s->bind.count == 1;
}

const char *amqp_check_target(const void *keys)
{
    const struct amqp_target *t = keys;
    if (t->queue != NULL && (t->exchange != NULL || t->routing_key != NULL))
        return "`queue` stands alone; or name an `exchange` and a `routing_key`";
    return NULL;
}
