/* clients/c/frame.h, as a service reads the daemon: slices inside, and what parses is written back as it was read. */
#include "bellhop.h"
#include "frame.h"
#include "fuzz.h"

static void headers_walk(const struct bellhop_frame *f)
{
    struct bellhop_header h;
    size_t pos = 0;
    while (bellhop_header_next(f->headers, f->headers_len, &pos, &h))
        HOLDS(h.value + h.value_len <= f->headers + f->headers_len);
    if (bellhop_header_find(f->headers, f->headers_len, "retry", &h))
        HOLDS(bellhop_duration_ms(h.value, h.value_len) >= -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    char line[BELLHOP_LINE_MAX];
    struct bellhop_frame f, again;
    const char *why;
    while (size > 0 && bellhop_frame_parse(p, size, 1u << 20, &f, &why) == BELLHOP_PARSE_FRAME) {
        HOLDS(f.size > 0 && f.size <= size);
        HOLDS(f.body + f.body_len == p + f.size);
        headers_walk(&f);
        size_t n = bellhop_frame_line(line, &f);
        HOLDS(n <= sizeof line);
        enum bellhop_parse rc = bellhop_frame_parse(line, n, 1u << 20, &again, &why);
        HOLDS(rc != BELLHOP_PARSE_BAD && again.id == f.id && again.verb == f.verb);
        HOLDS(again.headers_len == f.headers_len && again.body_len == f.body_len);
        HOLDS(again.subject_len == f.subject_len);
        p += f.size;
        size -= f.size;
    }
    return 0;
}
