#include "loop/http_parse.h"

#include <strings.h>

#include "base/mem.h"

size_t http_head_size(struct str input)
{
    const char *lf = input.p, *end = input.p + input.n;
    while (lf < end && (lf = memchr(lf, '\n', (size_t)(end - lf))) != NULL) {
        const char *next = ++lf;
        if (next < end && *next == '\r')
            next++;
        if (next < end && *next == '\n')
            return (size_t)(next + 1 - input.p);
    }
    return 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* NULL when an escape is broken or stands for a control character. */
static char *path_decode(struct str s)
{
    char *out = mem_alloc(s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int high = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1;
            int low = high >= 0 ? hex_value(s.p[i + 2]) : -1;
            c = low >= 0 ? (char)(high * 16 + low) : '\0';
            i += 2;
        }
        if ((unsigned char)c < ' ' || c == 127) {
            mem_free(out);
            return NULL;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return out;
}

static struct str line_cut(struct str *head)
{
    struct str line = str_cut(head, '\n');
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

static bool name_is(struct str name, const char *z)
{
    return name.n == strlen(z) && strncasecmp(name.p, z, name.n) == 0;
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
            return true;
    }
    return false;
}

static int check_headers(struct str head)
{
    while (head.p != NULL) {
        struct str value = line_cut(&head);
        if (value.n == 0)
            return 200;
        if (memchr(value.p, ':', value.n) == NULL || *value.p == ' ' || *value.p == '\t')
            return 400;
        struct str name = str_cut(&value, ':');
        if (name_is(name, "transfer-encoding") ||
            (name_is(name, "content-length") && !str_is(str_trim(value), "0")))
            return 413;
    }
    return 400;
}

int http_parse(struct str head, struct http_request *r)
{
    struct str line = line_cut(&head);
    struct str method = str_cut(&line, ' '), target = str_cut(&line, ' ');
    int status;
    if (!str_starts(line, STR("HTTP/1.")) || line.n != 8)
        return str_starts(line, STR("HTTP/")) ? 505 : 400;
    if (!str_is(method, "GET") && !str_is(method, "HEAD"))
        return 405;
    if (target.n == 0 || *target.p != '/' || has_control(target))
        return 400;
    if ((status = check_headers(head)) != 200)
        return status;
    struct str path = str_cut(&target, '?');
    r->head = str_is(method, "HEAD");
    r->path = path_decode(path);
    if (r->path == NULL)
        return 400;
    r->query = target.p != NULL ? str_dup(target) : mem_strdup("");
    return 200;
}

void http_request_fini(struct http_request *r)
{
    mem_free(r->path);
    mem_free(r->query);
    *r = (struct http_request){0};
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"}, {204, "No Content"}, {301, "Moved Permanently"}, {302, "Found"},
        {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
        {405, "Method Not Allowed"}, {413, "Content Too Large"}, {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
        {503, "Service Unavailable"}, {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].status == status)
            return texts[i].text;
    return "Status";
}
