#pragma once
/*
 * Early TCP acknowledgements for the streams of a loop. Not for other folders: see
 * stream_quickack() for what it is good for.
 *
 * An eager stream that has taken input and written nothing in this turn is acknowledged at the end of
 * the turn. The others grow old first: one timer, planned when the first waits, acknowledges those
 * that have seen it twice, the oldest 64 of them; most have answered by then, which acknowledges for
 * nothing. It is a time-out of the loop's wait and no struct timer, which would cost a system call and a
 * wake-up for nearly every request of a quiet client.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "loop/stream.h"

struct event;

enum quick_age { QUICK_NEW, QUICK_OLD, QUICK_NOW, QUICK_AGES };

struct quickack { /* embedded in a stream; zeroed = off */
    struct list_node link;
    int fd;
    uint8_t how; /* enum stream_quickack */
    uint8_t age; /* which list it is in */
};

struct quickacks {
    struct loop *loop;
    struct event *tick;
    struct list lists[QUICK_AGES];
    int64_t due_ms; /* of the tick, where one is planned */
    bool planned;
};

void quickacks_init(struct quickacks *all, struct loop *l);
void quickacks_fini(struct quickacks *all);
void quickacks_end_turn(struct quickacks *all); /* after the turn's output is written */

void quickack_waits(struct quickacks *all, struct quickack *q);  /* input was taken; legal when off */
void quickack_forget(struct quickacks *all, struct quickack *q); /* output went out, or the end */
