/* daemon/transport/amqp/wire.h and tables.h: frames both ways, hostile ones, contents, tables and headers. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "msg/headers.h"
#include "msg/msg.h"
#include "transport/amqp/tables.h"
#include "transport/amqp/wire.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BYTES(literal) str_make(literal, sizeof(literal) - 1)

static struct wire wire_of(uint32_t frame_max)
{
    struct wire w;
    wire_init(&w);
    w.frame_max = frame_max;
    return w;
}

static void put_frame(struct buf *out, uint8_t type, uint16_t channel, struct str payload)
{
    const uint8_t head[] = {type, (uint8_t)(channel >> 8), (uint8_t)channel, (uint8_t)(payload.n >> 24),
                            (uint8_t)(payload.n >> 16), (uint8_t)(payload.n >> 8), (uint8_t)payload.n};
    buf_put(out, head, sizeof(head));
    buf_str_put(out, payload);
    buf_putc(out, (char)0xCE);
}

static enum wire_kind kind_of(uint8_t type, struct str payload)
{
    struct buf in = BUF_EMPTY;
    struct wire w = wire_of(WIRE_FRAME_MAX);
    struct wire_frame f;
    put_frame(&in, type, 1, payload);
    enum wire_kind kind = wire_next(&w, buf_str(&in), &f);
    ck_assert(kind != WIRE_BAD || f.what != NULL);
    buf_fini(&in);
    wire_fini(&w);
    return kind;
}

/* ---- frames in ---- */

START_TEST(test_method)
{
    struct buf in = BUF_EMPTY;
    struct wire w = wire_of(WIRE_FRAME_MIN);
    struct wire_frame f;
    put_frame(&in, AMQP_FRAME_METHOD, 3, BYTES("\0\x3c\0\x50\0\0\0\0\0\0\0\x07\x01")); /* basic.ack 7, multiple */
    buf_str_put(&in, wire_heartbeat);
    for (size_t n = 0; n < 21; n++)
        ck_assert_int_eq(wire_next(&w, str_make(in.base, n), &f), WIRE_MORE);
    ck_assert_int_eq(wire_next(&w, buf_str(&in), &f), WIRE_METHOD);
    const amqp_basic_ack_t *ack = f.method.decoded;
    ck_assert_uint_eq(f.channel, 3);
    ck_assert_uint_eq(f.used, 21);
    ck_assert_uint_eq(f.method.id, AMQP_BASIC_ACK_METHOD);
    ck_assert_uint_eq(ack->delivery_tag, 7);
    ck_assert(ack->multiple);
    ck_assert_int_eq(wire_next(&w, str_make(in.base + 21, in.len - 21), &f), WIRE_HEARTBEAT);
    ck_assert_uint_eq(f.used, 8);
    buf_fini(&in);
    wire_fini(&w);
}
END_TEST

/* Each of these makes rabbitmq-c read beyond the frame, recurse without end, or is nothing for a client. */
START_TEST(test_hostile)
{
    static const struct {
        uint8_t type;
        struct str payload;
    } frames[] = {
        {AMQP_FRAME_METHOD, {"", 0}},
        {AMQP_FRAME_METHOD, {"\0\x3c\0", 3}},
        {AMQP_FRAME_METHOD, {"\0\x3c\0\x50\0\0", 6}},                     /* half an ack */
        {AMQP_FRAME_METHOD, {"\0\x3c\0\x28\0\0\0\0\0", 9}},               /* basic.publish */
        {AMQP_FRAME_METHOD, {"\0\x63\0\x01", 4}},                         /* no such class */
        {AMQP_FRAME_METHOD, {"\0\x0a\0\x0a\0\x09\0\0\0\xff", 10}},        /* start: table beyond its end */
        {AMQP_FRAME_METHOD, {"\0\x0a\0\x0a\0", 5}},
        {AMQP_FRAME_HEADER, {"", 0}},
        {AMQP_FRAME_HEADER, {"\0\x3c\0\0\0\0\0\0\0\0\0", 11}},
        {AMQP_FRAME_HEADER, {"\0\x3c\0\0\0\0\0\0\0\0\0\0", 12}},
        {AMQP_FRAME_HEADER, {"\0\x3c\0\0\0\0\0\0\0\0\0\0\0\x01\0\0", 16}}, /* more flags follow */
        {AMQP_FRAME_HEADER, {"\0\x3d\0\0\0\0\0\0\0\0\0\0\0\0", 14}},       /* another class */
        {AMQP_FRAME_HEADER, {"\0\x3c\0\0\0\0\0\0\0\0\0\0\x80\0\x09x", 16}}, /* content type too short */
        {AMQP_FRAME_HEADER, {"\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0\0\0\0\x09", 18}}, /* headers likewise */
    };
    for (size_t i = 0; i < COUNT(frames); i++)
        ck_assert_msg(kind_of(frames[i].type, frames[i].payload) == WIRE_BAD, "frame %zu was taken", i);
}
END_TEST

