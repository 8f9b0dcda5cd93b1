#pragma once
/* Redis pub/sub and streams (redis://, rediss://): see README.md in this folder. */
#include "transport/transport.h"

extern const struct transport redis_transport;
