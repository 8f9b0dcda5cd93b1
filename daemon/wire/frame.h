#pragma once
/*
 * The frame of the local protocol (bellhop-protocol(7), "Frame"). Pure.
 *
 *     VERB SP ID SP HLEN SP BLEN [SP SUBJECT] LF  <HLEN bytes of headers>  <BLEN bytes of body>
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define FRAME_LINE_MAX 1200 /* verb, three numbers, a subject of 1,024 bytes, separators */
#define FRAME_SUBJECT_MAX 1024
#define FRAME_HEADERS_MAX 65536
#define FRAME_SKIP_MAX (UINT64_C(1) << 30) /* a body above the limit is skipped up to this size */

enum verb {
    VERB_HELLO, VERB_PUB, VERB_REQ, VERB_OK, VERB_MORE, VERB_REP, VERB_ERR, VERB_SUB, VERB_UNSUB,
    VERB_WAIT, VERB_CANCEL, VERB_CREDIT, VERB_PING, VERB_PONG, VERB_BYE, VERB_COUNT
};

struct frame {
    enum verb verb;
    uint64_t id;
    struct str subject, headers, body; /* slices of the input */
    size_t size;                       /* bytes of the whole frame; of line and headers for FRAME_BIG */
    uint64_t body_size;                /* BLEN as announced */
};

struct frame_error {
    size_t offset;    /* bytes from the start of the frame */
    const char *what; /* static text */
};

enum frame_status {
    FRAME_OK,
    FRAME_MORE, /* unfinished: more bytes are needed */
    FRAME_BIG,  /* a legal frame whose body is above body_max: everything but the body is there; the
                   caller answers `too-large` and skips size + body_size bytes */
    FRAME_BAD   /* *e says where and why; the connection cannot go on */
};

/* Looks at the start of p. The headers are bounded here but not parsed (msg/headers.h). */
enum frame_status frame_parse(const uint8_t *p, size_t n, uint64_t body_max, struct frame *f,
                              struct frame_error *e);

const char *verb_name(enum verb v);

struct frame_line {
    enum verb verb;
    uint64_t id;
    size_t headers, body; /* byte counts of what follows */
    struct str subject;   /* legal; {NULL, 0} = none */
};

/* Appends the first line. */
void frame_head(struct buf *out, const struct frame_line *l);

#define FRAME_LINE_ROOM 80 /* bytes of a line at most, but for its subject */
char *frame_line_put(char *to, const struct frame_line *l); /* the same where there is room; the byte behind it */

/* A whole frame of nothing but its line. */
static inline void frame_bare(struct buf *out, enum verb v, uint64_t id)
{
    frame_head(out, &(struct frame_line){.verb = v, .id = id});
}
