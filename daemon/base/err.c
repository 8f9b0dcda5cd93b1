#include "base/err.h"

#include <stdarg.h>

#include "base/buf.h"
#include "base/mem.h"

bool err_add(struct err *e, const char *fmt, ...)
{
    struct buf text = BUF_EMPTY;
    va_list args;
    e->total++;
    if (e->count == ERR_MAX)
        return false;
    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    e->texts = mem_realloc(e->texts, (e->count + 1) * sizeof(*e->texts));
    e->texts[e->count++] = buf_steal(&text);
    return false;
}

char *err_text(const struct err *e)
{
    struct buf all = BUF_EMPTY;
    for (size_t i = 0; i < e->count; i++)
        buf_printf(&all, "%s\n", e->texts[i]);
    if (e->total > e->count)
        buf_printf(&all, "(and %zu more)\n", e->total - e->count);
    return buf_steal(&all);
}

void err_fini(struct err *e)
{
    for (size_t i = 0; i < e->count; i++)
        mem_free(e->texts[i]);
    mem_free(e->texts);
    *e = (struct err){0};
}
