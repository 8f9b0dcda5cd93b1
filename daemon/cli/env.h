#pragma once
/* The environment of a command that `bellhop serve` runs: ours, and what is known of the delivery. */
#include "bellhop.h"

/* socket: set as BELLHOP_SOCKET, so that the command can use the tool itself. The result is the
 * caller's; env_free(). */
char **env_make(const struct bellhop_delivery *d, const char *socket);
void env_free(char **env);
