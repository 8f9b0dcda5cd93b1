/* D9: a bit of the database or its journal flips. What is loaded is what was stored, whatever else
 * happens; and a process that opens the store does not die of it. Flips are tried in a child, which
 * opens the store a second time where the first showed anything; where it dies the next one takes
 * over behind that flip. */
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/rand.h"
#include "scenario.h"
#include "vfs.h"

#define SEED 3
#define STEPS 50

enum outcome { SERVED, QUARANTINED, REFUSED, FAULTED, CUT, UNSAID, FOUND, SILENT, ALTERED, OUTCOMES };

static const char *const outcomes[OUTCOMES] = {
    "all served, unchanged", "quarantined, the rest served", "refused to open, with a reason",
    "faulted while loading", "the journal ends earlier (an older whole state), the store says so",
    "the journal ends earlier, nobody says so",
    "rows missing or moved, the audit says so", "rows missing, nobody says so", "ALTERED",
};

struct base {
    char dir[64];
    struct buf text; /* what is in it */
    struct buf older[STEPS + 1];
    struct buf rows; /* every content that any of them has */
};

/* A row's content is behind its time: the due time is no part of what is delivered. */
static struct str content_of(struct str line)
{
    const char *bar = memchr(line.p, '|', line.n);
    return bar != NULL ? str_make(bar, line.n - (size_t)(bar - line.p)) : STR_NONE;
}

static struct str next_line(struct str *text)
{
    const char *lf = memchr(text->p, '\n', text->n);
    size_t n = lf != NULL ? (size_t)(lf + 1 - text->p) : text->n;
    struct str line = str_make(text->p, n);
    *text = str_make(text->p + n, text->n - n);
    return line;
}

/* A row of any state that was: with a journal cut off it may be one that was ended later. */
static bool is_stored(const struct base *base, struct str content)
{
    return base->rows.len > 0 && memmem(buf_data(&base->rows), base->rows.len, content.p, content.n) != NULL;
}

static void add_rows(struct base *base, struct str text)
{
    while (text.n > 0) {
        struct str content = content_of(next_line(&text));
        if (content.n > 0 && !is_stored(base, content))
            buf_str_put(&base->rows, content);
    }
}

static void on_step(void *arg, enum store_result result)
{
    (void)arg;
    ck_assert_int_eq(result, STORE_OK);
}

/* Half of it in the database, half in the journal, as a kill leaves it. */
static void base_make(struct base *base)
{
    struct bed b;
    char dir[64];
    dir_make(dir);
    dir_make(base->dir);
    scenario_open(&b, dir, VFS_NAME);
    for (size_t i = 0; i < STEPS; i++) {
        if (i == STEPS / 2) {
            scenario_close(&b);
            scenario_open(&b, dir, NULL);
        }
        scenario_step(b.st, SEED, i, on_step, NULL);
        bed_settle(&b);
    }
    dir_copy(dir, base->dir);
    scenario_close(&b);
    scenario_remove(dir);
    for (size_t n = 0; n <= STEPS; n++) {
        scenario_expect(SEED, NULL, n, &base->older[n]);
        add_rows(base, buf_str(&base->older[n]));
    }
    buf_str_put(&base->text, buf_str(&base->older[STEPS]));
}

static void base_fini(struct base *base)
{
    buf_fini(&base->text);
    buf_fini(&base->rows);
    for (size_t n = 0; n <= STEPS; n++)
        buf_fini(&base->older[n]);
    scenario_remove(base->dir);
}

static void flip(const char *dir, struct rand *r)
{
    char path[128];
    struct stat st[2];
    ck_assert_int_eq(stat(path_in(dir, store_files[0], path), &st[0]), 0);
    ck_assert_int_eq(stat(path_in(dir, store_files[1], path), &st[1]), 0);
    size_t journal = rand_below(r, 2);
    FILE *f = fopen(path_in(dir, store_files[journal], path), "r+b");
    off_t offset = (off_t)rand_below(r, (uint64_t)st[journal].st_size);
    fseeko(f, offset, SEEK_SET);
    int byte = fgetc(f);
    fseeko(f, offset, SEEK_SET);
    fputc(byte ^ (1 << rand_below(r, 8)), f);
    ck_assert_int_eq(fclose(f), 0);
}

/* ---------------------------------------------------------------- what came of it */

