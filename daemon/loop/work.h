#pragma once
/*
 * A job that takes long or may block, in a thread of its own. It shares nothing with the loop: what it is given is its alone
 * until on_done, or nobody changes it meanwhile.
 */
#include "loop/loop.h"

struct work;

/* run(arg) in a thread, then on_done(arg) on the loop, in a later turn; with that the work is gone. Where the system has no
 * thread to give, run is called on the loop. */
struct work *work_start(struct loop *l, loop_fn *run, loop_fn *on_done, void *arg);

/* No call of on_done any more. Waits so long for run to end. false: it is still at it, with whatever it was given, and that has
 * to stay where it is: for the end of the process only. */
bool work_stop(struct work *w, int64_t patience_ms);