/* What rabbitmq-c writes, and nothing shorter. */
START_TEST(test_deliver)
{
    amqp_basic_deliver_t m = {.consumer_tag = amqp_cstring_bytes("bellhop"), .delivery_tag = UINT64_C(0x0102030405060708),
                              .redelivered = true, .exchange = amqp_cstring_bytes("orders"),
                              .routing_key = amqp_cstring_bytes("order.made")};
    char payload[256] = "\0\x3c\0\x3c";
    int n = amqp_encode_method(AMQP_BASIC_DELIVER_METHOD, &m, (amqp_bytes_t){sizeof(payload) - 4, payload + 4});
    struct buf in = BUF_EMPTY;
    struct wire w = wire_of(WIRE_FRAME_MIN);
    struct wire_frame f;
    put_frame(&in, AMQP_FRAME_METHOD, 1, str_make(payload, (size_t)n + 4));
    ck_assert_int_eq(wire_next(&w, buf_str(&in), &f), WIRE_METHOD);
    const amqp_basic_deliver_t *got = f.method.decoded;
    ck_assert_uint_eq(f.method.id, AMQP_BASIC_DELIVER_METHOD);
    ck_assert(str_is(bytes_of(got->consumer_tag), "bellhop") && got->delivery_tag == m.delivery_tag && got->redelivered);
    ck_assert(str_is(bytes_of(got->exchange), "orders") && str_is(bytes_of(got->routing_key), "order.made"));
    for (size_t cut = 4; cut < (size_t)n + 4; cut++)
        ck_assert_int_eq(kind_of(AMQP_FRAME_METHOD, str_make(payload, cut)), WIRE_BAD);
    buf_fini(&in);
    wire_fini(&w);
}
END_TEST

START_TEST(test_frame_bounds)
{
    struct wire w = wire_of(WIRE_FRAME_MIN);
    struct wire_frame f;
    ck_assert_int_eq(wire_next(&w, BYTES("\x03\0\x01\0\0\x0f\xf9"), &f), WIRE_BAD); /* 4,089 + 8 */
    ck_assert_int_eq(wire_next(&w, BYTES("\x03\0\x01\xff\xff\xff\xff"), &f), WIRE_BAD);
    ck_assert_int_eq(wire_next(&w, BYTES("\x03\0\x01\0\0\x0f\xf8"), &f), WIRE_MORE);
    ck_assert_int_eq(wire_next(&w, BYTES("\x03\0\x01\0\0\0\x01x\xcd"), &f), WIRE_BAD); /* no end */
    ck_assert_int_eq(wire_next(&w, BYTES("HTTP/1.1 400"), &f), WIRE_BAD);
    ck_assert_int_eq(wire_next(&w, BYTES("AMQP\0\0\x09\x01"), &f), WIRE_BAD);
    ck_assert_str_eq(f.what, "the peer speaks another version of AMQP");
    ck_assert_int_eq(wire_next(&w, STR_NONE, &f), WIRE_MORE);
    wire_fini(&w);
}
END_TEST

/* ---- content ---- */

