#include "config/tables.h"

#include "base/log.h"
#include "config/config.h"
#include "loop/tls.h"

#define END {.name = NULL}
#define AT(type, member) offsetof(struct type, member)
#define GIB 1073741824.0
#define DAY 86400000.0

static const char *const levels[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug", NULL};
static const char *const formats[] = {[LOG_JSON] = "json", [LOG_TEXT] = "text", NULL};
static const char *const fulls[] = {
    [FULL_REJECT] = "reject", [FULL_BLOCK] = "block", [FULL_DROP_OLDEST] = "drop-oldest", NULL};
static const char *const verifies[] = {
    [TLS_MUTUAL] = "mutual", [TLS_SERVER] = "server", [TLS_NONE] = "none", NULL};
static const char *const versions[] = {[TLS_V1_3] = "1.3", [TLS_V1_2] = "1.2", NULL};
static const char *const jitters[] = {[JITTER_FULL] = "full", [JITTER_NONE] = "none", NULL};
static const char *const codecs[] = {[CODEC_UNSET] = "",
                                     [CODEC_NEST] = "nest",
                                     [CODEC_RAW] = "raw",
                                     [CODEC_CLOUDEVENTS] = "cloudevents",
                                     NULL};

static const struct key local_keys[] = {
    {"socket", KEY_TEXT, AT(local_conf, socket), "/run/bellhop/bellhop.sock", 0, 107, KEY_RESTART,
     .help = "the Unix socket where services connect"},
    {"mode", KEY_MODE, AT(local_conf, mode), "0660", .flags = KEY_RESTART,
     .help = "file mode of the socket"},
    {"group", KEY_TEXT, AT(local_conf, group), .flags = KEY_RESTART,
     .help = "group of the socket; the daemon's own where absent"},
    END};

static const struct key store_keys[] = {
    {"path", KEY_TEXT, AT(store_conf, path), "/var/lib/bellhop", .flags = KEY_RESTART,
     .help = "folder of the store"},
    {"max_size", KEY_SIZE, AT(store_conf, max_size), "8GiB", 5 * 1048576.0, 0, KEY_UNLIMITED | KEY_RESTART,
     .help = "bytes that the store may take on disk"},
    {"when_full", KEY_CHOICE, AT(store_conf, when_full), "reject", .choices = fulls,
     .help = "what happens to a new durable message when it is full"},
    END};

static const struct key admin_keys[] = {
    {"socket", KEY_TEXT, AT(admin_conf, socket), "/run/bellhop/admin.sock", 0, 107, KEY_RESTART,
     .help = "the Unix socket of the bellhop tool"},
    {"mode", KEY_MODE, AT(admin_conf, mode), "0600", .flags = KEY_RESTART,
     .help = "file mode of the socket"},
    {"group", KEY_TEXT, AT(admin_conf, group), .flags = KEY_RESTART,
     .help = "group of the socket; the daemon's own where absent"},
    {"http", KEY_TEXT, AT(admin_conf, http), .flags = KEY_RESTART,
     .help = "address and port of health, metrics and the page; absent = off"},
    END};

static const struct key log_keys[] = {
    {"level", KEY_CHOICE, AT(log_conf, level), "info", .choices = levels,
     .help = "the least severe lines that are written"},
    {"format", KEY_CHOICE, AT(log_conf, format), "json", .choices = formats,
     .help = "one JSON object a line, or text for people"},
    {"file", KEY_TEXT, AT(log_conf, file), .flags = KEY_RESTART,
     .help = "file to append to; standard error where absent"},
    END};

static const struct key tracing_keys[] = {
    {"otlp", KEY_TEXT, AT(tracing_conf, otlp), .help = "URL of an OTLP/HTTP collector for spans"},
    {"sample", KEY_NUMBER, AT(tracing_conf, sample), "1", 0, 1,
     .help = "share of the traces that begin here which is sampled"},
    END};

static const struct key limits_keys[] = {
    {"body", KEY_SIZE, AT(limits_conf, body), "1MiB", 1024, 64 * 1048576.0, KEY_RESTART,
     .help = "largest body of a message"},
    {"clients", KEY_COUNT, AT(limits_conf, clients), "10000", 1, 1000000,
     .help = "most local connections at a time"},
    {"clients_per_user", KEY_COUNT, AT(limits_conf, clients_per_user), "1000", 1, 1000000,
     .help = "most of them that one user has; root and the daemon's own user are not counted"},
    {"memory", KEY_SIZE, AT(limits_conf, memory), "256MiB", 1048576, 1024 * GIB,
     .help = "most bytes of messages held in memory; beyond it sources wait"},
    {"queue", KEY_COUNT, AT(limits_conf, queue), "10000", 1, 100000000,
     .help = "most deliveries that wait for one destination"},
    {"dead", KEY_COUNT, AT(limits_conf, dead), "1000", 1, 10000000,
     .help = "most dead letters kept in memory; beyond it the oldest goes"},
    {"history", KEY_SIZE, AT(limits_conf, history), "64MiB", 0, 1024 * GIB,
     .help = "bytes of the store for what bellhop why tells; 0B = nothing is remembered"},
    END};

const struct key config_root_keys[] = {
    {"version", KEY_COUNT, AT(config, version), "1", 1, 1,
     .help = "version of this format"},
    {"node", KEY_TEXT, AT(config, node), "${HOSTNAME}", 0, 255, KEY_RESTART,
     .help = "name of this host to its peers, in logs and in traces"},
    {"local", KEY_TABLE, AT(config, local), .table = local_keys,
     .help = "where services connect"},
    {"store", KEY_TABLE, AT(config, store), .table = store_keys,
     .help = "the embedded store of durable messages and dead letters"},
    {"admin", KEY_TABLE, AT(config, admin), .table = admin_keys,
     .help = "where the bellhop tool, probes and metrics connect"},
    {"log", KEY_TABLE, AT(config, log), .table = log_keys, .help = "the log"},
    {"tracing", KEY_TABLE, AT(config, tracing), .table = tracing_keys, .help = "traces"},
    {"limits", KEY_TABLE, AT(config, limits), .table = limits_keys,
     .help = "bounds on what the daemon takes and holds"},
    {"drain_timeout", KEY_DURATION, AT(config, limits.drain_timeout_ms), "30s", 0, DAY,
     .help = "how long a stop waits for what is in flight"},
    END};

const struct key config_section_keys[] = {
    {"tls", KEY_CUSTOM, .custom = &custom_ignored, .help = "named TLS profiles"},
    {"policies", KEY_CUSTOM, .custom = &custom_ignored, .help = "named delivery policies"},
    {"services", KEY_CUSTOM, .custom = &custom_ignored, .help = "who may attach, and as what"},
    {"endpoints", KEY_CUSTOM, .custom = &custom_ignored, .help = "the outside world"},
    {"routes", KEY_CUSTOM, .custom = &custom_ignored, .help = "what goes where"},
    {"schedules", KEY_CUSTOM, .custom = &custom_ignored, .help = "what is published by the clock"},
    END};

const struct key config_tls_keys[] = {
    {"ca", KEY_TEXT, AT(tls_conf, ca),
     .help = "PEM file of the authorities that peers' certificates are checked against"},
    {"cert", KEY_TEXT, AT(tls_conf, cert), .help = "PEM file of the own certificate and its chain"},
    {"key", KEY_TEXT, AT(tls_conf, key), .help = "PEM file of the own key"},
    {"verify", KEY_CHOICE, AT(tls_conf, verify), "mutual", .choices = verifies,
     .help = "whose certificate is asked for and checked"},
    {"min_version", KEY_CHOICE, AT(tls_conf, min_version), "1.3", .choices = versions,
     .help = "oldest version of TLS that is spoken"},
    {"peers", KEY_TEXTS, AT(tls_conf, peers), .flags = KEY_FILLED,
     .help = "patterns of URI or DNS names: who may be at the other end"},
    END};

static const struct key retry_keys[] = {
    {"attempts", KEY_COUNT, AT(retry_conf, attempts), "5", 1, 1000000,
     .help = "most deliveries of one message, the first included"},
    {"delay", KEY_DURATION, AT(retry_conf, delay_ms), "100ms", 1, DAY,
     .help = "wait before the second attempt"},
    {"factor", KEY_NUMBER, AT(retry_conf, factor), "2", 1, 100,
     .help = "each further wait is so many times longer"},
    {"max_delay", KEY_DURATION, AT(retry_conf, max_delay_ms), "30s", 1, 30 * DAY,
     .help = "longest wait"},
    {"jitter", KEY_CHOICE, AT(retry_conf, jitter), "full", .choices = jitters,
     .help = "full = a random wait between nothing and the computed one"},
    END};

static const struct key breaker_keys[] = {
    {"failures", KEY_COUNT, AT(breaker_conf, failures), "5", 1, 1000000,
     .help = "failures in a row that open the breaker of a destination"},
    {"open_for", KEY_DURATION, AT(breaker_conf, open_for_ms), "10s", 1, DAY,
     .help = "how long it stays open"},
    {"probes", KEY_COUNT, AT(breaker_conf, probes), "1", 1, 1000,
     .help = "deliveries let through at a time to see whether it is well again"},
    END};

const struct key config_policy_keys[] = {
    {"timeout", KEY_DURATION, AT(policy_conf, timeout_ms), "5s", 1, 30 * DAY, KEY_UNLIMITED,
     .help = "how long one attempt may take"},
    {"ttl", KEY_DURATION, AT(policy_conf, ttl_ms), "unlimited", 1, 0, KEY_UNLIMITED,
     .help = "events older than this expire"},
    {"retry", KEY_TABLE, AT(policy_conf, retry), .table = retry_keys,
     .help = "what happens after an attempt that failed"},
    {"breaker", KEY_TABLE, AT(policy_conf, breaker), .table = breaker_keys,
     .help = "when a destination that fails is left alone for a while"},
    {"dead_letter", KEY_CUSTOM, .standard = "true", .custom = &custom_dead_letter,
     .help = "keep what could not be delivered, drop it, or send it elsewhere"},
    {"crashes", KEY_COUNT, AT(policy_conf, crashes), "2", 0, 1000,
     .help = "how often a service may die of one message before it is given up; 0 = any number"},
    {"idempotent", KEY_BOOL, AT(policy_conf, idempotent), "true",
     .help = "requests may be repeated after they reached the service"},
    END};

static const char *const orders[] = {"relaxed", "strict", NULL};
const struct key config_service_keys[] = {
    {"users", KEY_TEXTS, AT(service_conf, users), .flags = KEY_FILLED,
     .help = "system users who may attach"},
    {"groups", KEY_TEXTS, AT(service_conf, groups), .flags = KEY_FILLED,
     .help = "system groups whose members may attach"},
    {"token", KEY_SECRET, AT(service_conf, token), .help = "secret that HELLO must bring"},
    {"credit", KEY_COUNT, AT(service_conf, credit), "0", 0, 65535,
     .help = "cap on unanswered deliveries a connection; 0 = what it asks for"},
    {"order_by", KEY_TEXT, AT(service_conf, order_by),
     .help = "deliveries that share this header, or this member of the body, stay in order"},
    {"order", KEY_CHOICE, AT(service_conf, order), "relaxed", .choices = orders,
     .help = "does one that failed hold up those behind it"},
    {"publish", KEY_TEXTS, AT(service_conf, publish),
     .help = "filters of the subjects it may publish and request; absent = any"},
    {"subscribe", KEY_TEXTS, AT(service_conf, subscribe),
     .help = "filters it may subscribe to at run time; absent = any"},
    END};

const struct key config_endpoint_keys[] = {
    {"listen", KEY_CUSTOM, .custom = &custom_url, .help = "URL to listen at"},
    {"connect", KEY_CUSTOM, .custom = &custom_url, .help = "URL to connect to"},
    {"tls", KEY_TEXT, AT(endpoint_conf, tls), .help = "TLS profile"},
    {"insecure", KEY_BOOL, AT(endpoint_conf, insecure), "false",
     .help = "listening without TLS beyond loopback is meant"},
    {"codec", KEY_CHOICE, AT(endpoint_conf, codec), .choices = codecs,
     .help = "form of the messages; the transport's own where absent"},
    END};

const struct key config_source_keys[] = {
    {"endpoint", KEY_CUSTOM, .custom = &custom_ignored, .help = "name of the endpoint"},
    {"codec", KEY_CHOICE, AT(route_conf, from_codec), .choices = codecs,
     .help = "form of the messages; the endpoint's where absent"},
    END};

const struct key config_target_keys[] = {
    {"endpoint", KEY_CUSTOM, .custom = &custom_ignored, .help = "name of an endpoint; or"},
    {"service", KEY_CUSTOM, .custom = &custom_ignored, .help = "name of a service"},
    {"subject", KEY_TEXT, AT(target_conf, subject),
     .help = "subject there; {1} to {9} are what the wildcards of the source matched"},
    {"codec", KEY_CHOICE, AT(target_conf, codec), .choices = codecs,
     .help = "form of the messages; the endpoint's where absent"},
    END};

const struct key config_dedupe_keys[] = {
    {"by", KEY_TEXT, AT(dedupe_conf, by), .flags = KEY_REQUIRED,
     .help = "what two copies of a message have in common: id, or header:NAME"},
    {"window", KEY_DURATION, AT(dedupe_conf, window_ms), "10m", 1, 7 * DAY,
     .help = "how long a copy that comes after the first is one"},
    END};

const struct key config_event_log_keys[] = {
    {"name", KEY_TEXT, AT(event_log_conf, name), .flags = KEY_REQUIRED,
     .help = "name of the log; routes may share one"},
    {"keep", KEY_DURATION, AT(event_log_conf, keep_ms), "7d", 1000, 0, KEY_UNLIMITED,
     .help = "entries older than this go"},
    {"max_size", KEY_SIZE, AT(event_log_conf, max_size), "1GiB", 65536, 0, KEY_UNLIMITED,
     .help = "bytes of entries above which the oldest go"},
    END};

const struct key config_route_keys[] = {
    {"name", KEY_TEXT, AT(route_conf, name),
     .help = "name in logs, metrics and dead letters; made of source and position where absent"},
    {"from", KEY_CUSTOM, .flags = KEY_REQUIRED, .custom = &custom_from,
     .help = "where messages come from"},
    {"match", KEY_CUSTOM, .custom = &custom_match,
     .help = "which subjects; all of them where absent"},
    {"to", KEY_CUSTOM, .custom = &custom_to,
     .help = "where they go; each target gets its own delivery"},
    {"durable", KEY_BOOL, AT(route_conf, durable), "false",
     .help = "acknowledge upstream only what is on disk, and then deliver it whatever happens"},
    {"dedupe", KEY_CUSTOM, .custom = &custom_dedupe,
     .help = "of several copies of a message only the first is delivered; with durable only"},
    {"log", KEY_CUSTOM, .custom = &custom_event_log,
     .help = "append each event to an event log, and acknowledge it once it is there"},
    {"policy", KEY_TEXT, AT(route_conf, policy), "default", .help = "name of a policy"},
    END};

const struct key config_schedule_keys[] = {
    {"cron", KEY_TEXT, AT(schedule_conf, cron), .help = "times as crontab(5) writes them, in UTC; or"},
    {"every", KEY_DURATION, AT(schedule_conf, every_ms), NULL, 1000, 366 * DAY,
     .help = "an interval"},
    {"subject", KEY_TEXT, AT(schedule_conf, subject), NULL, 0, 1024, KEY_REQUIRED,
     .help = "subject of the event that is published"},
    {"body", KEY_CUSTOM, .custom = &custom_body, .help = "its body; empty where absent"},
    {"headers", KEY_CUSTOM, .custom = &custom_headers, .help = "further headers of the event"},
    END};
