/* The service `math`: {"cmd":"sum"} with a JSON array of numbers is answered with their sum, `count` with a stream of 1..n.
 *     math [SOCKET]                  then, elsewhere:  bellhop request '{"cmd":"sum"}' '[1,2,3]' */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bellhop.h"

static struct bellhop *service;

static void answer_text(struct bellhop_delivery *d, const char *text)
{
    bellhop_delivery_reply(d, &(struct bellhop_msg){ .body = text, .body_len = strlen(text) });
}

static void sum(struct bellhop_delivery *d, const char *json)
{
    double total = 0;
    const char *p = json + strspn(json, " [");
    char text[64];
    if (*json != '[') {
        bellhop_delivery_error(d, "invalid", "an array of numbers is wanted", BELLHOP_RETRY_NO);
        return;
    }
    while (*p != ']' && *p != '\0') {
        char *end;
        total += strtod(p, &end);
        if (end == p) {
            bellhop_delivery_error(d, "invalid", "not a number", BELLHOP_RETRY_NO);
            return;
        }
        p = end + strspn(end, " ,");
    }
    snprintf(text, sizeof text, "%.15g", total);
    answer_text(d, text);
}

static void count(struct bellhop_delivery *d, const char *json)
{
    long n = strtol(json, NULL, 10);
    char text[32];
    for (long i = 1; i <= n && i <= 1000; i++) {
        snprintf(text, sizeof text, "%ld", i);
        bellhop_delivery_more(d, &(struct bellhop_msg){ .body = text, .body_len = strlen(text) });
    }
    bellhop_delivery_ok(d);
}

static void on_delivery(struct bellhop *b, struct bellhop_delivery *d, void *user)
{
    char json[4096]; /* bodies are not NUL-terminated */
    (void)b, (void)user;
    if (d->msg.body_len >= sizeof json) {
        bellhop_delivery_error(d, "too-large", "at most 4095 bytes", BELLHOP_RETRY_NO);
        return;
    }
    memcpy(json, d->msg.body, d->msg.body_len);
    json[d->msg.body_len] = '\0';
    if (strcmp(d->msg.subject, "{\"cmd\":\"sum\"}") == 0)
        sum(d, json);
    else if (strcmp(d->msg.subject, "count") == 0 || strcmp(d->msg.subject, "{\"cmd\":\"count\"}") == 0)
        count(d, json);
    else
        bellhop_delivery_error(d, "invalid", "math knows sum and count", BELLHOP_RETRY_NO);
}

static void on_ready(struct bellhop *b, void *user)
{
    (void)user;
    fprintf(stderr, "math: attached to %s\n", bellhop_info(b).node);
}

static void on_closed(struct bellhop *b, const char *reason, int64_t retry_ms, void *user)
{
    (void)b, (void)user;
    fprintf(stderr, "math: %s%s\n", reason, retry_ms >= 0 ? ", will be back" : "");
}

static void on_signal(int sig)
{
    (void)sig;
    bellhop_stop(service);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : getenv("BELLHOP_SOCKET");
    struct bellhop_handlers on = { .ready = on_ready, .delivery = on_delivery, .closed = on_closed };
    service = bellhop_new("math", &on, NULL);
    bellhop_set_reconnect(service, 100, 5000);
    bellhop_connect(service, path != NULL ? path : "/run/bellhop/bellhop.sock");
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    bellhop_run(service, -1);
    bellhop_bye(service); /* settle what is in hand, then leave */
    bellhop_run(service, 5000);
    bellhop_free(service);
    return 0;
}
