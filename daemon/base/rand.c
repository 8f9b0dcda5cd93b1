#include "base/rand.h"

#include <sys/random.h>

void rand_seed(struct rand *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) { /* splitmix64, as the authors of xoshiro advise */
        uint64_t z = (seed += UINT64_C(0x9E3779B97F4A7C15));
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        r->s[i] = z ^ (z >> 31);
    }
}

void rand_seed_os(struct rand *r)
{
    rand_seed(r, 1);
    (void)!getrandom(r->s, sizeof(r->s), 0);
    r->s[0] |= 1; /* the all-zero state would stay zero */
}

uint64_t rand_below(struct rand *r, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)rand_u64(r) * bound) >> 64);
}
