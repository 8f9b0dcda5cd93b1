#include "msg/msg.h"

#include "base/buf.h"
#include "base/mem.h"
#include "msg/headers.h"
#include "msg/trace.h"

#define UUID_LENGTH 36
#define MADE_LINES 4 /* id, source, correlation-id, traceparent */
#define PIECES_MAX (HEADERS_MAX_LINES / 2 + 1)
#define TOO_LARGE "headers above 64 KiB or 128 lines, those that the daemon adds counted"

/* What one pass over the headers that came with a message finds. */
struct scan {
    struct str id, correlation_id, traceparent; /* p NULL: not there, and n is what it will take */
    int64_t timeout_ms, ttl_ms, delay_ms, deliver_at_ms;
    uint64_t expected_version;
    const char *what;
};

/* The lines that are passed on as they are; those that are neighbours are one piece. */
struct kept {
    size_t bytes, lines, count;
    struct str pieces[PIECES_MAX];
};

enum disposition { KEEP, DROP };

/* Each returns whether the line is passed on as it stands. */
typedef enum disposition reserved_fn(struct scan *s, struct str value);

static enum disposition on_id(struct scan *s, struct str value)
{
    if (value.n == 0 || value.n > MSG_ID_MAX)
        s->what = "header `id` has to be 1 to 256 bytes";
    else if (s->id.p == NULL)
        s->id = value;
    return DROP;
}

static enum disposition on_correlation(struct scan *s, struct str value)
{
    if (s->correlation_id.p == NULL && value.n > 0)
        s->correlation_id = value;
    return DROP;
}

/* A broken traceparent restarts the trace (W3C Trace Context, section 3.2): it is no error. */
static enum disposition on_traceparent(struct scan *s, struct str value)
{
    if (s->traceparent.p == NULL && traceparent_valid(value))
        s->traceparent = value;
    return DROP;
}

static enum disposition on_timeout(struct scan *s, struct str value)
{
    if (!str_parse_duration(value, &s->timeout_ms))
        s->what = "header `timeout` has to be a duration such as 1500ms or 5s";
    return DROP;
}

static enum disposition on_ttl(struct scan *s, struct str value)
{
    if (!str_parse_duration(value, &s->ttl_ms))
        s->what = "header `ttl` has to be a duration such as 30s or 2h";
    return KEEP;
}

static enum disposition on_delay(struct scan *s, struct str value)
{
    if (!str_parse_duration(value, &s->delay_ms))
        s->what = "header `delay` has to be a duration such as 30s or 2h";
    return DROP;
}

static enum disposition on_deliver_at(struct scan *s, struct str value)
{
    if (!str_parse_time(value, &s->deliver_at_ms))
        s->what = "header `deliver-at` has to be a time such as 2026-01-31T08:00:00Z (RFC 3339)";
    return DROP;
}

static enum disposition on_expected_version(struct scan *s, struct str value)
{
    if (!str_parse_u64(value, &s->expected_version) || s->expected_version > INT64_MAX)
        s->what = "header `expected-version` has to be a whole number: 0 where the key is new";
    return DROP;
}

static enum disposition on_daemon_only(struct scan *s, struct str value)
{
    (void)s;
    (void)value;
    return DROP;
}

/* By the length of their names. */
static const struct reserved {
    const char *name;
    reserved_fn *fn;
} reserved[][2] = {
    [2] = {{"id", on_id}},
    [3] = {{"ttl", on_ttl}},
    [4] = {{"with", on_daemon_only}},
    [5] = {{"delay", on_delay}},
    [6] = {{"source", on_daemon_only}, {"reason", on_daemon_only}},
    [7] = {{"timeout", on_timeout}, {"attempt", on_daemon_only}},
    [10] = {{"deliver-at", on_deliver_at}},
    [11] = {{"traceparent", on_traceparent}, {"redelivered", on_daemon_only}},
    [14] = {{"correlation-id", on_correlation}},
    [16] = {{"expected-version", on_expected_version}},
};

static reserved_fn *reserved_find(struct str name)
{
    if (name.n >= sizeof(reserved) / sizeof(reserved[0]))
        return NULL;
    const struct reserved *r = reserved[name.n];
    for (size_t i = 0; i < 2 && r[i].name != NULL; i++) {
        if (name.p[0] == r[i].name[0] && memcmp(name.p, r[i].name, name.n) == 0)
            return r[i].fn;
    }
    return NULL;
}

static void keep(struct kept *k, struct str line, struct scan *s)
{
    struct str *last = k->count > 0 ? &k->pieces[k->count - 1] : NULL;
    k->bytes += line.n;
    k->lines++;
    if (last != NULL && last->p + last->n == line.p)
        last->n += line.n;
    else if (k->count < PIECES_MAX)
        k->pieces[k->count++] = line;
    else
        s->what = TOO_LARGE;
}

