#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"

struct kind {
    int64_t second;
    unsigned lines, suppressed;
};

struct log {
    enum log_level level;
    enum log_format format;
    char *path; /* NULL = stderr */
    int fd;
    uint64_t dropped;
    struct map kinds; /* event -> struct kind */
    struct buf line;
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static int log_open(const char *path)
{
    if (path == NULL)
        return STDERR_FILENO;
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
}

struct log *log_new(enum log_level level, enum log_format format, const char *path)
{
    int fd = log_open(path);
    if (fd < 0)
        return NULL;
    struct log *l = mem_zalloc(sizeof(*l));
    l->level = level;
    l->format = format;
    l->path = path != NULL ? mem_strdup(path) : NULL;
    l->fd = fd;
    return l;
}

void log_free(struct log *l)
{
    struct map_entry *e;
    if (l == NULL)
        return;
    for (size_t i = 0; (e = map_next(&l->kinds, &i)) != NULL;)
        mem_free(e->value);
    map_fini(&l->kinds);
    buf_fini(&l->line);
    if (l->path != NULL)
        close(l->fd);
    mem_free(l->path);
    mem_free(l);
}

void log_set(struct log *l, enum log_level level, enum log_format format)
{
    l->level = level;
    l->format = format;
}

bool log_reopen(struct log *l)
{
    if (l->path == NULL)
        return true;
    int fd = log_open(l->path);
    if (fd < 0)
        return false;
    close(l->fd);
    l->fd = fd;
    return true;
}

bool log_on(const struct log *l, enum log_level level)
{
    return level <= l->level;
}

uint64_t log_dropped(const struct log *l)
{
    return l->dropped;
}

static void put_escaped(struct buf *b, const char *value)
{
    bool utf8 = str_utf8(str_of(value));
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            buf_printf(b, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7F || (*p >= 0x80 && !utf8))
            buf_printf(b, "\\u%04x", *p);
        else
            buf_putc(b, (char)*p);
    }
}

static void put_field(struct log *l, const char *key, const char *value)
{
    bool plain = value[0] != '\0' && strpbrk(value, " \"\\=\t\n\r") == NULL;
    if (l->format == LOG_JSON) {
        buf_printf(&l->line, ",\"%s\":\"", key);
        put_escaped(&l->line, value);
        buf_putc(&l->line, '"');
        return;
    }
    buf_printf(&l->line, plain ? " %s=" : " %s=\"", key);
    put_escaped(&l->line, value);
    if (!plain)
        buf_putc(&l->line, '"');
}

static void line_start(struct log *l, enum log_level level, const char *event)
{
    char when[32];
    buf_clear(&l->line);
    clock_rfc3339(clock_wall_ms(), when);
    if (l->format == LOG_JSON)
        buf_printf(&l->line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", when,
                   level_names[level], event);
    else
        buf_printf(&l->line, "%s %-5s %s", when, level_names[level], event);
}

/* A pipe that poll() calls writable takes PIPE_BUF (4,096) bytes without blocking: pipe(7). */
static void line_end(struct log *l)
{
    const char *end = l->format == LOG_JSON ? "}\n" : "\n";
    struct pollfd ready = {.fd = l->fd, .events = POLLOUT};
    size_t room = LOG_LINE_MAX - strlen(end);
    if (l->line.len > room) {
        static const char cut[] = "\",\"cut\":\"yes\"";
        l->line.len = room - sizeof(cut);
        while (l->line.len > 0 && (buf_data(&l->line)[l->line.len - 1] & 0x80) != 0)
            l->line.len--;
        while (l->line.len > 0 && buf_data(&l->line)[l->line.len - 1] == '\\')
            l->line.len--;
        if (l->format == LOG_JSON)
            buf_puts(&l->line, cut);
    }
    buf_puts(&l->line, end);
    if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0 ||
        write(l->fd, buf_data(&l->line), l->line.len) != (ssize_t)l->line.len)
        l->dropped++;
}

/* Counts the line against its kind's second; false when it is one too many. */
static bool kind_admit(struct log *l, const char *event, unsigned *suppressed)
{
    struct kind *k = map_get(&l->kinds, str_of(event));
    int64_t second = clock_mono_ms() / 1000;
    if (k == NULL) {
        k = mem_zalloc(sizeof(*k));
        map_set(&l->kinds, str_of(event), k);
    }
    *suppressed = 0;
    if (k->second != second) {
        *suppressed = k->suppressed;
        *k = (struct kind){.second = second};
    }
    if (k->lines++ < LOG_BURST)
        return true;
    k->suppressed++;
    return false;
}

void log_write(struct log *l, enum log_level level, const char *event, ...)
{
    const char *key, *value;
    unsigned suppressed;
    va_list args;
    if (l == NULL || !log_on(l, level) || !kind_admit(l, event, &suppressed))
        return;
    if (suppressed > 0) {
        line_start(l, level, "suppressed");
        put_field(l, "kind", event);
        put_field(l, "lines", LOG_NUM(suppressed));
        line_end(l);
    }
    line_start(l, level, event);
    va_start(args, event);
    while ((key = va_arg(args, const char *)) != NULL) {
        value = va_arg(args, const char *);
        if (value != NULL)
            put_field(l, key, value);
    }
    va_end(args);
    line_end(l);
}

const char *log_i64(int64_t value, char out[static 24])
{
    snprintf(out, 24, "%" PRId64, value);
    return out;
}
