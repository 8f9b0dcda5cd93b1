/*
 * One stream, read as a consumer of a group, on a connection of its own (XREADGROUP blocks it):
 *
 *     OWN ---------> CLAIM ---------> NEW <--> (every half claim_idle) CLAIM
 *     what was       what others      XREADGROUP … >
 *     given to us    left idle
 *     before
 *
 * An entry is in hand from its reading to the answer to its XACK; at most `count` are. It is acknowledged
 * when its message has ended well, or is a dead letter, or can never be one. What the daemon could not take
 * stays pending and comes back by XAUTOCLAIM.
 */
#include <stdio.h>

#include "base/mem.h"
#include "loop/timer.h"
#include "msg/headers.h"
#include "transport/nest.h"
#include "transport/redis/internal.h"

#define BATCH_MAX 256     /* entries asked for at a time */
#define ACKS_MAX 256      /* ids of one XACK */
#define CREATE_PAUSE_MS 500 /* between two makings of a group that does not stay */
#define PENDING_ROWS 1024 /* of XPENDING: how often the entries of a batch were handed out */

enum phase { PHASE_OWN, PHASE_CLAIM, PHASE_NEW };

struct reader {
    struct endpoint *endpoint;
    const struct endpoint_source *source;
    const struct redis_source *keys;
    struct conn *conn; /* NULL once stopped */
    struct str stream, group, consumer;
    unsigned codec;
    enum phase phase;
    bool asked;              /* a command of reading is out */
    int64_t created_ms;      /* when the group was made last */
    bool single;             /* the last read was too long: one at a time */
    bool succeeds;           /* what is pending for this consumer is in the hands of the reader before it */
    bool flushing, offering; /* put off to the end of the turn */
    uint64_t batch;          /* entries to ask for; grows when all goes well */
    struct entry_id cursor;  /* OWN, CLAIM: how far */
    struct entry_id last;    /* the newest entry that was ever read; 0-0 = none */
    const struct resp *items; /* a reply that is being offered; the connection is held */
    size_t item_count, item_at;
    uint64_t number;          /* of the batch: answers about an earlier one come too late */
    struct xpending *pending; /* of these entries */
    size_t pending_count;
    struct list inflight;    /* struct taken: accepted, not ended */
    struct list done;        /* to be acknowledged */
    struct list acking;      /* XACK is out, in the order of the commands */
    struct waiter waiter;
    struct timer *claim;     /* when to look for idle entries */
    struct timer *retry;     /* after a denial */
    bool claim_due;
    char *error;
    struct buf made; /* scratch */
    struct entry_names names;
    struct list spares; /* struct taken */
};

struct taken {
    struct list_node link;
    struct reader *reader;
    struct entry_id id;
    char text[ENTRY_ID_MAX]; /* of id */
    uint8_t length;
    struct receipt *receipt;
};

static void advance(struct reader *r);
static void flush_soon(struct reader *r);

static size_t in_hand(const struct reader *r)
{
    return r->inflight.count + r->done.count + r->acking.count;
}

static void set_error(struct reader *r, struct str text)
{
    struct endpoint *e = r->endpoint;
    char *was = r->error;
    bool news = was == NULL || !str_is(text, was);
    r->error = text.n > 0 ? str_dup(text) : NULL;
    if (news && r->error != NULL)
        log_write(e->env.log, LOG_WARN, "stream_trouble", "endpoint", e->conf->name, "stream", r->keys->stream, "group",
                  r->keys->group, "reason", r->error, NULL);
    mem_free(was);
}

/* ---------------------------------------------------------------- acknowledging */

static struct taken *taken_new(struct reader *r, struct entry_id id, struct str text)
{
    struct list_node *n = list_first(&r->spares);
    if (n != NULL)
        list_remove(&r->spares, n);
    struct taken *t = n != NULL ? CONTAINER_OF(n, struct taken, link) : mem_alloc(sizeof(*t));
    t->link = (struct list_node){NULL, NULL};
    t->reader = r;
    t->id = id;
    t->receipt = NULL;
    t->length = (uint8_t)text.n;
    bytes_str(t->text, text);
    return t;
}

