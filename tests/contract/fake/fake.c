#include <stddef.h>

#include "base/mem.h"
#include "fake/internal.h"

#define LARGE 2 /* times limits.body: a body up to there costs itself alone, one above it the connection */

/* ---------------------------------------------------------------- configuration */

static const char *const schemes[] = {"fake", "fakes", NULL};

static const struct key source_keys[] = {
    {.name = "queue", .type = KEY_TEXT, .offset = offsetof(struct fake_source, queue), .flags = KEY_REQUIRED,
     .help = "the queue to consume"},
    {.name = "credit", .type = KEY_COUNT, .offset = offsetof(struct fake_source, credit), .standard = "64", .min = 1,
     .max = 65535, .help = "unsettled messages at a time"},
    {.name = NULL},
};

const struct codec *fake_codec(unsigned choice)
{
    static const struct codec raw = {.format = CODEC_FORMAT_RAW, .prefix = "ce-"};
    static const struct codec events = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "ce-", .percent = true};
    return choice == CODEC_CLOUDEVENTS ? &events : &raw;
}

/* ---------------------------------------------------------------- the link */

static void on_up(void *arg)
{
    struct endpoint *e = arg;
    frame_bare(stream_out(link_stream(e->link)), VERB_HELLO, 0);
}

static void on_greeting(struct endpoint *e, const struct frame *f)
{
    if (f->verb == VERB_ERR) {
        link_refused(e->link, "the broker will not have us");
    } else if (f->verb != VERB_HELLO) {
        link_reset(e->link, "something else than a greeting");
    } else {
        link_ready(e->link);
        fake_subscribe(e);
        sink_set_up(&e->sink, true, "connected");
    }
}

static void doctor_end(struct endpoint *e, struct str trouble)
{
    struct doctor *d = e->doctor;
    char *text = str_dup(trouble);
    e->doctor = NULL;
    if (d != NULL && trouble.n > 0)
        d->found(d, FINDING_WARNING, text, "have the broker mended");
    if (d != NULL)
        d->done(d);
    mem_free(text);
}

static void fake_doctor(struct endpoint *e, struct doctor *d)
{
    doctor_end(e, STR_NONE); /* an earlier one that waits in vain */
    e->doctor = d;
    frame_bare(stream_out(link_stream(e->link)), VERB_PING, 1);
}

static void on_frame(struct endpoint *e, const struct frame *f)
{
    if (!link_is_up(e->link))
        on_greeting(e, f);
    else if (f->verb == VERB_PUB || f->verb == VERB_REQ)
        fake_take(e, f);
    else if (f->verb == VERB_OK || f->verb == VERB_MORE || f->verb == VERB_REP || f->verb == VERB_ERR)
        fake_answer(e, f);
    else if (f->verb == VERB_PONG)
        doctor_end(e, f->body);
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    struct endpoint *e = arg;
    struct frame f;
    struct frame_error why = {.what = "a body far above limits.body"};
    size_t done = 0;
    while (done < n && link_is_open(e->link) && !stream_paused(link_stream(e->link))) {
        enum frame_status status = frame_parse(p + done, n - done, e->env.body_max * LARGE, &f, &why);
        if (status == FRAME_MORE)
            break;
        if (status != FRAME_OK) {
            e->bad++;
            link_reset(e->link, why.what);
            return n;
        }
        on_frame(e, &f);
        done += f.size;
    }
    return done;
}

static void on_unstalled(void *arg)
{
    struct endpoint *e = arg;
    if (link_is_up(e->link))
        stream_resume(link_stream(e->link));
}

static void on_drain(void *arg)
{
    fake_ready(arg);
}

static void on_down(void *arg, const char *reason)
{
    struct endpoint *e = arg;
    fake_withdraw(e);
    sink_set_up(&e->sink, false, reason);
    doctor_end(e, STR_NONE);
    fake_lose(e, reason);
}

static const struct link_ops link_ops = {.on_up = on_up, .on_data = on_data, .on_drain = on_drain, .on_down = on_down};

/* ---------------------------------------------------------------- the endpoint */

static struct endpoint *fake_open(const struct endpoint_conf *conf, const struct endpoint_env *env, struct err *err)
{
    struct endpoint *e = mem_zalloc(sizeof(*e));
    struct link_spec spec = {.loop = env->loop, .conf = conf, .port = FAKE_PORT, .greets = true, .tls = env->tls,
                             .limits = {.input = (size_t)env->body_max * LARGE + FRAME_HEADERS_MAX + FRAME_LINE_MAX,
                                        .high = FAKE_OUTPUT_HIGH, .partial_ms = 30000, .write_ms = 30000}};
    (void)err;
    *e = (struct endpoint){.conf = conf, .env = *env, .sink = {.name = conf->name, .ops = &fake_sink_ops},
                           .waiter = {.resume = fake_plan, .arg = e}, .stalled = {.resume = on_unstalled, .arg = e}};
    list_init(&e->held);
    e->link = link_new(&spec, &link_ops, e);
    return e;
}

static struct sink *fake_sink(struct endpoint *e)
{
    return &e->sink;
}

static int fake_listen_fd(const struct endpoint *e)
{
    (void)e;
    return -1;
}

static void fake_set_tls(struct endpoint *e, struct tls_context *tls)
{
    link_set_tls(e->link, tls);
}

static void fake_stop_intake(struct endpoint *e)
{
    e->stopped = true;
    for (size_t i = 0; i < e->env.source_count && link_is_up(e->link); i++)
        frame_bare(stream_out(link_stream(e->link)), VERB_UNSUB, i + 1);
}

static size_t fake_busy(const struct endpoint *e)
{
    return e->waiting.count + e->taken.count + e->held.count + (link_is_up(e->link) && stream_pending(link_stream(e->link)) > 0);
}

static void fake_status(const struct endpoint *e, struct endpoint_status *out)
{
    *out = (struct endpoint_status){.state = link_state(e->link), .error = link_error(e->link),
                                    .connections = link_is_up(e->link), .received = e->received, .sent = e->sent, .bad = e->bad};
}

static void free_later(void *arg)
{
    mem_free(arg);
}

static void fake_close(struct endpoint *e)
{
    e->closed = true;
    fake_withdraw(e);
    doctor_end(e, STR_NONE);
    link_free(e->link);
    waiter_cancel(&e->stalled);
    idmap_fini(&e->waiting);
    codec_room_fini(&e->room);
    loop_later(e->env.loop, free_later, e); /* held ones may be on their way to the core */
}

const struct transport fake_transport = {
    .conf = {.name = "fake", .schemes = schemes, .can_connect = true, .port = FAKE_PORT,
             .codecs = CODEC_BIT(CODEC_RAW) | CODEC_BIT(CODEC_CLOUDEVENTS), .source_keys = source_keys,
             .source_size = sizeof(struct fake_source)},
    .open = fake_open, .sink = fake_sink, .listen_fd = fake_listen_fd, .set_tls = fake_set_tls,
    .stop_intake = fake_stop_intake, .busy = fake_busy, .status = fake_status, .doctor = fake_doctor, .close = fake_close,
};
