/*
 * Crash attribution: what a process held when it died is suspect, and is handed over alone from then on. What it died of with
 * nothing else in hand is counted, and the count is stored. The rest stands in the last error, in words.
 */
#include "base/mem.h"
#include "delivery/internal.h"

#define SOLE "unavailable: crashed its service "
#define SHARED "unavailable: its service crashed with this and more in hand"
#define PIDS_MAX 100 /* bytes of process ids that are told */
/* A suspect waits for empty hands, and its queue behind it: as long as what is in hand may take, which is its time-out. What
 * takes longer (WAIT, a stream) may take for ever: then the others go past it, and in the end it goes beside them. */
#define HOLD_MAX_MS 10000
#define PASSED_MAX_MS 30000

static void add_pid(struct delivery *v, int pid)
{
    struct buf pids = BUF_EMPTY;
    if (v->crash_pids != NULL && strlen(v->crash_pids) > PIDS_MAX)
        return;
    buf_puts(&pids, v->crash_pids != NULL ? v->crash_pids : "");
    buf_printf(&pids, "%s%d", pids.len > 0 ? ", " : "", pid);
    mem_free(v->crash_pids);
    v->crash_pids = buf_steal(&pids);
}

static void set_error(struct delivery *v, struct buf *text)
{
    mem_free(v->last_error);
    v->last_error = buf_steal(text);
    if (v->first_error == NULL)
        v->first_error = mem_strdup(v->last_error);
}

void poison_note(struct delivery *v, const struct settlement *s)
{
    struct buf text = BUF_EMPTY;
    v->h.alone = v->route->policy->crashes > 0;
    if (s->crash == CRASH_SOLE) {
        v->crashes++;
        add_pid(v, s->pid);
        buf_printf(&text, SOLE "%u time%s (pid %s)", v->crashes, v->crashes == 1 ? "" : "s", v->crash_pids);
    } else {
        buf_printf(&text, SHARED " (pid %d)", s->pid);
    }
    set_error(v, &text);
}

bool poison_is(const struct delivery *v)
{
    uint64_t most = v->route->policy->crashes;
    return most > 0 && v->crashes >= most;
}

static int64_t hold_ms(const struct delivery *v)
{
    int64_t span = v->route->policy->timeout_ms;
    return span < HOLD_MAX_MS ? span : HOLD_MAX_MS;
}

bool poison_holds_up(struct delivery *v, int64_t now)
{
    struct dest *d = v->dest;
    if (d->suspect_number != v->number) {
        d->suspect_number = v->number;
        d->suspect_since_ms = now;
    }
    int64_t waited = now - d->suspect_since_ms, hold = hold_ms(v);
    bool holds = waited < hold;
    hub_schedule(d->hub, &d->suspect, (holds ? hold : hold + PASSED_MAX_MS) - waited, false);
    return holds;
}

void poison_wait_ends(struct delivery *v, int64_t now)
{
    struct dest *d = v->dest;
    if (!v->h.alone || d->suspect_number != v->number || now - d->suspect_since_ms < hold_ms(v) + PASSED_MAX_MS)
        return;
    v->h.alone = false;
    msg_log(d->hub->env.log, LOG_WARN, "suspect_not_alone", v->h.msg,
            (struct log_pair[4]){{"destination", d->name}, {"route", delivery_route(v)}});
}

void poison_restore(struct delivery *v)
{
    struct str error = str_of(v->last_error), count;
    uint64_t crashes;
    if (str_starts(error, STR(SHARED)))
        v->h.alone = v->route->policy->crashes > 0;
    if (!str_starts(error, STR(SOLE)))
        return;
    error = str_make(error.p + sizeof(SOLE) - 1, error.n - (sizeof(SOLE) - 1));
    count = str_cut(&error, ' ');
    str_cut(&error, '('); /* "times " */
    if (!str_parse_u64(count, &crashes) || crashes > UINT16_MAX || !str_starts(error, STR("pid ")))
        return;
    if (v->crashes == 0)
        v->crashes = (unsigned)crashes; /* stored when that was the only place */
    v->h.alone = v->route->policy->crashes > 0;
    error = str_make(error.p + 4, error.n - 4);
    v->crash_pids = str_dup(str_cut(&error, ')'));
}
