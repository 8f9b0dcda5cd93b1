#pragma once
/*
 * The event loop: the only owner of libevent together with its neighbours in this folder. One loop
 * owns all state of the daemon; every callback runs on its thread.
 *
 * A turn: wait for events, run their callbacks, run what was put off with loop_later(), write what
 * the turn has produced (one write per stream), start again. Nothing here blocks.
 */
#include <stdbool.h>
#include <stdint.h>

struct log;
struct loop;
struct event_base;

typedef void loop_fn(void *arg);

struct loop *loop_new(struct log *log); /* log is borrowed and outlives the loop */
void loop_free(struct loop *l);         /* after everything that hangs on it */
void loop_run(struct loop *l);          /* until loop_stop() */
void loop_stop(struct loop *l);         /* at the end of this turn */
bool loop_turn(struct loop *l, bool wait); /* one turn (tests); false when stopped */
struct log *loop_log(const struct loop *l);

/* Monotonic ms, read once per turn (base/clock.h: same origin as clock_mono_ms). */
int64_t loop_now(const struct loop *l);

/* How long turns took, without the wait: the loop answers nobody meanwhile. */
#define LOOP_TURN_BUCKETS 5
extern const int64_t loop_turn_bounds_ms[LOOP_TURN_BUCKETS - 1]; /* 1, 10, …; the last bucket has none */
struct loop_turns {
    uint64_t count[LOOP_TURN_BUCKETS]; /* each turn in one */
    uint64_t sum_ms;
    int64_t longest_ms;
};
const struct loop_turns *loop_turns(const struct loop *l); /* up to the last one; good as long as the loop */

/* Runs fn(arg) at the end of this turn, before output is written; in order. What is put off from
 * inside such a call runs in the same turn. Cannot be cancelled: whoever frees arg uses
 * loop_later to free it, never before. */
void loop_later(struct loop *l, loop_fn *fn, void *arg);

/* Signals: fn runs on the loop, not in signal context. One handler per signal, for the loop's life. */
void loop_signal(struct loop *l, int signo, loop_fn *fn, void *arg);

struct event_base *loop_base(const struct loop *l); /* for this folder only */
