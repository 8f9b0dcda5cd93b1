/* daemon/wire/frame.h and daemon/msg/headers.h: slices inside, a parsed frame is written back to the same bytes, a
 * shorter input is never a frame. */
#include "base/buf.h"
#include "fuzz.h"
#include "msg/headers.h"
#include "wire/frame.h"

#define BODY_MAX 4096

static void check_headers(struct str block)
{
    const char *what;
    size_t offset, lines = 0, bytes = 0;
    struct header h;
    if (!headers_check(block, &what, &offset)) {
        HOLDS(what != NULL && offset <= block.n);
        return;
    }
    for (struct str rest = block; headers_next(&rest, &h); lines++) {
        HOLDS(fuzz_inside(h.name, block) && fuzz_inside(h.value, block) && header_name_valid(h.name));
        HOLDS(str_printable(h.value));
        bytes += h.name.n + h.value.n + 3;
    }
    HOLDS(bytes == block.n && lines <= HEADERS_MAX_LINES);
}

static void check_frame(struct str in, const struct frame *f)
{
    struct buf out = BUF_EMPTY;
    HOLDS(f->size <= in.n && f->verb < VERB_COUNT && f->body.n == f->body_size && f->body.n <= BODY_MAX);
    HOLDS(f->subject.n <= FRAME_SUBJECT_MAX && f->headers.n <= FRAME_HEADERS_MAX && str_printable(f->subject));
    HOLDS(fuzz_inside(f->subject, in) && fuzz_inside(f->headers, in) && fuzz_inside(f->body, in));
    frame_head(&out, &(struct frame_line){f->verb, f->id, f->headers.n, f->body.n, f->subject});
    buf_str_put(&out, f->headers);
    buf_str_put(&out, f->body);
    HOLDS(str_eq(buf_str(&out), str_make(in.p, f->size)));
    buf_fini(&out);
    check_headers(f->headers);
}

/* Every shorter piece of what is no error yet must ask for more. */
static void check_prefixes(struct str in, size_t step)
{
    struct frame f;
    struct frame_error e;
    for (size_t n = 0; n < in.n; n += step)
        HOLDS(frame_parse((const uint8_t *)in.p, n, BODY_MAX, &f, &e) == FRAME_MORE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_make(data, size);
    while (in.n > 0) {
        struct frame f;
        struct frame_error e = {0, NULL};
        enum frame_status s = frame_parse((const uint8_t *)in.p, in.n, BODY_MAX, &f, &e);
        if (s == FRAME_BAD)
            HOLDS(e.what != NULL && e.offset <= in.n);
        if (s == FRAME_BIG)
            HOLDS(f.size <= in.n && f.body_size > BODY_MAX && f.body_size <= FRAME_SKIP_MAX);
        if (s == FRAME_MORE)
            check_prefixes(in, in.n / 64 + 1);
        if (s != FRAME_OK)
            break;
        check_frame(in, &f);
        check_prefixes(str_make(in.p, f.size), f.size / 64 + 1);
        in = str_make(in.p + f.size, in.n - f.size);
    }
    return 0;
}
