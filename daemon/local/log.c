/* REQ `$log/NAME`: a service reads an event log, as a streamed reply. Pages are read while the client takes them. */
#include "base/clock.h"
#include "base/mem.h"
#include "delivery/log.h"
#include "local/internal.h"
#include "msg/headers.h"

#define READS_MAX 8 /* per session: each may have a page on its way */
#define LINES_BYTES 160

struct log_read {
    struct list_node link; /* in session->log_reads */
    struct session *session;
    uint64_t id;
    struct log_reader *reader;
};

static void read_free(struct log_read *r)
{
    list_remove(&r->session->log_reads, &r->link);
    mem_free(r);
}

static struct log_read *read_by_id(const struct session *s, uint64_t id)
{
    LIST_EACH(&s->log_reads, n) {
        struct log_read *r = CONTAINER_OF(n, struct log_read, link);
        if (r->id == id)
            return r;
    }
    return NULL;
}

bool log_reading(const struct session *s, uint64_t id)
{
    return read_by_id(s, id) != NULL;
}

/* ---------------------------------------------------------------- what is read */

static size_t entry_lines(const struct store_entry *e, char out[static LINES_BYTES])
{
    char when[32], *at = bytes_copy(out, "offset: ", 8);
    at = bytes_u64(at, e->offset);
    if (e->version > 0) {
        at = bytes_copy(at, "\nversion: ", 10);
        at = bytes_u64(at, e->version);
    }
    at = bytes_copy(at, "\nlog-time: ", 11);
    at = bytes_str(at, str_of(clock_rfc3339(e->time_ms, when)));
    *at++ = '\n';
    return (size_t)(at - out);
}

static void on_entry(void *arg, const struct store_entry *e)
{
    const struct log_read *r = arg;
    struct session *s = r->session;
    char lines[LINES_BYTES];
    size_t extra = entry_lines(e, lines);
    struct buf *out = stream_out(s->stream);
    frame_head(out, &(struct frame_line){.verb = VERB_MORE, .id = r->id, .headers = extra + e->headers.n,
                                         .body = e->body.n, .subject = e->subject});
    buf_put(out, lines, extra);
    buf_str_put(out, e->headers);
    buf_str_put(out, e->body);
    s->full = stream_pending(s->stream) > SESSION_HIGH;
}

static bool on_ready(void *arg)
{
    return !((const struct log_read *)arg)->session->full;
}

static void on_end(void *arg, const struct log_end *end)
{
    struct log_read *r = arg;
    struct session *s = r->session;
    uint64_t id = r->id;
    struct buf headers = BUF_EMPTY;
    read_free(r);
    buf_printf(&headers, end->damaged > 0 ? "next: %llu\ndamaged: %llu\n" : "next: %llu\n",
               (unsigned long long)end->next, (unsigned long long)end->damaged);
    if (end->failed)
        session_error(s, id, CODE_UNAVAILABLE, "the store could not be read");
    else
        session_answer(s, VERB_REP, id, &(struct reply){.headers = buf_str(&headers)});
    buf_fini(&headers);
}

/* ---------------------------------------------------------------- what is asked for */

static bool may_read(const struct session *s, struct str subject)
{
    const struct service_conf *conf = s->member.service->conf;
    if (conf == NULL || !conf->has_subscribe)
        return true;
    for (size_t i = 0; i < conf->subscribe.count; i++) {
        if (filter_matches(str_of(conf->subscribe.items[i]), subject, NULL))
            return true;
    }
    return false;
}

static const char *parse(struct session *s, struct str headers, struct log_ask *ask)
{
    struct str from = headers_get(headers, "from"), limit = headers_get(headers, "limit");
    struct str follow = headers_get(headers, "follow");
    const char *why;
    ask->key = headers_get(headers, "key");
    ask->match = headers_get(headers, "match");
    ask->follow = str_is(follow, "yes");
    if (from.p != NULL && !log_place_parse(s->server->env.hub, from, &ask->from))
        return "header `from` has to be " LOG_PLACES;
    if (limit.p != NULL && (!str_parse_u64(limit, &ask->limit) || ask->limit == 0))
        return "header `limit` has to be a number from 1 on";
    if (follow.p != NULL && !ask->follow && !str_is(follow, "no"))
        return "header `follow` has to be yes or no";
    return ask->match.n == 0 || filter_valid(ask->match, &why) ? NULL : "header `match` has to be a subject filter";
}

static const char *refused(struct session *s, const struct frame *f, enum code *code)
{
    *code = CODE_INVALID;
    if (f->id == 0)
        return "REQ needs an id that is not 0: its answer names it";
    if (ask_id_in_use(s, f->id))
        return "this id is still waiting for its answer";
    *code = CODE_OVERLOADED;
    if (s->log_reads.count == READS_MAX)
        return "more than 8 logs are read on one connection";
    *code = CODE_DENIED;
    return may_read(s, f->subject) ? NULL
                                   : "the configuration does not let this service read that (services: subscribe)";
}

static void start(struct session *s, const struct frame *f, struct log_ask *ask)
{
    struct log_read *r = mem_zalloc(sizeof(*r));
    r->session = s;
    r->id = f->id;
    list_push(&s->log_reads, &r->link);
    ask->entry = on_entry;
    ask->ready = on_ready;
    ask->end = on_end;
    ask->arg = r;
    r->reader = hub_log_read(s->server->env.hub, ask);
    if (r->reader != NULL)
        return;
    read_free(r);
    session_error(s, f->id, CODE_NO_ROUTE, "there is no log of this name (routes: log)");
}

static void ask_log(struct session *s, const struct frame *f)
{
    struct log_ask ask = {0};
    enum code code;
    ask.name = str_make(f->subject.p + sizeof(LOG_PREFIX) - 1, f->subject.n - sizeof(LOG_PREFIX) + 1);
    const char *why = refused(s, f, &code);
    if (why == NULL && (why = parse(s, f->headers, &ask)) != NULL)
        code = CODE_INVALID;
    if (why != NULL)
        session_error(s, f->id, code, why);
    else
        start(s, f, &ask);
}

bool log_asked(struct session *s, const struct frame *f)
{
    if (f->verb != VERB_REQ || !str_starts(f->subject, STR(LOG_PREFIX)))
        return false;
    ask_log(s, f);
    return true;
}

void log_resume_all(struct session *s)
{
    LIST_EACH(&s->log_reads, n)
        log_reader_resume(CONTAINER_OF(n, struct log_read, link)->reader);
}

static void cancel(struct log_read *r)
{
    log_reader_cancel(r->reader);
    read_free(r);
}

void log_cancel(struct session *s, uint64_t id)
{
    struct log_read *r = read_by_id(s, id);
    if (r != NULL)
        cancel(r);
}

void log_cancel_all(struct session *s)
{
    while (!list_empty(&s->log_reads))
        cancel(CONTAINER_OF(list_first(&s->log_reads), struct log_read, link));
}
