/* daemon/config/cron.h: no crash, every bit in its range, and each next time is a later whole minute that the
 * fields name, with nothing between. The input is the expression; its length picks the time. */
#include <time.h>

#include "config/cron.h"
#include "fuzz.h"

#define HAS(bits, value) (((uint64_t)(bits) >> (value) & 1) != 0)
#define DAY_MS INT64_C(86400000)

static bool names(const struct cron *c, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    bool date = HAS(c->days, tm.tm_mday), weekday = HAS(c->weekdays, tm.tm_wday);
    return HAS(c->minutes, tm.tm_min) && HAS(c->hours, tm.tm_hour) && HAS(c->months, tm.tm_mon + 1) &&
           (c->either_day ? date || weekday : date && weekday);
}

static void check_bits(const struct cron *c)
{
    HOLDS(c->minutes != 0 && c->minutes >> 60 == 0);
    HOLDS(c->hours != 0 && c->hours >> 24 == 0);
    HOLDS(c->days != 0 && (c->days & 1) == 0);
    HOLDS(c->months != 0 && c->months >> 13 == 0 && (c->months & 1) == 0);
    HOLDS(c->weekdays != 0 && c->weekdays >> 7 == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cron c;
    const char *why = NULL;
    int64_t at = (int64_t)(size % 100) * 367 * DAY_MS + (int64_t)size * 61007;
    if (!cron_parse(str_make(data, size), &c, &why)) {
        HOLDS(why != NULL);
        return 0;
    }
    check_bits(&c);
    for (int i = 0; i < 4; i++) {
        int64_t next = cron_next(&c, at);
        if (next < 0)
            break;
        HOLDS(next > at && next % 60000 == 0 && names(&c, next));
        for (int64_t t = at / 60000 * 60000 + 60000; t < next && t < at + DAY_MS; t += 60000)
            HOLDS(!names(&c, t));
        at = next;
    }
    return 0;
}
