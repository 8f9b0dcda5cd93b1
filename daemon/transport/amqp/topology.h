#pragma once
/* What `declare` and `bind` of a source ask for: exchange, queue, bindings. */
#include "transport/amqp/internal.h"

/* Where one step fails the broker closes the channel and passes over the rest. Of a queue without a name the answer
 * (queue.declare-ok) has one; to what follows an empty name stands for it. */
void topology_declare(struct channel *ch, const struct amqp_source *k);
