#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "loop/post.h"
#include "loop/watch.h"
#include "loop/work.h"
#include "rig.h"

static struct rig rig;
static struct buf trace;

static void set_up(void)
{
    rig = rig_open();
}

static void tear_down(void)
{
    buf_fini(&trace);
    rig_close(&rig);
}

static void note(void *arg)
{
    buf_puts(&trace, arg);
}

static void note_and_put_off(void *arg)
{
    note(arg);
    loop_later(rig.loop, note, "inner ");
}

START_TEST(later_runs_in_order_in_the_same_turn)
{
    loop_later(rig.loop, note, "1 ");
    loop_later(rig.loop, note_and_put_off, "2 ");
    loop_later(rig.loop, note, "3 ");
    ck_assert_uint_eq(trace.len, 0);
    loop_turn(rig.loop, true); /* does not wait: there is work */
    ck_assert_str_eq(buf_cstr(&trace), "1 2 3 inner ");
    for (int i = 0; i < 1000; i++)
        loop_later(rig.loop, note, "x");
    loop_turn(rig.loop, true);
    ck_assert_uint_eq(trace.len, 12 + 1000);
}
END_TEST

static void stop(void *arg)
{
    loop_stop(arg);
}

START_TEST(run_ends_with_the_turn_that_stops_it)
{
    struct timer *t = timer_new(rig.loop, stop, rig.loop);
    timer_after(t, 5);
    loop_run(rig.loop);
    timer_after(t, 0);
    loop_run(rig.loop); /* can run again */
    timer_free(t);
}
END_TEST

START_TEST(timers_keep_order_and_are_never_early)
{
    static const char *const names[] = {"c", "a", "b", "d"};
    static const int64_t at[] = {30, 10, 20, 40};
    struct timer *t[4];
    int64_t start = clock_mono_ms();
    for (int i = 0; i < 4; i++) {
        t[i] = timer_new(rig.loop, note, (void *)(uintptr_t)names[i]);
        timer_at(t[i], start + at[i]);
    }
    timer_stop(t[3]);
    for (size_t n = 1; n <= 3; n++) {
        RIG_UNTIL(&rig, trace.len == n);
        ck_assert_int_ge(clock_mono_ms() - start, (int64_t)n * 10);
    }
    rig_for(&rig, 30);
    ck_assert_str_eq(buf_cstr(&trace), "abc");
    for (int i = 0; i < 4; i++)
        timer_free(t[i]);
}
END_TEST

START_TEST(timers_move)
{
    struct timer *late = timer_new(rig.loop, note, "late "), *soon = timer_new(rig.loop, note, "soon ");
    int64_t start = clock_mono_ms();
    timer_after(late, 10);
    timer_after(soon, 5000);
    loop_turn(rig.loop, false);
    timer_at(late, start + 80); /* later: the old time passes without a call */
    timer_at(soon, start + 20); /* earlier */
    RIG_UNTIL(&rig, trace.len == 5);
    ck_assert_str_eq(buf_cstr(&trace), "soon ");
    RIG_UNTIL(&rig, trace.len == 10);
    ck_assert_int_ge(clock_mono_ms() - start, 80);
    timer_at(soon, start - 1000); /* the past: at the next turn */
    RIG_UNTIL(&rig, trace.len == 15);
    timer_free(late);
    timer_free(soon);
    timer_free(NULL);
}
END_TEST

static struct timer *self;
static int rounds;

static void free_self(void *arg)
{
    note(arg);
    timer_free(self);
}

static void again_at_once(void *arg)
{
    struct timer *t = *(struct timer **)arg;
    rounds++;
    timer_after(t, 0);
}

START_TEST(timer_freed_in_its_callback)
{
    self = timer_new(rig.loop, free_self, "gone");
    timer_after(self, 1);
    RIG_UNTIL(&rig, trace.len == 4);
    rig_for(&rig, 5);
    ck_assert_uint_eq(trace.len, 4);
}
END_TEST

START_TEST(timer_that_is_always_due_does_not_hold_the_turn)
{
    static struct timer *t;
    t = timer_new(rig.loop, again_at_once, &t);
    timer_after(t, 0);
    for (int i = 0; i < 5; i++)
        loop_turn(rig.loop, true);
    ck_assert_int_ge(rounds, 3);
    ck_assert_int_le(rounds, 10);
    timer_free(t);
}
END_TEST

static int64_t seen_now;

static void keep_now(void *arg)
{
    (void)arg;
    seen_now = loop_now(rig.loop);
    int64_t end = clock_mono_ms() + 5;
    while (clock_mono_ms() < end)
        continue;
    ck_assert_int_eq(loop_now(rig.loop), seen_now);
}

START_TEST(now_stands_still_within_a_turn)
{
    loop_later(rig.loop, keep_now, NULL);
    loop_turn(rig.loop, false);
    loop_later(rig.loop, keep_now, NULL);
    int64_t before = seen_now;
    loop_turn(rig.loop, false);
    ck_assert_int_ge(seen_now, before + 5);
    ck_assert_int_le(clock_mono_ms() - seen_now, 1000);
}
END_TEST

