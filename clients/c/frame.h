/*
 * Frames of bellhop-protocol(7), bytes to struct and back. Pure: no socket, no clock, no allocation.
 * Internal to libbellhop; tests and the fuzz target use it through the static library.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bellhop_verb {
    BELLHOP_VERB_HELLO, BELLHOP_VERB_PUB, BELLHOP_VERB_REQ, BELLHOP_VERB_OK, BELLHOP_VERB_MORE,
    BELLHOP_VERB_REP, BELLHOP_VERB_ERR, BELLHOP_VERB_SUB, BELLHOP_VERB_UNSUB, BELLHOP_VERB_WAIT,
    BELLHOP_VERB_CANCEL, BELLHOP_VERB_CREDIT, BELLHOP_VERB_PING, BELLHOP_VERB_PONG, BELLHOP_VERB_BYE,
    BELLHOP_VERB_COUNT
};

/* Room that bellhop_frame_line() needs, and the longest line bellhop_frame_parse() accepts. */
#define BELLHOP_LINE_MAX 1100u

struct bellhop_frame {
    enum bellhop_verb verb;
    uint64_t id;
    const char *subject; /* NULL: none on the line */
    size_t subject_len;
    const char *headers;
    size_t headers_len;
    const char *body;
    size_t body_len;
    size_t size; /* of the whole frame; with BELLHOP_PARSE_MORE: bytes needed, 0 = not known yet */
};

enum bellhop_parse { BELLHOP_PARSE_FRAME, BELLHOP_PARSE_MORE, BELLHOP_PARSE_BAD };

/* Parses the frame at the start of data[0..len). The pointers in *f go into data. BAD sets *why to a static text.
 * Byte `subject + subject_len` is the line's LF, and it belongs to the frame: the caller may overwrite it. */
enum bellhop_parse bellhop_frame_parse(const char *data, size_t len, size_t body_max, struct bellhop_frame *f,
                                       const char **why);

/* Writes the frame's line, LF included, for verb, id, subject and the two lengths of *f. `out` has BELLHOP_LINE_MAX bytes of
 * room; the subject is at most BELLHOP_SUBJECT_MAX long. Returns the bytes written. */
size_t bellhop_frame_line(char *out, const struct bellhop_frame *f);

/* Decimal digits, at most 20 of them; returns the byte behind the last. */
char *bellhop_number_write(char *out, uint64_t n);

/* UTF-8 without control characters (C0 and DEL), which is what subjects and header values are. */
bool bellhop_text_is_valid(const char *text, size_t len);
