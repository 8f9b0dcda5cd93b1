#include "transport/amqp/inbox.h"

#include "base/mem.h"
#include "loop/timer.h"
#include "msg/headers.h"
#include "transport/amqp/tables.h"

#define STREAM_STALL_MS 2000

struct inbox {
    struct endpoint *endpoint;
    struct flights *flights;
    struct broker *conn;
    uint32_t salt;
    struct waiter waiter;   /* an asker that cannot take more of a stream … */
    struct timer *patience; /* … for so long */
    uint64_t stalled_id;
    /* of the content that comes */
    uint64_t id;
    bool ours;
    struct codec_room room; /* of its own: others are sent between the two pieces of an answer */
    struct buf type, scratch;
};

/* ---------------------------------------------------------------- a stream that its asker does not read */

static void on_resume(void *arg)
{
    struct inbox *b = arg;
    timer_stop(b->patience);
    broker_resume(b->conn);
}

/* The asker has taken nothing for a while: its stream ends, so that the others on this connection go on. */
static void on_patience(void *arg)
{
    struct inbox *b = arg;
    struct flight *f = flights_asked(b->flights, b->stalled_id);
    waiter_cancel(&b->waiter);
    broker_resume(b->conn);
    if (f != NULL)
        flight_report(flights_answered(b->flights, f), OUTCOME_REJECT, CODE_OVERLOADED, STR("the asker does not read its stream"));
}

static void stream_item(struct inbox *b, struct flight *f, const struct reply *item)
{
    if (f->h->core->more(f->h, item, &b->waiter))
        return;
    b->stalled_id = f->id;
    timer_after(b->patience, STREAM_STALL_MS);
    broker_pause(b->conn);
}

/* ---------------------------------------------------------------- answers */

static void nest_answer(struct inbox *b, struct flight *f, struct str body)
{
    struct nest_reply r;
    const char *what;
    if (!nest_reply_parse(body, &r, &what)) {
        b->endpoint->bad++;
        flight_report(flights_answered(b->flights, f), OUTCOME_REJECT, CODE_INVALID, str_of(what));
    } else if (r.last) {
        nest_settle(flights_answered(b->flights, f), &r);
    } else if (r.response.p != NULL) {
        struct reply item = nest_item(&r);
        stream_item(b, f, &item);
    }
}

static void plain_answer(struct inbox *b, struct flight *f, unsigned codec, struct str body)
{
    struct message_parts parts;
    struct wire_message in = {.subject = f->h->subject, .headers = codec_room_headers(&b->room),
                              .content_type = buf_str(&b->type), .body = body};
    enum code code = codec_decode_reply(amqp_codec(codec), &b->room, &in, &parts);
    struct settlement s = {.outcome = code == CODE_OK ? OUTCOME_OK : OUTCOME_REJECT, .retry_after_ms = -1, .final = true,
                           .reply = {.code = code, .headers = parts.headers, .body = parts.body}};
    struct handover *h = flights_answered(b->flights, f);
    h->core->settled(h, &s);
}

static unsigned codec_of_flight(const struct inbox *b, const struct flight *f)
{
    return handover_codec(f->h, b->endpoint->conf, CODEC_NEST);
}

/* Which request it answers, or NULL. */
static struct flight *find(struct inbox *b, const amqp_basic_properties_t *properties)
{
    char quoted[NEST_ID_DIGITS + 2];
    struct str id = (properties->_flags & AMQP_BASIC_CORRELATION_ID_FLAG) != 0 ? bytes_of(properties->correlation_id)
                                                                               : STR_NONE;
    if (id.n != NEST_ID_DIGITS)
        return NULL;
    quoted[0] = '"';
    *bytes_str(quoted + 1, id) = '"';
    return nest_id_parse(str_make(quoted, sizeof(quoted)), b->salt, &b->id) ? flights_asked(b->flights, b->id) : NULL;
}

void inbox_properties(struct inbox *b, const amqp_basic_properties_t *properties)
{
    struct flight *f = find(b, properties);
    b->ours = f != NULL;
    if (f == NULL)
        return;
    codec_begin(&b->room);
    buf_clear(&b->type);
    buf_str_put(&b->type, properties_read(properties, amqp_codec(codec_of_flight(b, f)), &b->room, &b->scratch));
}

void inbox_content(struct inbox *b, struct str body, bool oversized)
{
    struct flight *f = b->ours ? flights_asked(b->flights, b->id) : NULL;
    if (f == NULL)
        return; /* late: it was given up meanwhile */
    b->endpoint->received++;
    unsigned codec = codec_of_flight(b, f);
    if (oversized)
        flight_report(flights_answered(b->flights, f), OUTCOME_REJECT, CODE_TOO_LARGE, STR("the reply is above limits.body"));
    else if (codec == CODEC_NEST)
        nest_answer(b, f, body);
    else
        plain_answer(b, f, codec, body);
}

struct str inbox_id(const struct inbox *b, uint64_t number, char out[static NEST_ID_DIGITS + 1])
{
    return nest_id(b->salt, number, out);
}

/* ---------------------------------------------------------------- life */

struct inbox *inbox_new(struct endpoint *e, struct flights *flights, struct broker *conn)
{
    struct inbox *b = mem_zalloc(sizeof(*b));
    struct rand seed;
    rand_seed_os(&seed);
    *b = (struct inbox){.endpoint = e, .flights = flights, .conn = conn, .salt = (uint32_t)rand_u64(&seed),
                        .waiter = {.resume = on_resume, .arg = b}};
    b->patience = timer_new(e->env.loop, on_patience, b);
    return b;
}

void inbox_down(struct inbox *b)
{
    waiter_cancel(&b->waiter);
    timer_stop(b->patience);
}

void inbox_free(struct inbox *b)
{
    waiter_cancel(&b->waiter);
    timer_free(b->patience);
    codec_room_fini(&b->room);
    buf_fini(&b->type);
    buf_fini(&b->scratch);
    mem_free(b);
}