START_TEST(signals_come_by_the_loop)
{
    loop_signal(rig.loop, SIGUSR1, note, "usr1 ");
    loop_signal(rig.loop, SIGHUP, note, "hup ");
    raise(SIGUSR1);
    ck_assert_uint_eq(trace.len, 0);
    RIG_UNTIL(&rig, trace.len == 5);
    raise(SIGHUP);
    RIG_UNTIL(&rig, trace.len == 9);
    ck_assert_str_eq(buf_cstr(&trace), "usr1 hup ");
}
END_TEST

#define SENDERS 3
#define JOBS 5000

static size_t taken, last[SENDERS];

static void take_job(void *arg, void *job)
{
    size_t n = (size_t)(uintptr_t)job, sender = n % SENDERS;
    ck_assert_ptr_eq(arg, &rig);
    ck_assert_uint_gt(n, last[sender]);
    last[sender] = n;
    taken++;
}

struct sender {
    struct post *post;
    size_t number;
};

static void *send_jobs(void *arg)
{
    struct sender *s = arg;
    for (size_t i = 1; i <= JOBS; i++)
        post_send(s->post, (void *)(uintptr_t)(i * SENDERS + s->number));
    return NULL;
}

START_TEST(posts_from_threads)
{
    struct post *p = post_new(rig.loop, take_job, &rig);
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    for (size_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){p, i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, send_jobs, &senders[i]), 0);
    }
    RIG_UNTIL(&rig, taken == SENDERS * JOBS);
    for (size_t i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    post_send(p, (void *)(uintptr_t)((JOBS + 1) * SENDERS));
    post_free(p); /* hands over what is queued */
    ck_assert_uint_eq(taken, SENDERS * JOBS + 1);
    post_free(NULL);
}
END_TEST

static int worked;

static void work(void *arg)
{
    int64_t until = clock_mono_ms() + 30;
    (void)arg;
    while (clock_mono_ms() < until)
        continue;
    worked++;
}

static void work_for(void *arg, void *job)
{
    (void)job;
    work(arg);
}

/* Has one more turn taken as long as the work of a callback? */
static void was_long(int long_turns)
{
    const struct loop_turns *t = loop_turns(rig.loop);
    RIG_UNTIL(&rig, worked == long_turns);
    loop_turn(rig.loop, false); /* it is told once it is over */
    uint64_t above = 0;
    for (size_t i = 2; i < LOOP_TURN_BUCKETS; i++)
        above += t->count[i];
    ck_assert_uint_ge(above, (uint64_t)long_turns);
    ck_assert_uint_ge(t->sum_ms, 29 * (uint64_t)long_turns);
    ck_assert_int_ge(t->longest_ms, 29);
}

START_TEST(turns_are_timed_whatever_began_them)
{
    struct timer *timer = timer_new(rig.loop, work, NULL);
    struct post *post = post_new(rig.loop, work_for, NULL);
    worked = 0;
    loop_later(rig.loop, work, NULL); /* of a turn that nothing began: not seen */
    loop_turn(rig.loop, false);
    ck_assert_int_eq(worked, 1);
    worked = 0;
    timer_after(timer, 0);
    was_long(1);
    post_send(post, NULL);
    was_long(2);
    loop_signal(rig.loop, SIGUSR1, work, NULL);
    raise(SIGUSR1);
    was_long(3);
    timer_free(timer);
    post_free(post);
}
END_TEST

START_TEST(waiting_is_no_part_of_a_turn)
{
    int64_t begin = clock_mono_ms();
    for (int i = 0; i < 10; i++) {
        timer_after(rig.tick, 30);
        loop_turn(rig.loop, true);
    }
    loop_turn(rig.loop, false);
    ck_assert_int_ge(clock_mono_ms() - begin, 300);
    ck_assert_uint_lt(loop_turns(rig.loop)->sum_ms, 200);
    ck_assert_uint_gt(loop_turns(rig.loop)->count[0], 0);
}
END_TEST

static char folder[] = "/tmp/bellhop-watch-XXXXXX";
static int calls;

static void count_call(void *arg)
{
    (void)arg;
    calls++;
}

static const char *in_folder(const char *name)
{
    static char paths[8][128];
    static int next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof(paths[0]), "%s/%s", folder, name);
    return p;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

