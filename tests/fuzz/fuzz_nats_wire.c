/* daemon/transport/nats/wire.h: an operation is the same whatever comes behind it, and is waited for until it is whole; all that it
 * holds lies inside the input, within the limits. */
#include "fuzz.h"
#include "transport/nats/wire.h"

#define BODY_MAX 4096

static void check_headers(struct str block)
{
    struct str rest;
    struct header h;
    int status = nats_headers(block, &rest);
    HOLDS(status >= -1 && status <= 999 && fuzz_inside(rest, block));
    while (nats_next(&rest, &h))
        HOLDS(fuzz_inside(h.name, block) && fuzz_inside(h.value, block) && memchr(h.name.p, '\n', h.name.n) == NULL);
}

static void check_text(struct str text)
{
    struct buf subject = BUF_EMPTY;
    struct wire_info info;
    const char *what = NULL;
    if (!nats_info_parse(text, &info, &what))
        HOLDS(what != NULL);
    if (nats_fault(text, &subject) != FAULT_PUBLISH)
        HOLDS(subject.len == 0);
    buf_fini(&subject);
}

/* A subject that may be published stands in the line as one word. */
static void check_subject(struct str text)
{
    struct buf out = BUF_EMPTY;
    struct wire_pub pub = {.subject = text, .body = STR("x")};
    if (nats_subject_fault(text) == NULL) {
        HOLDS(nats_filter_fault(text) == NULL && text.n > 0);
        nats_put_pub(&out, &pub);
        HOLDS(out.len == text.n + 11);
        HOLDS(strcspn(buf_cstr(&out), "\n") == text.n + 7);
    }
    buf_fini(&out);
}

static void check_operation(const struct wire_in *op, struct str in)
{
    HOLDS(op->size > 0 && op->size <= in.n);
    HOLDS(fuzz_inside(op->text, in) && fuzz_inside(op->subject, in) && fuzz_inside(op->reply, in));
    HOLDS(fuzz_inside(op->headers, in) && fuzz_inside(op->body, in));
    HOLDS(op->body.n <= BODY_MAX && op->headers.n <= WIRE_HEADERS_MAX);
    HOLDS(op->skip == 0 || (op->op == WIRE_MSG && op->body.p == NULL));
    if (op->headers.n > 0)
        check_headers(op->headers);
    check_text(op->text);
    check_subject(op->subject);
}

/* Cut anywhere, it is not whole, and not wrong. */
static void check_cuts(const struct wire_in *op, struct str in)
{
    struct wire_in cut;
    const char *what;
    size_t step = op->size > 64 ? op->size / 64 : 1;
    for (size_t n = 0; n < op->size; n += step)
        HOLDS(nats_parse(str_make(in.p, n), BODY_MAX, &cut, &what) == WIRE_MORE);
    HOLDS(nats_parse(str_make(in.p, op->size), BODY_MAX, &cut, &what) == WIRE_WHOLE && cut.size == op->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_make(data, size);
    struct wire_in op;
    const char *what = NULL;
    check_subject(in);
    while (in.n > 0 && nats_parse(in, BODY_MAX, &op, &what) == WIRE_WHOLE) {
        check_operation(&op, in);
        check_cuts(&op, in);
        size_t passed = op.size + (op.skip < in.n - op.size ? op.skip : in.n - op.size);
        in = str_make(in.p + passed, in.n - passed);
    }
    return 0;
}
