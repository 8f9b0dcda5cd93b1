/* Entries of a log on their way through their routes again: a page of them in memory, no more. */
#include "base/mem.h"
#include "delivery/internal.h"
#include "delivery/log.h"
#include "msg/headers.h"

#define MARK "replayed: yes\n"
#define PROGRESS_MS 500
#define CATCH_UP_MS 100
#define FULL_PAUSE_MS 500

struct again { /* one that is to be sent */
    struct list_node link;
    struct msg *msg;
    char *route;
    uint64_t offset;
};

struct replay {
    struct list_node link; /* in hub->replays */
    struct hub *hub;
    struct replay_ask ask; /* service is owned */
    char *service;
    struct hub_log *log;
    struct log_reader *reader; /* NULL once it has ended */
    struct list pending;       /* struct again */
    struct waiter waiter;
    struct due due;
    struct replay_sum sum;
    char *skipped_route;       /* of the sum */
    int64_t since_ms;          /* `paced` were sent from here on */
    uint64_t paced;
    int64_t told_ms;
};

static void again_free(struct replay *r, struct again *a)
{
    list_remove(&r->pending, &a->link);
    msg_unref(a->msg);
    mem_free(a->route);
    mem_free(a);
}

static void replay_free(struct replay *r)
{
    waiter_cancel(&r->waiter);
    sched_clear(&r->hub->sched, &r->due);
    list_remove(&r->hub->replays, &r->link);
    while (!list_empty(&r->pending))
        again_free(r, CONTAINER_OF(list_first(&r->pending), struct again, link));
    mem_free(r->service);
    mem_free(r->skipped_route);
    mem_free(r);
}

void replays_free(struct hub *h)
{
    while (!list_empty(&h->replays))
        replay_free(CONTAINER_OF(list_first(&h->replays), struct replay, link));
}

static void soon(struct replay *r, int64_t span_ms)
{
    hub_schedule(r->hub, &r->due, span_ms, false);
}

/* ---------------------------------------------------------------- what is read */

static bool on_ready(void *arg)
{
    const struct replay *r = arg;
    return list_empty(&r->pending);
}

/* Of which log, and what stood there: for who gets it, and for bellhop why. The name is the configuration's: legal. */
static void put_marks(const struct replay *r, const struct store_entry *e, struct buf *headers)
{
    struct store_log_view v = {0};
    store_log_view(r->hub->store, r->log->number, &v);
    if (headers_get(e->headers, "replayed").p == NULL)
        buf_puts(headers, MARK);
    buf_printf(headers, MSG_REPLAYED_FROM ": %.*s@%llu\n", (int)v.name.n, v.name.p, (unsigned long long)e->offset);
}

static struct msg *message_of(struct replay *r, const struct store_entry *e)
{
    struct buf headers = BUF_EMPTY;
    put_marks(r, e, &headers);
    buf_str_put(&headers, e->headers);
    struct msg *m = msg_restore(&r->hub->factory, e->subject, buf_str(&headers), e->body);
    buf_fini(&headers);
    return m;
}

/* The route it took then, where that still is one of this log and has somewhere to send it. */
static struct route *route_of(struct replay *r, struct str name)
{
    struct route *route = route_named(r->hub->routes, name);
    if (route == NULL || route->log != r->log)
        return NULL;
    for (size_t i = 0; i < route->conf->to_count; i++) {
        if (r->service == NULL || strcmp(route->targets[i].dest->name, r->service) == 0)
            return route;
    }
    return NULL;
}

static void skip(struct replay *r, struct str route)
{
    if (r->sum.skipped++ > 0)
        return;
    r->skipped_route = str_dup(route);
    r->sum.skipped_route = r->skipped_route;
}

static void on_entry(void *arg, const struct store_entry *e)
{
    struct replay *r = arg;
    r->sum.offset = e->offset;
    if (route_of(r, e->route) == NULL) {
        skip(r, e->route);
        return;
    }
    if (r->ask.dry_run) {
        r->sum.count++;
        return;
    }
    struct again *a = mem_zalloc(sizeof(*a));
    a->msg = message_of(r, e);
    if (a->msg == NULL) { /* its headers are no block of ours */
        r->sum.damaged++;
        mem_free(a);
        return;
    }
    a->route = str_dup(e->route);
    a->offset = e->offset;
    if (list_empty(&r->pending))
        soon(r, 0);
    list_push(&r->pending, &a->link);
}

