#include "transport/amqp/broker.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "loop/timer.h"
#include "transport/amqp/tables.h"
#include "transport/link.h"

#define MISSED_MAX 3 /* heartbeats that the broker may stay silent for */

enum conn_phase { CONN_DOWN, CONN_STARTING, CONN_TUNING, CONN_OPENING, CONN_READY };

struct broker {
    struct broker_spec spec;
    struct link *link;
    struct wire wire;
    enum conn_phase phase;
    struct channel **channels;
    size_t count;
    struct timer *timer;      /* heartbeats */
    int64_t heartbeat_ms, heard_ms;
    bool blocked;
    unsigned major; /* of the broker's version */
    uint64_t bad;
};

bool broker_is_ready(const struct broker *c)
{
    return c->phase == CONN_READY;
}

bool broker_is_blocked(const struct broker *c)
{
    return c->blocked;
}

const struct wire *broker_wire(const struct broker *c)
{
    return &c->wire;
}

struct buf *broker_out(struct broker *c)
{
    return stream_out(link_stream(c->link));
}

size_t broker_pending(const struct broker *c)
{
    return stream_pending(link_stream(c->link));
}

void broker_hurry(struct broker *c)
{
    link_hurry(c->link);
}

void broker_pause(struct broker *c)
{
    stream_pause(link_stream(c->link));
}

void broker_resume(struct broker *c)
{
    if (link_is_open(c->link))
        stream_resume(link_stream(c->link));
}

static void put(struct broker *c, amqp_method_number_t id, void *method)
{
    wire_put_method(broker_out(c), 0, id, method);
}

void channel_put(struct channel *ch, amqp_method_number_t id, void *method)
{
    if (broker_is_ready(ch->conn))
        wire_put_method(broker_out(ch->conn), ch->number, id, method);
}

void broker_reset(struct broker *c, const char *reason)
{
    link_reset(c->link, reason);
}

/* What only a person can change: credentials, rights, a virtual host that is not there. */
static bool is_refusal(uint16_t code)
{
    return code == AMQP_ACCESS_REFUSED || code == AMQP_NOT_ALLOWED || code == AMQP_INVALID_PATH;
}

const char *close_text(uint16_t code, amqp_bytes_t reason, char text[static 320])
{
    struct str said = bytes_of(reason);
    snprintf(text, 320, "%u " STR_FMT, (unsigned)code, STR_ARG(said));
    if (!str_printable(str_of(text)))
        snprintf(text, 320, "%u", (unsigned)code);
    return text;
}

/* ---------------------------------------------------------------- handshake */

static bool offers(struct str mechanisms, const char *wanted)
{
    while (mechanisms.p != NULL) {
        if (str_is(str_cut(&mechanisms, ' '), wanted))
            return true;
    }
    return false;
}

/* RFC 4616: authorization identity (none), user, password. */
static void plain_response(const struct url *url, struct buf *out)
{
    buf_putc(out, '\0');
    buf_puts(out, url->user != NULL ? url->user : "guest");
    buf_putc(out, '\0');
    buf_puts(out, url->password != NULL ? url->password : url->user != NULL ? "" : "guest");
}

static void put_start_ok(struct broker *c)
{
    struct table capabilities = {0}, properties = {0};
    struct buf response = BUF_EMPTY;
    buf_secret(&response);
    static const char *const wanted[] = {"connection.blocked", "consumer_cancel_notify", "basic.nack",
                                         "publisher_confirms", "authentication_failure_close"};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        table_add_bool(&capabilities, wanted[i], true);
    table_add(&properties, STR("product"), STR("Bellhop"));
    table_add(&properties, STR("version"), STR(BELLHOP_VERSION));
    struct buf name = BUF_EMPTY;
    buf_printf(&name, "bellhop %s %s", c->spec.conf->name, c->spec.role);
    table_add(&properties, STR("connection_name"), buf_str(&name));
    table_add_table(&properties, "capabilities", &capabilities);
    if (!c->spec.external)
        plain_response(link_url(c->link), &response);
    amqp_connection_start_ok_t ok = {.client_properties = table_made(&properties),
                                     .mechanism = amqp_cstring_bytes(c->spec.external ? "EXTERNAL" : "PLAIN"),
                                     .response = amqp_of(buf_str(&response)),
                                     .locale = amqp_cstring_bytes("en_US")};
    buf_secret(broker_out(c));
    put(c, AMQP_CONNECTION_START_OK_METHOD, &ok);
    buf_wipe(&response);
    buf_fini(&name);
    table_fini(&capabilities);
    table_fini(&properties);
}

