/* straight-rabbit: RabbitMQ's official C client with its own sockets, as its examples use it; see usage(). */
#include "util.h"

#include <errno.h>
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { CHANNEL = 1, PATIENCE_S = 20, ACKS_PER_WINDOW = 4 };

struct run {
    const char *queue;
    long port, window, size, warm_ms, run_ms, count;
    amqp_connection_state_t state;

    char *body;
    bool *confirmed;            /* by tag % window */
    uint64_t oldest, next;      /* the first tag that is not confirmed, the next to be sent */
    uint64_t done, before;
    int64_t start_ns;
    struct watch watch;
};

static void usage(void)
{
    errno = 0;
    die("usage: straight-rabbit declare|publish|consume|expect -a PORT -q QUEUE [-W WINDOW] [-s BODY BYTES]\n"
        "  [-w WARM-UP MS] [-d MEASURED MS] [-n COUNT]\n"
        "  declare: makes the quorum queue     publish: persistent, with confirms, for that time or that many\n"
        "  consume: that many, the first fifth is the warm-up     expect: so many must be left; deletes the queue");
}

static void check(int status, const char *what)
{
    errno = 0;
    if (status != AMQP_STATUS_OK)
        die("%s: %s", what, amqp_error_string2(status));
}

static void fine(amqp_rpc_reply_t reply, const char *what)
{
    errno = 0;
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        die("%s: %s", what, amqp_error_string2(reply.library_error));
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        die("%s: the broker refuses", what);
}

static void answered(const struct run *r, const char *what)
{
    fine(amqp_get_rpc_reply(r->state), what);
}

