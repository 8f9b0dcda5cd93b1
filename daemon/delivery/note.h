#pragma once
/* How a note lies in a chunk: a header, then the bytes of its texts; or a brief one. Written and read by the same host. */
#include "base/buf.h"
#include "delivery/hub.h"

#define PAST_NAME 255 /* event: from here on in this chunk `route` is the number of NOTE_DETAIL; age_ms its generation */

enum note_flag {
    NOTE_SENT = 1,    /* span_ms counts: it had been handed over so long before */
    NOTE_STORED = 2,
    NOTE_TOLD = 4,    /* its source was answered at that time */
    NOTE_REQUEST = 8,
    NOTE_OLD = 16,    /* age_ms is not known */
    NOTE_BRIEF = 32,  /* it is a struct brief: of a first attempt, its id hashed, without texts */
};

enum note_part { NOTE_ID, NOTE_SOURCE, NOTE_SUBJECT, NOTE_CAUSE, NOTE_DETAIL, NOTE_PARTS };

struct note_head {
    uint8_t event, flags;
    uint16_t route, to, peer; /* names by their numbers; 0 = none */
    int64_t time_ms;          /* wall clock */
    uint32_t age_ms;          /* since its acceptance */
    uint32_t span_ms;
};

struct note {
    struct note_head head; /* first */
    uint32_t pause_ms;
    uint16_t attempt;
    uint16_t sizes[NOTE_PARTS];
};

struct brief {
    struct note_head head; /* first */
    uint64_t hash;         /* of the id */
};

static inline size_t note_size(const struct str parts[NOTE_PARTS])
{
    size_t n = sizeof(struct note);
    for (size_t i = 0; i < NOTE_PARTS; i++)
        n += parts[i].n;
    return n;
}

/* The next one of a chunk; *rest moves on. false at its end, or where it stops being one. A brief one comes as a note without
 * texts; *hash is that of the id in either case. */
bool note_next(struct str *rest, struct note *note, struct str parts[NOTE_PARTS], uint64_t *hash);

/* Returns its size; there is room for it. sizes are set. */
static inline size_t note_put(uint8_t *at, struct note *note, const struct str parts[NOTE_PARTS])
{
    char *p = (char *)at + sizeof(*note);
    for (size_t i = 0; i < NOTE_PARTS; i++) {
        note->sizes[i] = (uint16_t)parts[i].n;
        p = bytes_str(p, parts[i]);
    }
    bytes_copy((char *)at, note, sizeof(*note));
    return (size_t)(p - (char *)at);
}
