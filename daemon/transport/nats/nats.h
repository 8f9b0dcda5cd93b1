#pragma once
/* Core NATS, nats:// and natss:// (TLS): subjects, queue groups, requests over an inbox. See README.md. */
#include "transport/transport.h"

extern const struct transport nats_transport;
