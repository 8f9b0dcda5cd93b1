#include "app/schedules.h"

#include "base/clock.h"
#include "base/mem.h"
#include "loop/timer.h"
#include "msg/headers.h"

#define LOOK_MS 60000 /* the longest sleep */

struct schedules {
    struct hub *hub;
    struct log *log;
    struct timer *timer;
    const struct config *conf;
    struct phase *phases; /* of conf->schedules, one by one */
    bool stopped;
};

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

/* ---------------------------------------------------------------- one event */

static struct msg *make(struct intake *intake, const struct schedule_conf *conf, const char *time, const char **why)
{
    struct buf headers = BUF_EMPTY, id = BUF_EMPTY;
    buf_printf(&id, "%s@%s", conf->name, time);
    headers_put(&headers, "id", buf_str(&id));
    headers_put(&headers, "schedule", str_of(conf->name));
    headers_put(&headers, "time", str_of(time));
    struct msg_input in = {.kind = MSG_EVENT, .subject = str_of(conf->subject), .headers = buf_str(&headers),
                           .body = str_of(conf->body), .source = STR("local")};
    struct msg *m = msg_new(intake->factory, &in, why);
    buf_fini(&headers);
    buf_fini(&id);
    return m;
}

static void publish(struct schedules *s, const struct schedule_conf *conf, int64_t due)
{
    char time[32];
    const char *why = NULL;
    struct intake *intake = hub_intake(s->hub, "local", "local");
    struct msg *m = make(intake, conf, clock_rfc3339(due, time), &why);
    if (m != NULL) {
        enum code code = intake_accept(intake, m, NULL, NULL, NULL);
        why = code != CODE_OK ? code_name(code) : NULL;
    }
    log_write(s->log, why != NULL ? LOG_WARN : LOG_DEBUG, why != NULL ? "schedule_refused" : "schedule_published",
              "schedule", conf->name, "subject", conf->subject, "scheduled", time, "reason", why, NULL);
    msg_unref(m);
}

/* ---------------------------------------------------------------- all of them */

static void on_timer(void *arg)
{
    struct schedules *s = arg;
    int64_t wall = clock_wall_ms(), nearest = wall + LOOK_MS;
    for (size_t i = 0; i < s->conf->schedule_count; i++) {
        int64_t due = phase_look(&s->phases[i], &s->conf->schedules[i], wall);
        if (due >= 0)
            publish(s, &s->conf->schedules[i], due);
        if (s->phases[i].next < nearest)
            nearest = s->phases[i].next;
    }
    if (s->conf->schedule_count > 0)
        timer_after(s->timer, nearest - wall);
}

struct schedules *schedules_new(struct loop *l, struct hub *h, struct log *log)
{
    struct schedules *s = mem_zalloc(sizeof(*s));
    s->hub = h;
    s->log = log;
    s->timer = timer_new(l, on_timer, s);
    return s;
}

static struct phase phase_of(const struct schedules *s, const struct schedule_conf *conf)
{
    const struct schedule_conf *was = s->conf != NULL ? config_schedule(s->conf, conf->name) : NULL;
    return was != NULL && schedule_conf_equal(was, conf) ? s->phases[was - s->conf->schedules] : PHASE_NONE;
}

void schedules_use(struct schedules *s, const struct config *conf)
{
    struct phase *phases = mem_calloc(conf->schedule_count + 1, sizeof(*phases));
    for (size_t i = 0; i < conf->schedule_count; i++)
        phases[i] = phase_of(s, &conf->schedules[i]);
    mem_free(s->phases);
    s->phases = phases;
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

void schedules_free(struct schedules *s)
{
    if (s == NULL)
        return;
    timer_free(s->timer);
    mem_free(s->phases);
    mem_free(s);
}
