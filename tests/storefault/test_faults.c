/* The disk fails, fills up or hangs at every call in turn (S1, S4, S5; D1, D2, D6 of the fault matrix). */
#include "scenario.h"
#include "vfs.h"

#define SEED 1
#define STEPS 32
#define CLOSE_AT 16 /* the store is closed and opened once */
#define BALLAST (4u << 20)
#define UNDER_WAY 8 /* writes of a commit that was being written when the sync of the one before failed */

static const char *const hows[] = {"EIO", "half and EIO", "no room", "room for half", "quota", "file too big"};

struct step {
    struct run *run;
    size_t number;
    bool puts, answered;
    enum store_result result;
};

struct run {
    struct bed bed;
    char dir[64];
    struct step steps[STEPS];
    size_t asked, answered;
    size_t faults;
    bool unknown; /* some step was */
    bool opened, noticed_at_close; /* the last life */
    uint64_t changes, syncs; /* after the fault, in its life */
};

static void on_fault(void *arg, const char *why)
{
    struct run *r = arg;
    r->faults++;
    ck_assert_msg(!r->unknown && why[0] != '\0', "the fault is told before what it costs");
}

static void on_step(void *arg, enum store_result result)
{
    struct step *s = arg;
    ck_assert(!s->answered);
    ck_assert_uint_eq(s->number, s->run->answered); /* in the order they were asked */
    s->answered = true;
    s->result = result;
    s->run->answered++;
    ck_assert_msg(!s->run->unknown || result == STORE_UNKNOWN, "step %zu was %s behind one that is unknown",
                  s->number, result_name(result));
    s->run->unknown |= result == STORE_UNKNOWN;
    ck_assert_int_eq(s->run->unknown && s->run->faults != 1, 0);
}

static void run_open(struct run *r)
{
    scenario_open(&r->bed, r->dir, VFS_NAME);
    if (r->bed.st != NULL)
        store_on_fault(r->bed.st, on_fault, r);
}

static void run_ask(struct run *r)
{
    struct step *s = &r->steps[r->asked];
    *s = (struct step){.run = r, .number = r->asked};
    s->puts = scenario_step(r->bed.st, SEED, r->asked++, on_step, s);
}

/* Singly, four in a commit, and four in commits of which one is written while another is synced. */
static void run_steps(struct run *r, size_t until)
{
    while (r->asked < until) {
        run_ask(r);
        if (r->asked % 12 < 4 || r->asked % 4 == 0)
            bed_settle(&r->bed);
        else if (r->asked % 12 > 8)
            loop_turn(r->bed.rig.loop, false);
    }
    bed_settle(&r->bed);
    ck_assert_uint_eq(r->answered, until);
}

static bool is_faulted(struct run *r)
{
    struct store_stats s;
    store_stats(r->bed.st, &s);
    return s.faulted;
}

/* One life; false where it was the last. */
static bool run_life(struct run *r, size_t until)
{
    if (r->bed.st != NULL)
        run_steps(r, until);
    bool hit = vfs_hit();
    ck_assert_uint_eq(r->faults, r->bed.st != NULL && is_faulted(r));
    r->opened = r->bed.st != NULL;
    r->noticed_at_close = r->opened && r->faults == 0 && !hit;
    scenario_close(&r->bed);
    r->changes = vfs_changes_after_hit();
    r->syncs = vfs_syncs_after_hit();
    r->noticed_at_close &= vfs_hit();
    return !vfs_hit() && r->opened;
}

static void run_all(struct run *r)
{
    if (!run_life(r, CLOSE_AT))
        return;
    run_open(r);
    run_life(r, STEPS);
}

static void run_new(struct run *r)
{
    *r = (struct run){0};
    dir_make(r->dir);
    vfs_arm(NULL);
    run_open(r);
    ck_assert_ptr_nonnull(r->bed.st);
}

