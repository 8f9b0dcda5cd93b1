/* What is large is freed in a thread: a table of 10,000 routes takes longer than a turn of the loop may. */
#include "app/internal.h"
#include "base/mem.h"
#include "loop/work.h"

#define PATIENCE_MS 60000 /* at the end: freeing does not hang */

struct disposal {
    void (*fn)(void *what);
    void *what;
    struct disposal *next;
};

struct batch { /* what a thread is freeing */
    struct app *app;
    struct disposal *first;
    struct work *work;
};

static void run(struct disposal *first)
{
    for (struct disposal *d = first, *next; d != NULL; d = next) {
        next = d->next;
        d->fn(d->what);
        mem_free(d);
    }
}

static void batch_run(void *batch)
{
    run(((struct batch *)batch)->first);
}

static void begin(void *app);

static void on_done(void *arg)
{
    struct batch *b = arg;
    struct app *a = b->app;
    mem_free(b);
    a->batch = NULL;
    begin(a);
}

/* At the end of a turn, so that what leaves together needs one thread. */
static void begin(void *app)
{
    struct app *a = app;
    if (a->batch != NULL || a->disposals == NULL)
        return;
    a->batch = mem_alloc(sizeof(*a->batch));
    *a->batch = (struct batch){.app = a, .first = a->disposals};
    a->disposals = NULL;
    a->batch->work = work_start(a->loop, batch_run, on_done, a->batch);
}

void app_dispose(void *app, void (*fn)(void *what), void *what)
{
    struct app *a = app;
    if (a->closing) {
        fn(what);
        return;
    }
    struct disposal *d = mem_alloc(sizeof(*d));
    *d = (struct disposal){fn, what, a->disposals};
    a->disposals = d;
    loop_later(a->loop, begin, a);
}

void app_end_disposals(struct app *a)
{
    a->closing = true;
    if (a->batch != NULL && work_stop(a->batch->work, PATIENCE_MS))
        mem_free(a->batch);
    a->batch = NULL;
    run(a->disposals);
    a->disposals = NULL;
}
