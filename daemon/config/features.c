#include "config/features.h"

const struct config_features config_features = {
    .otlp = false,
};
