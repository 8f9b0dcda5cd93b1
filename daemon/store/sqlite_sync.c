#include "store/sqlite_sync.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/thread.h"
#include "store/sqlite_gather.h"

struct syncer {
    struct gather *gather;
    void (*done)(void *arg, struct store_batch *first);
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake, idle;
    struct store_batch *first, *last;
    bool busy, stop, failed;
    char why[160]; /* once it has failed it stays as it is */
};

static bool owes(const struct store_batch *b)
{
    while (b != NULL && !b->owes)
        b = b->next;
    return b != NULL;
}

static void fail(struct syncer *y)
{
    pthread_mutex_lock(&y->lock);
    snprintf(y->why, sizeof(y->why), "a commit failed: the journal could not be synced (errno %d)", errno);
    y->failed = true;
    pthread_mutex_unlock(&y->lock);
}

/* By whichever thread: the only one at a time. */
static void pay(struct syncer *y, struct store_batch *first)
{
    errno = 0;
    if (owes(first) && syncer_failed(y) == NULL && gather_sync(y->gather) != SQLITE_OK)
        fail(y);
    const char *why = syncer_failed(y);
    fault_point("store.synced");
    for (struct store_batch *b = first; b != NULL; b = b->next) {
        if (why != NULL)
            batch_fail(b, why);
        b->took_ms = clock_mono_ms() - b->began_ms;
    }
    y->done(y->arg, first);
}

static struct store_batch *take(struct syncer *y)
{
    pthread_mutex_lock(&y->lock);
    y->busy = false;
    if (y->first == NULL)
        pthread_cond_signal(&y->idle);
    while (y->first == NULL && !y->stop)
        pthread_cond_wait(&y->wake, &y->lock);
    struct store_batch *first = y->first;
    y->first = y->last = NULL;
    y->busy = first != NULL;
    pthread_mutex_unlock(&y->lock);
    return first;
}

static void *thread_main(void *arg)
{
    struct syncer *y = arg;
    for (struct store_batch *first; (first = take(y)) != NULL;)
        pay(y, first);
    return NULL;
}

void syncer_put(struct syncer *y, struct store_batch *first, bool here)
{
    pthread_mutex_lock(&y->lock);
    here = here && !y->busy && y->first == NULL;
    if (!here) {
        if (y->first == NULL)
            y->first = first;
        else
            y->last->next = first;
        for (y->last = first; y->last->next != NULL;)
            y->last = y->last->next;
    }
    pthread_mutex_unlock(&y->lock);
    if (here)
        pay(y, first);
    else
        pthread_cond_signal(&y->wake);
}

bool syncer_is_idle(struct syncer *y)
{
    pthread_mutex_lock(&y->lock);
    bool idle = !y->busy && y->first == NULL;
    pthread_mutex_unlock(&y->lock);
    return idle;
}

void syncer_drain(struct syncer *y)
{
    pthread_mutex_lock(&y->lock);
    while (y->busy || y->first != NULL)
        pthread_cond_wait(&y->idle, &y->lock);
    pthread_mutex_unlock(&y->lock);
}

const char *syncer_failed(struct syncer *y)
{
    pthread_mutex_lock(&y->lock);
    bool failed = y->failed;
    pthread_mutex_unlock(&y->lock);
    return failed ? y->why : NULL;
}

struct syncer *syncer_new(struct gather *g, void (*done)(void *arg, struct store_batch *first), void *arg)
{
    struct syncer *y = mem_zalloc(sizeof(*y));
    *y = (struct syncer){.gather = g, .done = done, .arg = arg};
    pthread_mutex_init(&y->lock, NULL);
    pthread_cond_init(&y->wake, NULL);
    pthread_cond_init(&y->idle, NULL);
    if (thread_start(&y->thread, thread_main, y))
        return y;
    mem_free(y);
    return NULL;
}

void syncer_free(struct syncer *y)
{
    if (y == NULL)
        return;
    pthread_mutex_lock(&y->lock);
    y->stop = true;
    pthread_mutex_unlock(&y->lock);
    pthread_cond_signal(&y->wake);
    pthread_join(y->thread, NULL);
    pthread_cond_destroy(&y->idle);
    pthread_cond_destroy(&y->wake);
    pthread_mutex_destroy(&y->lock);
    mem_free(y);
}