/* Never more of them than were in hand: `count`. */
static void taken_free(struct taken *t)
{
    list_push_front(&t->reader->spares, &t->link);
}

static void taken_done(struct reader *r, struct taken *t)
{
    list_push(&r->done, &t->link);
    flush_soon(r);
}

static void acks_end(struct reader *r, uint64_t count, bool again)
{
    for (; count > 0; count--) {
        struct list_node *n = list_first(&r->acking);
        list_remove(&r->acking, n);
        if (again)
            list_push(&r->done, n);
        else
            taken_free(CONTAINER_OF(n, struct taken, link));
    }
}

/* Lost answers are no harm: the same XACK again is none. */
static void on_acked(void *arg, uint64_t token, const struct resp *reply)
{
    struct reader *r = ((struct endpoint *)arg)->readers[token >> 32];
    bool again = reply == NULL || reply->type == RESP_ERROR;
    acks_end(r, token & UINT32_MAX, again);
    if (reply != NULL && again) {
        set_error(r, reply->text);
        timer_after(r->retry, REFUSED_MS);
    } else {
        advance(r);
    }
}

static size_t reader_index(const struct reader *r)
{
    size_t i = 0;
    while (r->endpoint->readers[i] != r)
        i++;
    return i;
}

static void put_ids(struct buf *out, const struct list *from, size_t count)
{
    const struct list_node *n = list_first(from);
    for (; count > 0 && n != NULL; count--, n = list_next(from, n)) {
        const struct taken *t = CONTAINER_OF(n, struct taken, link);
        resp_arg(out, str_make(t->text, t->length));
    }
}

static void send_acks(struct reader *r)
{
    struct conn *c = r->endpoint->commands;
    size_t count = r->done.count < ACKS_MAX ? r->done.count : ACKS_MAX;
    struct buf *out = conn_call(c, on_acked, (uint64_t)reader_index(r) << 32 | count, 3 + count);
    resp_arg(out, STR("XACK"));
    resp_arg(out, r->stream);
    resp_arg(out, r->group);
    put_ids(out, &r->done, count);
    if (r->keys->trim == TRIM_DELETE) {
        out = conn_call(c, NULL, 0, 2 + count);
        resp_arg(out, STR("XDEL"));
        resp_arg(out, r->stream);
        put_ids(out, &r->done, count);
    }
    for (; count > 0; count--) {
        struct list_node *n = list_first(&r->done);
        list_remove(&r->done, n);
        list_push(&r->acking, n);
    }
}

static void flush(void *arg)
{
    struct reader *r = arg;
    r->flushing = false;
    while (!list_empty(&r->done) && conn_ready(r->endpoint->commands))
        send_acks(r);
}

static void flush_soon(struct reader *r)
{
    if (!r->flushing)
        loop_later(r->endpoint->env.loop, flush, r);
    r->flushing = true;
}

void reader_on_commands(struct reader *r)
{
    flush_soon(r);
    advance(r);
}

/* What a later attempt of ours may mend is not acknowledged; what ended otherwise is delivered or a dead letter. */
static bool stays_pending(enum code code)
{
    return code == CODE_OVERLOADED || code == CODE_UNAVAILABLE || code == CODE_NO_SERVICE || code == CODE_DRAINING ||
           code == CODE_INTERNAL;
}

static void on_done(void *ctx, uint64_t token, const struct reply *reply)
{
    struct taken *t = ctx;
    struct reader *r = t->reader;
    (void)token;
    list_remove(&r->inflight, &t->link);
    if (reply->kept || !stays_pending(reply->code)) {
        taken_done(r, t);
    } else {
        taken_free(t);
        advance(r);
    }
}

