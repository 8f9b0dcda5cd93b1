/* What a server forgets although it has said yes. */
#include "base/mem.h"
#include "transport/redis/internal.h"

enum setting { APPENDONLY, APPENDFSYNC, EVICTION, SETTINGS };

static const struct {
    const char *name;
    const char *good;  /* the value that keeps the promise, */
    const char *good2; /* or this one */
    const char *what, *advice;
} settings[SETTINGS] = {
    [APPENDONLY] = {"appendonly", "yes", NULL, "appendonly is off: a restart forgets entries of streams, acknowledged or not",
                    "CONFIG SET appendonly yes, and in redis.conf"},
    [APPENDFSYNC] = {"appendfsync", "always", NULL,
                     "appendfsync is not `always`: up to a second of entries is lost when the host fails",
                     "CONFIG SET appendfsync always, and in redis.conf; or live with it"},
    [EVICTION] = {"maxmemory-policy", "noeviction", "volatile-",
                  "maxmemory-policy may evict streams: entries are lost when memory is short",
                  "CONFIG SET maxmemory-policy noeviction, and in redis.conf"},
};

static void found(struct endpoint *e, enum finding_level level, const char *what, const char *advice)
{
    if (e->doctor != NULL)
        e->doctor->found(e->doctor, level, what, advice);
}

void doctor_end(struct endpoint *e)
{
    struct doctor *d = e->doctor;
    e->doctor = NULL;
    if (d != NULL)
        d->done(d);
}

/* Without streams nothing is promised that could be lost: worth knowing only. */
static void judge(struct endpoint *e, enum setting s, struct str value)
{
    bool good = str_is(value, settings[s].good) ||
                (settings[s].good2 != NULL && str_starts(value, str_of(settings[s].good2)));
    if (!good)
        found(e, e->reader_count > 0 ? FINDING_WARNING : FINDING_NOTE, settings[s].what, settings[s].advice);
}

/* CONFIG GET: [name, value], or nothing where the server does not know it. */
static void on_setting(void *arg, uint64_t token, const struct resp *reply)
{
    struct endpoint *e = arg;
    enum setting s = (enum setting)(token % SETTINGS);
    if (token / SETTINGS != e->doctor_number)
        return; /* of an earlier one, which has been given up */
    if (reply != NULL && reply->type == RESP_ARRAY && reply->count == 2)
        judge(e, s, reply->items[1].text);
    else if (reply != NULL && reply->type == RESP_ERROR && s == 0)
        found(e, FINDING_NOTE, "its settings cannot be read: CONFIG GET is denied",
              "let the user run it (ACL SETUSER NAME +config|get), or see to appendonly, appendfsync and maxmemory-policy yourself");
    if (reply == NULL || s == SETTINGS - 1)
        doctor_end(e);
}

void redis_doctor(struct endpoint *e, struct doctor *d)
{
    doctor_end(e);
    e->doctor = d;
    e->doctor_number++;
    for (unsigned s = 0; s < SETTINGS; s++) {
        struct buf *out = conn_call(e->commands, on_setting, e->doctor_number * SETTINGS + s, 3);
        resp_arg(out, STR("CONFIG"));
        resp_arg(out, STR("GET"));
        resp_arg(out, str_of(settings[s].name));
    }
}
