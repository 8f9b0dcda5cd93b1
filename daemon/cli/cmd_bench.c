#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

#include "base/mem.h"
#include "cli/histogram.h"
#include "cli/list.h"

struct bench;

/* One message under way; as many as --inflight. */
struct slot {
    struct bench *bench;
    int64_t start_ns;
    struct slot *next; /* idle ones */
};

struct bench {
    struct cli *cli;
    const char *subject, *name;
    uint64_t size, inflight, count; /* count 0 = by duration */
    int64_t duration_ms, timeout_ms;
    bool publish;
    struct bellhop_msg msg;
    struct slot *slots, *idle;
    uint64_t sent, done, failed;
    int64_t first_ns, last_ns;
    int64_t end_ns; /* nothing is sent after it */
    char error[200]; /* the first one */
    struct histogram *latency;
};

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void on_answer(struct bellhop *b, const struct bellhop_answer *a, void *user)
{
    struct slot *slot = user;
    struct bench *bench = slot->bench;
    (void)b;
    if (a->result == BELLHOP_MORE)
        return;
    bench->last_ns = now_ns();
    histogram_add(bench->latency, bench->last_ns - slot->start_ns);
    bench->done++;
    slot->next = bench->idle;
    bench->idle = slot;
    if (a->result != BELLHOP_ERROR)
        return;
    if (bench->failed++ > 0)
        return;
    snprintf(bench->error, sizeof bench->error, "%s%s%.*s", a->code, a->body_len > 0 ? ": " : "",
             (int)(a->body_len < 120 ? a->body_len : 120), (const char *)a->body);
    output_calm(bench->error);
}

static bool is_over(const struct bench *bench, int64_t now)
{
    return bench->count > 0 ? bench->sent >= bench->count : now >= bench->end_ns;
}

/* Fills every idle slot. False when a message was refused by the library. */
static bool send_more(struct bench *bench, struct bellhop *b)
{
    while (bench->idle != NULL) {
        struct slot *slot = bench->idle;
        slot->start_ns = now_ns();
        if (is_over(bench, slot->start_ns))
            return true;
        int64_t id = bench->publish ? bellhop_publish(b, &bench->msg, on_answer, slot)
                                    : bellhop_request(b, &bench->msg, bench->timeout_ms, on_answer, slot);
        if (id == -EAGAIN)
            return true;
        if (id < 0) {
            cli_fail_send(bench->cli, b, (int)id);
            return false;
        }
        bench->idle = slot->next;
        bench->sent++;
    }
    return true;
}

static void slots_init(struct bench *bench)
{
    bench->slots = mem_calloc(bench->inflight, sizeof *bench->slots);
    for (uint64_t i = 0; i < bench->inflight; i++) {
        bench->slots[i] = (struct slot){ .bench = bench, .next = bench->idle };
        bench->idle = &bench->slots[i];
    }
}

static double us(int64_t ns)
{
    return (double)ns / 1000;
}

static void result_print(const struct bench *bench)
{
    double seconds = (double)(bench->last_ns - bench->first_ns) / 1e9;
    double rate = seconds > 0 ? (double)bench->done / seconds : 0;
    int64_t p50 = histogram_share(bench->latency, 0.5), p99 = histogram_share(bench->latency, 0.99);
    if (bench->cli->json) {
        json_t *object = json_pack("{s:s,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f}", "subject", bench->subject, "size",
                                   (json_int_t)bench->size, "inflight", (json_int_t)bench->inflight, "done",
                                   (json_int_t)bench->done, "failed", (json_int_t)bench->failed, "seconds", seconds,
                                   "per_second", rate, "p50_us", us(p50), "p99_us", us(p99), "max_us",
                                   us(bench->latency->max));
        output_json(object);
        json_decref(object);
        return;
    }
    printf("%" PRIu64 " %s of %" PRIu64 " B, %" PRIu64 " in flight, in %.2f s: %.0f per second\n", bench->done,
           bench->publish ? "events" : "requests", bench->size, bench->inflight, seconds, rate);
    printf("latency  p50 %.1f µs  p99 %.1f µs  max %.1f µs\n", us(p50), us(p99), us(bench->latency->max));
    if (bench->failed > 0)
        printf("failed   %" PRIu64 ", the first with %s\n", bench->failed, bench->error);
}

