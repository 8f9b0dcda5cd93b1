#include "transport/amqp/topology.h"

#include "transport/amqp/tables.h"

static void declare_exchange(struct channel *ch, const struct amqp_source *k)
{
    const struct amqp_declare *d = &k->declare;
    amqp_exchange_declare_t declare = {.exchange = amqp_of(str_of(k->exchange)), .durable = d->durable,
                                       .type = amqp_cstring_bytes(amqp_exchange_types[d->exchange_type])};
    if (!str_starts(str_of(k->exchange), STR("amq.")))
        channel_put(ch, AMQP_EXCHANGE_DECLARE_METHOD, &declare);
}

static void add_text(struct table *t, const char *name, const char *value)
{
    if (value != NULL && *value != '\0')
        table_add(t, str_of(name), str_of(value));
}

static void add_count(struct table *t, const char *name, uint64_t value)
{
    if (value > 0)
        table_add_integer(t, name, (int64_t)value);
}

static void declare_queue(struct channel *ch, const struct amqp_source *k)
{
    const struct amqp_declare *d = &k->declare;
    struct table arguments = {0};
    add_text(&arguments, "x-queue-type", amqp_queue_types[d->type]);
    add_text(&arguments, "x-dead-letter-exchange", d->dead_letter_exchange);
    if (d->dead_letter_exchange == NULL && d->dead_letter_routing_key != NULL) /* the default one has no name */
        table_add(&arguments, STR("x-dead-letter-exchange"), STR(""));
    add_text(&arguments, "x-dead-letter-routing-key", d->dead_letter_routing_key);
    add_count(&arguments, "x-delivery-limit", d->delivery_limit);
    add_count(&arguments, "x-max-length", d->max_length);
    add_count(&arguments, "x-message-ttl", (uint64_t)d->message_ttl_ms);
    amqp_queue_declare_t declare = {.queue = amqp_of(str_of(k->queue)), .durable = d->durable,
                                    .exclusive = d->exclusive, .auto_delete = d->auto_delete,
                                    .arguments = table_made(&arguments)};
    channel_put(ch, AMQP_QUEUE_DECLARE_METHOD, &declare);
    table_fini(&arguments);
}

void topology_declare(struct channel *ch, const struct amqp_source *k)
{
    if (k->declare.given && k->exchange != NULL)
        declare_exchange(ch, k);
    if (k->declare.given)
        declare_queue(ch, k);
    for (size_t i = 0; i < k->bind.count; i++) {
        amqp_queue_bind_t bind = {.queue = amqp_of(str_of(k->queue)), .exchange = amqp_of(str_of(k->exchange)),
                                  .routing_key = amqp_of(str_of(k->bind.items[i]))};
        channel_put(ch, AMQP_QUEUE_BIND_METHOD, &bind);
    }
}
