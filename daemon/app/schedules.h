#pragma once
/*
 * What is published by the clock (bellhop.yaml(5), "schedules"): one timer, which looks at the wall
 * clock at least once a minute, so that a change of it is noticed. Each event goes through the
 * intake of local services. One that is refused is offered again, later each time, until the next time of its
 * schedule is due; nobody waits for the end of one that was accepted.
 */
#include <stdint.h>

#include "admin/admin.h"
#include "config/config.h"
#include "delivery/hub.h"
#include "loop/loop.h"

struct schedules;

struct schedules *schedules_new(struct loop *l, struct hub *h, struct log *log); /* all borrowed */
/* Takes the schedules of conf, which stays borrowed until the next call; those that have not
 * changed go on where they were. */
void schedules_use(struct schedules *s, const struct config *conf);
void schedules_stop(struct schedules *s); /* for good: draining */
void schedules_free(struct schedules *s); /* before hub_free(); NULL is legal */
void schedules_each(const struct schedules *s, void (*fn)(void *arg, const struct schedule_status *status), void *arg);

/* Where one schedule stands, in wall-clock ms. Begins as PHASE_NONE. Pure. */
struct phase {
    int64_t next, last; /* the time that comes; the one that was due last, or -1 */
};
#define PHASE_NONE ((struct phase){INT64_MAX, -1})

/* A look at the clock: the time that is due, or -1; p->next is set anew. At most one time is due
 * however far the clock has moved, and none twice where it went back by less than a period. */
int64_t phase_look(struct phase *p, const struct schedule_conf *conf, int64_t wall_ms);

/* How long to wait after so many refusals, from 1 on: 1 s, twice as long each time, at most a minute. Pure. */
int64_t schedule_pause_ms(unsigned refusals);
