/* The power fails at any moment (S1 to S4; D7, D8 of the fault matrix): every state that it may leave
 * opens and holds what the steps up to one of them leave: all that were OK by then, none that was not
 * asked for. */
#include "scenario.h"
#include "states.h"
#include "vfs.h"

#define STEPS 80
#define CLOSE_EVERY 30
#define SEEDS_MAX 1000

struct life {
    struct bed bed;
    char dir[64];
    struct step {
        struct life *life;
        size_t asked_at, ok_at; /* entries in the record by then */
    } steps[STEPS];
    size_t asked, answered;
    struct buf expected[STEPS + 1]; /* after so many steps */
};

static void on_step(void *arg, enum store_result result)
{
    struct step *s = arg;
    ck_assert_int_eq(result, STORE_OK);
    s->ok_at = vfs_record_len();
    s->life->answered++;
}

static void ask(struct life *l, uint64_t seed)
{
    struct step *s = &l->steps[l->asked];
    *s = (struct step){l, vfs_record_len(), SIZE_MAX};
    scenario_step(l->bed.st, seed, l->asked++, on_step, s);
}

/* From an empty folder on; singly, four in a commit, and four in commits of which one is written while another is
 * synced; every 30 steps closed and opened. */
static void live(struct life *l, uint64_t seed)
{
    dir_make(l->dir);
    vfs_record(true);
    scenario_open(&l->bed, l->dir, VFS_NAME);
    while (l->asked < STEPS) {
        ask(l, seed);
        if (l->asked % 12 < 4 || l->asked % 4 == 0)
            bed_settle(&l->bed);
        else if (l->asked % 12 > 8)
            loop_turn(l->bed.rig.loop, false);
        if (l->asked % CLOSE_EVERY > 0)
            continue;
        bed_settle(&l->bed);
        scenario_close(&l->bed);
        scenario_open(&l->bed, l->dir, VFS_NAME);
    }
    bed_settle(&l->bed);
    ck_assert_uint_eq(l->answered, STEPS);
    scenario_close(&l->bed);
    vfs_record(false);
    scenario_remove(l->dir);
    for (size_t n = 0; n <= STEPS; n++)
        scenario_expect(seed, NULL, n, &l->expected[n]);
}

static void life_fini(struct life *l)
{
    for (size_t n = 0; n <= STEPS; n++)
        buf_fini(&l->expected[n]);
}

/* ---------------------------------------------------------------- a state */

struct tally {
    size_t states, lives, entries, kinds[VFS_OPS], more; /* more: held steps whose OK had not come yet */
};

/* So many steps were told OK when `at` entries had happened, and so many had been asked for. */
static void bounds(const struct life *l, size_t at, size_t *ok, size_t *asked)
{
    *ok = 0;
    while (*ok < STEPS && l->steps[*ok].ok_at <= at)
        ++*ok;
    *asked = *ok; /* some write nothing */
    while (*asked < STEPS && l->steps[*asked].asked_at < at)
        ++*asked;
}

static void check_state(const struct life *l, size_t at, uint64_t seed, struct tally *tally)
{
    struct bed b;
    struct buf found = BUF_EMPTY;
    size_t ok, asked;
    bounds(l, at, &ok, &asked);
    scenario_open(&b, l->dir, NULL);
    ck_assert_msg(b.st != NULL, "state %zu/%zu does not open: %s", at, (size_t)seed, buf_cstr(&b.trace));
    scenario_describe(&b, &found);
    scenario_close(&b);
    size_t n = ok;
    while (n <= asked && !str_eq(buf_str(&found), buf_str(&l->expected[n])))
        n++;
    ck_assert_msg(n <= asked, "state %zu/%zu holds neither what the %zu steps that were OK leave nor more, "
                  "up to %zu. Found:\n%.3000s", at, (size_t)seed, ok, asked, buf_cstr(&found));
    tally->more += n > ok;
    tally->states++;
    buf_fini(&found);
}

/* Where nothing is open there is but one state. */
static void check_point(const struct life *l, const struct states *s, uint64_t per_point, struct tally *tally)
{
    for (uint64_t seed = 0; seed < (states_open(s) > 0 ? per_point : 1); seed++) {
        ck_assert_int_eq(mkdir(l->dir, 0700), 0);
        states_write(s, seed, l->dir);
        check_state(l, states_at(s), seed, tally);
        scenario_remove(l->dir);
    }
}

static void check_life(uint64_t seed, uint64_t per_point, struct tally *tally)
{
    static struct life l;
    l = (struct life){0};
    live(&l, seed);
    struct states *s = states_new();
    while (states_next(s)) {
        tally->kinds[vfs_record_at(states_at(s) - 1).op]++;
        check_point(&l, s, per_point, tally);
    }
    tally->entries += states_at(s);
    tally->lives++;
    states_free(s);
    life_fini(&l);
}

START_TEST(S1_S2_S3_every_state_after_a_crash_holds_what_was_promised)
{
    const char *wanted = getenv("STATES");
    size_t states = wanted != NULL ? strtoul(wanted, NULL, 10) : 2000;
    struct tally tally = {0};
    for (uint64_t seed = 1; tally.states < states && seed < SEEDS_MAX; seed++)
        check_life(seed, states > 10000 ? 8 : 3, &tally);
    printf("%zu crash states of %zu lives of %d steps (%zu writes, %zu syncs, %zu truncations, %zu removals): "
           "all open; %zu hold a step that was not answered yet\n", tally.states, tally.lives, STEPS,
           tally.kinds[VFS_WRITE], tally.kinds[VFS_SYNC], tally.kinds[VFS_TRUNCATE], tally.kinds[VFS_DELETE],
           tally.more);
    ck_assert_uint_ge(tally.states, states);
    ck_assert_uint_gt(tally.kinds[VFS_SYNC], STEPS / 2);
    ck_assert_uint_gt(tally.more, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store/crash_states");
    TCase *t = tcase_create("crash_states");
    tcase_set_timeout(t, 3600);
    tcase_add_test(t, S1_S2_S3_every_state_after_a_crash_holds_what_was_promised);
    suite_add_tcase(s, t);
    vfs_register();
    vfs_slow_syncs(500);
    return run_suite(s);
}