static const struct asker_ops reader_asker = {.done = on_done};

/* ---------------------------------------------------------------- messages */

static bool known(const struct list *l, struct entry_id id)
{
    LIST_EACH(l, n) {
        if (entry_id_cmp(CONTAINER_OF(n, struct taken, link)->id, id) == 0)
            return true;
    }
    return false;
}

static uint64_t deliveries_of(const struct reader *r, struct entry_id id)
{
    for (size_t i = 0; i < r->pending_count; i++) {
        if (entry_id_cmp(r->pending[i].id, id) == 0)
            return r->pending[i].deliveries;
    }
    return 0;
}

/* It can never be delivered, or nobody wants it: it stays in the stream, but comes no more. */
static void put_away(struct reader *r, struct entry_id id, enum code code, const char *why)
{
    struct endpoint *e = r->endpoint;
    char text[ENTRY_ID_MAX];
    struct str place = entry_id_text(id, text);
    e->bad++;
    log_write(e->env.log, LOG_WARN, "message_refused", "endpoint", e->conf->name, "stream", r->keys->stream, "entry",
              text, "code", code_name(code), "reason", why, NULL);
    taken_done(r, taken_new(r, id, place));
}

/* One that is not even offered. */
static void refuse(struct reader *r, struct entry_id id, enum code code, const char *why)
{
    intake_refused(r->source->intake, code);
    put_away(r, id, code, why);
}

static struct msg *make(struct reader *r, const struct entry *entry, enum code *code, const char **what)
{
    struct intake *in = r->source->intake;
    struct entry_place place = {.stream = r->stream, .deliveries = deliveries_of(r, entry->id), .codec = r->codec};
    struct entry_room room = {.codec = &r->endpoint->room, .body = &r->made, .names = &r->names};
    struct msg_input input;
    *code = CODE_INVALID;
    if (!entry_decode(entry, &place, &room, &input, what))
        return NULL;
    if (input.body.n > r->endpoint->env.body_max) {
        *code = CODE_TOO_LARGE;
        *what = "body above limits.body";
        return NULL;
    }
    input.source = str_of(in->name);
    input.pool = r->endpoint->pool;
    return msg_new(in->factory, &input, what);
}

/* false: the source has to wait. */
static bool offer(struct reader *r, const struct entry *entry)
{
    enum code code;
    const char *what = NULL;
    struct msg *m = make(r, entry, &code, &what);
    if (m == NULL) {
        refuse(r, entry->id, code, what);
        return true;
    }
    struct taken *t = taken_new(r, entry->id, entry->text);
    struct asker asker = {.ops = &reader_asker, .ctx = t};
    code = intake_accept(r->source->intake, m, &asker, &r->waiter, &t->receipt);
    msg_unref(m);
    if (code == CODE_OK) {
        list_push(&r->inflight, &t->link);
        r->endpoint->received++;
        return true;
    }
    taken_free(t);
    if (code != CODE_BUSY && !stays_pending(code))
        put_away(r, entry->id, code, nest_refusal(r->source->intake, code));
    return code != CODE_BUSY;
}

static bool take(struct reader *r, const struct entry *entry)
{
    bool again = r->phase != PHASE_NEW;
    if (again && (known(&r->inflight, entry->id) || known(&r->done, entry->id) || known(&r->acking, entry->id)))
        return true;
    if (entry->deleted) {
        refuse(r, entry->id, CODE_INVALID, "deleted from the stream while it was pending");
        return true;
    }
    return offer(r, entry);
}

/* ---------------------------------------------------------------- the batch in hand */

static void drop_batch(struct reader *r)
{
    r->items = NULL;
    r->item_count = r->item_at = r->pending_count = 0;
    mem_free(r->pending);
    r->pending = NULL;
}