/* Of "4.1.3". */
static unsigned major_of(const amqp_table_t *properties)
{
    uint64_t major = 0;
    for (int i = 0; i < properties->num_entries; i++) {
        const amqp_table_entry_t *entry = &properties->entries[i];
        if (entry->value.kind != AMQP_FIELD_KIND_UTF8 || !str_is(bytes_of(entry->key), "version"))
            continue;
        struct str version = bytes_of(entry->value.value.bytes);
        if (!str_parse_u64(str_cut(&version, '.'), &major) || major > 1000)
            major = 0;
    }
    return (unsigned)major;
}

static void on_start(struct broker *c, void *method)
{
    const amqp_connection_start_t *start = method;
    c->major = major_of(&start->server_properties);
    const char *wanted = c->spec.external ? "EXTERNAL" : "PLAIN";
    if (!offers(bytes_of(start->mechanisms), wanted)) {
        char why[64];
        snprintf(why, sizeof(why), "the broker does not offer SASL %s", wanted);
        link_refused(c->link, why);
        return;
    }
    put_start_ok(c);
    c->phase = CONN_TUNING;
}

static uint32_t least(uint32_t theirs, uint32_t ours) /* 0 = no limit */
{
    return theirs != 0 && theirs < ours ? theirs : ours;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* "/shop%2Feu" is `shop/eu`; nothing and "/" are the default one, which is called `/`. */
static char *vhost_of(const char *path)
{
    struct buf name = BUF_EMPTY;
    const char *p = path != NULL && *path == '/' ? path + 1 : "";
    for (; *p != '\0' && *p != '?' && *p != '#'; p++) {
        bool coded = *p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0;
        buf_putc(&name, coded ? (char)(hex(p[1]) * 16 + hex(p[2])) : *p);
        p += coded ? 2 : 0;
    }
    if (name.len == 0)
        buf_putc(&name, '/');
    return buf_steal(&name);
}

static void put_open(struct broker *c)
{
    char *vhost = vhost_of(link_url(c->link)->path);
    amqp_connection_open_t open = {.virtual_host = amqp_cstring_bytes(vhost)};
    if (open.virtual_host.len <= WIRE_SHORT_MAX)
        put(c, AMQP_CONNECTION_OPEN_METHOD, &open);
    mem_free(vhost);
}

static void on_tune(struct broker *c, void *method)
{
    const amqp_connection_tune_t *tune = method;
    uint32_t seconds = (uint32_t)((c->spec.heartbeat_ms + 999) / 1000);
    amqp_connection_tune_ok_t ok = {.channel_max = (uint16_t)least(tune->channel_max, 2047),
                                    .frame_max = least(tune->frame_max, WIRE_FRAME_MAX),
                                    .heartbeat = (uint16_t)least(tune->heartbeat, seconds)};
    if (ok.frame_max < WIRE_FRAME_MIN) {
        broker_reset(c, "the broker wants frames below 4,096 bytes");
        return;
    }
    if (ok.channel_max < c->count) {
        broker_reset(c, "the broker allows fewer channels than there are sources");
        return;
    }
    c->wire.frame_max = ok.frame_max;
    c->heartbeat_ms = (int64_t)ok.heartbeat * 1000;
    put(c, AMQP_CONNECTION_TUNE_OK_METHOD, &ok);
    put_open(c);
    c->phase = CONN_OPENING;
}

static void on_open_ok(struct broker *c, void *method)
{
    (void)method;
    c->phase = CONN_READY;
    link_ready(c->link);
    timer_after(c->timer, c->heartbeat_ms / 2);
    for (size_t i = 0; i < c->count; i++)
        c->channels[i]->ops->on_ready(c->channels[i]->arg);
}

static void on_conn_close(struct broker *c, void *method)
{
    const amqp_connection_close_t *close = method;
    amqp_connection_close_ok_t ok = {0};
    char text[320];
    put(c, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
    if (is_refusal(close->reply_code))
        link_refused(c->link, close_text(close->reply_code, close->reply_text, text));
    else
        broker_reset(c, close_text(close->reply_code, close->reply_text, text));
}

static void tell_drain(struct broker *c)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->channels[i]->ops->on_drain != NULL)
            c->channels[i]->ops->on_drain(c->channels[i]->arg);
    }
}

static void on_blocked(struct broker *c, void *method)
{
    const amqp_connection_blocked_t *blocked = method;
    char *why = str_dup(bytes_of(blocked->reason));
    log_write(loop_log(c->spec.loop), LOG_WARN, "broker_blocked", "endpoint", c->spec.conf->name, "reason", why,
              NULL);
    mem_free(why);
    c->blocked = true;
    for (size_t i = 0; i < c->count; i++) {
        if (c->channels[i]->ops->on_blocked != NULL)
            c->channels[i]->ops->on_blocked(c->channels[i]->arg);
    }
}

