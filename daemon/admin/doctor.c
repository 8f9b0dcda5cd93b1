/* `doctor`: what a person should see to. Nothing here may block: what only the file system knows the tool asks itself. */
#include <sys/resource.h>

#include "admin/internal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "loop/timer.h"

#define PATIENCE_MS 5000
#define EXPIRES_SOON_MS (INT64_C(14) * 86400000)
#define OTHER_FILES 64 /* descriptors beside those of connections */

/* One command that waits for the far ends. */
struct examination {
    struct visitor *visitor;
    uint64_t id;
    json_t *findings;
    struct list patients; /* those that have not answered */
    struct timer *timer;
};

/* One endpoint that was asked. Outlives the examination where it answers late. */
struct patient {
    struct doctor doctor; /* first */
    struct examination *of; /* NULL = nobody waits any more */
    struct list_node link;
    char *endpoint;
};

static void add(json_t *findings, enum finding_level level, struct str where, const char *what, const char *advice)
{
    static const char *const levels[] = {"note", "warning", "error"};
    json_array_append_new(findings, json_pack("{s:s,s:o,s:o,s:o}", "level", levels[level], "where", json_of(where), "what",
                                              json_of(str_of(what)), "do", json_of(str_of(advice))));
}

/* ---------------------------------------------------------------- the daemon itself */

static void look_at_files(struct admin *a, json_t *findings)
{
    const struct limits_conf *limits = &a->env.ops->config(a->env.app)->limits;
    struct rlimit files = {0};
    struct buf what = BUF_EMPTY;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < limits->clients + OTHER_FILES) {
        buf_printf(&what, "limits.clients is %llu, but the process may have only %llu files open",
                   (unsigned long long)limits->clients, (unsigned long long)files.rlim_cur);
        add(findings, FINDING_WARNING, STR("limits.clients"), buf_cstr(&what),
            "raise LimitNOFILE= of the unit (or ulimit -n), or lower limits.clients");
    }
    buf_fini(&what);
}

static void look_at_local(struct admin *a, json_t *findings)
{
    const struct config *c = a->env.ops->config(a->env.app);
    if (c->services_open && (c->local.mode & 2) != 0)
        add(findings, FINDING_WARNING, STR("services"),
            "every user of this host may attach as any service: services are open and local.mode lets all of them in",
            "name the services with `users` or a `token`, or take the last digit of local.mode away");
    if ((c->admin.mode & 2) != 0)
        add(findings, FINDING_WARNING, STR("admin"), "every user of this host may drain the daemon and read dead letters: admin.mode lets all of them in",
            "take the last digit of admin.mode away, and give the socket a group");
    for (size_t i = 0; i < c->warnings.count; i++)
        add(findings, FINDING_WARNING, STR("configuration"), c->warnings.items[i], "see bellhop.yaml(5)");
}

static void look_at_store(struct admin *a, json_t *findings)
{
    struct store *st = hub_store(a->env.hub);
    struct store_stats s;
    if (st == NULL) {
        add(findings, FINDING_NOTE, STR("store"), "there is no store: dead letters and delays are lost at a restart",
            "add a section `store` to the configuration");
        return;
    }
    store_stats(st, &s);
    if (s.faulted)
        add(findings, FINDING_ERROR, STR("store"), "a commit has failed: nothing durable is accepted any more",
            "see the log and the disk, then restart the daemon");
    else if (s.full)
        add(findings, FINDING_WARNING, STR("store"), "the store is full: durable messages are refused",
            "raise store.max_size, or have the dead letters redriven or purged");
    if (s.totals.quarantined > 0)
        add(findings, FINDING_WARNING, STR("store"), "records have failed their checksum and are set aside",
            "check the disk; bellhop audit counts them");
    if (s.lost_commits > 0)
        add(findings, FINDING_ERROR, STR("store"), "commits that were acknowledged were lost with a damaged journal",
            "check the disk and restore what the senders still have");
}

static void look_at_messages(struct admin *a, json_t *findings)
{
    size_t dead = hub_dead_count(a->env.hub);
    struct buf what = BUF_EMPTY;
    if (hub_unaccounted(a->env.hub) != 0)
        add(findings, FINDING_ERROR, STR("messages"), "the counts do not add up", "bellhop audit, and report it");
    if (dead > 0) {
        buf_printf(&what, "%zu dead letter%s", dead, dead == 1 ? "" : "s");
        add(findings, FINDING_NOTE, STR("messages"), buf_cstr(&what), "bellhop dlq ls");
    }
    buf_fini(&what);
}

