#include "transport/nats/conn.h"

#include "loop/timer.h"

#define FAULT_TEXT_MAX 160

/* ---------------------------------------------------------------- PING and PONG */

uint64_t nats_conn_ping(struct conn *c)
{
    buf_puts(stream_out(link_stream(c->link)), "PING\r\n");
    return ++c->pings;
}

/* A connection that waits does not read the answer, and one that has waited may have much to read before it. */
static void on_watch(void *arg)
{
    struct conn *c = arg;
    timer_after(c->watch, c->spec.reply_ms);
    if (!nats_conn_is_up(c))
        return;
    if (c->pongs < c->watched && !c->heard) {
        link_reset(c->link, "no PONG within reply_timeout");
        return;
    }
    if (c->pings == c->pongs)
        nats_conn_ping(c);
    c->watched = c->pings;
    c->heard = stream_paused(link_stream(c->link));
}

static void on_pong(struct conn *c)
{
    if (c->pongs == c->pings)
        return; /* one that nobody has asked for */
    c->pongs++;
    if (link_is_up(c->link)) {
        c->ops->pong(c);
    } else {
        link_ready(c->link);
        c->ops->up(c);
    }
}

/* ---------------------------------------------------------------- greeting */

static void greet(struct conn *c)
{
    const struct url *url = link_url(c->link);
    struct wire_hello hello = {.name = c->spec.name, .user = url->user, .password = url->password, .token = c->spec.token};
    c->greeted = true;
    buf_secret(stream_out(link_stream(c->link)));
    nats_put_connect(stream_out(link_stream(c->link)), &hello);
    nats_conn_ping(c);
}

/* alone: nothing stands behind it in the input. */
static void start_tls(struct conn *c, bool alone)
{
    if (!c->info.tls_required && !c->info.tls_available)
        link_refused(c->link, "the server offers no TLS");
    else if (!alone)
        link_reset(c->link, "the server goes on in the clear where TLS has to begin");
    else
        link_secure(c->link);
}

static void on_info(struct conn *c, struct str json, bool alone)
{
    const char *what;
    if (!nats_info_parse(json, &c->info, &what)) {
        c->bad++;
        link_reset(c->link, what);
    } else if (c->greeted) {
        return; /* news of a server that we know */
    } else if (!c->info.headers) {
        link_refused(c->link, "the server has no headers: NATS 2.2 or newer is needed");
    } else if (link_wants_tls(c->link)) {
        start_tls(c, alone);
    } else if (c->info.tls_required && c->spec.tls == NULL) {
        link_refused(c->link, "the server wants TLS: natss://, and a `tls` profile");
    } else {
        greet(c);
    }
}

static void on_up(void *arg)
{
    struct conn *c = arg;
    c->pings = c->pongs = c->watched = 0;
    c->skip = 0;
    c->greeted = false;
}

static void on_secure(void *arg)
{
    greet(arg);
}

/* ---------------------------------------------------------------- input */

static void on_fault(struct conn *c, struct str text)
{
    struct buf subject = BUF_EMPTY;
    char reason[FAULT_TEXT_MAX + 1];
    size_t n = text.n < FAULT_TEXT_MAX ? text.n : FAULT_TEXT_MAX;
    for (size_t i = 0; i < n; i++)
        reason[i] = (char)(text.p[i] >= ' ' && text.p[i] <= '~' ? text.p[i] : '?');
    reason[n] = '\0';
    switch (nats_fault(text, &subject)) {
    case FAULT_PUBLISH: c->ops->refused(c, buf_str(&subject)); break;
    case FAULT_REFUSED:
    case FAULT_SUBSCRIBE: link_refused(c->link, reason); break;
    case FAULT_LOST: link_reset(c->link, reason); break;
    }
    buf_fini(&subject);
}

/* false: not taken. */
static bool on_operation(struct conn *c, const struct wire_in *in, bool last)
{
    switch (in->op) {
    case WIRE_MSG: return !link_is_up(c->link) || c->ops->message(c, in) || in->skip > 0;
    case WIRE_INFO: on_info(c, in->text, last); break;
    case WIRE_PING: buf_puts(stream_out(link_stream(c->link)), "PONG\r\n"); break;
    case WIRE_PONG: on_pong(c); break;
    case WIRE_ERR: on_fault(c, in->text); break;
    case WIRE_OK: break;
    }
    return true;
}

static size_t pass_over(struct conn *c, size_t n)
{
    size_t passed = n < c->skip ? n : c->skip;
    c->skip -= passed;
    return passed;
}

/* Bytes taken of one operation; 0 = none now. */
static size_t take(struct conn *c, struct str in)
{
    struct wire_in op;
    const char *what;
    if (c->skip > 0)
        return pass_over(c, in.n);
    enum wire_status status = nats_parse(in, c->spec.body_max, &op, &what);
    if (status == WIRE_MORE)
        return 0;
    if (status == WIRE_BAD) {
        c->bad++;
        link_reset(c->link, what);
        return in.n;
    }
    c->skip = op.skip;
    if (on_operation(c, &op, op.size == in.n))
        return op.size;
    nats_conn_pause(c);
    return 0;
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    struct conn *c = arg;
    size_t done = 0, taken = 1;
    c->heard = true;
    while (done < n && taken > 0 && link_is_open(c->link) && !stream_paused(link_stream(c->link))) {
        taken = take(c, str_make(p + done, n - done));
        done += taken;
    }
    return done;
}

static void on_drain(void *arg)
{
    struct conn *c = arg;
    if (nats_conn_is_up(c))
        c->ops->room(c);
}

static void on_down(void *arg, const char *reason)
{
    struct conn *c = arg;
    c->ops->down(c, reason);
}

static const struct link_ops link_ops = {
    .on_up = on_up, .on_secure = on_secure, .on_data = on_data, .on_drain = on_drain, .on_down = on_down};

/* ---------------------------------------------------------------- the calls of the header */

void nats_conn_open(struct conn *c, const struct conn_spec *spec, const struct conn_ops *ops, void *owner)
{
    struct link_spec link = {.loop = spec->loop, .conf = spec->conf, .port = NATS_PORT, .greets = true, .tls = spec->tls,
                             .tls_later = true, .max_pause_ms = spec->reconnect_max_ms,
                             .limits = {.input = WIRE_INPUT_MAX(spec->body_max), .high = CONN_OUTPUT_HIGH,
                                        .partial_ms = 30000, .write_ms = 30000}};
    *c = (struct conn){.spec = *spec, .ops = ops, .owner = owner};
    c->watch = timer_new(spec->loop, on_watch, c);
    c->link = link_new(&link, &link_ops, c);
    timer_after(c->watch, spec->reply_ms);
}

void nats_conn_close(struct conn *c)
{
    if (c->link == NULL)
        return;
    link_free(c->link);
    timer_free(c->watch);
    *c = (struct conn){.link = NULL};
}

struct buf *nats_conn_out(struct conn *c)
{
    return stream_out(link_stream(c->link));
}

size_t nats_conn_pending(const struct conn *c)
{
    return nats_conn_is_up(c) ? stream_pending(link_stream(c->link)) : 0;
}

bool nats_conn_has_room(const struct conn *c)
{
    return nats_conn_is_up(c) && nats_conn_pending(c) <= CONN_OUTPUT_HIGH;
}

void nats_conn_pause(struct conn *c)
{
    stream_pause(link_stream(c->link));
}

void nats_conn_resume(struct conn *c)
{
    if (nats_conn_is_up(c))
        stream_resume(link_stream(c->link));
}
