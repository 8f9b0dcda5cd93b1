#include "config/cron.h"

#include <strings.h>

#define MINUTE_MS 60000
#define DAY_MINUTES 1440
#define CYCLE_DAYS 146097 /* 400 years: then dates and days of the week come again */
#define LAST_MS INT64_C(253402300799999) /* the end of the year 9999 */

/* ---- parse ---- */

struct field {
    unsigned min, max;
    const char *const *names; /* of min, min + 1, …; NULL-terminated; or NULL */
    const char *wrong;
};

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                          "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

static const struct field fields[FIELDS] = {
    [MINUTE] = {0, 59, NULL, "the minute must be 0 to 59, a list, a range, or `*`"},
    [HOUR] = {0, 23, NULL, "the hour must be 0 to 23, a list, a range, or `*`"},
    [DAY] = {1, 31, NULL, "the day of the month must be 1 to 31, a list, a range, or `*`"},
    [MONTH] = {1, 12, month_names,
               "the month must be 1 to 12 or jan to dec, a list, a range, or `*`"},
    [WEEKDAY] = {0, 7, day_names,
                 "the day of the week must be 0 to 7 or sun to sat, a list, a range, or `*`"},
};

static const struct { const char *word, *means; } words[] = {
    {"@hourly", "0 * * * *"},  {"@daily", "0 0 * * *"},  {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
};

/* -1 = no value of this field. Two digits at most: 07 is how people write minutes. */
static int value_parse(struct str s, const struct field *f)
{
    unsigned n = 0;
    for (unsigned i = 0; f->names != NULL && f->names[i] != NULL; i++) {
        if (s.n == 3 && strncasecmp(s.p, f->names[i], 3) == 0)
            return (int)(f->min + i);
    }
    if (s.n == 0 || s.n > 2)
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        n = n * 10 + (unsigned)(s.p[i] - '0');
    }
    return n >= f->min && n <= f->max ? (int)n : -1;
}

/* `*`, 5, 1-5, `*` or 1-5 with a step. Sunday as the end of a range is the seventh day. */
static bool item_parse(struct str step_text, const struct field *f, uint64_t *bits)
{
    struct str range = str_cut(&step_text, '/');
    bool star = str_is(range, "*"), single;
    struct str last = range, first = str_cut(&last, '-');
    uint64_t step = 1;
    single = !star && last.p == NULL;
    int low = star ? (int)f->min : value_parse(first, f);
    int high = star ? (int)f->max : single ? low : value_parse(last, f);
    if (f == &fields[WEEKDAY] && low > 0 && high == 0)
        high = 7;
    if (low < 0 || high < low)
        return false;
    if (step_text.p != NULL &&
        (single || !str_parse_u64(step_text, &step) || step == 0 || step > f->max))
        return false;
    for (unsigned v = (unsigned)low; v <= (unsigned)high; v += (unsigned)step)
        *bits |= UINT64_C(1) << v;
    return true;
}

static bool field_parse(struct str list, const struct field *f, uint64_t *bits)
{
    while (list.p != NULL) {
        if (!item_parse(str_cut(&list, ','), f, bits))
            return false;
    }
    return true;
}

static struct str word_cut(struct str *rest)
{
    struct str s = str_trim(*rest);
    size_t n = 0;
    while (n < s.n && s.p[n] != ' ' && s.p[n] != '\t')
        n++;
    *rest = str_make(s.p + n, s.n - n);
    return str_make(s.p, n);
}

static bool fields_parse(struct str text, struct cron *c, const char **why)
{
    uint64_t bits[FIELDS] = {0};
    bool day_given[FIELDS];
    for (unsigned i = 0; i < FIELDS; i++) {
        struct str word = word_cut(&text);
        *why = word.n > 0 ? fields[i].wrong
                          : "five fields are needed: minute hour day-of-month month day-of-week";
        if (word.n == 0 || !field_parse(word, &fields[i], &bits[i]))
            return false;
        day_given[i] = word.p[0] != '*';
    }
    *why = "there are more than five fields";
    if (str_trim(text).n > 0)
        return false;
    *c = (struct cron){bits[MINUTE], (uint32_t)bits[HOUR], (uint32_t)bits[DAY],
                       (uint32_t)bits[MONTH], (uint32_t)(bits[WEEKDAY] | bits[WEEKDAY] >> 7) & 0x7F,
                       day_given[DAY] && day_given[WEEKDAY]};
    return true;
}

bool cron_parse(struct str text, struct cron *c, const char **why)
{
    text = str_trim(text);
    if (!str_starts(text, STR("@")))
        return fields_parse(text, c, why);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_is(text, words[i].word))
            return fields_parse(str_of(words[i].means), c, why);
    }
    *why = "must be one of @hourly, @daily, @weekly, @monthly, @yearly";
    return false;
}

/* ---- next ---- */

static bool has(uint64_t bits, unsigned value)
{
    return (bits >> value & 1) != 0;
}

/* Years begin in March, so that the leap day is the last one:
 * https://howardhinnant.github.io/date_algorithms.html#civil_from_days */
static bool day_matches(const struct cron *c, uint64_t day)
{
    unsigned in_cycle = (unsigned)((day + 719468) % CYCLE_DAYS);
    unsigned year = (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
    unsigned in_year = in_cycle - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * in_year + 2) / 153;
    bool date = has(c->days, in_year - (153 * month + 2) / 5 + 1);
    bool weekday = has(c->weekdays, (unsigned)((day + 4) % 7)); /* 1970 began on a Thursday */
    if (!has(c->months, month < 10 ? month + 3 : month - 9))
        return false;
    return c->either_day ? date || weekday : date && weekday;
}

/* The first minute of a day from `from` on, or -1. */
static int minute_in_day(const struct cron *c, unsigned from)
{
    for (unsigned hour = from / 60, first = from % 60; hour < 24; hour++, first = 0) {
        uint64_t left = c->minutes >> first;
        if (has(c->hours, hour) && left != 0)
            return (int)(hour * 60 + first) + __builtin_ctzll(left);
    }
    return -1;
}

int64_t cron_next(const struct cron *c, int64_t after_wall_ms)
{
    if (after_wall_ms < 0 || after_wall_ms > LAST_MS)
        return -1;
    int64_t minute = after_wall_ms / MINUTE_MS + 1, day = minute / DAY_MINUTES;
    unsigned from = (unsigned)(minute % DAY_MINUTES);
    for (int64_t end = day + CYCLE_DAYS; day <= end; day++, from = 0) {
        int at = day_matches(c, (uint64_t)day) ? minute_in_day(c, from) : -1;
        if (at >= 0)
            return (day * DAY_MINUTES + at) * MINUTE_MS;
    }
    return -1;
}
