#include "app/schedules.h"

#include "base/clock.h"
#include "base/mem.h"
#include "loop/timer.h"
#include "msg/headers.h"

#define LOOK_MS 60000 /* the longest sleep */

#define PAUSE_MAX_MS 60000

struct entry { /* one schedule */
    struct phase phase;
    int64_t due;         /* the time that has to be published still, or -1 */
    unsigned refusals;   /* of that one */
    int64_t again_ms;    /* monotonic: when it is offered next */
    int64_t last, late_ms; /* the time that was accepted last, or -1, and how late that was */
    uint64_t published, refused, lost;
    struct pending *pending; /* it is on its way to disk; or NULL */
};

/* An event whose answer is still to come. It stays where it is while a reload moves the entries. */
struct pending {
    struct schedules *schedules;
    struct entry *entry;
    struct receipt *receipt;
};

struct schedules {
    struct loop *loop;
    struct hub *hub;
    struct log *log;
    struct timer *timer;
    const struct config *conf;
    struct entry *entries; /* of conf->schedules, one by one */
    bool stopped;
};

static void on_timer(void *arg);

int64_t phase_look(struct phase *p, const struct schedule_conf *conf, int64_t wall_ms)
{
    int64_t due = p->next <= wall_ms ? p->next : -1;
    if (due >= 0)
        p->last = due;
    p->next = schedule_next(conf, wall_ms);
    if (p->next == p->last) /* the clock went back a little: that one is done */
        p->next = schedule_next(conf, p->last);
    return due;
}

static struct msg *make(struct intake *intake, const struct schedule_conf *conf, const char *time, const char **why)
{
    struct buf headers = BUF_EMPTY, id = BUF_EMPTY;
    buf_printf(&id, "%s@%s", conf->name, time);
    headers_put(&headers, "id", buf_str(&id));
    headers_put(&headers, "schedule", str_of(conf->name));
    headers_put(&headers, "time", str_of(time));
    buf_str_put(&headers, str_of(conf->headers));
    struct msg_input in = {.kind = MSG_EVENT, .subject = str_of(conf->subject), .headers = buf_str(&headers),
                           .body = str_of(conf->body), .source = STR("local")};
    struct msg *m = msg_new(intake->factory, &in, why);
    buf_fini(&headers);
    buf_fini(&id);
    return m;
}

int64_t schedule_pause_ms(unsigned refusals)
{
    int64_t pause = 1000;
    while (--refusals > 0 && pause < PAUSE_MAX_MS)
        pause *= 2;
    return pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
}

static void tell(struct schedules *s, const struct entry *e, const char *event, const char *reason)
{
    char time[32];
    const struct schedule_conf *conf = &s->conf->schedules[e - s->entries];
    bool quiet = reason == NULL || (e->refusals > 1 && strcmp(event, "schedule_refused") == 0);
    log_write(s->log, quiet ? LOG_DEBUG : LOG_WARN, event, "schedule", conf->name, "subject", conf->subject, "scheduled",
              clock_rfc3339(e->due, time), "reason", reason, NULL);
}

static void accepted(struct schedules *s, struct entry *e)
{
    tell(s, e, "schedule_published", NULL);
    e->published++;
    e->last = e->due;
    e->late_ms = clock_wall_ms() - e->due;
    e->late_ms = e->late_ms > 0 ? e->late_ms : 0; /* the clock went back meanwhile */
    e->due = -1;
    e->refusals = 0;
}

static void refused(struct schedules *s, struct entry *e, const char *reason)
{
    e->refused++;
    e->refusals++;
    tell(s, e, "schedule_refused", reason);
    e->again_ms = loop_now(s->loop) + schedule_pause_ms(e->refusals);
}

/* What was refused until the next one was due. */
static void give_up(struct schedules *s, struct entry *e)
{
    bool on_its_way = e->pending != NULL; /* to disk: it is the one after it that is lost */
    tell(s, e, "schedule_lost", on_its_way ? "the disk has not taken it until the next time was due"
                                           : "refused until the next time was due");
    e->lost++;
    e->refusals = 0;
}

/* ---------------------------------------------------------------- one event */

/* A durable one is accepted when it is on disk. */
static void on_stored(void *ctx, uint64_t token, const struct reply *reply)
{
    struct pending *p = ctx;
    struct schedules *s = p->schedules;
    struct entry *e = p->entry;
    (void)token;
    e->pending = NULL;
    mem_free(p);
    if (e->due < 0)
        return;
    if (reply->code == CODE_OK)
        accepted(s, e);
    else
        refused(s, e, code_name(reply->code));
    if (!s->stopped)
        timer_after(s->timer, 0);
}

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *w)
{
    (void)ctx;
    (void)token;
    (void)item;
    (void)w;
    return true;
}

/* Is it taken by a durable route? Only then there is an answer that says so soon. */
static bool is_durable(struct hub *h, const char *subject)
{
    struct route_view route;
    struct captures c;
    return hub_store(h) != NULL && hub_explain(h, "local", str_of(subject), &route, &c) && route.durable;
}