static void batch_over(struct reader *r)
{
    bool empty = r->item_count == 0;
    drop_batch(r);
    conn_release(r->conn);
    if (r->phase == PHASE_OWN && empty) {
        r->phase = PHASE_CLAIM;
        r->cursor = (struct entry_id){0, 0};
    } else if (r->phase == PHASE_CLAIM && r->cursor.ms == 0 && r->cursor.seq == 0) {
        r->phase = PHASE_NEW;
        r->single = false;
    }
    if (!r->single)
        r->batch = r->batch * 2 < BATCH_MAX ? r->batch * 2 : BATCH_MAX;
    advance(r);
}

static void offer_items(struct reader *r)
{
    for (; r->item_at < r->item_count; r->item_at++) {
        struct entry entry;
        if (r->items[r->item_at].type == RESP_NIL)
            continue; /* Redis 6.2: claimed, but deleted */
        if (!entry_parse(&r->items[r->item_at], &entry)) {
            link_reset(conn_link(r->conn), "no entries where there should be");
            return;
        }
        if (!take(r, &entry))
            return;
        if (r->phase == PHASE_OWN)
            r->cursor = entry.id;
        if (entry_id_cmp(entry.id, r->last) > 0)
            r->last = entry.id;
    }
    batch_over(r);
}

static void offer_later(void *arg)
{
    struct reader *r = arg;
    r->offering = false;
    if (r->items != NULL)
        offer_items(r);
}

static void on_resume(void *arg)
{
    struct reader *r = arg;
    if (!r->offering)
        loop_later(r->endpoint->env.loop, offer_later, r);
    r->offering = true;
}

/* Of entries that were handed out before: how often. Not to know it is no reason to wait. */
static void on_pending(void *arg, uint64_t token, const struct resp *reply)
{
    struct reader *r = ((struct endpoint *)arg)->readers[token & UINT16_MAX];
    if (r->items == NULL || r->number != token >> 16)
        return;
    if (reply != NULL && reply->type == RESP_ARRAY && reply->count > 0) {
        r->pending = mem_calloc(reply->count, sizeof(*r->pending));
        for (size_t i = 0; i < reply->count; i++)
            r->pending_count += xpending_parse(&reply->items[i], &r->pending[r->pending_count]);
    }
    offer_items(r);
}

static bool ask_deliveries(struct reader *r)
{
    struct entry first, last;
    size_t n = r->item_count;
    if (n == 0 || !conn_ready(r->endpoint->commands) || !entry_parse(&r->items[0], &first) ||
        !entry_parse(&r->items[n - 1], &last))
        return false;
    char text[ENTRY_ID_MAX];
    struct buf *out = conn_call(r->endpoint->commands, on_pending, r->number << 16 | reader_index(r), 7);
    resp_arg(out, STR("XPENDING"));
    resp_arg(out, r->stream);
    resp_arg(out, r->group);
    resp_arg(out, entry_id_text(first.id, text));
    resp_arg(out, entry_id_text(last.id, text));
    resp_arg_u64(out, PENDING_ROWS);
    resp_arg(out, r->consumer);
    return true;
}

static void begin_batch(struct reader *r, const struct resp *items, size_t count)
{
    static const struct resp none;
    r->items = count > 0 ? items : &none;
    r->item_count = count;
    r->item_at = 0;
    r->number++;
    conn_hold(r->conn);
    set_error(r, STR_NONE);
    if (r->phase == PHASE_NEW || !ask_deliveries(r))
        offer_items(r);
}

/* ---------------------------------------------------------------- reading */

/* It is read again after a pause, or elsewhere. */
static void denied(struct reader *r, const struct resp *error, int64_t pause_ms)
{
    const char *misled = conn_misled(r->conn, error);
    if (misled != NULL && conn_leaves(r->conn)) {
        conn_leave(r->conn); /* its link has the reason */
        return;
    }
    set_error(r, misled != NULL ? str_of(misled) : error->text);
    timer_after(r->retry, pause_ms);
}

