#pragma once
/* Tells when files have changed (inotify on their folders, so that rename and symlink swaps count). */
#include <stddef.h>

#include "loop/loop.h"

struct watch;

/* fn runs about 200 ms after the last change of any of the paths (copied). Folders that do not
 * exist are left out. */
struct watch *watch_new(struct loop *l, const char *const *paths, size_t count, loop_fn *fn, void *arg);
void watch_free(struct watch *w); /* NULL is legal */