static size_t count_ok(const struct run *r)
{
    size_t n = 0;
    while (n < r->asked && r->steps[n].answered && r->steps[n].result == STORE_OK)
        n++;
    return n;
}

static struct str expected(size_t n)
{
    static struct buf texts[STEPS + 1];
    if (texts[n].len == 0)
        scenario_expect(SEED, NULL, n, &texts[n]);
    return buf_str(&texts[n]);
}

/* Opened on a sound disk the store holds what the first n steps leave, n between these two. */
static void holds_between(struct run *r, size_t least, size_t most, const char *when)
{
    struct bed b;
    struct buf found = BUF_EMPTY;
    size_t n = least;
    vfs_arm(NULL);
    scenario_open(&b, r->dir, VFS_NAME);
    ck_assert_msg(b.st != NULL, "%s: %s", when, buf_cstr(&b.trace));
    scenario_describe(&b, &found);
    scenario_close(&b);
    while (n <= most && !str_eq(buf_str(&found), expected(n)))
        n++;
    ck_assert_msg(n <= most, "%s: neither what the %zu steps that were OK leave, nor more:\n%.3000s",
                  when, least, buf_cstr(&found));
    buf_fini(&found);
}

static void run_fini(struct run *r)
{
    scenario_remove(r->dir);
}

/* ---------------------------------------------------------------- S1, S4, S5 */

/* Of which kind each run was, so that none goes without. */
struct tally {
    size_t runs, faulted, refused, quiet;
};

static bool fault_run(const struct vfs_fault *fault, struct tally *tally)
{
    struct run r;
    char when[80];
    snprintf(when, sizeof(when), "op %d, number %zu, %s, for ever %d", fault->op, (size_t)fault->nth,
             hows[fault->how], fault->for_ever);
    run_new(&r);
    vfs_arm(fault);
    run_all(&r);
    bool hit = vfs_hit();
    tally->runs += hit;
    tally->faulted += r.faults;
    tally->refused += !r.opened;
    tally->quiet += r.noticed_at_close;
    /* What was written before a write fails may yet be synced; behind a sync that fails nothing is. */
    size_t writes = (size_t)(r.changes - r.syncs), syncs = (size_t)r.syncs;
    bool sync = fault->op == VFS_SYNC;
    ck_assert_msg(!hit || !r.opened || (writes <= (sync ? UNDER_WAY : 0) && syncs <= (sync ? 0 : 2)),
                  "%s: %zu writes and %zu syncs after the fault", when, writes, syncs);
    ck_assert_msg(!hit || !r.opened || r.faults == 1 || r.noticed_at_close, "%s: nobody noticed", when);
    holds_between(&r, count_ok(&r), r.asked, when);
    run_fini(&r);
    return hit;
}

static void every_number(enum vfs_op op, enum vfs_how how, size_t at_least)
{
    struct tally tally = {0};
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        struct vfs_fault fault = {.op = op, .nth = 1, .how = how, .for_ever = for_ever != 0};
        while (fault_run(&fault, &tally))
            fault.nth++;
    }
    static const char *const ops[VFS_OPS] = {"open", "write", "sync", "truncation", "removal"};
    printf("%s, %s: %zu runs, %zu faulted, %zu refused at the opening, %zu noticed at the close alone\n",
           ops[op], hows[how], tally.runs, tally.faulted, tally.refused, tally.quiet);
    ck_assert_uint_ge(tally.runs, at_least);
}

START_TEST(S5_a_write_that_fails_is_final)
{
    every_number(VFS_WRITE, VFS_EIO, 70);
}
END_TEST

START_TEST(S5_a_write_that_fails_half_way_is_final)
{
    every_number(VFS_WRITE, VFS_SHORT, 70);
}
END_TEST

/* D4: once, and the next would succeed. */
START_TEST(S5_a_sync_that_fails_is_final)
{
    every_number(VFS_SYNC, VFS_EIO, 40);
}
END_TEST

