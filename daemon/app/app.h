#pragma once
/* The daemon as a whole: makes every long-lived object, hands them to each other, ends them. */
#include "base/err.h"
#include "config/config.h"

struct app;

/* Opens everything the configuration (taken over) names. NULL with err set. */
struct app *app_new(struct config *conf_take, struct err *err);
int app_run(struct app *a); /* until SIGTERM; returns the exit status */
bool app_free(struct app *a); /* false: what the store was to keep last may not be on disk */
