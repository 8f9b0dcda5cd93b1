/* Dead letters that go to another destination (policy: dead_letter.to): a message with a header `reason`, which
 * takes the place of the delivery that died. Where it dies too it is kept like any other. */
#include "base/clock.h"
#include "base/mem.h"
#include "delivery/internal.h"
#include "msg/headers.h"

#define ERROR_MAX 512 /* bytes of the error in the header */

/* As a part of a header's value. Nothing where it is not UTF-8. */
static void put_error(struct buf *out, const char *text)
{
    size_t n = text != NULL ? strnlen(text, ERROR_MAX) : 0, at = out->len;
    while (n > 0 && text[n] != '\0' && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--; /* not inside a character */
    for (size_t i = 0; i < n; i++)
        buf_putc(out, (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i]);
    while (out->len > at && buf_data(out)[out->len - 1] == ' ')
        out->len--;
    if (!str_utf8(str_make((const char *)buf_data(out) + at, out->len - at)))
        out->len = at;
}

static void put_reason(struct buf *out, const struct delivery *v, enum code reason)
{
    char when[32];
    buf_printf(out, "reason: %s; route=%s; destination=%s; attempts=%u; time=%s; error=", code_name(reason),
               delivery_route(v), v->dest->name, v->h.attempt,
               clock_rfc3339(v->dest->hub->env.wall(v->dest->hub->env.arg), when));
    put_error(out, v->last_error);
    buf_putc(out, '\n');
}

static struct msg *copy_of(struct delivery *v, enum code reason)
{
    const struct msg *m = v->h.msg;
    struct buf line = BUF_EMPTY;
    const char *what;
    put_reason(&line, v, reason);
    struct msg_input in = {.kind = MSG_EVENT, .subject = m->subject, .headers = m->headers, .lines = buf_str(&line),
                           .line_count = 1, .body = m->body, .source = m->source};
    struct msg *copy = msg_new(&v->dest->hub->factory, &in, &what);
    buf_fini(&line);
    if (copy != NULL)
        copy->ttl_ms = -1; /* for whoever sees to it: a broker must not let it expire */
    return copy;
}

static bool goes(struct delivery *c, uint64_t from)
{
    struct dest *d = c->dest;
    if (d->hub->store != NULL)
        return durable_move(c, from);
    if (dest_room(d, c->h.msg, MSG_EVENT, NULL) != CODE_OK || d->hub->memory > d->hub->limits.memory)
        return false;
    delivery_ready(c);
    return true;
}

bool dead_copy(struct delivery *v, enum code reason)
{
    const struct route_target *to = &v->route->dead_to;
    struct captures none = {.count = 0};
    if (to->dest == NULL || v->target == TARGET_DEAD)
        return false;
    struct msg *m = copy_of(v, reason);
    if (m == NULL)
        return false; /* no room for one more header: it is kept */
    struct plan p = {.dest = to->dest, .route = v->route, .to = to->conf, .target = TARGET_DEAD};
    struct delivery *c = delivery_new(v->dest->hub, m, MSG_EVENT, &p, &none);
    msg_unref(m);
    c->deadline_ms = SCHED_NEVER;
    if (goes(c, v->key))
        return true;
    delivery_discard(c);
    return false;
}