static void look_at_certificate(json_t *findings, const char *endpoint, int64_t expires_ms)
{
    int64_t left = expires_ms - clock_wall_ms();
    struct buf what = BUF_EMPTY;
    if (left < EXPIRES_SOON_MS) {
        buf_printf(&what, left < 0 ? "its certificate has expired" : "its certificate expires in %lld day%s",
                   (long long)(left / 86400000), left / 86400000 == 1 ? "" : "s");
        add(findings, left < 0 ? FINDING_ERROR : FINDING_WARNING, str_of(endpoint), buf_cstr(&what),
            "put a new one in its place; bellhop reads it at once");
    }
    buf_fini(&what);
}

static void look_at_endpoint(void *arg, const struct endpoint_conf *conf, const struct endpoint_status *s,
                             int64_t cert_expires_wall_ms)
{
    struct buf what = BUF_EMPTY;
    bool refused = strcmp(s->state, "refused") == 0;
    if (refused || strcmp(s->state, "down") == 0 || strcmp(s->state, "connecting") == 0) {
        buf_printf(&what, "%s: %s", s->state, s->error != NULL ? s->error : "no answer yet");
        add(arg, FINDING_ERROR, str_of(conf->name), buf_cstr(&what),
            refused ? "the far end will not have us: see to credentials, rights and names"
                    : "it is tried for as long as it takes; see to the far end and the way to it");
    }
    if (cert_expires_wall_ms > 0)
        look_at_certificate(arg, conf->name, cert_expires_wall_ms);
    buf_fini(&what);
}

/* ---------------------------------------------------------------- the far ends */

static void finish(struct examination *x)
{
    struct admin *a = x->visitor->admin;
    LIST_EACH(&x->patients, n) {
        struct patient *p = CONTAINER_OF(n, struct patient, link);
        list_remove(&x->patients, n);
        p->of = NULL;
        add(x->findings, FINDING_WARNING, str_of(p->endpoint), "it did not answer within 5 s", "try again; see its log");
    }
    a->examination = NULL;
    timer_free(x->timer);
    json_decref(x->findings);
    mem_free(x);
}

static void answer(struct examination *x)
{
    struct visitor *v = x->visitor;
    uint64_t id = x->id;
    json_t *findings = json_incref(x->findings);
    finish(x); /* adds those that were silent */
    json_t *reply = json_pack("{s:o}", "findings", findings);
    visitor_send(v, VERB_REP, id, reply);
    json_decref(reply);
}

static void on_timer(void *arg)
{
    answer(arg);
}

static void on_found(struct doctor *d, enum finding_level level, const char *what, const char *advice)
{
    struct patient *p = (struct patient *)d;
    if (p->of != NULL)
        add(p->of->findings, level, str_of(p->endpoint), what, advice);
}

static void on_done(struct doctor *d)
{
    struct patient *p = (struct patient *)d;
    struct examination *x = p->of;
    if (x != NULL) {
        list_remove(&x->patients, &p->link);
        if (list_empty(&x->patients))
            timer_after(x->timer, 0);
    }
    mem_free(p->endpoint);
    mem_free(p);
}

static struct doctor *ask(void *arg, const char *endpoint)
{
    struct examination *x = arg;
    struct patient *p = mem_zalloc(sizeof(*p));
    *p = (struct patient){.doctor = {.found = on_found, .done = on_done}, .of = x, .endpoint = mem_strdup(endpoint)};
    list_push(&x->patients, &p->link);
    return &p->doctor;
}

void doctor_cancel(struct visitor *v)
{
    struct examination *x = v->admin->examination;
    if (x != NULL && x->visitor == v)
        finish(x);
}

static json_t *run_doctor(struct admin *a, struct call *c)
{
    if (a->examination != NULL)
        return command_fail(c, CODE_UNAVAILABLE, "another examination is under way; try again when it has ended");
    struct examination *x = mem_zalloc(sizeof(*x));
    *x = (struct examination){.visitor = c->visitor, .id = c->id, .findings = json_array(),
                              .timer = timer_new(a->env.loop, on_timer, x)};
    list_init(&x->patients);
    a->examination = x;
    look_at_files(a, x->findings);
    look_at_local(a, x->findings);
    look_at_store(a, x->findings);
    look_at_messages(a, x->findings);
    a->env.ops->each_endpoint(a->env.app, look_at_endpoint, x->findings);
    a->env.ops->examine(a->env.app, ask, x);
    timer_after(x->timer, list_empty(&x->patients) ? 0 : PATIENCE_MS);
    return NULL;
}

const struct command command_doctor = {.name = "doctor", .run = run_doctor, .streams = true};
