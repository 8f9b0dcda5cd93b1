#pragma once
/*
 * Times as crontab(5) writes them. Pure: the clock is the caller's. Five fields, minute hour
 * day-of-month month day-of-week, each `*` or a list of numbers and ranges, `*` and ranges with a
 * step (0-30/5); months and days of the week also by their first three letters, Sunday is 0 or 7.
 * Where neither day field begins with `*` a day matches by either of them, else by both. Or one
 * of @hourly @daily @weekly @monthly @yearly. Everything is UTC.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct cron { /* bit n = value n */
    uint64_t minutes;
    uint32_t hours, days, months, weekdays;
    bool either_day;
};

/* false: *why (static text) says what is wrong. */
bool cron_parse(struct str text, struct cron *c, const char **why);

/* The first time after that one, in ms since 1970; -1 when there is none (30 February), or when
 * `after` is before 1970 or beyond the year 9999. */
int64_t cron_next(const struct cron *c, int64_t after_wall_ms);
