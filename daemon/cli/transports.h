#pragma once
/*
 * The configuration keys of the transports that the daemon was built with, NULL-terminated: defined by app/, which alone
 * knows them, and declared here once more because the tool may not include app/.
 */
#include "config/config.h"

extern const struct config_transport *const app_config_transports[];