/* Publishes body with a header through frames of that size and takes it apart again. */
static void round_trip(uint32_t frame_max, size_t size)
{
    struct wire w = wire_of(frame_max);
    struct buf out = BUF_EMPTY, body = BUF_EMPTY, entries = BUF_EMPTY;
    struct wire_content c = {.publish = {.exchange = amqp_of(STR("x")), .routing_key = amqp_of(STR("a.b"))}};
    properties_write(STR("content-type: text/plain\nid: m1\nx-test: 1\n"), &c.properties, &entries);
    c.entries = buf_str(&entries);
    for (size_t i = 0; i < size; i++)
        buf_putc(&body, (char)(i * 31));
    c.body = buf_str(&body);
    ck_assert(wire_put_content(&w, &out, 5, &c));

    struct assembly a = {0};
    struct str whole = STR_NONE;
    enum assembly_step step = ASSEMBLY_MORE;
    struct wire_frame f;
    size_t at = 0, frames = 0;
    for (; at < out.len; at += f.used, frames++) {
        ck_assert(step == ASSEMBLY_MORE);
        struct str in = str_make(out.base + at, out.len - at);
        if (at == 0) { /* a server does not send basic.publish */
            uint32_t n = (uint32_t)(uint8_t)in.p[5] << 8 | (uint8_t)in.p[6];
            f.used = n + 8;
            assembly_begin(&a, size);
            continue;
        }
        enum wire_kind kind = wire_next(&w, in, &f);
        ck_assert_uint_le(f.used, frame_max);
        ck_assert_uint_eq(f.channel, 5);
        if (kind == WIRE_HEADER) {
            ck_assert_uint_eq(f.body_size, size);
            ck_assert(str_is(bytes_of(f.properties->message_id), "m1"));
            step = assembly_header(&a, f.body_size);
        } else {
            ck_assert_int_eq(kind, WIRE_BODY);
            step = assembly_body(&a, f.body, &whole);
        }
    }
    ck_assert_int_eq(step, ASSEMBLY_DONE);
    ck_assert(str_eq(whole, buf_str(&body)));
    ck_assert_uint_eq(frames, 2 + (size + frame_max - 9) / (frame_max - 8));
    assembly_fini(&a);
    buf_fini(&entries);
    buf_fini(&body);
    buf_fini(&out);
    wire_fini(&w);
}

START_TEST(test_bodies)
{
    static const size_t sizes[] = {0, 1, 4087, 4088, 4089, 8176, 8177, 100000, 1048576};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        round_trip(WIRE_FRAME_MIN, sizes[i]);
        round_trip(WIRE_FRAME_MAX, sizes[i]);
    }
}
END_TEST

START_TEST(test_assembly_bounds)
{
    struct assembly a = {0};
    struct str body;
    ck_assert_int_eq(assembly_header(&a, 5), ASSEMBLY_BAD); /* no method before it */
    ck_assert_int_eq(assembly_body(&a, STR("x"), &body), ASSEMBLY_BAD);
    assembly_begin(&a, 10);
    ck_assert_int_eq(assembly_body(&a, STR("x"), &body), ASSEMBLY_BAD);
    ck_assert_int_eq(assembly_header(&a, 5), ASSEMBLY_MORE);
    ck_assert_int_eq(assembly_header(&a, 5), ASSEMBLY_BAD);
    ck_assert_int_eq(assembly_body(&a, STR("123456"), &body), ASSEMBLY_BAD); /* more than it said */
    ck_assert_int_eq(assembly_body(&a, STR("12"), &body), ASSEMBLY_MORE);
    ck_assert_int_eq(assembly_body(&a, STR(""), &body), ASSEMBLY_MORE);
    ck_assert_int_eq(assembly_body(&a, STR("345"), &body), ASSEMBLY_DONE);
    ck_assert(str_is(body, "12345"));
    assembly_begin(&a, 10); /* above the limit: counted, not kept */
    ck_assert_int_eq(assembly_header(&a, UINT64_MAX), ASSEMBLY_MORE);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(assembly_body(&a, STR("1234567890"), &body), ASSEMBLY_MORE);
    ck_assert_uint_eq(a.body.len, 0);
    assembly_begin(&a, 2);
    assembly_header(&a, 3);
    ck_assert_int_eq(assembly_body(&a, STR("123"), &body), ASSEMBLY_DONE);
    ck_assert(a.oversized && body.n == 0);
    assembly_fini(&a);
}
END_TEST

START_TEST(test_never_to_be_sent)
{
    struct wire w = wire_of(WIRE_FRAME_MIN);
    struct buf out = BUF_EMPTY, text = BUF_EMPTY;
    struct wire_content c = {0};
    for (int i = 0; i < 5000; i++)
        buf_putc(&text, 'k');
    buf_puts(&out, "before");
    c.publish.routing_key = amqp_of(str_make(text.base, 256));
    ck_assert(!wire_put_content(&w, &out, 1, &c));
    c.publish.routing_key.len = 255;
    c.properties = (amqp_basic_properties_t){._flags = AMQP_BASIC_REPLY_TO_FLAG, .reply_to = amqp_of(str_make(text.base, 256))};
    ck_assert(!wire_put_content(&w, &out, 1, &c));
    c.properties = (amqp_basic_properties_t){._flags = 0};
    c.entries = buf_str(&text);
    ck_assert(!wire_put_content(&w, &out, 1, &c));
    ck_assert(str_is(buf_str(&out), "before"));
    w.frame_max = WIRE_FRAME_MAX;
    ck_assert(wire_put_content(&w, &out, 1, &c));
    buf_fini(&text);
    buf_fini(&out);
    wire_fini(&w);
}
END_TEST