START_TEST(S5_a_sync_without_room_is_final_too)
{
    every_number(VFS_SYNC, VFS_FULL, 40);
}
END_TEST

START_TEST(S5_a_truncation_that_fails_is_final)
{
    every_number(VFS_TRUNCATE, VFS_EIO, 2);
}
END_TEST

START_TEST(S4_an_open_that_fails_loses_nothing)
{
    every_number(VFS_OPEN, VFS_EIO, 2);
}
END_TEST

/* Behind a crash, so that there is a journal to recover. */
START_TEST(S4_an_opening_at_which_anything_fails_loses_nothing)
{
    struct run r;
    char crashed[64];
    size_t refused = 0;
    run_new(&r);
    run_steps(&r, STEPS);
    dir_make(crashed);
    dir_copy(r.dir, crashed);
    scenario_close(&r.bed);
    for (enum vfs_op op = VFS_OPEN; op <= VFS_TRUNCATE; op++) {
        bool hit = true;
        for (uint64_t nth = 1; hit; nth++) {
            scenario_remove(r.dir);
            ck_assert_int_eq(mkdir(r.dir, 0700), 0);
            dir_copy(crashed, r.dir);
            vfs_arm(&(struct vfs_fault){.op = op, .nth = nth});
            run_open(&r);
            refused += r.bed.st == NULL;
            ck_assert_int_eq(r.bed.st == NULL, r.bed.trace.len > 0);
            scenario_close(&r.bed);
            hit = vfs_hit();
            holds_between(&r, STEPS, STEPS, "after the opening");
        }
    }
    ck_assert_uint_ge(refused, 5);
    scenario_remove(crashed);
    run_fini(&r);
}
END_TEST

/* ---------------------------------------------------------------- D1, D2 */

static void holds_what_was_done(struct run *r, const char *when)
{
    bool done[STEPS];
    struct buf found = BUF_EMPTY, wanted = BUF_EMPTY;
    for (size_t i = 0; i < r->asked; i++)
        done[i] = r->steps[i].result == STORE_OK;
    scenario_describe(&r->bed, &found);
    scenario_expect(SEED, done, r->asked, &wanted);
    ck_assert_msg(str_eq(buf_str(&found), buf_str(&wanted)), "%s: found\n%.3000s\nexpected\n%.3000s", when,
                  buf_cstr(&found), buf_cstr(&wanted));
    buf_fini(&found);
    buf_fini(&wanted);
}

static size_t only_puts_are_full(struct run *r, const char *when)
{
    size_t full = 0;
    ck_assert_msg(!is_faulted(r) && r->faults == 0, "%s: faulted", when);
    for (size_t i = 0; i < r->asked; i++) {
        enum store_result result = r->steps[i].result;
        ck_assert_msg(result == STORE_OK || (result == STORE_FULL && r->steps[i].puts), "%s: step %zu is %s",
                      when, i, result_name(result));
        full += result == STORE_FULL;
    }
    return full;
}

/* There is room again: the store finds out by itself within a second. */
static void room_comes_back(struct run *r)
{
    vfs_arm(NULL);
    vfs_skip_ms(1100);
    run_ask(r);
    bed_settle(&r->bed);
    ck_assert_int_eq(r->steps[r->asked - 1].result, STORE_OK);
}

static void full_run(struct vfs_fault *fault, size_t *runs, size_t *full)
{
    struct run r;
    char when[80], ballast[128];
    snprintf(when, sizeof(when), "%s at write %zu, for ever %d", hows[fault->how], (size_t)fault->nth,
             fault->for_ever);
    run_new(&r);
    fault->ballast = path_in(r.dir, "bellhop.ballast", ballast);
    vfs_arm(fault);
    run_steps(&r, STEPS - 1);
    *full += only_puts_are_full(&r, when);
    *runs += vfs_hit();
    room_comes_back(&r);
    only_puts_are_full(&r, when);
    scenario_close(&r.bed);
    scenario_open(&r.bed, r.dir, VFS_NAME);
    holds_what_was_done(&r, when);
    scenario_close(&r.bed);
    run_fini(&r);
}

