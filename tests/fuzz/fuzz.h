#pragma once
/*
 * What every target shares. A target is libFuzzer's entry point and asserts what must hold for any
 * input; it is run by libFuzzer (`make fuzz`) and over its corpus by replay.c (`make check-fuzz`).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

__attribute__((noreturn, cold)) static inline void fuzz_broken(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

#define HOLDS(condition) ((condition) ? (void)0 : fuzz_broken(#condition, __FILE__, __LINE__))

/* Is a a slice of b (or absent)? */
static inline bool fuzz_inside(struct str a, struct str b)
{
    return a.p == NULL ||
           ((uintptr_t)a.p >= (uintptr_t)b.p && (uintptr_t)a.p + a.n <= (uintptr_t)b.p + b.n);
}