/* ---- tables ---- */

static const struct codec raw = {.format = CODEC_FORMAT_RAW};

static void read_lines(const amqp_basic_properties_t *p, struct buf *lines)
{
    struct codec_room room = {0};
    struct buf scratch = BUF_EMPTY;
    const char *what;
    size_t offset;
    codec_begin(&room);
    properties_read(p, &raw, &room, &scratch);
    buf_str_put(lines, codec_room_headers(&room));
    ck_assert(headers_check(buf_str(lines), &what, &offset));
    codec_room_fini(&room);
    buf_fini(&scratch);
}

/* The properties and the table's entries as they go out, decoded as if they had come. */
static void read_sent(const amqp_basic_properties_t *p, struct str entries, struct buf *lines)
{
    struct wire w = wire_of(WIRE_FRAME_MAX);
    struct buf out = BUF_EMPTY;
    struct wire_frame f;
    struct wire_content c = {.properties = *p, .entries = entries};
    ck_assert(wire_put_content(&w, &out, 1, &c));
    size_t method = (size_t)(uint8_t)out.base[6] + 8;
    ck_assert_int_eq(wire_next(&w, str_make(out.base + method, out.len - method), &f), WIRE_HEADER);
    read_lines(f.properties, lines);
    buf_fini(&out);
    wire_fini(&w);
}

/* Encodes a table and has it decoded as if it had come. */
static void as_headers(const amqp_table_t *t, struct buf *lines)
{
    char bytes[8192];
    size_t at = 0;
    amqp_pool_t pool;
    amqp_table_t back;
    ck_assert_int_eq(amqp_encode_table((amqp_bytes_t){sizeof(bytes), bytes}, (amqp_table_t *)(uintptr_t)t, &at), 0);
    ck_assert_uint_eq(table_check(str_make(bytes, at)), at);
    for (size_t n = 0; n < at; n++)
        ck_assert_uint_eq(table_check(str_make(bytes, n)), 0);
    init_amqp_pool(&pool, 4096);
    size_t from = 0;
    ck_assert_int_eq(amqp_decode_table((amqp_bytes_t){at, bytes}, &pool, &back, &from), 0);
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = back};
    read_lines(&p, lines);
    empty_amqp_pool(&pool);
}

#define VALUE(k, member, v) {.kind = (k), .value.member = (v)}

START_TEST(test_kinds)
{
    amqp_table_entry_t e[] = {
        {amqp_cstring_bytes("Text"), VALUE('S', bytes, amqp_cstring_bytes("za\xc5\xbc"))},
        {amqp_cstring_bytes("raw"), VALUE('x', bytes, amqp_cstring_bytes("abc"))},
        {amqp_cstring_bytes("yes"), VALUE('t', boolean, 1)},
        {amqp_cstring_bytes("i8"), VALUE('b', i8, -8)},
        {amqp_cstring_bytes("u8"), VALUE('B', u8, 200)},
        {amqp_cstring_bytes("i16"), VALUE('s', i16, -300)},
        {amqp_cstring_bytes("u16"), VALUE('u', u16, 60000)},
        {amqp_cstring_bytes("i32"), VALUE('I', i32, -70000)},
        {amqp_cstring_bytes("u32"), VALUE('i', u32, 4000000000)},
        {amqp_cstring_bytes("i64"), VALUE('l', i64, INT64_MIN)},
        {amqp_cstring_bytes("u64"), VALUE('L', u64, UINT64_MAX)},
        {amqp_cstring_bytes("time"), VALUE('T', u64, 1700000000)},
        {amqp_cstring_bytes("f"), VALUE('f', f32, 0.5f)},
        {amqp_cstring_bytes("d"), VALUE('d', f64, 0.25)},
        {amqp_cstring_bytes("dec"), VALUE('D', decimal, ((amqp_decimal_t){2, 5}))},
        {amqp_cstring_bytes("dec0"), VALUE('D', decimal, ((amqp_decimal_t){0, 12}))},
        {amqp_cstring_bytes("void"), {.kind = 'V'}},
        {amqp_cstring_bytes("nan"), VALUE('d', f64, __builtin_nan(""))},
        {amqp_cstring_bytes("bad name"), VALUE('t', boolean, 1)},
        {amqp_cstring_bytes("nl"), VALUE('S', bytes, amqp_cstring_bytes("a\nb"))},
        {amqp_cstring_bytes("bytes"), VALUE('x', bytes, amqp_cstring_bytes("\xff\xfe"))},
    };
    amqp_table_t t = {COUNT(e), e};
    struct buf lines = BUF_EMPTY;
    as_headers(&t, &lines);
    ck_assert_str_eq(buf_cstr(&lines),
                     "text: za\xc5\xbc\nraw: abc\nyes: true\ni8: -8\nu8: 200\ni16: -300\nu16: 60000\ni32: -70000\n"
                     "u32: 4000000000\ni64: -9223372036854775808\nu64: 18446744073709551615\ntime: 1700000000\n"
                     "f: 0.5\nd: 0.25\ndec: 0.05\ndec0: 12\nvoid: \n");
    buf_fini(&lines);
}
END_TEST