static void on_end(void *arg, const struct log_end *end)
{
    struct replay *r = arg;
    r->reader = NULL;
    r->sum.damaged += end->damaged;
    if (end->failed)
        r->sum.stopped = "the store could not be read";
    soon(r, 0);
}

/* ---------------------------------------------------------------- what is sent */

static void on_resume(void *arg)
{
    struct replay *r = arg;
    r->since_ms = hub_now(r->hub); /* what could not be sent meanwhile is not made up for */
    r->paced = 0;
    soon(r, 0);
}

/* ms until the next one may go. Of a delay no more than CATCH_UP_MS is made up for. */
static int64_t pause_ms(struct replay *r)
{
    if (r->ask.pause_us == 0)
        return 0;
    int64_t at = r->since_ms + (int64_t)r->paced * r->ask.pause_us / 1000, now = hub_now(r->hub);
    if (now - at > CATCH_UP_MS) {
        r->since_ms = now;
        r->paced = 0;
    }
    return at > now ? at - now : 0;
}

/* False: not now. */
static bool send_one(struct replay *r, struct again *a)
{
    struct route *route = route_of(r, str_of(a->route));
    enum code code = route != NULL ? hub_send_again(r->hub, route, a->msg, r->service, &r->waiter) : CODE_NO_ROUTE;
    if (code == CODE_OVERLOADED) /* nobody is there who would make room */
        soon(r, FULL_PAUSE_MS);
    if (code == CODE_BUSY || code == CODE_OVERLOADED)
        return false;
    r->paced++;
    r->sum.count += code == CODE_OK;
    if (code == CODE_NO_ROUTE)
        skip(r, str_of(a->route));
    r->sum.refused += code != CODE_OK && code != CODE_NO_ROUTE;
    again_free(r, a);
    return true;
}

static void finish(struct replay *r)
{
    struct replay_ask ask = r->ask;
    struct replay_sum sum = r->sum;
    char *skipped_route = r->skipped_route;
    r->skipped_route = NULL;
    if (r->reader != NULL)
        log_reader_cancel(r->reader);
    replay_free(r);
    ask.done(ask.arg, &sum);
    mem_free(skipped_route);
}

static void tell(struct replay *r)
{
    int64_t now = hub_now(r->hub);
    if (now - r->told_ms < PROGRESS_MS)
        return;
    r->told_ms = now;
    r->ask.progress(r->ask.arg, &r->sum);
}

static void send_pending(struct replay *r)
{
    LIST_EACH(&r->pending, n) {
        int64_t pause = pause_ms(r);
        if (pause > 0)
            soon(r, pause);
        if (pause > 0 || !send_one(r, CONTAINER_OF(n, struct again, link)))
            return;
    }
}

void replay_due(struct due *due)
{
    struct replay *r = CONTAINER_OF(due, struct replay, due);
    if (r->hub->draining)
        r->sum.stopped = "the daemon is shutting down";
    if (r->sum.stopped == NULL)
        send_pending(r);
    tell(r);
    if (r->sum.stopped != NULL || (r->reader == NULL && list_empty(&r->pending)))
        finish(r);
    else if (r->reader != NULL && list_empty(&r->pending))
        log_reader_resume(r->reader);
}

struct replay *hub_replay(struct hub *h, const struct replay_ask *ask)
{
    struct replay *r = mem_zalloc(sizeof(*r));
    struct log_ask read = ask->log;
    r->hub = h;
    r->ask = *ask;
    r->due.kind = DUE_REPLAY;
    r->waiter = (struct waiter){.resume = on_resume, .arg = r};
    list_init(&r->pending);
    r->since_ms = r->told_ms = hub_now(h);
    read.entry = on_entry;
    read.ready = on_ready;
    read.end = on_end;
    read.arg = r;
    read.follow = false;
    r->log = map_get(&h->logs, ask->log.name);
    r->reader = hub_log_read(h, &read);
    if (r->reader == NULL) {
        mem_free(r);
        return NULL;
    }
    r->service = ask->service.n > 0 ? str_dup(ask->service) : NULL;
    list_push(&h->replays, &r->link);
    return r;
}

void replay_cancel(struct replay *r)
{
    if (r->reader != NULL)
        log_reader_cancel(r->reader);
    replay_free(r);
}
