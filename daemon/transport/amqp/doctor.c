/* What a broker loses although it has said yes. AMQP does not tell a client how a queue was made: this goes by what the
 * configuration declares, and by the version that the broker gives at the greeting. */
#include "base/mem.h"
#include "transport/amqp/internal.h"

enum { TYPE_UNSET, TYPE_CLASSIC, TYPE_QUORUM }; /* amqp_queue_types */

static void found(struct doctor *d, enum finding_level level, const char *queue, const char *what, const char *advice)
{
    struct buf text = BUF_EMPTY;
    buf_printf(&text, "queue `%s` %s", queue != NULL ? queue : "(named by the broker)", what);
    d->found(d, level, buf_cstr(&text), advice);
    buf_fini(&text);
}

static void look_at_declared(struct doctor *d, const struct amqp_source *s, bool limits)
{
    const struct amqp_declare *q = &s->declare;
    bool quorum = q->type == TYPE_QUORUM;
    if (q->exclusive)
        found(d, FINDING_WARNING, s->queue, "is exclusive: what comes while this connection is down is lost",
              "declare a durable queue with a name");
    else if (!quorum && !q->durable)
        found(d, FINDING_WARNING, s->queue, "is transient: a restart of the broker takes it away, and its messages",
              "declare: { durable: true, type: quorum }");
    if (q->dead_letter_exchange == NULL && q->dead_letter_routing_key == NULL) /* a key alone: the default exchange */
        found(d, FINDING_WARNING, s->queue, "has no dead-letter exchange: the broker drops what is refused for good",
              "declare.dead_letter_exchange, or a policy of the broker; bellhop keeps its own dead letters only with a store");
    if (quorum && q->delivery_limit == 0 && !limits)
        found(d, FINDING_WARNING, s->queue, "has no delivery limit: before RabbitMQ 4.0 a message that kills its consumer comes back for ever",
              "declare.delivery_limit, or a newer broker");
    if (!quorum && !q->exclusive)
        found(d, FINDING_NOTE, s->queue, "may be a classic one: kept on one node of a cluster alone", "declare.type: quorum");
}

void amqp_doctor_end(struct endpoint *e)
{
    struct doctor *d = e->doctor;
    e->doctor = NULL;
    if (d != NULL)
        d->done(d);
}

static void on_turn_end(void *arg)
{
    amqp_doctor_end(arg);
}

void amqp_doctor(struct endpoint *e, struct doctor *d)
{
    amqp_doctor_end(e); /* an earlier one */
    bool limits = e->consumer != NULL && broker_major(consumer_broker(e->consumer)) >= 4;
    for (size_t i = 0; i < e->env.source_count; i++) {
        const struct amqp_source *s = e->env.sources[i].keys;
        if (s->declare.given)
            look_at_declared(d, s, limits);
        else
            found(d, FINDING_NOTE, s->queue, "was made elsewhere: AMQP does not tell how",
                  "rabbitmqctl list_queues name type durable arguments policy: durable, quorum, x-dead-letter-exchange");
    }
    e->doctor = d;
    loop_later(e->env.loop, on_turn_end, e);
}