START_TEST(test_x_death)
{
    amqp_field_value_t keys[] = {VALUE('S', bytes, amqp_cstring_bytes("a.b"))};
    amqp_table_entry_t first[] = {
        {amqp_cstring_bytes("count"), VALUE('l', i64, 3)},
        {amqp_cstring_bytes("reason"), VALUE('S', bytes, amqp_cstring_bytes("re\"jected"))},
        {amqp_cstring_bytes("routing-keys"), VALUE('A', array, ((amqp_array_t){1, keys}))},
        {amqp_cstring_bytes("none"), VALUE('A', array, ((amqp_array_t){0, NULL}))},
    };
    amqp_table_entry_t second[] = {{amqp_cstring_bytes("count"), VALUE('l', i64, 2)}};
    amqp_field_value_t deaths[] = {VALUE('F', table, ((amqp_table_t){4, first})),
                                   VALUE('F', table, ((amqp_table_t){1, second}))};
    amqp_table_entry_t e[] = {{amqp_cstring_bytes("x-death"), VALUE('A', array, ((amqp_array_t){2, deaths}))},
                              {amqp_cstring_bytes("x-delivery-count"), VALUE('l', i64, 7)}};
    amqp_table_t t = {2, e};
    struct buf lines = BUF_EMPTY;
    int64_t count = 0;
    as_headers(&t, &lines);
    ck_assert_str_eq(buf_cstr(&lines), "x-death: [{\"count\":3,\"reason\":\"re\\\"jected\",\"routing-keys\":[\"a.b\"],"
                                       "\"none\":[]},{\"count\":2}]\nx-delivery-count: 7\n");
    ck_assert_uint_eq(table_deaths(&t), 5);
    ck_assert(table_integer(&t, "x-delivery-count", &count) && count == 7);
    ck_assert(!table_integer(&t, "x-death", &count));
    buf_fini(&lines);
}
END_TEST

static void put_length(struct buf *out, size_t n)
{
    const uint8_t length[] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    buf_put(out, length, sizeof(length));
}

/* A table with an array in it, with an array in it, … */
static void put_nested(struct buf *out, size_t depth)
{
    put_length(out, 2 + 5 * (depth - 1));
    buf_puts(out, "\x01k");
    for (size_t left = depth - 1; left > 0; left--) {
        buf_putc(out, 'A');
        put_length(out, 5 * (left - 1));
    }
}

START_TEST(test_table_bounds)
{
    struct buf b = BUF_EMPTY;
    put_nested(&b, TABLE_DEPTH_MAX);
    ck_assert_uint_eq(table_check(buf_str(&b)), b.len);
    buf_clear(&b);
    put_nested(&b, TABLE_DEPTH_MAX + 1);
    ck_assert_uint_eq(table_check(buf_str(&b)), 0);
    buf_clear(&b);
    put_nested(&b, 20000);
    ck_assert_uint_eq(table_check(buf_str(&b)), 0);
    buf_fini(&b);
    ck_assert_uint_eq(table_check(BYTES("\0\0\0\0")), 4);
    ck_assert_uint_eq(table_check(BYTES("\0\0\0\x03\x01kV")), 7);
    ck_assert_uint_eq(table_check(BYTES("\0\0\0\x03\x01kQ")), 0); /* no such kind */
    ck_assert_uint_eq(table_check(BYTES("\0\0\0\x03\x02kV")), 0); /* the name takes it all */
    /* An array that reaches beyond the table it is in, though not beyond the bytes. */
    ck_assert_uint_eq(table_check(BYTES("\0\0\0\x08\x01k" "A\0\0\0\x02" "VVV")), 0);
}
END_TEST

