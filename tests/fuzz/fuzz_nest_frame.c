/* The framer of daemon/codec/nest.h: whole or in pieces the same frames, slices inside, units right. */
#include "codec/nest.h"
#include "fuzz.h"

#define FRAMES_MAX 4096
#define LIMIT 1000000

struct run {
    size_t end[FRAMES_MAX]; /* offset behind each frame */
    size_t count;
    enum nest_frame last;
};

static void check_frame(struct str in, size_t used, struct str json)
{
    uint64_t length = 0;
    size_t i = 0;
    HOLDS(used <= in.n && fuzz_inside(json, str_make(in.p, used)) && json.n > 0);
    HOLDS(json.p + json.n == in.p + used);
    for (; in.p[i] != '#'; i++)
        length = length * 10 + (uint64_t)(in.p[i] - '0');
    HOLDS(in.p + i + 1 == json.p && length <= LIMIT && json.n <= 3 * length && length <= json.n);
    if (str_utf8(json))
        HOLDS(nest_units(json) == length);
}

/* Feeds the stream; `step` bytes more at a time, 0 = all at once. */
static void feed(struct str stream, size_t step, struct run *r)
{
    struct nest_framer f = {0};
    size_t from = 0, have = step > 0 ? 0 : stream.n;
    r->count = 0;
    for (;;) {
        struct str in = str_make(stream.p + from, have - from);
        struct nest_found found = {0};
        r->last = nest_frame_next(&f, in, LIMIT, &found);
        if (r->last == NEST_FRAME) {
            check_frame(in, found.used, found.json);
            from += found.used;
            if (r->count < FRAMES_MAX)
                r->end[r->count++] = from;
        } else if (r->last == NEST_BAD) {
            HOLDS(found.what != NULL);
            return;
        } else if (have == stream.n) {
            return;
        } else {
            have = stream.n - have > step ? have + step : stream.n;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run whole, pieces;
    if (size == 0)
        return 0;
    struct str stream = str_make(data + 1, size - 1);
    feed(stream, 0, &whole);
    feed(stream, size > 4096 ? 1000 : 1 + data[0] % 16, &pieces);
    HOLDS(whole.count == pieces.count && whole.last == pieces.last);
    for (size_t i = 0; i < whole.count; i++)
        HOLDS(whole.end[i] == pieces.end[i]);
    return 0;
}
