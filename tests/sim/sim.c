/* Runs the worlds: sim [--seeds N] [--seed FIRST] [--verbose]. Exit 1 names the seed that broke. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "world.h"

#define TWICE 500 /* of the seeds are run twice: the trace has to be the same */

struct totals {
    uint64_t seen[SIGHTS], simulated_ms, failed;
};

static void one(uint64_t seed, bool verbose, bool twice, struct totals *t)
{
    struct outcome_of_run first, second;
    world_run(seed, verbose, &first);
    if (first.broken == NULL && twice) {
        world_run(seed, false, &second);
        if (first.trace != second.trace)
            first.broken = "the same seed gave another trace";
    }
    if (first.broken != NULL) {
        printf("seed %" PRIu64 ": %s\n", seed, first.broken);
        t->failed++;
    }
    for (int i = 0; i < SIGHTS; i++)
        t->seen[i] += first.seen[i];
    t->simulated_ms += first.simulated_ms;
}

static uint64_t never_seen(const struct totals *t, uint64_t seeds)
{
    uint64_t missing = 0;
    for (int i = 0; i < SIGHTS && seeds >= 10000; i++) {
        if (t->seen[i] > 0)
            continue;
        printf("never happened in %" PRIu64 " seeds: %s\n", seeds, sight_names[i]);
        missing++;
    }
    return missing;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"seeds", required_argument, NULL, 'n'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    uint64_t seeds = 1, first = 1;
    bool verbose = false;
    int c;
    while ((c = getopt_long(argc, argv, "n:s:v", longs, NULL)) != -1) {
        if (c == 'n')
            seeds = strtoull(optarg, NULL, 10);
        else if (c == 's')
            first = strtoull(optarg, NULL, 10);
        else if (c == 'v')
            verbose = true;
        else
            return 2;
    }
    struct totals t = {0};
    int64_t start = clock_mono_ms();
    for (uint64_t i = 0; i < seeds && t.failed < 10; i++)
        one(first + i, verbose, i < TWICE, &t);
    uint64_t missing = never_seen(&t, seeds);
    int64_t took = clock_mono_ms() - start;
    printf("%" PRIu64 " seeds, %" PRIu64 " s simulated in %.1f s\n", seeds, t.simulated_ms / 1000,
           (double)took / 1000);
    for (int i = 0; i < SIGHTS; i++)
        printf("%s %" PRIu64 "%s", sight_names[i], t.seen[i], i + 1 < SIGHTS ? ", " : "\n");
    printf("sim: %" PRIu64 " passed, %" PRIu64 " failed\n", seeds - t.failed, t.failed + missing);
    return t.failed + missing > 0;
}