START_TEST(test_table_items)
{
    struct buf b = BUF_EMPTY;
    const uint32_t items = TABLE_ITEMS_MAX, body = items + 7;
    for (uint32_t extra = 0; extra < 2; extra++) {
        uint32_t array = items - 1 + extra, whole = body - 1 + extra;
        const uint8_t head[] = {0, 0, (uint8_t)(whole >> 8), (uint8_t)whole, 1, 'k', 'A', 0, 0, (uint8_t)(array >> 8), (uint8_t)array};
        buf_clear(&b);
        buf_put(&b, head, sizeof(head));
        for (uint32_t i = 0; i < array; i++)
            buf_putc(&b, 'V');
        ck_assert_uint_eq(table_check(buf_str(&b)), extra == 0 ? b.len : 0);
    }
    buf_fini(&b);
}
END_TEST

/* ---- properties ---- */

START_TEST(test_properties)
{
    static const char block[] =
        "id: m1\ncorrelation-id: c1\ncontent-type: application/json\ntraceparent: 00-1\namqp-type: order\n"
        "amqp-priority: 3\namqp-timestamp: 1700000000\nx-death: []\nx-delivery-count: 4\namqp-exchange: e\nmine: 1\n";
    amqp_basic_properties_t p = {0};
    struct buf lines = BUF_EMPTY, entries = BUF_EMPTY;
    properties_write(STR(block), &p, &entries);
    ck_assert(str_is(bytes_of(p.content_type), "application/json"));
    ck_assert(str_is(bytes_of(p.message_id), "m1"));
    ck_assert(str_is(bytes_of(p.correlation_id), "c1"));
    ck_assert_uint_eq(p.priority, 3);
    ck_assert_uint_eq(p.timestamp, 1700000000);
    read_sent(&p, buf_str(&entries), &lines);
    ck_assert_str_eq(buf_cstr(&lines), "id: m1\ncorrelation-id: c1\namqp-type: order\n"
                                       "amqp-priority: 3\namqp-timestamp: 1700000000\ntraceparent: 00-1\nmine: 1\n");
    buf_fini(&entries);
    buf_fini(&lines);
}
END_TEST

START_TEST(test_properties_from_outside)
{
    amqp_basic_properties_t p = {
        ._flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_EXPIRATION_FLAG | AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_USER_ID_FLAG,
        .message_id = amqp_cstring_bytes("a\nattempt: 9"), .expiration = amqp_cstring_bytes("60000"),
        .type = amqp_cstring_bytes(""), .user_id = amqp_cstring_bytes("guest")};
    struct buf lines = BUF_EMPTY;
    read_lines(&p, &lines);
    ck_assert_str_eq(buf_cstr(&lines), "amqp-user-id: guest\nttl: 1m\n");
    buf_clear(&lines);
    p = (amqp_basic_properties_t){._flags = AMQP_BASIC_EXPIRATION_FLAG, .expiration = amqp_cstring_bytes("-5")};
    read_lines(&p, &lines);
    ck_assert_uint_eq(lines.len, 0);
    buf_fini(&lines);
}
END_TEST

START_TEST(test_places_are_not_forged)
{
    amqp_basic_properties_t p = {0};
    struct buf lines = BUF_EMPTY;
    read_sent(&p, STR("\x0a" "AMQP-Queue" "S\0\0\0\x01x" "\x04" "amqp" "S\0\0\0\x01y"), &lines);
    ck_assert_str_eq(buf_cstr(&lines), "amqp: y\n");
    buf_fini(&lines);
}
END_TEST

START_TEST(test_long_id_stays_a_header)
{
    struct buf block = BUF_EMPTY;
    amqp_basic_properties_t p = {0};
    struct buf entries = BUF_EMPTY, lines = BUF_EMPTY;
    buf_puts(&block, "id: ");
    for (int i = 0; i < 256; i++)
        buf_putc(&block, 'i');
    buf_putc(&block, '\n');
    properties_write(buf_str(&block), &p, &entries);
    ck_assert_uint_eq(p._flags, 0);
    read_sent(&p, buf_str(&entries), &lines);
    ck_assert(str_eq(buf_str(&lines), buf_str(&block)));
    buf_fini(&entries);
    buf_fini(&lines);
    buf_fini(&block);
}
END_TEST

