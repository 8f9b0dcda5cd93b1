#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

void mem_fail(void)
{
    fputs("bellhop: out of memory\n", stderr);
    _Exit(EX_OSERR);
}

static void *mem_must(void *p)
{
    if (p == NULL)
        mem_fail();
    return p;
}

void *mem_alloc(size_t size)
{
    return mem_must(malloc(size > 0 ? size : 1));
}

void *mem_zalloc(size_t size)
{
    return mem_must(calloc(1, size > 0 ? size : 1));
}

void *mem_calloc(size_t n, size_t size)
{
    return mem_must(calloc(n > 0 ? n : 1, size > 0 ? size : 1));
}

void *mem_realloc(void *p, size_t size)
{
    return mem_must(realloc(p, size > 0 ? size : 1));
}

char *mem_strdup(const char *s)
{
    return mem_must(strdup(s));
}

char *mem_strndup(const char *s, size_t n)
{
    char *copy = mem_alloc(n + 1);
    if (n > 0)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

void mem_free(void *p)
{
    free(p);
}