static void login(struct run *r)
{
    amqp_socket_t *s;

    r->state = amqp_new_connection();
    s = amqp_tcp_socket_new(r->state);
    if (!s)
        die("out of memory");
    check(amqp_socket_open(s, "127.0.0.1", (int)r->port), "connect");
    fine(amqp_login(r->state, "/", 0, AMQP_DEFAULT_FRAME_SIZE, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"), "login");
    amqp_channel_open(r->state, CHANNEL);
    answered(r, "channel.open");
}

static void logout(struct run *r)
{
    amqp_channel_close(r->state, CHANNEL, AMQP_REPLY_SUCCESS);
    amqp_connection_close(r->state, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(r->state);
}

static void begin(struct run *r)
{
    watch_start(&r->watch);
    r->start_ns = now_ns();
    r->before = r->done;
}

/* All but the end of the object: how many were done is known later. */
static void report(const struct run *r)
{
    double s = (double)(now_ns() - r->start_ns) / 1e9, n = (double)(r->done - r->before);

    errno = 0;
    if (r->done == r->before)
        die("nothing done in the measured time");
    printf("{\"rate\":%.1f,\"seconds\":%.4f,", n / s, s);
    watch_print(&r->watch, n);
}

static void report_end(const struct run *r)
{
    printf(",\"done\":%lu}\n", (unsigned long)r->done);
}

/* --- publish --- */

static void send_one(struct run *r)
{
    static const amqp_basic_properties_t persistent = { ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2 };
    amqp_bytes_t body = { .len = (size_t)r->size, .bytes = r->body };

    check(amqp_basic_publish(r->state, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(r->queue), true, false, &persistent,
                             body), "basic.publish");
    r->confirmed[r->next++ % (uint64_t)r->window] = false;
}

/* Confirms come in any order, and one may stand for all before it. */
static void confirm(struct run *r, const amqp_basic_ack_t *ack)
{
    errno = 0;
    if (ack->delivery_tag < r->oldest || ack->delivery_tag >= r->next)
        die("message %lu was confirmed, but did not wait for that", (unsigned long)ack->delivery_tag);
    for (uint64_t t = ack->multiple ? r->oldest : ack->delivery_tag; t <= ack->delivery_tag; t++) {
        r->done += !r->confirmed[t % (uint64_t)r->window];
        r->confirmed[t % (uint64_t)r->window] = true;
    }
    while (r->oldest < r->next && r->confirmed[r->oldest % (uint64_t)r->window])
        r->oldest++;
}

/* Waits for a frame, then takes all that have come. */
static void take_confirms(struct run *r)
{
    struct timeval patience = { .tv_sec = PATIENCE_S }, now = { 0 };
    amqp_frame_t f;
    int status = amqp_simple_wait_frame_noblock(r->state, &f, &patience);

    for (; status == AMQP_STATUS_OK; status = amqp_simple_wait_frame_noblock(r->state, &f, &now)) {
        errno = 0;
        if (f.frame_type != AMQP_FRAME_METHOD || f.payload.method.id != AMQP_BASIC_ACK_METHOD)
            die("no confirm, but %s", amqp_method_name(f.payload.method.id));
        confirm(r, f.payload.method.decoded);
        amqp_maybe_release_buffers(r->state);
        patience.tv_sec = 0;
    }
    if (status != AMQP_STATUS_TIMEOUT || patience.tv_sec)
        check(status, "a confirm");
}

static void publish_until(struct run *r, int64_t end_ns)
{
    while (now_ns() < end_ns && (r->count == 0 || r->next <= (uint64_t)r->count)) {
        while (r->next - r->oldest < (uint64_t)r->window && (r->count == 0 || r->next <= (uint64_t)r->count))
            send_one(r);
        take_confirms(r);
    }
}

static void publish(struct run *r)
{
    r->body = malloc((size_t)r->size);
    r->confirmed = calloc((size_t)r->window, sizeof *r->confirmed);
    if (!r->body || !r->confirmed)
        die("out of memory");
    for (long i = 0; i < r->size; i++)
        r->body[i] = (char)('a' + i % 26);
    amqp_confirm_select(r->state, CHANNEL);
    answered(r, "confirm.select");
    r->next = r->oldest = 1;
    publish_until(r, now_ns() + r->warm_ms * 1000000);
    begin(r);
    publish_until(r, r->count ? INT64_MAX : now_ns() + r->run_ms * 1000000);
    report(r);
    while (r->oldest < r->next)
        take_confirms(r);
    report_end(r);
}

/* --- consume --- */

static uint64_t take_message(struct run *r)
{
    struct timeval patience = { .tv_sec = PATIENCE_S };
    amqp_envelope_t e;
    amqp_rpc_reply_t reply;
    uint64_t tag;

    amqp_maybe_release_buffers(r->state);
    reply = amqp_consume_message(r->state, &e, &patience, 0);
    errno = 0;
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        die("%lu of %ld came, then no more", (unsigned long)r->done, r->count);
    if (e.message.body.len != (size_t)r->size)
        die("a message of %zu bytes instead of %ld", e.message.body.len, r->size);
    tag = e.delivery_tag;
    amqp_destroy_envelope(&e);
    return tag;
}

static void consume(struct run *r)
{
    uint64_t tag, every = (uint64_t)(r->window + ACKS_PER_WINDOW - 1) / ACKS_PER_WINDOW;

    amqp_basic_qos(r->state, CHANNEL, 0, (uint16_t)r->window, false);
    answered(r, "basic.qos");
    amqp_basic_consume(r->state, CHANNEL, amqp_cstring_bytes(r->queue), amqp_empty_bytes, false, false, false, amqp_empty_table);
    answered(r, "basic.consume");
    while (r->done < (uint64_t)r->count) {
        tag = take_message(r);
        r->done++;
        if (r->done % every == 0 || r->done == (uint64_t)r->count)
            check(amqp_basic_ack(r->state, CHANNEL, tag, true), "basic.ack");
        if (r->done == (uint64_t)r->count / 5)
            begin(r);
    }
    report(r);
    report_end(r);
}

/* --- the queue --- */

static uint32_t declare_queue(struct run *r, bool passive)
{
    amqp_table_entry_t type = { .key = amqp_cstring_bytes("x-queue-type"),
                                .value = { .kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("quorum") } };
    amqp_table_t arguments = { .num_entries = 1, .entries = &type };
    amqp_queue_declare_ok_t *ok = amqp_queue_declare(r->state, CHANNEL, amqp_cstring_bytes(r->queue), passive, true,
                                                     false, false, arguments);

    answered(r, "queue.declare");
    return ok->message_count;
}

static void declare(struct run *r)
{
    declare_queue(r, false);
}

static void expect(struct run *r)
{
    int64_t end = now_ns() + PATIENCE_S * 1000000000LL;
    uint32_t left;

    while ((left = declare_queue(r, true)) != (uint32_t)r->count && now_ns() < end)
        usleep(20000);
    amqp_queue_delete(r->state, CHANNEL, amqp_cstring_bytes(r->queue), false, false);
    answered(r, "queue.delete");
    errno = 0;
    if (left != (uint32_t)r->count)
        die("the queue holds %u messages instead of %ld", left, r->count);
}

static void options(struct run *r, int argc, char **argv)
{
    int o;

    while ((o = getopt(argc, argv, "a:q:W:s:w:d:n:")) != -1) {
        switch (o) {
        case 'a': r->port = number(optarg, "-a", 1, 65535); break;
        case 'q': r->queue = optarg; break;
        case 'W': r->window = number(optarg, "-W", 1, 65535); break;
        case 's': r->size = number(optarg, "-s", 1, 65536); break;
        case 'w': r->warm_ms = number(optarg, "-w", 0, 60000); break;
        case 'd': r->run_ms = number(optarg, "-d", 1, 600000); break;
        case 'n': r->count = number(optarg, "-n", 0, 1000000000); break;
        default: usage();
        }
    }
    if (!r->port || !r->queue || optind != argc)
        usage();
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(struct run *r); } verbs[] = {
        { "declare", declare }, { "publish", publish }, { "consume", consume }, { "expect", expect },
    };
    static struct run r = { .window = 512, .size = 100, .warm_ms = 200, .run_ms = 1000 };

    if (argc < 2)
        usage();
    options(&r, argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, argv[1]) == 0) {
            login(&r);
            verbs[i].run(&r);
            logout(&r);
            return 0;
        }
    usage();
}