static void on_created(void *arg, uint64_t token, const struct resp *reply)
{
    struct reader *r = arg;
    (void)token;
    r->asked = false;
    if (reply == NULL)
        return;
    if (reply->type == RESP_ERROR && resp_fault(reply) != FAULT_EXISTS) {
        denied(r, reply, REFUSED_MS);
        return;
    }
    r->phase = PHASE_OWN;
    r->cursor = (struct entry_id){0, 0};
    advance(r);
}

/* Where a group was before, it goes on behind the newest entry that was read: nothing is missed of a stream that was
 * deleted and written again, nothing comes twice of one whose group alone is gone. */
static void create(struct reader *r)
{
    char text[ENTRY_ID_MAX];
    struct str start = r->keys->start == START_END ? STR("$") : STR("0");
    bool again = r->last.ms != 0;
    if (again) {
        start = entry_id_text(r->last, text);
        log_write(r->endpoint->env.log, LOG_WARN, "stream_recreated", "endpoint", r->endpoint->conf->name, "stream",
                  r->keys->stream, "group", r->keys->group, "from", text, "pending", LOG_NUM(in_hand(r)), NULL);
    }
    struct buf *out = conn_call(r->conn, on_created, 0, 6);
    r->asked = true;
    resp_arg(out, STR("XGROUP"));
    resp_arg(out, STR("CREATE"));
    resp_arg(out, r->stream);
    resp_arg(out, r->group);
    resp_arg(out, start);
    resp_arg(out, STR("MKSTREAM"));
}

static void on_error(struct reader *r, const struct resp *reply)
{
    int64_t now = loop_now(r->endpoint->env.loop);
    enum resp_fault fault = resp_fault(reply);
    if (fault == FAULT_NO_GROUP && (r->created_ms == 0 || now - r->created_ms >= CREATE_PAUSE_MS)) {
        r->created_ms = now;
        create(r);
        return;
    }
    denied(r, reply, fault == FAULT_NO_GROUP ? CREATE_PAUSE_MS : REFUSED_MS);
}

static void on_read(void *arg, uint64_t token, const struct resp *reply)
{
    struct reader *r = arg;
    const struct resp *items;
    size_t count;
    (void)token;
    r->asked = false;
    if (reply == NULL)
        return;
    if (reply->type == RESP_ERROR)
        on_error(r, reply);
    else if (xread_parse(reply, &items, &count))
        begin_batch(r, items, count);
    else
        link_reset(conn_link(r->conn), "no answer to XREADGROUP");
}

static void on_claimed(void *arg, uint64_t token, const struct resp *reply)
{
    struct reader *r = arg;
    struct xclaim claim;
    (void)token;
    r->asked = false;
    if (reply == NULL)
        return;
    if (reply->type == RESP_ERROR) {
        on_error(r, reply);
    } else if (xautoclaim_parse(reply, &claim)) {
        if (claim.gone_count > 0)
            log_write(r->endpoint->env.log, LOG_WARN, "entries_lost", "endpoint", r->endpoint->conf->name, "stream",
                      r->keys->stream, "count", LOG_NUM(claim.gone_count), "reason",
                      "deleted from the stream while they were pending", NULL);
        r->endpoint->bad += claim.gone_count;
        r->cursor = claim.next;
        begin_batch(r, claim.items, claim.count);
    } else {
        link_reset(conn_link(r->conn), "no answer to XAUTOCLAIM");
    }
}

/* XREADGROUP GROUP group consumer COUNT n [BLOCK ms] STREAMS stream id */
static void ask_read(struct reader *r, size_t room, bool fresh)
{
    char text[ENTRY_ID_MAX];
    struct buf *out = conn_call(r->conn, on_read, 0, fresh ? 11 : 9);
    resp_arg(out, STR("XREADGROUP"));
    resp_arg(out, STR("GROUP"));
    resp_arg(out, r->group);
    resp_arg(out, r->consumer);
    resp_arg(out, STR("COUNT"));
    resp_arg_u64(out, room);
    if (fresh) {
        resp_arg(out, STR("BLOCK"));
        resp_arg_u64(out, (uint64_t)r->keys->block_ms);
    }
    resp_arg(out, STR("STREAMS"));
    resp_arg(out, r->stream);
    resp_arg(out, fresh ? STR(">") : entry_id_text(r->cursor, text));
}