/* Of a message that came without headers. */
static const struct scan nothing = {.id = {NULL, UUID_LENGTH}, .correlation_id = {NULL, UUID_LENGTH},
                                    .traceparent = {NULL, TRACEPARENT_LENGTH}, .timeout_ms = -1, .ttl_ms = -1,
                                    .delay_ms = -1, .expected_version = MSG_ANY_VERSION};

static void scan_headers(struct scan *s, struct kept *k, const struct msg_input *in)
{
    struct str block = in->headers;
    struct header h;
    *s = nothing;
    while (headers_next(&block, &h)) {
        reserved_fn *fn = reserved_find(h.name);
        if (fn == NULL || fn(s, h.value) == KEEP)
            keep(k, str_make(h.name.p, h.name.n + h.value.n + 3), s);
    }
    if (s->id.p == NULL && in->id.n > 0)
        s->id = in->id;
    if (s->correlation_id.p == NULL)
        s->correlation_id.n = s->id.n;
}

/* RFC 9562, section 5.7: 48 bits of Unix milliseconds, version 7, then randomness. */
static void uuid7_make(char out[static UUID_LENGTH], struct rand *r, int64_t wall_ms)
{
    char hex[32], *at = out;
    bytes_hex64(hex, (uint64_t)wall_ms << 16 | 0x7000 | (rand_u64(r) & 0x0FFF));
    bytes_hex64(hex + 16, (rand_u64(r) & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62);
    at = bytes_copy(at, hex, 8);
    for (int i = 0; i < 3; i++) {
        *at++ = '-';
        at = bytes_copy(at, hex + 8 + 4 * i, 4);
    }
    *at++ = '-';
    bytes_copy(at, hex + 20, 12);
}

/* `name` ends with a colon and a blank. A value without bytes leaves its place to be filled. */
static inline char *put_line(char **at, struct str name, struct str value)
{
    char *slot = bytes_str(*at, name), *end = value.p != NULL ? bytes_str(slot, value) : slot + value.n;
    *end++ = '\n';
    *at = end;
    return slot;
}

static int64_t wall_at(struct msg_factory *f, int64_t now)
{
    if (f->offset_at_ms == 0 || now - f->offset_at_ms >= 1000) {
        f->offset_ms = f->wall(f->arg) - now;
        f->offset_at_ms = now;
    }
    return now + f->offset_ms;
}

/* The later of the two headers counts. */
static void set_not_before(struct msg_factory *f, const struct scan *s, struct msg *m)
{
    int64_t delayed = 0;
    if (s->delay_ms > 0 && __builtin_add_overflow(wall_at(f, m->accepted_ms), s->delay_ms, &delayed))
        delayed = INT64_MAX;
    m->not_before_ms = delayed > s->deliver_at_ms ? delayed : s->deliver_at_ms;
    m->delay_ms = delayed > s->deliver_at_ms ? s->delay_ms : 0;
}

static bool sampled(struct msg_factory *f)
{
    return f->sample >= 1.0 || (double)(rand_u64(&f->rand) >> 11) * 0x1p-53 < f->sample;
}

/* The lines that every message has; what did not come with it is made in its place. */
static char *put_made(struct msg_factory *f, struct msg *m, char *at, const struct scan *s, struct str source)
{
    char *id = put_line(&at, STR("id: "), s->id);
    m->id = str_make(id, s->id.n);
    if (s->id.p == NULL)
        uuid7_make(id, &f->rand, wall_at(f, m->accepted_ms));
    m->source = str_make(put_line(&at, STR("source: "), source), source.n);
    struct str correlation = s->correlation_id.p != NULL ? s->correlation_id : m->id;
    m->correlation_id = str_make(put_line(&at, STR("correlation-id: "), correlation), correlation.n);
    char *trace = put_line(&at, STR("traceparent: "), s->traceparent);
    m->traceparent = str_make(trace, s->traceparent.n);
    if (s->traceparent.p == NULL)
        traceparent_make(trace, &f->rand, sampled(f));
    return at;
}

static size_t header_bytes(const struct scan *s, const struct kept *k, const struct msg_input *in)
{
    return (sizeof("id: \n") - 1 + s->id.n) + (sizeof("source: \n") - 1 + in->source.n) +
           (sizeof("correlation-id: \n") - 1 + s->correlation_id.n) +
           (sizeof("traceparent: \n") - 1 + s->traceparent.n) + in->lines.n + k->bytes;
}

struct msg *msg_new(struct msg_factory *f, const struct msg_input *in, const char **what)
{
    struct scan found;
    const struct scan *s = &nothing;
    struct kept kept;
    kept.bytes = kept.lines = kept.count = 0;
    if (in->headers.n > 0 || in->id.n > 0) {
        scan_headers(&found, &kept, in);
        s = &found;
    }
    size_t headers = header_bytes(s, &kept, in);
    bool fits = headers <= HEADERS_MAX_BYTES - HEADERS_DELIVERY_BYTES &&
                kept.lines + in->line_count <= HEADERS_MAX_LINES - MADE_LINES - HEADERS_DELIVERY_LINES;
    if (s->what != NULL || !fits) {
        *what = s->what != NULL ? s->what : TOO_LARGE;
        return NULL;
    }
    size_t size = sizeof(struct msg) + in->subject.n + headers + in->body.n;
    int64_t now = f->now(f->arg);
    struct msg *m = msg_pool_take(in->pool, size);
    *m = (struct msg){.refs = 1, .kind = in->kind, .accepted_ms = now,
                      .timeout_ms = s->timeout_ms, .ttl_ms = s->ttl_ms, .size = size,
                      .id_made = s->id.p == NULL, .pool = in->pool,
                      .expected_version = s->expected_version};
    set_not_before(f, s, m);
    char *at = bytes_str(m->data, in->subject);
    m->subject = str_make(m->data, in->subject.n);
    m->headers = str_make(at, headers);
    at = put_made(f, m, at, s, in->source);
    m->made = (size_t)(at - m->headers.p);
    at = bytes_str(at, in->lines);
    for (size_t i = 0; i < kept.count; i++)
        at = bytes_str(at, kept.pieces[i]);
    m->body = str_make(at, in->body.n);
    bytes_str(at, in->body);
    return m;
}

/* As put_made() writes them; who has edited a dead letter may have put one elsewhere. */
static size_t made_of(const struct msg *m)
{
    const struct {
        struct str name, value;
    } lines[MADE_LINES] = {{STR("id: "), m->id}, {STR("source: "), m->source}, {STR("correlation-id: "), m->correlation_id},
                           {STR("traceparent: "), m->traceparent}};
    size_t at = 0;
    for (size_t i = 0; i < MADE_LINES; i++) {
        if (lines[i].value.p != m->headers.p + at + lines[i].name.n)
            return 0;
        at += lines[i].name.n + lines[i].value.n + 1;
    }
    return at;
}

struct msg *msg_restore(struct msg_factory *f, struct str subject, struct str headers, struct str body)
{
    const char *what;
    size_t offset, size = sizeof(struct msg) + subject.n + headers.n + body.n;
    if (!headers_check(headers, &what, &offset))
        return NULL;
    struct msg *m = mem_alloc(size);
    *m = (struct msg){.refs = 1, .kind = MSG_EVENT, .accepted_ms = f->now(f->arg), .timeout_ms = -1, .ttl_ms = -1,
                      .expected_version = MSG_ANY_VERSION, .size = size};
    char *at = bytes_str(m->data, subject);
    m->subject = str_make(m->data, subject.n);
    m->headers = str_make(at, headers.n);
    at = bytes_str(at, headers);
    m->body = str_make(at, body.n);
    bytes_str(at, body);
    m->id = headers_get(m->headers, "id");
    m->source = headers_get(m->headers, "source");
    m->correlation_id = headers_get(m->headers, "correlation-id");
    m->traceparent = headers_get(m->headers, "traceparent");
    m->replayed_from = headers_get(m->headers, MSG_REPLAYED_FROM);
    m->made = made_of(m);
    return m;
}

struct msg *msg_ref(struct msg *m)
{
    m->refs++;
    return m;
}

void msg_unref(struct msg *m)
{
    if (m != NULL && --m->refs == 0)
        msg_pool_give(m->pool, m, m->size);
}

void msg_log(struct log *l, enum log_level level, const char *event, const struct msg *m,
             const struct log_pair pairs[static 4])
{
    if (l == NULL || !log_on(l, level))
        return;
    char *id = str_dup(m->id), *correlation = str_dup(m->correlation_id);
    char *trace = str_dup(m->traceparent), *subject = str_dup(m->subject), *source = str_dup(m->source);
    const char *keys[4] = {0}, *values[4] = {0};
    for (int i = 0; i < 4; i++) { /* a pair without a key is left out by its NULL value */
        keys[i] = pairs[i].key != NULL ? pairs[i].key : "-";
        values[i] = pairs[i].key != NULL ? pairs[i].value : NULL;
    }
    log_write(l, level, event, "id", id, "correlation_id", correlation, "traceparent", trace, "subject",
              subject, "source", source, keys[0], values[0], keys[1], values[1], keys[2], values[2],
              keys[3], values[3], NULL);
    mem_free(id);
    mem_free(correlation);
    mem_free(trace);
    mem_free(subject);
    mem_free(source);
}
