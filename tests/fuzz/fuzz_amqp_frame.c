/* daemon/transport/amqp/wire.h and tables.h: what a broker may send. Slices inside, headers legal, the same frames
 * whole or in pieces; nothing that rabbitmq-c is handed makes it read further, recurse or abort. */
#include "fuzz.h"
#include "msg/headers.h"
#include "transport/amqp/tables.h"
#include "transport/amqp/wire.h"

#define BODY_MAX 10000

struct run {
    size_t frames, contents, used;
    enum wire_kind last;
};

static void on_header(const struct wire_frame *f)
{
    static const struct codec raw = {.format = CODEC_FORMAT_RAW};
    struct codec_room room = {0};
    struct buf scratch = BUF_EMPTY, again = BUF_EMPTY;
    const char *what;
    size_t offset;
    codec_begin(&room);
    properties_read(f->properties, &raw, &room, &scratch);
    HOLDS(headers_check(codec_room_headers(&room), &what, &offset));
    if ((f->properties->_flags & AMQP_BASIC_HEADERS_FLAG) != 0)
        table_deaths(&f->properties->headers);
    /* What was read can be written, and says the same. */
    struct buf entries = BUF_EMPTY;
    struct wire out = {.frame_max = WIRE_FRAME_MAX};
    struct wire_content c = {0};
    properties_write(codec_room_headers(&room), &c.properties, &entries);
    c.entries = buf_str(&entries);
    HOLDS(wire_put_content(&out, &again, 1, &c));
    buf_fini(&entries);
    buf_fini(&again);
    buf_fini(&scratch);
    codec_room_fini(&room);
}

static void on_frame(struct assembly *a, enum wire_kind kind, const struct wire_frame *f, struct run *r)
{
    struct str body;
    enum assembly_step step = ASSEMBLY_MORE;
    if (kind == WIRE_METHOD && f->method.id == AMQP_BASIC_DELIVER_METHOD)
        assembly_begin(a, BODY_MAX);
    if (kind == WIRE_HEADER) {
        on_header(f);
        step = assembly_header(a, f->body_size);
    } else if (kind == WIRE_BODY) {
        step = assembly_body(a, f->body, &body);
        HOLDS(step != ASSEMBLY_DONE || a->oversized || body.n == a->wanted);
    }
    HOLDS(a->body.len <= BODY_MAX);
    r->contents += step == ASSEMBLY_DONE;
}

static void feed(struct str stream, size_t step, struct run *r)
{
    struct wire w;
    struct wire_frame f;
    struct assembly a = {0};
    size_t have = step > 0 ? 0 : stream.n;
    *r = (struct run){0};
    wire_init(&w);
    w.frame_max = WIRE_FRAME_MAX;
    for (;;) {
        struct str in = str_make(stream.p + r->used, have - r->used);
        r->last = wire_next(&w, in, &f);
        HOLDS(r->last != WIRE_BAD || f.what != NULL);
        if (r->last == WIRE_BAD || (r->last == WIRE_MORE && have == stream.n))
            break;
        if (r->last == WIRE_MORE) {
            have = stream.n - have > step ? have + step : stream.n;
            continue;
        }
        HOLDS(f.used > 0 && f.used <= in.n && fuzz_inside(f.body, in));
        on_frame(&a, r->last, &f, r);
        r->used += f.used;
        r->frames++;
    }
    assembly_fini(&a);
    wire_fini(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run whole, pieces;
    if (size == 0)
        return 0;
    struct str stream = str_make(data + 1, size - 1);
    feed(stream, 0, &whole);
    feed(stream, size > 4096 ? 1000 : 1 + data[0] % 16, &pieces);
    HOLDS(whole.frames == pieces.frames && whole.contents == pieces.contents && whole.used == pieces.used &&
          whole.last == pieces.last);
    return 0;
}