/* XAUTOCLAIM stream group consumer min-idle start COUNT n */
static void ask_claim(struct reader *r, size_t room)
{
    char text[ENTRY_ID_MAX];
    struct buf *out = conn_call(r->conn, on_claimed, 0, 8);
    resp_arg(out, STR("XAUTOCLAIM"));
    resp_arg(out, r->stream);
    resp_arg(out, r->group);
    resp_arg(out, r->consumer);
    resp_arg_u64(out, (uint64_t)r->keys->claim_idle_ms);
    resp_arg(out, entry_id_text(r->cursor, text));
    resp_arg(out, STR("COUNT"));
    resp_arg_u64(out, room);
}

/* What is in hand for long is not idle: nobody else is to claim it. */
static void renew(struct reader *r)
{
    size_t count = r->inflight.count < PENDING_ROWS ? r->inflight.count : PENDING_ROWS;
    if (count == 0)
        return;
    struct buf *out = conn_call(r->conn, NULL, 0, 6 + count);
    resp_arg(out, STR("XCLAIM"));
    resp_arg(out, r->stream);
    resp_arg(out, r->group);
    resp_arg(out, r->consumer);
    resp_arg(out, STR("0"));
    put_ids(out, &r->inflight, count);
    resp_arg(out, STR("JUSTID"));
}

static void advance(struct reader *r)
{
    size_t hand = in_hand(r);
    if (!conn_ready(r->conn) || r->asked || r->items != NULL || hand >= r->keys->count)
        return;
    size_t room = (size_t)r->keys->count - hand < r->batch ? (size_t)r->keys->count - hand : (size_t)r->batch;
    if (r->claim_due && r->phase == PHASE_NEW) {
        r->claim_due = false;
        timer_after(r->claim, r->keys->claim_idle_ms / 2);
        r->phase = PHASE_CLAIM;
        r->cursor = (struct entry_id){0, 0};
        renew(r);
    }
    r->asked = true;
    conn_patience(r->conn, r->phase == PHASE_NEW ? r->keys->block_ms : 0);
    if (r->phase == PHASE_CLAIM)
        ask_claim(r, room);
    else
        ask_read(r, room, r->phase == PHASE_NEW);
}

static void on_claim_due(void *arg)
{
    struct reader *r = arg;
    r->claim_due = true;
    advance(r);
}

static void on_retry(void *arg)
{
    struct reader *r = arg;
    flush_soon(r);
    advance(r);
}

/* ---------------------------------------------------------------- an entry that is too long to be read */

static void on_oversized(void *arg, uint64_t token, const struct resp *reply)
{
    struct reader *r = arg;
    struct xpending row;
    (void)token;
    r->asked = false;
    if (reply == NULL)
        return;
    if (reply->type == RESP_ARRAY && reply->count == 1 && xpending_parse(&reply->items[0], &row)) {
        refuse(r, row.id, CODE_TOO_LARGE, "an entry beyond limits.body");
        r->cursor = row.id;
    }
    advance(r);
}

/* The one that could not be read is the first behind the cursor that is pending for us. */
static void skip_oversized(struct reader *r)
{
    char text[ENTRY_ID_MAX + 1] = "(";
    struct str from = entry_id_text(r->cursor, text + 1);
    struct buf *out = conn_call(r->conn, on_oversized, 0, 7);
    r->asked = true;
    resp_arg(out, STR("XPENDING"));
    resp_arg(out, r->stream);
    resp_arg(out, r->group);
    resp_arg(out, str_make(text, from.n + 1));
    resp_arg(out, STR("+"));
    resp_arg(out, STR("1"));
    resp_arg(out, r->consumer);
}

