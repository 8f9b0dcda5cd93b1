/* Three clocks: true time, which only the world knows; the monotonic one, which begins anew with each boot; and the
 * wall clock, which anybody may set. */
#include "internal.h"

#define YEAR (INT64_C(365) * 86400000)
#define SHORT_PAUSE 1000 /* up to here a pause is spent in memory, and a crash ends it */

int64_t env_now(void *arg)
{
    const struct world *w = arg;
    return w->now - w->boot;
}

int64_t env_wall(void *arg)
{
    const struct world *w = arg;
    return WALL + w->now + w->step;
}

void env_arm(void *arg, int64_t when_ms)
{
    struct world *w = arg;
    if (__builtin_add_overflow(when_ms, w->boot, &w->armed))
        w->armed = INT64_MAX;
}

void move_clock(struct world *w, int64_t ms)
{
    int64_t until = w->now + ms;
    while (w->armed <= until) {
        w->now = w->armed > w->now ? w->armed : w->now;
        w->armed = INT64_MAX;
        hub_tick(w->hub);
    }
    w->now = until;
}

bool clock_says(const struct world *w, int64_t at_wall)
{
    return WALL + w->now + w->step >= at_wall;
}

/* Who waits for a time that the clock has said already may come whatever it says next. */
static void set_step(struct world *w, int64_t step)
{
    for (size_t i = 0; i < w->ask_count; i++) {
        w->asks[i].said |= clock_says(w, w->asks[i].at_wall);
    }
    w->step = step;
    note(w, "clock", (uint64_t)step);
}

static int64_t some_step(struct world *w)
{
    int64_t by = (int64_t)below(w, 90000) + 2000, in_1970 = -WALL - w->now + 1000;
    switch (below(w, 6)) {
    case 0:
        return 0;
    case 1:
        return 10 * YEAR;
    case 2:
        return -10 * YEAR;
    case 3:
        return in_1970;
    default:
        return below(w, 2) == 0 || w->step - by < in_1970 ? w->step + by : w->step - by;
    }
}

void do_clock(struct world *w)
{
    int64_t before = w->step;
    set_step(w, some_step(w));
    if (w->step > before)
        w->stepped = w->now;
    see(w, SEEN_CLOCK);
}

/* A pause that was not on disk is over. */
static void end_pauses(const struct world *w, struct ask *a, bool all_kept)
{
    for (size_t i = 0; i < SINKS; i++) {
        struct handed *seen = &a->handed[i];
        bool kept = all_kept && a->durable && i != 0; /* the first one has an order: its lanes wait in memory */
        if (!kept || seen->until - w->now <= SHORT_PAUSE)
            seen->until = 0;
    }
}

void clock_while_down(struct world *w, bool all_kept)
{
    int64_t before = w->step;
    for (size_t i = 0; i < w->ask_count; i++)
        end_pauses(w, &w->asks[i], all_kept);
    w->now += (int64_t)below(w, below(w, 2) == 0 ? 3000 : 1);
    if (below(w, 2) == 0)
        w->boot = w->now - 1000;
    if (w->stepped >= w->told)
        w->trusted = w->now + 1; /* it was set forward, and no commit after that has told the store */
    if ((w->armed_actions >> 31 & 1) == 0 || below(w, 2) == 0)
        return;
    set_step(w, some_step(w));
    see(w, SEEN_CLOCK_WHILE_DOWN);
    if (w->step > before)
        w->trusted = w->now + 1;
}

/* All that waits for it has its time: some were accepted while it stood years ahead. */
void clock_put_right(struct world *w)
{
    int64_t step = w->step > 0 ? w->step : 0;
    for (size_t i = 0; i < w->ask_count; i++) {
        int64_t needs = w->asks[i].at_wall - WALL - w->now;
        step = needs > step ? needs : step;
    }
    set_step(w, step);
}
