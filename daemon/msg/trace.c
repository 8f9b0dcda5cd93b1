#include "msg/trace.h"

#include "base/buf.h"

static bool hex_run(const char *p, size_t n, bool *zero)
{
    *zero = true;
    for (size_t i = 0; i < n; i++) {
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
            return false;
        *zero &= p[i] == '0';
    }
    return true;
}

bool traceparent_valid(struct str v)
{
    bool zero_trace, zero_span, any;
    if (v.n < TRACEPARENT_LENGTH || v.p[2] != '-' || v.p[35] != '-' || v.p[52] != '-')
        return false;
    if (!hex_run(v.p, 2, &any) || !hex_run(v.p + 3, 32, &zero_trace) ||
        !hex_run(v.p + 36, 16, &zero_span) || !hex_run(v.p + 53, 2, &any) || zero_trace || zero_span)
        return false;
    if (v.p[0] == 'f' && v.p[1] == 'f')
        return false;
    if (v.p[0] == '0' && v.p[1] == '0')
        return v.n == TRACEPARENT_LENGTH;
    return v.n == TRACEPARENT_LENGTH || v.p[TRACEPARENT_LENGTH] == '-';
}

void traceparent_make(char out[static TRACEPARENT_LENGTH], struct rand *r, bool sampled)
{
    char *p = bytes_copy(out, "00-", 3);
    p = bytes_hex64(p, rand_u64(r));
    p = bytes_hex64(p, rand_u64(r) | 1); /* never all zeros */
    *p++ = '-';
    p = bytes_hex64(p, rand_u64(r) | 1);
    bytes_copy(p, sampled ? "-01" : "-00", 3);
}
