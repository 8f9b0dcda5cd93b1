#pragma once
/* The tables of the configuration's own keys; transports bring theirs in struct config_transport. */
#include "config/schema.h"

extern const struct key config_root_keys[];     /* struct config, but the sections of named things */
extern const struct key config_section_keys[];  /* tls … schedules: names only */
extern const struct key config_tls_keys[];      /* struct tls_conf */
extern const struct key config_policy_keys[];   /* struct policy_conf */
extern const struct key config_service_keys[];  /* struct service_conf */
extern const struct key config_endpoint_keys[]; /* struct endpoint_conf */
extern const struct key config_source_keys[];   /* struct route_conf; in `from: {…}` */
extern const struct key config_target_keys[];   /* struct target_conf; in `to: {…}` */
extern const struct key config_dedupe_keys[];   /* struct dedupe_conf; in `dedupe: {…}` of a route */
extern const struct key config_route_keys[];    /* struct route_conf */
extern const struct key config_event_log_keys[]; /* struct event_log_conf; in `log: {…}` of a route */
extern const struct key config_schedule_keys[]; /* struct schedule_conf */

/* Custom keys; their code is beside what they read. */
extern const struct key_custom custom_ignored;     /* read elsewhere */
extern const struct key_custom custom_dead_letter; /* struct policy_conf */
extern const struct key_custom custom_url;         /* struct endpoint_conf, listen or connect */
extern const struct key_custom custom_body, custom_headers; /* struct schedule_conf */
extern const struct key_custom custom_from, custom_match, custom_to, custom_dedupe, custom_event_log; /* struct route_conf */
