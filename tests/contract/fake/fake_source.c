#include <inttypes.h>

#include "base/mem.h"
#include "fake/internal.h"
#include "msg/headers.h"

struct taken {
    struct endpoint *endpoint;
    uint64_t id; /* the broker's */
    bool event;
    struct intake *intake;
    struct receipt *receipt;
};

static void put_answer(struct endpoint *e, const struct frame_line *line, const struct reply *r)
{
    struct buf *out;
    if (!link_is_up(e->link))
        return;
    out = stream_out(link_stream(e->link));
    frame_head(out, line);
    buf_str_put(out, str_make(r->headers.p, line->headers));
    buf_str_put(out, str_make(r->body.p, line->body));
}

static void refuse(struct endpoint *e, uint64_t id, enum code code, struct str why)
{
    struct reply r = {.body = why};
    put_answer(e, &(struct frame_line){.verb = VERB_ERR, .id = id, .body = why.n, .subject = str_of(code_name(code))}, &r);
}

static bool on_more(void *ctx, uint64_t token, const struct reply *item, struct waiter *w)
{
    struct taken *t = ctx;
    (void)token;
    (void)w; /* the broker reads what it asked for */
    put_answer(t->endpoint, &(struct frame_line){.verb = VERB_MORE, .id = t->id, .headers = item->headers.n, .body = item->body.n}, item);
    return true;
}

static void on_done(void *ctx, uint64_t token, const struct reply *r)
{
    struct taken *t = ctx;
    struct endpoint *e = t->endpoint;
    (void)token;
    idmap_remove(&e->taken, t->id);
    if (r->code != CODE_OK)
        refuse(e, t->id, r->code, r->body);
    else if (t->event)
        put_answer(e, &(struct frame_line){.verb = VERB_OK, .id = t->id}, r);
    else
        put_answer(e, &(struct frame_line){.verb = VERB_REP, .id = t->id, .headers = r->headers.n, .body = r->body.n}, r);
    mem_free(t);
}

static const struct asker_ops asker_ops = {.more = on_more, .done = on_done};

/* Which source the broker means; NULL = none. */
static const struct endpoint_source *source_of(const struct endpoint *e, struct str headers)
{
    uint64_t number;
    bool known = str_parse_u64(headers_get(headers, "sub"), &number) && number > 0 && number <= e->env.source_count;
    return known ? &e->env.sources[number - 1] : NULL;
}

static void read_headers(struct endpoint *e, const struct codec *codec, struct str block)
{
    struct header h;
    codec_begin(&e->room);
    while (headers_next(&block, &h)) {
        if (!str_is(h.name, "sub"))
            codec_header(codec, &e->room, h.name, h.value);
    }
}

static struct msg *make(struct endpoint *e, const struct frame *f, const struct endpoint_source *source, const char **what)
{
    const struct codec *codec = fake_codec(codec_of(source->codec, e->conf, CODEC_RAW));
    struct wire_message wire = {.subject = f->subject, .body = f->body};
    struct message_parts parts;
    read_headers(e, codec, f->headers);
    wire.headers = codec_room_headers(&e->room);
    if (!codec_decode(codec, &e->room, &wire, &parts, what))
        return NULL;
    return msg_new(source->intake->factory,
                   &(struct msg_input){.kind = f->verb == VERB_REQ ? MSG_REQUEST : MSG_EVENT, .subject = parts.subject,
                                       .headers = parts.headers, .body = parts.body, .source = str_of(source->intake->name)},
                   what);
}

struct held { /* on its way to the core */
    struct list_node link;
    struct taken *t;
    struct msg *msg;
};

static void held_free(struct endpoint *e, struct held *h)
{
    list_remove(&e->held, &h->link);
    msg_unref(h->msg);
    mem_free(h);
}

/* false: the core is full. */
static bool offer(struct endpoint *e, struct held *h)
{
    struct taken *t = h->t;
    struct asker asker = {.ops = &asker_ops, .ctx = t};
    enum code code = intake_accept(t->intake, h->msg, &asker, &e->waiter, &t->receipt);
    if (code == CODE_BUSY)
        return false;
    e->received++;
    if (code == CODE_OK) {
        idmap_add(&e->taken, t->id, t);
    } else {
        refuse(e, t->id, code, STR_NONE);
        mem_free(t);
    }
    held_free(e, h);
    return true;
}

/* What may not be done from inside a call of the core; messages in the order in which they came. */
static void end_turn(void *arg)
{
    struct endpoint *e = arg;
    struct list_node *first;
    e->planned = false;
    if (e->closed)
        return;
    fake_ready(e);
    while ((first = list_first(&e->held)) != NULL && offer(e, CONTAINER_OF(first, struct held, link)))
        ;
}

void fake_plan(void *arg)
{
    struct endpoint *e = arg;
    if (!e->planned)
        loop_later(e->env.loop, end_turn, e);
    e->planned = true;
}

/* The stream is read on while the core is full: what the core waits for may stand behind this. */
static void hold(struct endpoint *e, const struct frame *f, struct intake *in, struct msg *m)
{
    struct taken *t = mem_alloc(sizeof(*t));
    struct held *h = mem_zalloc(sizeof(*h));
    *t = (struct taken){.endpoint = e, .id = f->id, .event = f->verb == VERB_PUB, .intake = in};
    h->t = t;
    h->msg = m;
    list_push(&e->held, &h->link);
    if (e->held.count == 1)
        offer(e, h);
}

void fake_take(struct endpoint *e, const struct frame *f)
{
    const char *what = "a message without its `sub`";
    size_t offset;
    bool legal = headers_check(f->headers, &what, &offset) && idmap_get(&e->taken, f->id) == NULL;
    const struct endpoint_source *source = legal ? source_of(e, f->headers) : NULL;
    bool fits = f->body.n <= e->env.body_max;
    struct msg *m = source != NULL && fits ? make(e, f, source, &what) : NULL;
    if (m == NULL) {
        enum code code = fits ? CODE_INVALID : CODE_TOO_LARGE;
        e->bad++;
        if (source != NULL)
            intake_refused(source->intake, code);
        refuse(e, f->id, code, fits ? str_of(what) : STR("a body above limits.body"));
    } else {
        hold(e, f, source->intake, m);
    }
}

void fake_subscribe(struct endpoint *e)
{
    for (size_t i = 0; i < e->env.source_count && !e->stopped; i++) {
        const struct fake_source *keys = e->env.sources[i].keys;
        struct buf credit = BUF_EMPTY, *out = stream_out(link_stream(e->link));
        buf_printf(&credit, "credit: %" PRIu64 "\n", keys->credit);
        frame_head(out, &(struct frame_line){.verb = VERB_SUB, .id = i + 1, .headers = credit.len, .subject = str_of(keys->queue)});
        buf_str_put(out, buf_str(&credit));
        buf_fini(&credit);
    }
}

void fake_withdraw(struct endpoint *e)
{
    struct idmap_entry *entry;
    struct list_node *first;
    waiter_cancel(&e->waiter);
    while ((first = list_first(&e->held)) != NULL) {
        struct held *h = CONTAINER_OF(first, struct held, link);
        mem_free(h->t);
        held_free(e, h);
    }
    for (size_t i = 0; (entry = idmap_next(&e->taken, &i)) != NULL;) {
        struct taken *t = entry->value;
        t->intake->ops->withdraw(t->receipt);
        mem_free(t);
    }
    idmap_fini(&e->taken);
    e->taken = (struct idmap){0};
}
