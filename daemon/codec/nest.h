#pragma once
/*
 * NestJS microservice packets (JSON) and the frame of its TCP transport. Pure: bytes in, slices
 * out. Source: @nestjs/microservices 11 and 12, measured; see daemon/codec/README.md.
 *
 *   request  {"pattern":P,"data":D,["metadata":{…},]"id":"…"}      event: the same without id
 *   reply    {"response":R,"id":I} … {"response":R,"isDisposed":true,"id":I}
 *            {"isDisposed":true,"id":I}      {"err":E,"isDisposed":true,"id":I}
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

/* ---- frame: <length>#<JSON>, the length in UTF-16 code units of the JSON text ---- */

struct nest_framer { /* zeroed = at a frame boundary; else how far a frame was counted */
    size_t head;     /* bytes of "<length>#" */
    uint64_t units;  /* units of the frame, once head > 0 */
    size_t counted_bytes;
    uint64_t counted_units;
};

enum nest_frame { NEST_FRAME, NEST_MORE, NEST_BAD };

struct nest_found {
    struct str json;  /* NEST_FRAME: its text */
    size_t used;      /* NEST_FRAME: bytes of the whole frame */
    const char *what; /* NEST_BAD: why, static text */
};

/*
 * Looks for one frame at the start of in. NEST_FRAME: out->json is its text (a slice; may hold
 * invalid UTF-8, which counts as Node decodes it: one unit per U+FFFD replacement) and out->used the
 * bytes of the whole frame; the framer is at a boundary again. NEST_MORE: unfinished, call again
 * with the same start and more bytes (the work is not repeated). NEST_BAD: out->what says why: the
 * stream cannot go on. Lengths: 1 to 10 decimal digits, no leading zero, at least 1, at
 * most limit_units. NestJS writes no other form, though it would take ` +47#`, `00047#` and
 * `47junk#`. A text takes at most 3 bytes a unit. Nothing is allocated.
 */
enum nest_frame nest_frame_next(struct nest_framer *f, struct str in, uint64_t limit_units,
                                struct nest_found *out);

/* Appends "<length>#" for a JSON text of valid UTF-8. */
void nest_frame_head(struct buf *out, struct str json);
uint64_t nest_units(struct str utf8); /* UTF-16 code units */

/* ---- packets ---- */

struct nest_request {
    struct str pattern;   /* raw JSON value as sent (string with quotes, object, number) */
    struct str data;      /* raw JSON value; {NULL,0} = absent */
    struct str id;        /* raw JSON value; {NULL,0} = absent: an event */
    struct str metadata;  /* raw JSON object; {NULL,0} = absent */
};

/* false where the text is no JSON object with a pattern; *what (static) says why. */
bool nest_request_parse(struct str json, struct nest_request *out, const char **what);

/*
 * The route of a pattern, which is Bellhop's subject, appended to out: a string's own text, a
 * number's text, an object as canonical JSON (members sorted by the byte order of their names, the
 * last of a name that stands twice, no spaces, only `\` and `"` escaped, numbers as JavaScript
 * prints them, nested likewise; arrays as objects with index names, as in NestJS). A string that
 * holds a JSON object is treated as that object. pattern_json is one value that was checked. false,
 * and out as it was, where no subject can be made: null, boolean, empty, above 1,024 bytes, control
 * characters, objects more than 5 deep inside the outermost, more than 20 members an object. A
 * number of more than 40 bytes stays as written.
 */
bool nest_subject(struct str pattern_json, struct buf *out);

/* The same for a subject text written by people or local clients: a JSON object becomes canonical,
 * everything else that is legal is copied as it is. What nest_subject() gave stays the same. */
bool nest_subject_text(struct str text, struct buf *out);

/* A whole request or event frame (with its length) for a NestJS server. subject: as above; a
 * subject that is a JSON object is sent as that object. data: JSON value, or {NULL,0} for null.
 * metadata: raw JSON object or {NULL,0}. id: text without quotes, or {NULL,0} for an event. */
void nest_request_format(struct buf *out, struct str subject, struct str data, struct str metadata,
                         struct str id);

struct nest_reply {
    struct str id;       /* raw JSON value; {NULL,0} = absent */
    struct str response; /* raw JSON; {NULL,0} = no value */
    struct str err;      /* raw JSON; {NULL,0} = none (falsy values count as none, as in NestJS) */
    bool last;           /* isDisposed is truthy, or err is there */
};

/* false where the text is no JSON object. With err there is no response. An object with any
 * other member than id, response, err, isDisposed, status is foreign: the whole of it is the
 * (last) response, as in NestJS 12. `{"id":…}` alone has neither response nor end. */
bool nest_reply_parse(struct str json, struct nest_reply *out, const char **what);

/* Whole reply frames for a NestJS client; id is the raw JSON value of the request, echoed byte for
 * byte. Never any other member: NestJS 12 would take the whole object for the value. */
void nest_reply_value(struct buf *out, struct str id, struct str response_json, bool last);
void nest_reply_end(struct buf *out, struct str id);
void nest_reply_error(struct buf *out, struct str id, struct str err_json);
void nest_reply_no_handler(struct buf *out, struct str id); /* the text that callers compare */

/* Body of a local message (any bytes) as a JSON value: itself when it is valid JSON and
 * content_type does not say text; else a JSON string when it is valid UTF-8 and content_type
 * does not say JSON; false otherwise. An empty body gives {NULL,0} (no value). *json borrows
 * from body or from scratch. */
bool nest_body_json(struct str body, struct str content_type, struct buf *scratch,
                    struct str *json);

/* Metadata {"k":"v",…} (a checked JSON object) as header lines, appended: names are lower-cased;
 * values that are no text, what is not legal in headers (msg/headers.h), and what goes beyond
 * their limits is left out. Which of the reserved names may come from outside is the caller's
 * rule. */
void nest_metadata_headers(struct str metadata, struct buf *headers);

/* A checked header block as metadata, appended; of a name that repeats the last one. Nothing
 * where there are no headers. */
void nest_headers_metadata(struct str headers, struct buf *metadata);