START_TEST(watch_tells_of_writes_renames_and_swaps)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    put("plain", "1");
    mkdir(in_folder("v1"), 0700);
    mkdir(in_folder("v2"), 0700);
    put("v1/key", "old");
    put("v2/key", "new");
    ck_assert_int_eq(symlink("v1", in_folder("data")), 0); /* as Kubernetes mounts a secret */
    ck_assert_int_eq(symlink("data/key", in_folder("key")), 0);
    const char *paths[] = {in_folder("plain"), in_folder("key"), "/nonexistent/folder/file"};
    struct watch *w = watch_new(rig.loop, paths, 3, count_call, NULL);
    rig_for(&rig, 300);
    ck_assert_int_eq(calls, 0);
    put("plain", "22");
    put("plain", "333");
    RIG_UNTIL(&rig, calls == 1);
    rig_for(&rig, 400);
    ck_assert_int_eq(calls, 1); /* one for both */
    put("other", "not watched");
    rig_for(&rig, 500);
    ck_assert_int_eq(calls, 1);
    put("plain.new", "333");
    rename(in_folder("plain.new"), in_folder("plain"));
    RIG_UNTIL(&rig, calls == 2);
    ck_assert_int_eq(symlink("v2", in_folder("data.new")), 0);
    rename(in_folder("data.new"), in_folder("data"));
    RIG_UNTIL(&rig, calls == 3);
    put("v2/key", "changed in place, behind the link");
    RIG_UNTIL(&rig, calls == 4);
    paths[0] = in_folder("plain");
    paths[1] = in_folder("key"); /* their room was taken for others */
    ck_assert(watch_is_of(w, paths, 3) && !watch_is_of(w, paths, 2) && !watch_is_of(w, paths + 1, 2));
    uint64_t print = watch_print(paths, 3);
    ck_assert_uint_eq(watch_print(paths, 3), print);
    watch_free(w);
    put("plain", "4444");
    ck_assert_uint_ne(watch_print(paths, 3), print);
    rig_for(&rig, 300);
    ck_assert_int_eq(calls, 4);
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

struct job {
    pthread_t ran_in, done_in;
    sem_t go_on;
    int done;
};

static void run_job(void *arg)
{
    struct job *j = arg;
    j->ran_in = pthread_self();
    sem_wait(&j->go_on);
}

static void job_done(void *arg)
{
    struct job *j = arg;
    j->done_in = pthread_self();
    j->done++;
}

static struct job job_new(unsigned goes_on)
{
    struct job j = {0};
    sem_init(&j.go_on, 0, goes_on);
    return j;
}

START_TEST(work_runs_beside_the_loop)
{
    struct job j = job_new(0);
    ck_assert_ptr_nonnull(work_start(rig.loop, run_job, job_done, &j));
    rig_for(&rig, 50); /* the loop goes on meanwhile */
    ck_assert_int_eq(j.done, 0);
    sem_post(&j.go_on);
    RIG_UNTIL(&rig, j.done == 1);
    ck_assert(!pthread_equal(j.ran_in, pthread_self()));
    ck_assert(pthread_equal(j.done_in, pthread_self()));
}
END_TEST

START_TEST(work_that_is_stopped_is_not_told_of)
{
    struct job j = job_new(1);
    ck_assert(work_stop(work_start(rig.loop, run_job, job_done, &j), 10000));
    rig_for(&rig, 20);
    ck_assert_int_eq(j.done, 0);
}
END_TEST

START_TEST(work_that_hangs_holds_nobody_up)
{
    static struct job j;
    j = job_new(0);
    int64_t begun = clock_mono_ms();
    ck_assert(!work_stop(work_start(rig.loop, run_job, job_done, &j), 100));
    ck_assert_int_ge(clock_mono_ms() - begun, 99);
    ck_assert_int_lt(clock_mono_ms() - begun, 5000);
}
END_TEST

START_TEST(work_without_threads_is_done_on_the_loop)
{
#ifdef __SANITIZE_ADDRESS__
    return; /* the sanitizer itself would have no memory */
#endif
    struct job j = job_new(1);
    struct rlimit before, none;
    getrlimit(RLIMIT_AS, &before);
    none = (struct rlimit){1, before.rlim_max}; /* no stack can be mapped for one */
    setrlimit(RLIMIT_AS, &none);
    work_start(rig.loop, run_job, job_done, &j);
    setrlimit(RLIMIT_AS, &before);
    ck_assert_int_eq(j.done, 0);
    RIG_UNTIL(&rig, j.done == 1);
    ck_assert(pthread_equal(j.ran_in, pthread_self()));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("loop");
    TCase *t = tcase_create("loop");
    const TTest *const tests[] = {
        later_runs_in_order_in_the_same_turn, run_ends_with_the_turn_that_stops_it,
        timers_keep_order_and_are_never_early, timers_move, timer_freed_in_its_callback,
        timer_that_is_always_due_does_not_hold_the_turn, now_stands_still_within_a_turn,
        signals_come_by_the_loop, posts_from_threads,
        turns_are_timed_whatever_began_them, waiting_is_no_part_of_a_turn, watch_tells_of_writes_renames_and_swaps,
        work_runs_beside_the_loop, work_that_is_stopped_is_not_told_of, work_that_hangs_holds_nobody_up,
        work_without_threads_is_done_on_the_loop,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
