#pragma once
/* The two clocks. Everything inside the process runs on the monotonic one. */
#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_wall_ms(void); /* since 1970; only for ids, logs and what people read */

/* RFC 3339, UTC, milliseconds: "2026-11-22T10:00:00.123Z" (24 characters and a NUL). Returns out. */
const char *clock_rfc3339(int64_t wall_ms, char out[static 32]);
