#pragma once
/*
 * Errors of start-up and configuration: texts collected in order, so that a user sees all of them
 * at once. Zeroed is empty. At most ERR_MAX are kept; the rest are counted.
 */
#include <stdbool.h>
#include <stddef.h>

#define ERR_MAX 100

struct err {
    char **texts;
    size_t count; /* texts kept */
    size_t total; /* errors reported, kept or not */
};

/* Adds one error, without a newline at its end. Returns false, so that a caller can
 * `return err_add(err, …)`. */
bool err_add(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *err_text(const struct err *e); /* all of them, a line each; the caller's */
void err_fini(struct err *e);
