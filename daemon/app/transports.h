#pragma once
/* Which transports are linked: the only place that names them. */
#include "transport/transport.h"

extern const struct transport *const app_transports[]; /* NULL-terminated */

/* The same for config/: NULL-terminated. */
extern const struct config_transport *const app_config_transports[];

const struct transport *app_transport(const struct config_transport *conf);
