#include "loop/work.h"

#include <pthread.h>
#include <time.h>

#include "base/mem.h"
#include "base/thread.h"
#include "loop/post.h"

struct work {
    struct loop *loop;
    struct post *post;
    loop_fn *run, *on_done;
    void *arg;
    pthread_t thread;
    bool threaded, stopped;
};

static void *thread_main(void *arg)
{
    struct work *w = arg;
    w->run(w->arg);
    post_send(w->post, w);
    return NULL;
}

/* Runs from loop_later(): the event of the post is the one that is being handled. */
static void work_free(void *arg)
{
    struct work *w = arg;
    post_free(w->post);
    mem_free(w);
}

static void on_post(void *arg, void *job)
{
    struct work *w = arg;
    (void)job;
    if (w->stopped)
        return;
    if (w->threaded)
        pthread_join(w->thread, NULL); /* it has nothing left to do */
    else
        w->run(w->arg);
    loop_later(w->loop, work_free, w);
    w->on_done(w->arg);
}

struct work *work_start(struct loop *l, loop_fn *run, loop_fn *on_done, void *arg)
{
    struct work *w = mem_zalloc(sizeof(*w));
    w->loop = l;
    w->run = run;
    w->on_done = on_done;
    w->arg = arg;
    w->post = post_new(l, on_post, w);
    w->threaded = true; /* before it begins: it may be at its end already when it is looked at */
    if (!thread_start(&w->thread, thread_main, w)) {
        w->threaded = false;
        post_send(w->post, w);
    }
    return w;
}

bool work_stop(struct work *w, int64_t patience_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += patience_ms / 1000;
    until.tv_nsec += patience_ms % 1000 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    w->stopped = true;
    if (w->threaded && pthread_timedjoin_np(w->thread, NULL, &until) != 0) {
        pthread_detach(w->thread);
        return false; /* w and its post are the thread's to the last */
    }
    work_free(w);
    return true;
}
