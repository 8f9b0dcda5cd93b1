#pragma once
/*
 * Memory that is always there: every function exits the process (status 71, one line on stderr)
 * when the system has none left, so that no caller checks. Sizes that come from a peer are
 * bounded by the caller before they get here.
 */
#include <stddef.h>

void *mem_alloc(size_t size);               /* uninitialised; the caller's, mem_free() */
void *mem_zalloc(size_t size);              /* zeroed */
void *mem_calloc(size_t n, size_t size);    /* zeroed array; n * size is checked for overflow */
void *mem_realloc(void *p, size_t size);    /* p may be NULL */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n); /* copies exactly n bytes and adds a NUL */
void mem_free(void *p);                     /* NULL is legal */
