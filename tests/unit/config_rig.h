#pragma once
/* Transports that are only tables, and what a text becomes with them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/build.h"

static const char *const tcp_schemes[] = {"tcp", "tls", NULL};
static const struct config_transport tcp = {
    .name = "tcp", .schemes = tcp_schemes, .can_listen = true, .can_connect = true};
static const struct config_transport *const real[] = {&tcp, NULL};

struct fake {
    char *queue, *topic, *subject, *descriptors, *key;
    uint64_t qos;
};
static const struct key fake_endpoint[] = {
    {"descriptors", KEY_TEXT, offsetof(struct fake, descriptors), .help = "d"}, {.name = NULL}};
static const struct key fake_source[] = {
    {"queue", KEY_TEXT, offsetof(struct fake, queue), .help = "q"},
    {"topic", KEY_TEXT, offsetof(struct fake, topic), .help = "t"},
    {"qos", KEY_COUNT, offsetof(struct fake, qos), "0", 0, 2, .help = "q"},
    {.name = NULL}};
static const struct key fake_target[] = {
    {"topic", KEY_TEXT, offsetof(struct fake, topic), .help = "t"},
    {"key", KEY_TEXT, offsetof(struct fake, key), .help = "k"},
    {.name = NULL}};
static const char *const fake_schemes[] = {"http", "grpcs", "redis", "amqp",
                                           "nats", "mqtt",  "kafka", NULL};
static const struct config_transport fake = {
    .name = "fake",
    .schemes = fake_schemes,
    .can_listen = true,
    .can_connect = true,
    .endpoint_keys = fake_endpoint,
    .endpoint_size = sizeof(struct fake),
    .source_keys = fake_source,
    .source_size = sizeof(struct fake),
    .target_keys = fake_target,
    .target_size = sizeof(struct fake),
    .port = "1",
    .codecs = CODEC_BIT(CODEC_NEST) | CODEC_BIT(CODEC_RAW) | CODEC_BIT(CODEC_CLOUDEVENTS),
};
static const struct config_transport *const all[] = {&tcp, &fake, NULL};
static const struct config_features everything = {true};

static inline struct config *parse(const char *text)
{
    struct err err = {0};
    struct config *c = config_parse("t.yaml", str_of(text), real, &err);
    char *all_of_it = err_text(&err);
    ck_assert_msg(c != NULL, "%s", all_of_it);
    mem_free(all_of_it);
    err_fini(&err);
    return c;
}

static inline struct config *parse_all(const char *text)
{
    struct walk settings = {.features = &everything, .transports = all};
    struct err err = {0};
    struct config *c = config_build("t.yaml", str_of(text), &settings, &err);
    char *all_of_it = err_text(&err);
    ck_assert_msg(c != NULL, "%s", all_of_it);
    mem_free(all_of_it);
    err_fini(&err);
    return c;
}

static inline void refused(const char *text, const char *expected)
{
    struct err err = {0};
    struct config *c = config_parse("t.yaml", str_of(text), real, &err);
    ck_assert_msg(c == NULL, "accepted: %s", text);
    char *got = err_text(&err);
    ck_assert_str_eq(got, expected);
    mem_free(got);
    err_fini(&err);
}

static inline void warned(const char *text, const char *expected)
{
    struct config *c = parse(text);
    struct buf got = BUF_EMPTY;
    for (size_t i = 0; i < c->warnings.count; i++)
        buf_printf(&got, "%s\n", c->warnings.items[i]);
    ck_assert_str_eq(buf_cstr(&got), expected);
    buf_fini(&got);
    config_free(c);
}

static inline char *printed(const struct config *c)
{
    struct buf out = BUF_EMPTY;
    config_print(c, &out);
    return buf_steal(&out);
}

#define EDGE "endpoints: { edge: { listen: \"tcp://127.0.0.1:4000\" } }\n"
