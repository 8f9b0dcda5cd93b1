#pragma once
/* Named moments at which the crash tests (tests/crash) end the process; the steps between them are what has to survive. */

/* Does nothing. tests/crash/fault.c is another implementation, which is linked into a daemon of its own. */
void fault_point(const char *name);