/* Each header that stays, and those that are like it but go out. */
START_TEST(test_what_stays)
{
    static const char *const stays[] = {"x-death", "x-delivery-count", "x-acquired-count", "amqp-user-id", "amqp-exchange",
                                        "amqp-routing-key", "amqp-queue", "amqp-redelivered", "amqp-deaths", "ttl",
                                        "x-first-death-queue", "x-last-death-reason"};
    static const char *const goes[] = {"x-deaths", "x-delivery-counts", "amqp-queued", "ttm", "x-first-deat-", "amqp-owner",
                                       "source", "reply-to"};
    struct buf block = BUF_EMPTY, entries = BUF_EMPTY;
    amqp_basic_properties_t p = {0};
    for (size_t i = 0; i < COUNT(stays) + COUNT(goes); i++) {
        const char *name = i < COUNT(stays) ? stays[i] : goes[i - COUNT(stays)];
        buf_clear(&block);
        buf_clear(&entries);
        buf_printf(&block, "%s: 1\n", name);
        properties_write(buf_str(&block), &p, &entries);
        ck_assert_msg((entries.len == 0) == (i < COUNT(stays)) && p._flags == 0, "%s", name);
    }
    /* A second one, and a number that is none, are for the table. */
    buf_clear(&entries);
    properties_write(STR("id: a\nid: b\namqp-priority: 256\namqp-timestamp: now\ncontent-type: x\ncontent-type: y\n"), &p,
                     &entries);
    ck_assert_uint_eq(p._flags, AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG);
    ck_assert(str_is(bytes_of(p.message_id), "a") && str_is(bytes_of(p.content_type), "x"));
    buf_clear(&block);
    read_sent(&p, buf_str(&entries), &block);
    ck_assert_str_eq(buf_cstr(&block), "id: a\nid: b\n"); /* whoever reads it leaves the names out that are its own */
    ck_assert(memmem(entries.base, entries.len, "amqp-priorityS", 14) != NULL);
    ck_assert(memmem(entries.base, entries.len, "amqp-timestampS", 15) != NULL);
    buf_fini(&block);
    buf_fini(&entries);
}
END_TEST

static int64_t no_time(void *arg)
{
    (void)arg;
    return 0;
}

/* The headers that every message has are not looked for, unless they do not stand where they were put: the same either
 * way. */
START_TEST(test_properties_of_a_message)
{
    struct msg_factory factory = {.sample = 1, .now = no_time, .wall = no_time};
    const struct msg_input in = {.subject = STR("s"), .source = STR("src"),
                                 .headers = STR("id: m1\ncorrelation-id: c1\nx: 1\ncontent-type: a/b\nid: m2\n")};
    const char *what;
    struct msg *made = msg_new(&factory, &in, &what);
    struct str whole = made->headers;
    struct msg *restored = msg_restore(&factory, STR("s"), whole, STR(""));
    /* One of them was edited, and stands at the end. */
    struct buf edited = BUF_EMPTY;
    buf_put(&edited, whole.p + 7, whole.n - 7);
    buf_puts(&edited, "id: m1\n");
    struct msg *moved = msg_restore(&factory, STR("s"), buf_str(&edited), STR(""));
    ck_assert(made->made > 0 && restored->made == made->made && moved->made == 0);
    struct msg *those[] = {made, restored, moved};
    for (size_t i = 0; i < COUNT(those); i++) {
        amqp_basic_properties_t p = {0}, expected = {0};
        struct buf entries = BUF_EMPTY, all = BUF_EMPTY;
        properties_write_message(those[i], &p, &entries);
        properties_write(those[i]->headers, &expected, &all);
        ck_assert(str_eq(buf_str(&entries), buf_str(&all)) && p._flags == expected._flags);
        ck_assert(str_is(bytes_of(p.message_id), "m1") && str_is(bytes_of(p.correlation_id), "c1"));
        ck_assert(str_is(bytes_of(p.content_type), "a/b"));
        buf_fini(&entries);
        buf_fini(&all);
        msg_unref(those[i]);
    }
    buf_fini(&edited);
}
END_TEST

/* The payload of a header frame, read by us and written by rabbitmq-c again; cut short it is refused. */
static void read_as_rabbitmq_c(struct str payload, struct str properties)
{
    struct wire w = wire_of(WIRE_FRAME_MAX);
    struct wire_frame f;
    struct buf in = BUF_EMPTY;
    char again[1024];
    put_frame(&in, AMQP_FRAME_HEADER, 1, payload);
    ck_assert_int_eq(wire_next(&w, buf_str(&in), &f), WIRE_HEADER);
    int n = amqp_encode_properties(AMQP_BASIC_CLASS, (void *)(uintptr_t)f.properties, (amqp_bytes_t){sizeof(again), again});
    ck_assert(str_eq(str_make(again, (size_t)n), properties));
    ck_assert_int_eq(kind_of(AMQP_FRAME_HEADER, str_make(payload.p, payload.n - 1)), WIRE_BAD);
    buf_fini(&in);
    wire_fini(&w);
}

