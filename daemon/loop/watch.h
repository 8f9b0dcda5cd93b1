#pragma once
/* Tells when files have changed (inotify on their folders, so that rename and symlink swaps count). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"

struct watch;

/* fn runs about 200 ms after the last change of any of the paths (copied). Folders that do not
 * exist are left out. */
struct watch *watch_new(struct loop *l, const char *const *paths, size_t count, loop_fn *fn, void *arg);
/* Stands for the versions of these files, as the watch tells them apart: other ones have another number, nearly always. For
 * whoever reads them before a watch is there. On any thread. */
uint64_t watch_print(const char *const *paths, size_t count);
bool watch_is_of(const struct watch *w, const char *const *paths, size_t count); /* of these, in this order */
/* Frees it but for its descriptor, which is the caller's to close, or -1: that takes the kernel longer than a turn may be. */
int watch_end(struct watch *w);
void watch_free(struct watch *w); /* NULL is legal */
