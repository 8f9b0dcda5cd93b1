#pragma once
/* How a note lies in a chunk: a header, then the bytes of its texts. Written and read by the same host. */
#include "base/buf.h"
#include "delivery/hub.h"

#define PAST_NAME 255 /* event: from here on in this chunk `route` is the number of NOTE_DETAIL; age_ms its generation */

enum note_flag {
    NOTE_SENT = 1,    /* span_ms counts: it had been handed over so long before */
    NOTE_STORED = 2,
    NOTE_TOLD = 4,    /* its source was answered at that time */
    NOTE_REQUEST = 8,
    NOTE_OLD = 16,    /* age_ms is not known */
};

enum note_part { NOTE_ID, NOTE_SOURCE, NOTE_SUBJECT, NOTE_CAUSE, NOTE_DETAIL, NOTE_PARTS };

struct note {
    int64_t time_ms; /* wall clock */
    uint32_t age_ms; /* since its acceptance */
    uint32_t span_ms, pause_ms;
    uint16_t route, to, peer; /* names by their numbers; 0 = none */
    uint16_t attempt;
    uint16_t sizes[NOTE_PARTS];
    uint8_t event, flags;
};

static inline size_t note_size(const struct str parts[NOTE_PARTS])
{
    size_t n = sizeof(struct note);
    for (size_t i = 0; i < NOTE_PARTS; i++)
        n += parts[i].n;
    return n;
}

/* The next one of a chunk; *rest moves on. false at its end, or where it stops being one. */
static inline bool note_next(struct str *rest, struct note *note, struct str parts[NOTE_PARTS])
{
    struct str at = *rest;
    if (at.n < sizeof(*note))
        return false;
    bytes_copy((char *)note, at.p, sizeof(*note));
    at = str_make(at.p + sizeof(*note), at.n - sizeof(*note));
    for (size_t i = 0; i < NOTE_PARTS; i++) {
        if (at.n < note->sizes[i])
            return false;
        parts[i] = str_make(at.p, note->sizes[i]);
        at = str_make(at.p + note->sizes[i], at.n - note->sizes[i]);
    }
    *rest = at;
    return true;
}

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
