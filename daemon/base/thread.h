#pragma once
/* A thread beside the loop. */
#include <pthread.h>
#include <stdbool.h>

/* With every signal blocked: they are the loop's. The new thread may be at its end when this returns. false: the system
 * has none to give, and nothing was started. */
bool thread_start(pthread_t *t, void *(*run)(void *arg), void *arg);
