#pragma once
/*
 * A seeded generator (xoshiro256++) for ids, jitter and load sharing. Not for keys. One owner
 * each; the simulator seeds it with a number, the daemon from the kernel.
 */
#include <stdint.h>

struct rand {
    uint64_t s[4];
};

void rand_seed(struct rand *r, uint64_t seed);
void rand_seed_os(struct rand *r);
uint64_t rand_below(struct rand *r, uint64_t bound); /* 0 … bound-1; bound > 0 */

static inline uint64_t rand_u64(struct rand *r)
{
    uint64_t *s = r->s, t = s[1] << 17, sum = s[0] + s[3];
    uint64_t out = ((sum << 23) | (sum >> 41)) + s[0];
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return out;
}