static void every_write_without_room(enum vfs_how how)
{
    size_t runs = 0, full = 0;
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        size_t before = SIZE_MAX;
        for (uint64_t nth = 1; runs != before; nth++) {
            struct vfs_fault fault = {.op = VFS_WRITE, .nth = nth, .how = how, .for_ever = for_ever != 0,
                                      .ballast_bytes = BALLAST};
            before = runs;
            full_run(&fault, &runs, &full);
        }
    }
    printf("write, %s: %zu runs without room, %zu puts refused\n", hows[how], runs, full);
    ck_assert_uint_ge(runs, 60);
    ck_assert_uint_ge(full, 200);
}

START_TEST(D1_on_a_full_disk_puts_are_refused_and_ends_succeed)
{
    every_write_without_room(VFS_FULL);
}
END_TEST

START_TEST(D1_a_write_that_finds_room_for_its_half_is_no_fault)
{
    every_write_without_room(VFS_FULL_SHORT);
}
END_TEST

START_TEST(D1_a_quota_is_a_full_disk)
{
    every_write_without_room(VFS_QUOTA);
}
END_TEST

START_TEST(D1_a_limit_of_the_file_size_is_a_full_disk)
{
    every_write_without_room(VFS_BIG);
}
END_TEST

/* ---------------------------------------------------------------- D6 */

static void on_timer(void *arg)
{
    ++*(size_t *)arg;
}

static void on_rows_counted(void *arg, const struct store_rows *rows)
{
    (void)rows;
    ++*(size_t *)arg;
}

START_TEST(D6_while_a_sync_hangs_the_loop_goes_on_and_answers_wait)
{
    struct run r;
    size_t fired = 0, loaded = 0;
    struct store_stats stats;
    run_new(&r);
    struct timer *t = timer_new(r.bed.rig.loop, on_timer, &fired);
    vfs_hold_sync();
    run_ask(&r);
    RIG_UNTIL(&r.bed.rig, vfs_sync_is_held());
    run_ask(&r);
    store_load(r.bed.st, store_key(1, 0), 9, on_rows_counted, &loaded);
    for (size_t i = 0; i < 5; i++) {
        timer_at(t, clock_mono_ms() + 2);
        RIG_UNTIL(&r.bed.rig, fired == i + 1);
        vfs_skip_ms(1000); /* five seconds in all */
    }
    ck_assert_uint_eq(r.answered, 0);
    ck_assert_uint_eq(loaded, 0);
    vfs_release_sync();
    bed_settle(&r.bed);
    ck_assert_uint_eq(r.answered, 2);
    ck_assert_uint_eq(count_ok(&r), 2);
    ck_assert_uint_eq(loaded, 1);
    store_stats(r.bed.st, &stats);
    ck_assert_int_ge(stats.slowest_commit_ms, 5000);
    timer_free(t);
    scenario_close(&r.bed);
    run_fini(&r);
}
END_TEST

/* ---------------------------------------------------------------- one commit is written while another is synced */

#define BEFORE 6 /* steps; of the next three each writes something */

/* Three in commits of their own: the sync of the first is over, that of the second is held, the third is written. */
static void three_commits(struct run *r)
{
    vfs_no_checkpoints(); /* they wait for the sync */
    run_new(r);
    run_steps(r, BEFORE);
    vfs_hold_sync();
    run_ask(r);
    RIG_UNTIL(&r->bed.rig, vfs_sync_is_held());
    run_ask(r);
    rig_for(&r->bed.rig, 5); /* it waits for the store's thread when that comes back from the sync */
    vfs_hold_sync_after_this();
    RIG_UNTIL(&r->bed.rig, vfs_sync_is_held() && r->answered == BEFORE + 1);
    uint64_t writes = vfs_count(VFS_WRITE);
    run_ask(r);
    RIG_UNTIL(&r->bed.rig, vfs_count(VFS_WRITE) > writes);
    rig_for(&r->bed.rig, 20);
    ck_assert_uint_eq(r->answered, BEFORE + 1);
}

