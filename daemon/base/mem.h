#pragma once
/*
 * Memory that is always there: every function exits the process (status 71, one line on stderr)
 * when the system has none left, so that no caller checks. Sizes that come from a peer are
 * bounded by the caller before they get here.
 */
#include <sanitizer/asan_interface.h>
#include <stddef.h>

#define MEM_NEVER_NULL __attribute__((returns_nonnull))

MEM_NEVER_NULL void *mem_alloc(size_t size); /* uninitialised; the caller's, mem_free() */
MEM_NEVER_NULL void *mem_zalloc(size_t size);              /* zeroed */
MEM_NEVER_NULL void *mem_calloc(size_t n, size_t size);    /* zeroed array; n * size is checked for overflow */
MEM_NEVER_NULL void *mem_realloc(void *p, size_t size);    /* p may be NULL */
MEM_NEVER_NULL char *mem_strdup(const char *s);
MEM_NEVER_NULL char *mem_strndup(const char *s, size_t n); /* copies exactly n bytes and adds a NUL */
void mem_free(void *p);                     /* NULL is legal */
__attribute__((noreturn)) void mem_fail(void); /* that exit, where a library tells of it */

/* For those who keep memory for its next use: sanitized builds report whoever touches these bytes until
 * they are unpoisoned; elsewhere nothing happens. Poisoned memory may be freed. */
#define mem_poison(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define mem_unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
