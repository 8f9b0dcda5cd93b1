/* daemon/msg/trace.h: what is taken is what W3C Trace Context says, and what is made is taken. */
#include <ctype.h>

#include "fuzz.h"
#include "msg/trace.h"

/* The grammar again, field by field. */
static bool field(struct str *s, size_t digits, bool zero_allowed)
{
    bool zero = true;
    if (s->n < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        unsigned char c = (unsigned char)s->p[i];
        if (!isxdigit(c) || isupper(c))
            return false;
        zero &= c == '0';
    }
    *s = str_make(s->p + digits, s->n - digits);
    return zero_allowed || !zero;
}

static bool dash(struct str *s)
{
    bool yes = s->n > 0 && s->p[0] == '-';
    if (yes)
        *s = str_make(s->p + 1, s->n - 1);
    return yes;
}

static bool grammar(struct str s)
{
    struct str version = s;
    if (!field(&s, 2, true) || !dash(&s) || !field(&s, 32, false) || !dash(&s) || !field(&s, 16, false) ||
        !dash(&s) || !field(&s, 2, true) || str_starts(version, STR("ff")))
        return false;
    return s.n == 0 || (s.p[0] == '-' && !str_starts(version, STR("00")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rand r;
    uint64_t seed = 0;
    char made[TRACEPARENT_LENGTH];
    HOLDS(traceparent_valid(str_make(data, size)) == grammar(str_make(data, size)));
    for (size_t i = 0; i < size; i++)
        seed = seed * 131 + data[i];
    rand_seed(&r, seed);
    traceparent_make(made, &r, size % 2 == 1);
    HOLDS(traceparent_valid(str_make(made, sizeof(made))) && made[54] == (size % 2 == 1 ? '1' : '0'));
    return 0;
}