static bool is_altered(const struct base *base, struct str found)
{
    while (found.n > 0) {
        struct str content = content_of(next_line(&found));
        if (content.n > 0 && !is_stored(base, content))
            return true;
    }
    return false;
}

static bool is_older(const struct base *base, struct str found)
{
    for (size_t n = 0; n < STEPS; n++)
        if (str_eq(found, buf_str(&base->older[n])))
            return true;
    return false;
}

static enum outcome judge(const struct base *base, struct bed *b, struct str found)
{
    struct store_stats stats;
    store_stats(b->st, &stats);
    if (str_eq(found, buf_str(&base->text)))
        return SERVED;
    if (is_altered(base, found))
        return ALTERED;
    if (stats.faulted || found.n == 0)
        return FAULTED;
    if (memmem(found.p, found.n, "the books say", 13) != NULL)
        return FOUND;
    if (stats.totals.quarantined > 0)
        return QUARANTINED;
    if (is_older(base, found))
        return stats.lost_commits > 0 ? CUT : UNSAID;
    return SILENT;
}

static enum outcome try_once(const struct base *base, const char *dir)
{
    struct bed b;
    struct buf found = BUF_EMPTY;
    enum outcome outcome = REFUSED;
    scenario_open(&b, dir, NULL);
    ck_assert(b.st != NULL || b.trace.len > 0);
    if (b.st != NULL) {
        scenario_describe(&b, &found);
        outcome = judge(base, &b, buf_str(&found));
    }
    scenario_close(&b);
    buf_fini(&found);
    return outcome;
}

static enum outcome flipped(const struct base *base, uint64_t seed)
{
    char dir[64];
    struct rand r;
    rand_seed(&r, seed);
    dir_make(dir);
    dir_copy(base->dir, dir);
    flip(dir, &r);
    enum outcome first = try_once(base, dir), second = first == SERVED ? SERVED : try_once(base, dir);
    scenario_remove(dir);
    return second == ALTERED ? ALTERED : first;
}

/* What both processes see. */
struct board {
    size_t next;
    size_t counts[OUTCOMES], died;
};

static void try_from(const struct base *base, struct board *board, size_t flips)
{
    while (board->next < flips) {
        enum outcome outcome = flipped(base, board->next);
        board->counts[outcome]++;
        if (outcome == ALTERED || outcome == SILENT || outcome == UNSAID)
            printf("flip %zu: %s\n", board->next, outcomes[outcome]);
        board->next++;
    }
    fflush(stdout);
    _exit(0);
}

static void try_all(const struct base *base, struct board *board, size_t flips)
{
    while (board->next < flips) {
        int status;
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0)
            try_from(base, board, flips);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        if (board->next == flips)
            break;
        printf("flip %zu: died, %d\n", board->next++, status);
        board->died++;
    }
}

START_TEST(D9_a_flipped_bit_never_alters_what_is_loaded)
{
    static struct base base;
    const char *wanted = getenv("FLIPS");
    size_t flips = wanted != NULL ? strtoul(wanted, NULL, 10) : 3000, sum = 0;
    struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                               -1, 0);
    ck_assert_ptr_ne(board, MAP_FAILED);
    base_make(&base);
    try_all(&base, board, flips);
    printf("%zu flips of a bit\n", flips);
    for (size_t i = 0; i < OUTCOMES; i++) {
        printf("%8zu  %s\n", board->counts[i], outcomes[i]);
        sum += board->counts[i];
    }
    printf("%8zu  died\n", board->died);
    ck_assert_uint_eq(sum, flips);
    ck_assert_uint_eq(board->counts[ALTERED], 0);
    ck_assert_uint_eq(board->counts[UNSAID], 0);
    ck_assert_uint_gt(board->counts[CUT], 0);
    ck_assert_uint_gt(board->counts[QUARANTINED], 0);
    ck_assert_uint_gt(board->counts[REFUSED] + board->counts[FAULTED], 0);
    munmap(board, sizeof(*board));
    base_fini(&base);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store/bit_flips");
    TCase *t = tcase_create("bit_flips");
    tcase_set_timeout(t, 3600);
    tcase_add_test(t, D9_a_flipped_bit_never_alters_what_is_loaded);
    suite_add_tcase(s, t);
    vfs_register();
    return run_suite(s);
}
