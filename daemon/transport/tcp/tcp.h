#pragma once
/* NestJS microservice framing over TCP and TLS (tcp://, tls://): see README.md in this folder. */
#include "transport/transport.h"

extern const struct transport tcp_transport;
