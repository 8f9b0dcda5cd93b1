/*
 * fault_point() as the crash tests have it: BELLHOP_FAULT=name@count kills the process, as kill -9 does, when it
 * passes that point for the count-th time. Linked in place of daemon/base/fault.c.
 */
#include "base/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

void fault_point(const char *name)
{
    static unsigned long passed; /* of the one point that is named; from two threads where it lies in both */
    const char *want = getenv("BELLHOP_FAULT");
    size_t n = strlen(name);
    if (want == NULL || strncmp(want, name, n) != 0 || want[n] != '@')
        return;
    if (__atomic_add_fetch(&passed, 1, __ATOMIC_RELAXED) == strtoul(want + n + 1, NULL, 10))
        raise(SIGKILL);
}
