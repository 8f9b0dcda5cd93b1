#pragma once
/*
 * The codecs `raw` and `cloudevents`: what a protocol carries (native subject, native headers, content
 * type, body) to the parts of a message, and back. Pure: no I/O, clock, log or global; every result is a
 * slice of what came in or of the caller's struct codec_room, so that nothing is kept from one call
 * to the next. (`nest` stands beside them, in nest.h: its packets carry pattern, id and reply in the
 * body, so a transport that speaks it calls nest_request_parse() and nest_request_format() instead. Its subjects,
 * header blocks and bodies are the same, and so is what happens to them afterwards.)
 *
 *   in   codec_begin, codec_header for each native header, codec_decode, msg_new
 *   out  codec_encode, then write out->headers (headers_next), out->content_type and out->body
 *
 * raw           Bytes as they are. Native headers are the message's headers, the native subject is its subject.
 * cloudevents   CloudEvents 1.0, binary and structured (application/cloudevents+json) both read, without asking which
 *               was configured; written is binary, or structured where codec.structured says so. What is no
 *               CloudEvent is CODEC_BAD: it can never be delivered (OUTCOME_REJECT, nack without requeue).
 *
 * Attributes and headers (the local side sees the names in the middle):
 *
 *   attribute          header                    written
 *   id                 id                        ce-id, else id
 *   source             ce-source                 ce-source, else `/` and the header source (the name of the
 *                                                endpoint or service that it came from)
 *   specversion        none; 1.x is read         1.0
 *   type               ce-type                   ce-type, else the subject
 *   datacontenttype    content-type              the protocol's own slot; structured: the attribute
 *   time               time                      ce-time, else time (RFC 3339); absent where there is neither
 *   subject            ce-subject                ce-subject
 *   dataschema, any    ce-NAME                   ce-NAME
 *   correlationid      ce-correlationid, and     ce-correlationid; structured: else correlation-id
 *                      correlation-id
 *   partitionkey       ce-partitionkey, and key  ce-partitionkey; structured: else key
 *   traceparent, tracestate: likewise, under     ce-traceparent; structured: else traceparent
 *                      their own names
 *
 * An empty value is none. A native header `ce-…` whose rest is no attribute name is left out.
 * The second header is made only where the protocol brought none of that name: a native traceparent is
 * nearer than the attribute, which keeps the first hop's. A message's subject is the native one; where
 * the protocol has none (it is empty), it is `type`.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"
#include "msg/code.h"

enum codec_format { CODEC_FORMAT_RAW, CODEC_FORMAT_CLOUDEVENTS };

/* One per transport and format, constant. */
struct codec {
    const char *prefix; /* of attributes written: "ce-" (HTTP, NATS), "ce_" (Kafka), "cloudEvents_" (AMQP), "" (MQTT 5).
                           Read are these, and `cloudEvents:`, whatever is written; "" reads unprefixed ones too */
    enum codec_format format;
    bool percent;    /* attribute values are percent-encoded (HTTP, NATS) */
    bool structured; /* write the JSON form: for protocols without room for headers (Redis pub/sub, MQTT 3.1.1) */
};

/* As the protocol has it. */
struct wire_message {
    struct str subject;      /* routing key, channel, topic, … */
    struct str headers;      /* in: codec_room_headers(); out: lines for headers_next(), with native names (which may
                                have upper case), values as they go out. Empty where codec.structured */
    struct str content_type; /* the protocol's own slot, never among headers; {NULL, 0} = none */
    struct str body;
};

/* The parts of a message. */
struct message_parts {
    struct str subject; /* legal (printable UTF-8, 1 … MSG_SUBJECT_MAX bytes) */
    struct str headers; /* a checked block that msg_new() takes */
    struct str body;
};

/* Scratch of one connection, zeroed at first, used again for every message; codec_room_fini() frees. Slices in it
 * are valid until the next codec_begin() or codec_encode(). */
struct codec_room {
    struct buf native; /* what codec_header() has gathered */
    unsigned native_lines;
    struct buf headers, body;
};

void codec_room_fini(struct codec_room *r);

/* ---- in ---- */

void codec_begin(struct codec_room *r);

/*
 * Adds one native header. The name is lower-cased (ASCII); of cloudevents, `ce-`, `ce_`, `cloudEvents_` and
 * `cloudEvents:` all become `ce-`; blanks around the value go. false where it does not fit and is left out:
 *   - a name that is no token of 1 to 128 bytes (msg/headers.h), or a value that is not UTF-8 without control
 *     characters: not legal in a header block;
 *   - a reserved header with a value that msg_new() would refuse the whole message for: `id` (1 … 256 bytes), `timeout`,
 *     `ttl`, `delay` (durations), `deliver-at` (a time). A foreign application's `timeout: 30` is not ours;
 *   - what is beyond the room of a header block (CODEC_HEADERS_BYTES, CODEC_HEADERS_LINES).
 * Values that are no text (AMQP tables, numbers) are the transport's to write as text first.
 */
bool codec_header(const struct codec *c, struct codec_room *r, struct str name, struct str value);

/* What was gathered, for wire_message.headers. */
struct str codec_room_headers(const struct codec_room *r);

/*
 * The message of in. false: *what (static text, for people and the reason of a dead letter) says why it is none:
 * no legal subject; or, of cloudevents, a required attribute missing, an attribute twice, a value that is no text,
 * number or boolean or has control characters, broken percent-encoding, base64 or JSON, a batch.
 * in->headers must be codec_room_headers(r) or another checked block.
 */
bool codec_decode(const struct codec *c, struct codec_room *r, const struct wire_message *in,
                  struct message_parts *out, const char **what);

/* ---- out ---- */

/*
 * in->headers: the message's block, and what the transport adds of its own (attempt, timeout). Always possible:
 *   - attribute values are printable UTF-8, which is what the protocols allow; with codec.percent all but U+0021 to U+007E
 *     without `"` and `%` is percent-encoded;
 *   - structured: headers whose names are legal attribute names (a-z 0-9) become attributes, others do not cross;
 *     numbers and booleans are written as strings, the canonical form. Data is JSON where the content type says
 *     JSON or nothing, and it is (without white space around it); text as a JSON string (`text/plain` where there was no
 *     content type); else base64.
 */
void codec_encode(const struct codec *c, struct codec_room *r, const struct message_parts *in,
                  struct wire_message *out);

/* ---- replies ---- */

/*
 * A reply is written like any other message, its subject that of the request.
 *
 * A reply that is an error has this native header: its value is the code (bellhop-protocol(7)), its body the
 * detail. `nest` has its own form.
 */
#define CODEC_ERROR_HEADER "bellhop-error"

enum code codec_reply_code(struct str headers); /* of a decoded reply; CODE_OK where it has no such header */

/* The parts and the code of a reply; in->subject is that of the request. One that is no CloudEvent is read once more as raw: the
 * work is done, and who asked shall have what came of it. */
enum code codec_decode_reply(const struct codec *c, struct codec_room *r, const struct wire_message *in,
                             struct message_parts *out);

/* Room of a block that comes in: what msg_new() and each delivery add fits behind it. */
#define CODEC_HEADERS_BYTES 61440
#define CODEC_HEADERS_LINES 112
