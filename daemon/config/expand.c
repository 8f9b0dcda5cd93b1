#include "config/expand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define FILE_PREFIX STR("file:")

static bool name_valid(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return name.n > 0;
}

static bool file_read(int fd, struct buf *out)
{
    size_t start = out->len;
    ssize_t n;
    do {
        n = read(fd, buf_reserve(out, 4096), 4096);
        if (n > 0)
            buf_commit(out, (size_t)n);
    } while ((n > 0 || (n < 0 && errno == EINTR)) && out->len - start <= EXPAND_FILE_MAX);
    return n == 0;
}

static void cut_newline(struct buf *b, size_t start)
{
    if (b->len > start && buf_data(b)[b->len - 1] == '\n')
        b->len--;
    if (b->len > start && buf_data(b)[b->len - 1] == '\r')
        b->len--;
}

static bool file_put(struct str path, struct buf *out, struct buf *why)
{
    char *name = str_dup(path);
    struct stat st;
    size_t start = out->len;
    const char *what = NULL;
    /* O_NONBLOCK: a FIFO must not hold up the start; it is refused below. */
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    mem_free(name);
    if (fd < 0 || fstat(fd, &st) != 0)
        what = strerror(errno);
    else if (!S_ISREG(st.st_mode))
        what = "not a regular file";
    else if (st.st_size > EXPAND_FILE_MAX)
        what = "larger than 64KiB";
    else if (!file_read(fd, out))
        what = "cannot be read whole";
    if (fd >= 0)
        close(fd);
    if (what != NULL) {
        buf_printf(why, "`${file:" STR_FMT "}`: %s", STR_ARG(path), what);
        return false;
    }
    cut_newline(out, start);
    struct str added = str_make(buf_cstr(out) + start, out->len - start);
    if (str_utf8(added) && memchr(added.p, '\0', added.n) == NULL)
        return true;
    buf_printf(why, "`${file:" STR_FMT "}`: holds bytes that are not text", STR_ARG(path));
    return false;
}

static bool env_put(struct str name, const struct str *standard, struct buf *out, struct buf *why)
{
    char *key = str_dup(name);
    const char *value = getenv(key);
    char host[256] = "";
    if (value == NULL && strcmp(key, "HOSTNAME") == 0 && gethostname(host, sizeof(host) - 1) == 0)
        value = host;
    mem_free(key);
    if (standard != NULL && (value == NULL || *value == '\0')) {
        buf_str_put(out, *standard);
        return true;
    }
    if (value != NULL && str_utf8(str_of(value))) {
        buf_puts(out, value);
        return true;
    }
    buf_printf(why, "`${" STR_FMT "}` %s", STR_ARG(name),
               value != NULL ? "is not valid UTF-8"
                             : "is not set in the environment; `${NAME:-default}` gives a default");
    return false;
}

/* `inside` is what stands between the braces. */
static bool reference_put(struct str inside, struct buf *out, bool *secret, struct buf *why)
{
    struct str rest = inside, standard;
    if (str_starts(inside, FILE_PREFIX)) {
        *secret = true;
        return file_put(str_make(inside.p + 5, inside.n - 5), out, why);
    }
    struct str name = str_cut(&rest, ':');
    bool has_default = rest.p != NULL && rest.n > 0 && rest.p[0] == '-';
    standard = has_default ? str_make(rest.p + 1, rest.n - 1) : STR_NONE;
    if (!name_valid(name) || (rest.p != NULL && !has_default) ||
        (standard.n > 0 && memmem(standard.p, standard.n, "${", 2) != NULL)) {
        buf_puts(why, "a reference is `${NAME}`, `${NAME:-default}` or `${file:PATH}`, not nested; "
                      "a literal `$` is `$$`");
        return false;
    }
    return env_put(name, has_default ? &standard : NULL, out, why);
}

size_t expand_skip(struct str text, size_t i)
{
    if (i + 1 >= text.n || text.p[i] != '$')
        return 0;
    if (text.p[i + 1] == '$')
        return 2;
    if (text.p[i + 1] != '{')
        return 0;
    const char *end = memchr(text.p + i, '}', text.n - i);
    return end != NULL ? (size_t)(end - (text.p + i)) + 1 : 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One literal character, or a %XX of it; returns the bytes taken, 0 where it is malformed. */
static size_t literal_put(struct str text, size_t i, bool decode, struct buf *out)
{
    if (!decode || text.p[i] != '%') {
        buf_putc(out, text.p[i]);
        return 1;
    }
    int high = i + 2 < text.n ? hex_digit(text.p[i + 1]) : -1;
    int low = i + 2 < text.n ? hex_digit(text.p[i + 2]) : -1;
    if (high < 0 || low < 0 || (high == 0 && low == 0))
        return 0;
    buf_putc(out, (char)(high * 16 + low));
    return 3;
}

bool percent_decode(struct str text, struct buf *out)
{
    for (size_t i = 0, taken; i < text.n; i += taken) {
        taken = literal_put(text, i, true, out);
        if (taken == 0)
            return false;
    }
    return true;
}

bool expand(struct str text, bool decode, struct buf *out, bool *secret, struct buf *why)
{
    for (size_t i = 0; i < text.n;) {
        size_t skip = expand_skip(text, i);
        if (skip == 2) {
            buf_putc(out, '$');
        } else if (skip > 2) {
            if (!reference_put(str_make(text.p + i + 2, skip - 3), out, secret, why))
                return false;
        } else if (i + 1 < text.n && text.p[i] == '$' && text.p[i + 1] == '{') {
            buf_puts(why, "`${` without its `}`; a literal `$` is `$$`");
            return false;
        } else {
            skip = literal_put(text, i, decode, out);
        }
        if (skip == 0) {
            buf_puts(why, "`%` must be followed by two hex digits (`%25` for itself)");
            return false;
        }
        i += skip;
    }
    return true;
}
