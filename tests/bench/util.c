#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void die(const char *fmt, ...)
{
    int err = errno;
    va_list ap;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (err)
        fprintf(stderr, ": %s", strerror(err));
    fputc('\n', stderr);
    exit(1);
}

long number(const char *text, const char *what, long min, long max)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < min || v > max) {
        errno = 0;
        die("%s: %s is not a number from %ld to %ld", what, text, min, max);
    }
    return v;
}

static int64_t own_cpu_ns(void)
{
    struct rusage r;

    getrusage(RUSAGE_SELF, &r);
    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000LL +
           (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000LL;
}

int64_t cpu_ns(int pid)
{
    char path[300];
    struct dirent *e;
    int64_t sum = 0;
    DIR *dir;

    if (pid == 0)
        return own_cpu_ns();
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    dir = opendir(path);
    if (!dir)
        die("%s", path);
    while ((e = readdir(dir))) {
        long long ns = 0;
        FILE *f;

        snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, e->d_name);
        f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!f)
            continue;
        if (fscanf(f, "%lld", &ns) == 1)
            sum += ns;
        fclose(f);
    }
    closedir(dir);
    return sum;
}

void watch_add(struct watch *w, const char *pid)
{
    errno = 0;
    if (w->count == WATCH_MAX)
        die("more than %d times -p", WATCH_MAX);
    w->pid[w->count++] = (int)number(pid, "-p", 1, 1 << 22);
}

void watch_start(struct watch *w)
{
    for (int i = 0; i < w->count; i++)
        w->at_start[i] = cpu_ns(w->pid[i]);
    w->at_start[WATCH_MAX] = cpu_ns(0);
}

void watch_print(const struct watch *w, double n)
{
    printf("\"client_cpu_us\":%.3f,\"cpu_us\":[", (double)(cpu_ns(0) - w->at_start[WATCH_MAX]) / 1e3 / n);
    for (int i = 0; i < w->count; i++)
        printf("%s%.3f", i ? "," : "", (double)(cpu_ns(w->pid[i]) - w->at_start[i]) / 1e3 / n);
    printf("]");
}

char *buf_room(struct buf *b, size_t n)
{
    if (b->off == b->len)
        b->off = b->len = 0;
    if (b->cap - b->len < n) {
        size_t cap = (b->len + n) * 2;

        b->data = realloc(b->data, cap);
        if (!b->data)
            die("out of memory");
        b->cap = cap;
    }
    return b->data + b->len;
}

void buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (n == 0)
        return;
    memcpy(buf_room(b, n), bytes, n);
    b->len += n;
}

void buf_text(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char *room = buf_room(b, 1024);
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(room, 1024, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= 1024)
        die("buf_printf: %d bytes", n);
    b->len += (size_t)n;
}

void buf_decimal(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;

    do
        digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    buf_add(b, digits + at, sizeof digits - at);
}

void buf_drop(struct buf *b, size_t n)
{
    b->off += n;
    if (b->off == b->len)
        b->off = b->len = 0;
}

uint64_t decimal(const char **p, const char *end)
{
    uint64_t v = 0;

    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++)
        v = v * 10 + (uint64_t)(**p - '0');
    return v;
}

static size_t hist_cell(uint64_t v)
{
    int shift;

    if (v < 1u << HIST_SUB)
        return v;
    shift = 63 - __builtin_clzll(v) - HIST_SUB;
    return ((size_t)shift << HIST_SUB) + (v >> shift);
}

void hist_add(struct hist *h, int64_t ns)
{
    h->cell[hist_cell(ns < 0 ? 0 : (uint64_t)ns)]++;
    h->count++;
}

double hist_us(const struct hist *h, double q)
{
    uint64_t want = (uint64_t)(q * (double)h->count), seen = 0;

    for (size_t i = 0; i < HIST_CELLS; i++) {
        size_t shift = i < 2u << HIST_SUB ? 0 : (i >> HIST_SUB) - 1;

        seen += h->cell[i];
        if (seen > want)
            return (double)((i - (shift << HIST_SUB)) << shift) / 1000.0;
    }
    return 0;
}