static int bench_run(struct bench *bench, struct bellhop *b)
{
    bool fine = true;
    bench->first_ns = bench->last_ns = now_ns();
    bench->end_ns = bench->first_ns + bench->duration_ms * 1000000;
    while (fine && !bench->cli->interrupted) {
        fine = send_more(bench, b);
        if (!fine || (bench->done == bench->sent && is_over(bench, now_ns())))
            break;
        if (!cli_turn(bench->cli, b, -1) && !bench->cli->interrupted) {
            cli_lost(bench->cli, b);
            fine = false;
        }
    }
    result_print(bench);
    return fine && bench->failed == 0 ? EXIT_OK : EXIT_FAILED;
}

static int mode_read(struct bench *bench)
{
    struct cli *cli = bench->cli;
    const char *mode = cli->argc > 0 ? cli->argv[0] : "request";
    bench->publish = strcmp(mode, "publish") == 0;
    if (!bench->publish && strcmp(mode, "request") != 0)
        return cli_misuse(cli, "“%s” is not request or publish", mode);
    if (bench->subject == NULL)
        return cli_misuse(cli, "--subject SUBJECT is needed: where the load goes");
    if (bench->inflight > 65536)
        return cli_misuse(cli, "--inflight: at most 65536");
    if (bench->size > (64u << 20))
        return cli_misuse(cli, "--size: at most 64MiB, what a message can carry");
    return -1;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct bench bench = { .cli = cli, .name = "cli", .size = 100, .inflight = 64, .duration_ms = 5000, .timeout_ms = 5000 };
    int rc = cli_parse(cli, argc, argv, &bench);
    if (rc < 0)
        rc = mode_read(&bench);
    if (rc >= 0)
        return rc;
    struct bellhop *b = cli_attach(cli, bench.name, NULL, NULL);
    if (b == NULL)
        return EXIT_FAILED;
    char *body = mem_calloc(bench.size + 1, 1);
    memset(body, 'x', bench.size);
    bench.msg = (struct bellhop_msg){ .subject = bench.subject, .body = body, .body_len = bench.size };
    bench.latency = mem_zalloc(sizeof *bench.latency);
    slots_init(&bench);
    cli_signals(cli);
    rc = bench_run(&bench, b);
    bellhop_free(b);
    mem_free(bench.latency);
    mem_free(bench.slots);
    mem_free(body);
    return rc;
}

static const struct option_row options[] = {
    { "subject", 0, OPTION_TEXT, offsetof(struct bench, subject), "SUBJECT", "where the load goes" },
    { "size", 0, OPTION_SIZE, offsetof(struct bench, size), "SIZE", "of each body (100B)" },
    { "inflight", 'i', OPTION_COUNT, offsetof(struct bench, inflight), "N", "unanswered messages at any time (64)" },
    { "count", 'n', OPTION_COUNT, offsetof(struct bench, count), "N", "messages in all; else --duration decides" },
    { "duration", 'd', OPTION_DURATION, offsetof(struct bench, duration_ms), "DURATION", "send that long (5s)" },
    { "timeout", 't', OPTION_DURATION, offsetof(struct bench, timeout_ms), "DURATION", "of each request (5s)" },
    { "name", 0, OPTION_TEXT, offsetof(struct bench, name), "NAME", "attach under this name (cli)" },
    { NULL, 0, OPTION_FLAG, 0, NULL, NULL },
};

const struct command command_bench = {
    .name = "bench",
    .summary = "Measure requests or events per second and their latency",
    .usage = "[request|publish] --subject SUBJECT",
    .details = "Real messages go to a real destination: give it one that may be flooded.",
    .example = "bellhop bench --subject echo --size 1KiB --inflight 64 --duration 10s\n"
               "bellhop bench publish --subject metrics.tick --count 100000",
    .options = options,
    .args_max = 1,
    .run = run,
};