static void on_unblocked(struct broker *c, void *method)
{
    (void)method;
    log_write(loop_log(c->spec.loop), LOG_INFO, "broker_unblocked", "endpoint", c->spec.conf->name, NULL);
    c->blocked = false;
    tell_drain(c);
}

static void on_secure(struct broker *c, void *method)
{
    (void)method;
    broker_reset(c, "the broker asks for a second step of authentication");
}

/* What may come on channel 0, and from which phase to which. */
static const struct {
    amqp_method_number_t id;
    enum conn_phase from, to;
    void (*fn)(struct broker *c, void *method);
} conn_methods[] = {
    {AMQP_CONNECTION_START_METHOD, CONN_STARTING, CONN_STARTING, on_start},
    {AMQP_CONNECTION_SECURE_METHOD, CONN_TUNING, CONN_TUNING, on_secure},
    {AMQP_CONNECTION_TUNE_METHOD, CONN_TUNING, CONN_TUNING, on_tune},
    {AMQP_CONNECTION_OPEN_OK_METHOD, CONN_OPENING, CONN_OPENING, on_open_ok},
    {AMQP_CONNECTION_CLOSE_METHOD, CONN_STARTING, CONN_READY, on_conn_close},
    {AMQP_CONNECTION_BLOCKED_METHOD, CONN_OPENING, CONN_READY, on_blocked},
    {AMQP_CONNECTION_UNBLOCKED_METHOD, CONN_OPENING, CONN_READY, on_unblocked},
};

static const char *conn_method(struct broker *c, const amqp_method_t *m)
{
    for (size_t i = 0; i < sizeof(conn_methods) / sizeof(conn_methods[0]); i++) {
        if (conn_methods[i].id != m->id)
            continue;
        if (c->phase < conn_methods[i].from || c->phase > conn_methods[i].to)
            break;
        conn_methods[i].fn(c, m->decoded);
        return NULL;
    }
    return "a method that is out of order";
}

/* ---------------------------------------------------------------- channels */

