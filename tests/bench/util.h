#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What every program of the bench needs: a clock, an exit with a reason, numbers from the command
 * line, CPU time of a process, a byte buffer, a histogram. Nothing here is for production use:
 * a failure ends the program with status 1 and a line on stderr, and run.py reports it. */

/* Monotonic time in nanoseconds. */
int64_t now_ns(void);

/* Prints `PROGRAM: text` (and errno's text where errno is set) and exits 1. */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A decimal between min and max; dies with `what` in the message otherwise. */
long number(const char *text, const char *what, long min, long max);

/* CPU time (user and system, all threads) of a process so far in nanoseconds; pid 0 is this one. */
int64_t cpu_ns(int pid);

/* The processes whose CPU time a load generator reports, and how much each had at the start. */
enum { WATCH_MAX = 8 };
struct watch {
    int pid[WATCH_MAX];
    int count;
    int64_t at_start[WATCH_MAX + 1];    /* the last is this process */
};
/* From an option -p; dies when there are too many. */
void watch_add(struct watch *w, const char *pid);
void watch_start(struct watch *w);
/* Prints the JSON members `client_cpu_us` and `cpu_us`: microseconds per message since the start. */
void watch_print(const struct watch *w, double n);

/* A growing byte buffer; bytes [off, len) are its content. Zeroed memory is an empty one. */
struct buf {
    char *data;
    size_t off, len, cap;
};

/* Room for at least n more bytes at data + len; the caller adds what it used to len. */
char *buf_room(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_text(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds v in decimal. */
void buf_decimal(struct buf *b, uint64_t v);
/* Forgets the first n bytes. */
void buf_drop(struct buf *b, size_t n);
static inline size_t buf_size(const struct buf *b)
{
    return b->len - b->off;
}

/* Reads decimal digits in [*p, end), moves *p behind them. Overflow wraps: the peer is trusted. */
uint64_t decimal(const char **p, const char *end);

/* Latencies in nanoseconds with a resolution of 0.4 %. Zeroed memory is an empty one. */
enum { HIST_SUB = 8, HIST_CELLS = (64 - HIST_SUB) << HIST_SUB };
struct hist {
    uint64_t count;
    uint64_t cell[HIST_CELLS];
};
void hist_add(struct hist *h, int64_t ns);
/* The value in microseconds below which the share q (0 to 1) of the entries lies. */
double hist_us(const struct hist *h, double q);
