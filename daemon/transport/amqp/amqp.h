#pragma once
/* RabbitMQ, AMQP 0-9-1 (amqp://, amqps://): see README.md in this folder. */
#include "transport/transport.h"

extern const struct transport amqp_transport;