static void channel_closed(struct channel *ch, const amqp_channel_close_t *why)
{
    amqp_channel_close_ok_t ok = {0};
    channel_put(ch, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    assembly_fini(&ch->assembly);
    if (ch->ops->on_closed != NULL)
        ch->ops->on_closed(ch->arg, why);
}

static const char *channel_method(struct channel *ch, const amqp_method_t *m)
{
    if (ch->assembly.state != ASSEMBLY_IDLE)
        return "a method in the middle of a content";
    if (m->id == AMQP_CHANNEL_CLOSE_METHOD) {
        channel_closed(ch, m->decoded);
        return NULL;
    }
    if (m->id == AMQP_BASIC_DELIVER_METHOD || m->id == AMQP_BASIC_RETURN_METHOD)
        assembly_begin(&ch->assembly, ch->conn->spec.body_max);
    ch->ops->on_method(ch->arg, m);
    return NULL;
}

static const char *channel_step(struct channel *ch, enum assembly_step step, struct str body)
{
    if (step == ASSEMBLY_BAD)
        return "a content that is out of order, or longer than it said";
    if (step == ASSEMBLY_DONE && ch->ops->on_content != NULL)
        ch->ops->on_content(ch->arg, body, ch->assembly.oversized);
    if (step == ASSEMBLY_DONE && ch->assembly.body.cap > BROKER_OUTPUT_HIGH)
        buf_fini(&ch->assembly.body);
    return NULL;
}

static const char *channel_frame(struct channel *ch, enum wire_kind kind, const struct wire_frame *f)
{
    struct str body = STR_NONE;
    if (kind == WIRE_METHOD)
        return channel_method(ch, &f->method);
    if (kind == WIRE_BODY) {
        enum assembly_step step = assembly_body(&ch->assembly, f->body, &body);
        return channel_step(ch, step, body);
    }
    enum assembly_step step = assembly_header(&ch->assembly, f->body_size);
    if (step != ASSEMBLY_BAD && ch->ops->on_properties != NULL)
        ch->ops->on_properties(ch->arg, f->properties);
    return channel_step(ch, step, body);
}

/* What is wrong with the frame, or NULL. */
static const char *on_frame(struct broker *c, enum wire_kind kind, const struct wire_frame *f)
{
    if (kind == WIRE_HEARTBEAT)
        return NULL;
    if (f->channel == 0)
        return kind == WIRE_METHOD ? conn_method(c, &f->method) : "a content on channel 0";
    if (!broker_is_ready(c) || f->channel > c->count)
        return "a frame on a channel that is not open";
    return channel_frame(c->channels[f->channel - 1], kind, f);
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    struct broker *c = arg;
    size_t done = 0;
    struct wire_frame f;
    c->heard_ms = loop_now(c->spec.loop);
    while (c->phase != CONN_DOWN && done < n && !stream_paused(link_stream(c->link))) {
        enum wire_kind kind = wire_next(&c->wire, str_make(p + done, n - done), &f);
        if (kind == WIRE_MORE)
            break;
        const char *wrong = kind == WIRE_BAD ? f.what : on_frame(c, kind, &f);
        if (wrong != NULL) {
            c->bad++;
            broker_reset(c, wrong);
            return n;
        }
        done += f.used;
    }
    return c->phase == CONN_DOWN ? n : done;
}

/* ---------------------------------------------------------------- the link */

static void on_up(void *arg)
{
    struct broker *c = arg;
    c->phase = CONN_STARTING;
    c->blocked = false;
    c->wire.frame_max = WIRE_FRAME_MAX; /* until it is tuned: a table of properties may be large */
    c->heard_ms = loop_now(c->spec.loop);
    buf_str_put(broker_out(c), wire_protocol_header);
}

static void on_down(void *arg, const char *reason)
{
    struct broker *c = arg;
    bool was_ready = c->phase == CONN_READY;
    c->phase = CONN_DOWN;
    c->blocked = false;
    timer_stop(c->timer);
    for (size_t i = 0; i < c->count; i++) {
        assembly_fini(&c->channels[i]->assembly);
        if (was_ready && c->channels[i]->ops->on_down != NULL)
            c->channels[i]->ops->on_down(c->channels[i]->arg, reason);
    }
}

static void on_drain(void *arg)
{
    tell_drain(arg);
}

static const struct link_ops conn_link_ops = {
    .on_up = on_up, .on_data = on_data, .on_drain = on_drain, .on_down = on_down};

static void on_timer(void *arg)
{
    struct broker *c = arg;
    if (loop_now(c->spec.loop) - c->heard_ms > MISSED_MAX * c->heartbeat_ms) {
        broker_reset(c, "the broker sends no heartbeats");
    } else {
        buf_str_put(broker_out(c), wire_heartbeat);
        timer_after(c->timer, c->heartbeat_ms / 2);
    }
}

/* ---------------------------------------------------------------- life */

struct broker *broker_new(const struct broker_spec *spec)
{
    struct broker *c = mem_zalloc(sizeof(*c));
    bool secure = str_is(str_of(spec->conf->url.scheme), "amqps");
    c->spec = *spec;
    c->timer = timer_new(spec->loop, on_timer, c);
    wire_init(&c->wire);
    struct link_spec link = {.loop = spec->loop, .conf = spec->conf, .port = secure ? "5671" : "5672", .greets = true,
                             .tls = spec->tls, .quickack = QUICKACK_EAGER, .max_pause_ms = spec->reconnect_max_ms,
                             .limits = {.input = 2 * WIRE_FRAME_MAX, .high = BROKER_OUTPUT_HIGH}};
    c->link = link_new(&link, &conn_link_ops, c);
    return c;
}

void broker_add(struct broker *c, struct channel *ch)
{
    c->channels = mem_realloc(c->channels, (c->count + 1) * sizeof(*c->channels));
    c->channels[c->count++] = ch;
    ch->number = (uint16_t)c->count;
    ch->conn = c;
}

void broker_free(struct broker *c)
{
    if (c == NULL)
        return;
    if (broker_is_ready(c)) {
        amqp_connection_close_t close = {.reply_code = AMQP_REPLY_SUCCESS,
                                         .reply_text = amqp_cstring_bytes("good-bye")};
        put(c, AMQP_CONNECTION_CLOSE_METHOD, &close);
    }
    link_free(c->link);
    timer_free(c->timer);
    for (size_t i = 0; i < c->count; i++)
        assembly_fini(&c->channels[i]->assembly);
    wire_fini(&c->wire);
    mem_free(c->channels);
    mem_free(c);
}

void broker_set_tls(struct broker *c, struct tls_context *tls)
{
    link_set_tls(c->link, tls);
}

const char *broker_state(const struct broker *c)
{
    return link_state(c->link);
}

const char *broker_error(const struct broker *c)
{
    return link_error(c->link);
}

unsigned broker_major(const struct broker *c)
{
    return c->major;
}

uint64_t broker_bad(const struct broker *c)
{
    return c->bad;
}
