#pragma once
/*
 * One line an event, JSON or text, to stderr or a file. Never blocks: a line that the other end
 * would not take at once is dropped and counted. Limited per kind of event: after LOG_BURST lines
 * of one kind in a second the rest of that second is counted and told in one `suppressed` line.
 * No payload is ever passed to it; callers never pass secrets.
 */
#include <stdbool.h>
#include <stdint.h>

#define LOG_BURST 50
#define LOG_LINE_MAX 4096 /* bytes; longer lines are cut between characters and say `cut` */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_JSON, LOG_TEXT };

struct log;

/* path NULL = stderr. The file is opened for appending, mode 0640; on failure errno is set and
 * NULL returned. */
struct log *log_new(enum log_level level, enum log_format format, const char *path);
void log_free(struct log *l);
void log_set(struct log *l, enum log_level level, enum log_format format);
bool log_reopen(struct log *l); /* SIGUSR1; keeps the old file where the new cannot be opened */
bool log_on(const struct log *l, enum log_level level);
uint64_t log_dropped(const struct log *l); /* lines lost to a blocked or full output */

/*
 * log_write(l, LOG_WARN, "session_drop", "service", name, "reason", reason, NULL):
 * `event` is a fixed snake_case word (the kind); then pairs of const char * (key, value), ended by
 * NULL. A pair whose value is NULL is left out. Values may be any bytes: they are escaped.
 */
void log_write(struct log *l, enum log_level level, const char *event, ...) __attribute__((sentinel));

/* Numbers as values, without quotes in JSON: writes into out and returns it, for log_write() alone (it is marked). */
const char *log_i64(int64_t value, char out[static 24]);
#define LOG_NUM(value) log_i64((int64_t)(value), (char[24]){0})
