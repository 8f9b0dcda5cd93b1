#include "config/features.h"

const struct config_features config_features = {
    .order_by = false,
    .otlp = false,
    .raw = false,
    .cloudevents = false,
};
