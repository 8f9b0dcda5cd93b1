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

#define CUT_JSON ",\"cut\":\"yes\""
#define LINE_ROOM (LOG_LINE_MAX - sizeof("\"" CUT_JSON "}\n")) /* for all but what ends a line */

#define NUMBER_MARK '\x01'

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
    bool cut; /* it has no room for the rest: whole characters and members only */
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

/* Bytes of the character at p that may not be torn. */
static size_t char_bytes(unsigned char first, bool utf8)
{
    if (!utf8 || first < 0xC0)
        return 1;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

static void put_escaped(struct log *l, const char *value)
{
    bool utf8 = str_utf8(str_of(value));
    const unsigned char *p = (const unsigned char *)value;
    for (size_t n; *p != '\0'; p += n) {
        bool coded = *p < 0x20 || *p == 0x7F || (*p >= 0x80 && !utf8), marked = *p == '"' || *p == '\\';
        n = char_bytes(*p, utf8);
        l->cut = l->line.len + (coded ? 6 : n + marked) > LINE_ROOM;
        if (l->cut)
            break;
        if (coded)
            buf_printf(&l->line, "\\u%04x", *p);
        else if (marked)
            buf_printf(&l->line, "\\%c", *p);
        else
            buf_put(&l->line, p, n);
    }
}

/* Marked by log_i64(). Whatever else begins with the mark has to be a number all the same to be taken for one. */
static bool is_number(const char *value)
{
    const char *digits = value + 1 + (value[0] == NUMBER_MARK && value[1] == '-');
    return value[0] == NUMBER_MARK && *digits != '\0' && strspn(digits, "0123456789") == strlen(digits);
}

static void put_field(struct log *l, const char *key, const char *value)
{
    bool number = is_number(value);
    value += number;
    bool plain = value[0] != '\0' && strpbrk(value, " \"\\=\t\n\r") == NULL;
    size_t whole = number ? strlen(value) : 0; /* a part of a number is another one */
    if (l->line.len + strlen(key) + sizeof(",\"\":\"\"") + whole > LINE_ROOM)
        l->cut = true;
    if (l->cut)
        return;
    if (l->format == LOG_JSON) {
        buf_printf(&l->line, number ? ",\"%s\":" : ",\"%s\":\"", key);
        put_escaped(l, value);
        buf_puts(&l->line, number ? "" : "\"");
        return;
    }
    buf_printf(&l->line, plain ? " %s=" : " %s=\"", key);
    put_escaped(l, value);
    if (!plain)
        buf_putc(&l->line, '"');
}

static void line_start(struct log *l, enum log_level level, const char *event)
{
    char when[32];
    buf_clear(&l->line);
    l->cut = false;
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
    struct pollfd ready = {.fd = l->fd, .events = POLLOUT};
    if (l->cut)
        buf_puts(&l->line, l->format == LOG_JSON ? CUT_JSON : " cut=yes");
    buf_puts(&l->line, l->format == LOG_JSON ? "}\n" : "\n");
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
    snprintf(out, 24, "%c%" PRId64, NUMBER_MARK, value);
    return out;
}