/* ---------------------------------------------------------------- the connection */

/* A read that was too long is tried again with single entries; where that fails, the entry is left out. */
static void on_ready(void *arg)
{
    struct reader *r = arg;
    bool skip = r->single && r->phase == PHASE_OWN && conn_overflowed(r->conn);
    r->single = conn_overflowed(r->conn);
    r->batch = r->single ? 1 : BATCH_MAX;
    if (!skip)
        r->cursor = (struct entry_id){0, 0};
    r->phase = r->succeeds ? PHASE_CLAIM : PHASE_OWN;
    r->succeeds = false;
    timer_after(r->claim, r->keys->claim_idle_ms / 2);
    if (skip)
        skip_oversized(r);
    else
        advance(r);
}

static void on_down(void *arg, const char *reason)
{
    struct reader *r = arg;
    (void)reason;
    drop_batch(r);
    r->asked = false;
    waiter_cancel(&r->waiter);
    timer_stop(r->claim);
    timer_stop(r->retry);
}

static const struct conn_ops reader_ops = {.writes = true, .on_ready = on_ready, .on_down = on_down};

/* ---------------------------------------------------------------- life */

struct reader *reader_new(struct endpoint *e, const struct endpoint_source *source)
{
    struct reader *r = mem_zalloc(sizeof(*r));
    r->endpoint = e;
    r->source = source;
    r->keys = source->keys;
    r->stream = str_of(r->keys->stream);
    r->group = str_of(r->keys->group);
    r->consumer = str_of(r->keys->consumer != NULL ? r->keys->consumer : e->env.node);
    r->codec = entry_codec(source->codec, e->conf);
    r->batch = BATCH_MAX;
    r->succeeds = e->env.succeeds;
    list_init(&r->inflight);
    list_init(&r->done);
    list_init(&r->acking);
    list_init(&r->spares);
    entry_names_init(&r->names, r->stream);
    r->waiter = (struct waiter){.resume = on_resume, .arg = r};
    r->claim = timer_new(e->env.loop, on_claim_due, r);
    r->retry = timer_new(e->env.loop, on_retry, r);
    r->conn = conn_new(e, &reader_ops, r);
    return r;
}

void reader_stop(struct reader *r)
{
    drop_batch(r);
    waiter_cancel(&r->waiter);
    timer_stop(r->claim);
    conn_free(r->conn);
    r->conn = NULL;
}

static void list_free(struct list *l)
{
    while (!list_empty(l)) {
        struct taken *t = CONTAINER_OF(list_first(l), struct taken, link);
        list_remove(l, &t->link);
        mem_free(t);
    }
}

static void forget(void *arg)
{
    mem_free(arg);
}

void reader_free(struct reader *r)
{
    reader_stop(r);
    LIST_EACH(&r->inflight, n)
        r->source->intake->ops->withdraw(CONTAINER_OF(n, struct taken, link)->receipt);
    list_free(&r->inflight);
    list_free(&r->done);
    list_free(&r->acking);
    list_free(&r->spares);
    timer_free(r->claim);
    timer_free(r->retry);
    mem_free(r->error);
    buf_fini(&r->made);
    entry_names_fini(&r->names);
    loop_later(r->endpoint->env.loop, forget, r); /* flush() and offer_later() may still be due */
}

/* What is not settled comes again from the stream; what is, has to be acknowledged yet. */
size_t reader_busy(const struct reader *r)
{
    return conn_ready(r->endpoint->commands) ? r->done.count + r->acking.count : 0;
}

size_t reader_unsettled(const struct reader *r)
{
    return r->inflight.count;
}

struct conn *reader_conn(const struct reader *r)
{
    return r->conn;
}

const char *reader_error(const struct reader *r)
{
    return r->error;
}