static void offer(struct schedules *s, struct entry *e)
{
    static const struct asker_ops ops = {.more = on_more, .done = on_stored};
    const struct schedule_conf *conf = &s->conf->schedules[e - s->entries];
    struct receipt *receipt = NULL;
    struct pending *p = is_durable(s->hub, conf->subject) ? mem_zalloc(sizeof(*p)) : NULL;
    struct asker asker = {.ops = &ops, .ctx = p};
    struct intake *intake = hub_intake(s->hub, "local", "local");
    char time[32];
    const char *why = NULL;
    enum code code = CODE_INVALID;
    struct msg *m = make(intake, conf, clock_rfc3339(e->due, time), &why);
    if (m != NULL)
        code = intake_accept(intake, m, p != NULL ? &asker : NULL, NULL, p != NULL ? &receipt : NULL);
    if (code != CODE_OK)
        refused(s, e, why != NULL ? why : code_name(code));
    else if (receipt == NULL)
        accepted(s, e);
    msg_unref(m);
    if (receipt == NULL) {
        mem_free(p);
        return;
    }
    *p = (struct pending){s, e, receipt};
    e->pending = p;
}

/* ---------------------------------------------------------------- all of them */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Returns how long it may sleep. */
static int64_t look(struct schedules *s, struct entry *e, int64_t wall)
{
    int64_t due = phase_look(&e->phase, &s->conf->schedules[e - s->entries], wall);
    if (due >= 0 && e->due >= 0)
        give_up(s, e);
    if (due >= 0 && e->pending == NULL) {
        e->due = due;
        e->again_ms = loop_now(s->loop);
    }
    if (e->due >= 0 && e->pending == NULL && e->again_ms <= loop_now(s->loop))
        offer(s, e);
    int64_t again = e->due >= 0 && e->pending == NULL ? e->again_ms - loop_now(s->loop) : LOOK_MS;
    return earlier(e->phase.next - wall, again > 0 ? again : 0);
}

static void on_timer(void *arg)
{
    struct schedules *s = arg;
    int64_t wall = clock_wall_ms(), sleep = LOOK_MS;
    for (size_t i = 0; i < s->conf->schedule_count; i++)
        sleep = earlier(sleep, look(s, &s->entries[i], wall));
    if (s->conf->schedule_count > 0)
        timer_after(s->timer, sleep);
}

struct schedules *schedules_new(struct loop *l, struct hub *h, struct log *log)
{
    struct schedules *s = mem_zalloc(sizeof(*s));
    s->loop = l;
    s->hub = h;
    s->log = log;
    s->timer = timer_new(l, on_timer, s);
    return s;
}

/* Of schedules that are no more: what becomes of their event is nobody's now. */
static void forget_pending(struct schedules *s)
{
    for (size_t i = 0; s->conf != NULL && i < s->conf->schedule_count; i++) {
        struct pending *p = s->entries[i].pending;
        if (p == NULL)
            continue;
        hub_intake(s->hub, "local", "local")->ops->withdraw(p->receipt);
        mem_free(p);
    }
}

/* Where it is one of those that were there, it goes on. */
static void begin(struct schedules *s, const struct schedule_conf *conf, struct entry *e)
{
    const struct schedule_conf *was = s->conf != NULL ? config_schedule(s->conf, conf->name) : NULL;
    *e = (struct entry){.phase = PHASE_NONE, .due = -1, .last = -1};
    if (was == NULL || !schedule_conf_equal(was, conf))
        return;
    struct entry *old = &s->entries[was - s->conf->schedules];
    *e = *old;
    old->pending = NULL;
    if (e->pending != NULL)
        e->pending->entry = e;
}

void schedules_use(struct schedules *s, const struct config *conf)
{
    struct entry *entries = mem_calloc(conf->schedule_count + 1, sizeof(*entries));
    for (size_t i = 0; i < conf->schedule_count; i++)
        begin(s, &conf->schedules[i], &entries[i]);
    forget_pending(s);
    mem_free(s->entries);
    s->entries = entries;
    s->conf = conf;
    timer_stop(s->timer);
    if (!s->stopped && conf->schedule_count > 0)
        timer_after(s->timer, 0);
}

void schedules_stop(struct schedules *s)
{
    s->stopped = true;
    timer_stop(s->timer);
}

void schedules_each(const struct schedules *s, void (*fn)(void *arg, const struct schedule_status *status), void *arg)
{
    for (size_t i = 0; s->conf != NULL && i < s->conf->schedule_count; i++) {
        const struct entry *e = &s->entries[i];
        fn(arg, &(struct schedule_status){
            .name = s->conf->schedules[i].name, .subject = s->conf->schedules[i].subject,
            .next_wall_ms = s->stopped || e->phase.next == INT64_MAX ? -1 : e->phase.next, .last_wall_ms = e->last,
            .late_ms = e->late_ms, .published = e->published, .refused = e->refused, .lost = e->lost,
            .retrying = e->due >= 0});
    }
}

void schedules_free(struct schedules *s)
{
    if (s == NULL)
        return;
    forget_pending(s);
    timer_free(s->timer);
    mem_free(s->entries);
    mem_free(s);
}