/* All properties, in every combination: what rabbitmq-c writes, and reads. */
START_TEST(test_contents_as_rabbitmq_c)
{
    struct wire w = wire_of(WIRE_FRAME_MAX);
    struct table t = {0};
    struct buf out = BUF_EMPTY;
    table_add(&t, STR("name"), STR("value"));
    table_add(&t, STR("other"), STR(""));
    amqp_basic_properties_t p = {
        .content_type = amqp_cstring_bytes("a/b"), .content_encoding = amqp_cstring_bytes("gzip"), .delivery_mode = 2,
        .priority = 9, .correlation_id = amqp_cstring_bytes("c"), .reply_to = amqp_cstring_bytes("to"),
        .expiration = amqp_cstring_bytes("1000"), .message_id = amqp_cstring_bytes("m"), .timestamp = UINT64_C(0x0102030405060708),
        .type = amqp_cstring_bytes("t"), .user_id = amqp_cstring_bytes("u"), .app_id = amqp_cstring_bytes("app")};
    amqp_basic_publish_t publish = {.exchange = amqp_cstring_bytes("x"), .routing_key = amqp_cstring_bytes("a.b"),
                                    .mandatory = true};
    char expected[1024], method[64];
    int m = amqp_encode_method(AMQP_BASIC_PUBLISH_METHOD, &publish, (amqp_bytes_t){sizeof(method), method});
    for (amqp_flags_t flags = 0; flags < 1u << 13; flags++) {
        p._flags = flags << 3;
        p.headers = table_made(&t);
        int n = amqp_encode_properties(AMQP_BASIC_CLASS, &p, (amqp_bytes_t){sizeof(expected), expected});
        struct wire_content c = {.publish = publish, .properties = p, .body = STR("body")};
        if (p._flags & AMQP_BASIC_HEADERS_FLAG)
            c.entries = STR("\x04nameS\0\0\0\x05value\x05otherS\0\0\0\0");
        buf_clear(&out);
        ck_assert(wire_put_content(&w, &out, 5, &c));
        const char *at = (const char *)out.base;
        ck_assert(str_eq(str_make(at + 11, (size_t)m), str_make(method, (size_t)m)));
        at += 11 + m + 1;
        ck_assert_int_eq(at[-1], (char)0xCE);
        ck_assert(str_eq(str_make(at, 5), BYTES("\x02\0\x05\0\0")));
        ck_assert(str_eq(str_make(at + 7, 12), BYTES("\0\x3c\0\0\0\0\0\0\0\0\0\x04")));
        ck_assert_msg(str_eq(str_make(at + 19, (size_t)n), str_make(expected, (size_t)n)), "flags %x", (unsigned)p._flags);
        ck_assert_int_eq(at[19 + n], (char)0xCE);
        ck_assert_uint_eq(out.len, (size_t)(12 + m + 19 + n + 1 + 8 + 4));
        read_as_rabbitmq_c(str_make(at + 7, (size_t)n + 12), str_make(expected, (size_t)n));
    }
    table_fini(&t);
    buf_fini(&out);
    wire_fini(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp_wire");
    TCase *tc = tcase_create("wire");
    tcase_add_test(tc, test_method);
    tcase_add_test(tc, test_hostile);
    tcase_add_test(tc, test_deliver);
    tcase_add_test(tc, test_frame_bounds);
    tcase_add_test(tc, test_bodies);
    tcase_add_test(tc, test_assembly_bounds);
    tcase_add_test(tc, test_never_to_be_sent);
    tcase_add_test(tc, test_kinds);
    tcase_add_test(tc, test_x_death);
    tcase_add_test(tc, test_table_bounds);
    tcase_add_test(tc, test_table_items);
    tcase_add_test(tc, test_properties);
    tcase_add_test(tc, test_properties_from_outside);
    tcase_add_test(tc, test_long_id_stays_a_header);
    tcase_add_test(tc, test_what_stays);
    tcase_add_test(tc, test_places_are_not_forged);
    tcase_add_test(tc, test_properties_of_a_message);
    tcase_add_test(tc, test_contents_as_rabbitmq_c);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
