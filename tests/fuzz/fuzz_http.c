/* daemon/loop/http_parse.h: split at any byte the head ends where it ends in one piece, and what is accepted is a
 * path and a query that keep what the header promises. */
#include "base/mem.h"
#include "fuzz.h"
#include "loop/http_parse.h"

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
            return true;
    }
    return false;
}

static void check_accepted(const struct http_request *r, struct str head)
{
    struct str path = str_of(r->path), query = str_of(r->query);
    HOLDS(path.n > 0 && path.p[0] == '/' && path.n + query.n < head.n);
    HOLDS(!has_control(path) && !has_control(query));
    HOLDS(str_starts(head, r->head ? STR("HEAD /") : STR("GET /")));
    struct str line = str_cut(&head, '\n');
    str_cut(&line, ' ');
    struct str target = str_cut(&line, ' ');
    str_cut(&target, '?');
    HOLDS(str_eq(query, target)); /* as sent */
}

/* In a block of its own, so that a read behind its end is seen. */
static void check_head(struct str in, size_t size)
{
    char *block = str_dup(str_make(in.p, size));
    char *exact = mem_realloc(block, size);
    struct str head = str_make(exact, size);
    struct http_request r = {0};
    int status = http_parse(head, &r);
    HOLDS(strcmp(http_status_text(status), "Status") != 0);
    if (status == 200)
        check_accepted(&r, head);
    else
        HOLDS(r.path == NULL && r.query == NULL);
    http_request_fini(&r);
    mem_free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_make(data, size);
    size_t end = http_head_size(in), step = size > 512 ? size / 256 + 1 : 1;
    HOLDS(end <= size);
    for (size_t n = 0; n <= size; n += step)
        HOLDS(http_head_size(str_make(in.p, n)) == (end > 0 && n >= end ? end : 0));
    if (end == 0)
        return 0;
    HOLDS(http_head_size(str_make(in.p, end)) == end && http_head_size(str_make(in.p, end - 1)) == 0);
    HOLDS(in.p[end - 1] == '\n');
    check_head(in, end);
    return 0;
}
