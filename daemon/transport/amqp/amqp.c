#include "transport/amqp/amqp.h"

#include "base/mem.h"
#include "transport/amqp/internal.h"

static const char *const amqp_schemes[] = {"amqp", "amqps", NULL};

const struct codec *amqp_codec(unsigned choice)
{
    static const struct codec raw = {.format = CODEC_FORMAT_RAW, .prefix = "cloudEvents_"};
    static const struct codec cloudevents = {.format = CODEC_FORMAT_CLOUDEVENTS, .prefix = "cloudEvents_"};
    return choice == CODEC_CLOUDEVENTS ? &cloudevents : &raw;
}

struct broker *amqp_connect(struct endpoint *e, const char *role)
{
    return broker_new(&(struct broker_spec){.loop = e->env.loop, .conf = e->conf, .role = role, .tls = e->env.tls,
                                        .external = e->keys->auth == AUTH_EXTERNAL,
                                        .heartbeat_ms = e->keys->heartbeat_ms,
                                        .reconnect_max_ms = e->keys->reconnect_max_ms, .body_max = e->env.body_max});
}

static struct endpoint *amqp_open(const struct endpoint_conf *conf, const struct endpoint_env *env, struct err *err)
{
    struct endpoint *e = mem_zalloc(sizeof(*e));
    (void)err;
    e->conf = conf;
    e->keys = conf->extra;
    e->env = *env;
    e->env.tls = env->tls != NULL ? tls_context_ref(env->tls) : NULL;
    e->sink.name = conf->name;
    e->publisher = publisher_new(e);
    e->consumer = env->source_count > 0 ? consumer_new(e) : NULL;
    return e;
}

static struct sink *amqp_sink(struct endpoint *e)
{
    return &e->sink;
}

static int amqp_listen_fd(const struct endpoint *e)
{
    (void)e;
    return -1;
}

static void amqp_set_tls(struct endpoint *e, struct tls_context *tls)
{
    tls_context_unref(e->env.tls);
    e->env.tls = tls != NULL ? tls_context_ref(tls) : NULL;
    broker_set_tls(publisher_broker(e->publisher), tls);
    if (e->consumer != NULL)
        broker_set_tls(consumer_broker(e->consumer), tls);
}

static void amqp_stop_intake(struct endpoint *e)
{
    if (e->consumer != NULL)
        consumer_stop(e->consumer);
}

static size_t amqp_busy(const struct endpoint *e)
{
    return publisher_busy(e->publisher) + (e->consumer != NULL ? consumer_busy(e->consumer) : 0);
}

static size_t amqp_unsettled(const struct endpoint *e)
{
    return e->consumer != NULL ? consumer_unsettled(e->consumer) : 0;
}

/* Of two connections the one that is worse off speaks for both. */
static void amqp_status(const struct endpoint *e, struct endpoint_status *out)
{
    const struct broker *conns[] = {publisher_broker(e->publisher), e->consumer != NULL ? consumer_broker(e->consumer) : NULL};
    const char *refused = publisher_error(e->publisher);
    *out = (struct endpoint_status){.state = "up", .received = e->received, .sent = e->sent, .bad = e->bad};
    for (size_t i = 0; i < 2 && conns[i] != NULL; i++) {
        bool ready = broker_is_ready(conns[i]);
        out->connections += ready;
        out->bad += broker_bad(conns[i]);
        if (!ready && out->error == NULL) {
            out->state = broker_state(conns[i]);
            out->error = broker_error(conns[i]);
        }
    }
    if (refused == NULL && e->consumer != NULL)
        refused = consumer_error(e->consumer);
    if (out->error == NULL && refused != NULL) {
        out->state = "refused";
        out->error = refused;
    } else if (strcmp(out->state, "up") == 0 && !(e->sink.up && (e->consumer == NULL || consumer_is_ready(e->consumer)))) {
        out->state = "connecting"; /* its channels are on their way */
    }
}

static void amqp_close(struct endpoint *e)
{
    amqp_doctor_end(e);
    consumer_free(e->consumer);
    publisher_free(e->publisher);
    tls_context_unref(e->env.tls);
    loop_later(e->env.loop, mem_free, e); /* what the two have put off looks at it */
}

const struct transport amqp_transport = {
    .conf = {.name = "amqp", .schemes = amqp_schemes, .can_connect = true,
             .endpoint_keys = amqp_endpoint_keys, .endpoint_size = sizeof(struct amqp_conf),
             .source_keys = amqp_source_keys, .source_size = sizeof(struct amqp_source),
             .target_keys = amqp_target_keys, .target_size = sizeof(struct amqp_target), .port = "5672",
             .codecs = CODEC_BIT(CODEC_NEST) | CODEC_BIT(CODEC_RAW) | CODEC_BIT(CODEC_CLOUDEVENTS),
             .check_endpoint = amqp_check_endpoint, .check_source = amqp_check_source, .source_filter = amqp_source_filter,
             .check_target = amqp_check_target},
    .open = amqp_open, .sink = amqp_sink, .listen_fd = amqp_listen_fd, .set_tls = amqp_set_tls,
    .stop_intake = amqp_stop_intake, .busy = amqp_busy, .unsettled = amqp_unsettled, .status = amqp_status, .doctor = amqp_doctor, .close = amqp_close,
};
