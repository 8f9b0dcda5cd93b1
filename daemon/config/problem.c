#include <stdarg.h>
#include <stdlib.h>

#include "base/mem.h"
#include "config/node.h"

bool problem_add(struct problems *p, struct place place, const char *fmt, ...)
{
    struct buf text = BUF_EMPTY;
    va_list args;
    p->total++;
    if (p->count == PROBLEMS_MAX)
        return false;
    if (p->count == p->cap) {
        p->cap = p->cap > 0 ? p->cap * 2 : 8;
        p->items = mem_realloc(p->items, p->cap * sizeof(*p->items));
    }
    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    p->items[p->count] = (struct problem){place, p->count, buf_steal(&text)};
    p->count++;
    return false;
}

static int problem_order(const void *left, const void *right)
{
    const struct problem *a = left, *b = right;
    if (a->place.line != b->place.line)
        return a->place.line < b->place.line ? -1 : 1;
    if (a->place.column != b->place.column)
        return a->place.column < b->place.column ? -1 : 1;
    return a->number < b->number ? -1 : 1;
}

void problems_sort(struct problems *p)
{
    if (p->count > 1)
        qsort(p->items, p->count, sizeof(*p->items), problem_order);
}

void problem_format(const struct problems *p, size_t i, struct buf *out)
{
    const struct problem *item = &p->items[i];
    buf_puts(out, p->file);
    if (item->place.line > 0)
        buf_printf(out, ":%u:%u", item->place.line, item->place.column);
    buf_printf(out, ": %s", item->text);
}

void problems_fini(struct problems *p)
{
    for (size_t i = 0; i < p->count; i++)
        mem_free(p->items[i].text);
    mem_free(p->items);
    p->items = NULL;
    p->count = p->cap = p->total = 0;
}
