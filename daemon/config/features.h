#pragma once
/*
 * What the contract names and this build does not have yet. A key that needs it is refused as
 * "not built in yet". Whoever builds the thing flips its row in features.c.
 */
#include <stdbool.h>

struct config_features {
    bool otlp; /* tracing.otlp: spans are exported */
};

extern const struct config_features config_features;