START_TEST(S1_a_commit_written_beside_a_sync_is_answered_after_its_own)
{
    struct run r;
    three_commits(&r);
    vfs_hold_sync_after_this();
    RIG_UNTIL(&r.bed.rig, vfs_sync_is_held() && r.answered == BEFORE + 2);
    rig_for(&r.bed.rig, 20);
    ck_assert_uint_eq(r.answered, BEFORE + 2);
    vfs_release_sync();
    bed_settle(&r.bed);
    ck_assert_uint_eq(count_ok(&r), BEFORE + 3);
    scenario_close(&r.bed);
    run_fini(&r);
}
END_TEST

START_TEST(S5_a_commit_written_beside_a_sync_that_fails_is_unknown_too)
{
    struct run r;
    char mark[128];
    three_commits(&r);
    vfs_arm(&(struct vfs_fault){.op = VFS_SYNC, .nth = 1});
    vfs_release_sync();
    RIG_UNTIL(&r.bed.rig, r.answered == BEFORE + 3);
    ck_assert_int_eq(access(path_in(r.dir, "bellhop.faulted", mark), F_OK), 0); /* before anybody asks again */
    run_ask(&r);
    bed_settle(&r.bed);
    ck_assert_uint_eq(r.answered, BEFORE + 4);
    ck_assert_uint_eq(count_ok(&r), BEFORE + 1);
    for (size_t i = BEFORE + 1; i < BEFORE + 4; i++)
        ck_assert_int_eq(r.steps[i].result, STORE_UNKNOWN);
    ck_assert(is_faulted(&r) && r.faults == 1);
    scenario_close(&r.bed);
    ck_assert_uint_eq(vfs_syncs_after_hit(), 0);
    holds_between(&r, BEFORE + 1, r.asked, "after the fault");
    run_fini(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store/faults");
    TCase *faults = tcase_create("faults"), *room = tcase_create("room"), *hang = tcase_create("hang");
    tcase_add_test(faults, S5_a_write_that_fails_is_final);
    tcase_add_test(faults, S5_a_write_that_fails_half_way_is_final);
    tcase_add_test(faults, S5_a_sync_that_fails_is_final);
    tcase_add_test(faults, S5_a_sync_without_room_is_final_too);
    tcase_add_test(faults, S5_a_truncation_that_fails_is_final);
    tcase_add_test(faults, S4_an_open_that_fails_loses_nothing);
    tcase_add_test(faults, S4_an_opening_at_which_anything_fails_loses_nothing);
    tcase_add_test(room, D1_on_a_full_disk_puts_are_refused_and_ends_succeed);
    tcase_add_test(room, D1_a_write_that_finds_room_for_its_half_is_no_fault);
    tcase_add_test(room, D1_a_quota_is_a_full_disk);
    tcase_add_test(room, D1_a_limit_of_the_file_size_is_a_full_disk);
    tcase_add_test(hang, D6_while_a_sync_hangs_the_loop_goes_on_and_answers_wait);
    tcase_add_test(hang, S1_a_commit_written_beside_a_sync_is_answered_after_its_own);
    tcase_add_test(hang, S5_a_commit_written_beside_a_sync_that_fails_is_unknown_too);
    tcase_set_timeout(faults, 300);
    tcase_set_timeout(room, 300);
    tcase_set_timeout(hang, 30);
    suite_add_tcase(s, faults);
    suite_add_tcase(s, room);
    suite_add_tcase(s, hang);
    vfs_register();
    vfs_slow_syncs(200);
    return run_suite(s);
}
