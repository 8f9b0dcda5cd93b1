/* Prometheus text exposition of the counters that exist. Labels come from the configuration only: clients make up any
 * number of names. */
#include "admin/internal.h"
#include "base/mem.h"
#include "delivery/log.h"
#include "loop/loop.h"
#include "metrics/exposition.h"

static void write_messages(struct admin *a, struct buf *out)
{
    static const char *const names[DELIVERY_STATES] = {
        [DELIVERY_STORED] = "stored", [DELIVERY_READY] = "ready", [DELIVERY_PARKED] = "parked",  [DELIVERY_WAITING] = "waiting", [DELIVERY_INFLIGHT] = "inflight",
        [DELIVERY_DONE] = "done",    [DELIVERY_DEAD] = "dead",       [DELIVERY_EXPIRED] = "expired",
        [DELIVERY_DROPPED] = "dropped"};
    struct hub_counts c;
    hub_counts(a->env.hub, &c);
    metric_head(out, "bellhop_messages_total", "counter", "Messages accepted; a fan-out counts once.");
    metric_u64(out, "bellhop_messages_total", NULL, NULL, c.messages);
    metric_head(out, "bellhop_deliveries_accepted_total", "counter", "Deliveries accepted, one per destination.");
    metric_u64(out, "bellhop_deliveries_accepted_total", NULL, NULL, c.accepted);
    metric_head(out, "bellhop_deliveries", "gauge", "Deliveries by state; the last four count for ever.");
    for (int s = DELIVERY_STORED; s < DELIVERY_STATES; s++)
        metric_u64(out, "bellhop_deliveries", "state", names[s], c.state[s]);
    metric_head(out, "bellhop_messages_unaccounted", "gauge", "Accepted minus all states; 0 unless there is a bug.");
    metric_i64(out, "bellhop_messages_unaccounted", NULL, NULL, hub_unaccounted(a->env.hub));
    metric_head(out, "bellhop_refused_total", "counter", "Messages not accepted, by code.");
    for (unsigned code = CODE_OK + 1; code < CODE_BUSY; code++)
        metric_u64(out, "bellhop_refused_total", "code", code_name((enum code)code), c.refused[code]);
    metric_head(out, "bellhop_duplicates_total", "counter", "Messages whose first copy had been accepted.");
    metric_u64(out, "bellhop_duplicates_total", NULL, NULL, c.duplicates);
    metric_head(out, "bellhop_retries_total", "counter", "Attempts after the first.");
    metric_u64(out, "bellhop_retries_total", NULL, NULL, c.retries);
    metric_head(out, "bellhop_timeouts_total", "counter", "Attempts that were not answered in time.");
    metric_u64(out, "bellhop_timeouts_total", NULL, NULL, c.timeouts);
}

static void write_store(struct admin *a, struct buf *out)
{
    struct store_stats s;
    struct hub_counts c;
    if (hub_store(a->env.hub) == NULL)
        return;
    store_stats(hub_store(a->env.hub), &s);
    hub_counts(a->env.hub, &c);
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"bellhop_store_bytes", "gauge", "Bytes of the store in use.", s.bytes},
        {"bellhop_store_max_bytes", "gauge", "store.max_size.", s.max_bytes},
        {"bellhop_store_pending_bytes", "gauge", "Handed to the store and not yet committed.", s.pending_bytes},
        {"bellhop_store_full", "gauge", "1 = new durable messages are refused.", s.full},
        {"bellhop_store_faulted", "gauge", "1 = a commit failed: nothing durable is promised any more.", s.faulted},
        {"bellhop_store_commits_total", "counter", "Commits, each synced.", s.commits},
        {"bellhop_store_slowest_commit_ms", "gauge", "The slowest commit so far.", (uint64_t)s.slowest_commit_ms},
        {"bellhop_store_ids", "gauge", "Ids on record for dedupe.", s.seen},
        {"bellhop_store_ids_evicted_total", "counter", "Of these, given up before their window was over.", s.seen_evicted},
        {"bellhop_store_lost_commits", "gauge", "Acknowledged commits that the start found missing.", s.lost_commits},
        {"bellhop_store_quarantined", "gauge", "Records that failed their checksum.", s.totals.quarantined},
        {"bellhop_store_dropped_oldest_total", "counter", "Deliveries dropped to make room (when_full: drop-oldest).",
         c.dropped_full},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        metric_head(out, rows[i].name, rows[i].type, rows[i].help);
        metric_u64(out, rows[i].name, NULL, NULL, rows[i].value);
    }
}

struct log_rows { /* one metric over all event logs */
    struct buf *out;
    const char *name;
    uint64_t (*value)(const struct store_log_view *v);
};

static uint64_t log_entries(const struct store_log_view *v)
{
    return v->last + 1 - v->first;
}

static uint64_t log_bytes(const struct store_log_view *v)
{
    return v->bytes;
}

static uint64_t log_offset(const struct store_log_view *v)
{
    return v->last;
}

static void log_row(void *arg, const struct store_log_view *v)
{
    struct log_rows *r = arg;
    char *name = str_dup(v->name);
    metric_u64(r->out, r->name, "log", name, r->value(v));
    mem_free(name);
}

static void write_logs(struct admin *a, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
        uint64_t (*value)(const struct store_log_view *v);
    } rows[] = {
        {"bellhop_log_entries", "gauge", "Entries of the event log.", log_entries},
        {"bellhop_log_bytes", "gauge", "Bytes of its entries.", log_bytes},
        {"bellhop_log_appended_total", "counter", "Entries ever appended: the last one's offset.", log_offset},
    };
    for (size_t i = 0; hub_store(a->env.hub) != NULL && i < sizeof(rows) / sizeof(rows[0]); i++) {
        metric_head(out, rows[i].name, rows[i].type, rows[i].help);
        hub_each_log(a->env.hub, log_row, &(struct log_rows){out, rows[i].name, rows[i].value});
    }
}

static void write_drift(struct admin *a, struct buf *out)
{
    struct hub_counts c;
    if (hub_store(a->env.hub) == NULL)
        return;
    hub_counts(a->env.hub, &c);
    metric_head(out, "bellhop_delay_drift_ms", "histogram",
                "How long after their time delayed messages were first handed over.");
    metric_histogram(out, "bellhop_delay_drift_ms",
                     &(struct metric_buckets){c.drift, drift_bounds_ms, DRIFT_BUCKETS, c.drift_sum_ms});
}

static void write_loop(struct admin *a, struct buf *out)
{
    const struct loop_turns *t = loop_turns(a->env.loop);
    metric_head(out, "bellhop_loop_turn_ms", "histogram", "How long the event loop answered nobody, turn by turn.");
    metric_histogram(out, "bellhop_loop_turn_ms",
                     &(struct metric_buckets){t->count, loop_turn_bounds_ms, LOOP_TURN_BUCKETS, t->sum_ms});
    metric_head(out, "bellhop_loop_turn_max_ms", "gauge", "The longest turn so far.");
    metric_i64(out, "bellhop_loop_turn_max_ms", NULL, NULL, t->longest_ms);
}

static int64_t times_published(const struct schedule_status *s)
{
    return (int64_t)s->published;
}

static int64_t times_refused(const struct schedule_status *s)
{
    return (int64_t)s->refused;
}

static int64_t times_lost(const struct schedule_status *s)
{
    return (int64_t)s->lost;
}

static int64_t times_next(const struct schedule_status *s)
{
    return s->next_wall_ms >= 0 ? s->next_wall_ms / 1000 : 0;
}

static int64_t times_last(const struct schedule_status *s)
{
    return s->last_wall_ms >= 0 ? s->last_wall_ms / 1000 : 0;
}

static int64_t times_drift(const struct schedule_status *s)
{
    return s->late_ms;
}

struct schedule_rows { /* one metric over all schedules */
    struct buf *out;
    const char *name;
    int64_t (*value)(const struct schedule_status *s);
};

static void schedule_row(void *arg, const struct schedule_status *s)
{
    struct schedule_rows *r = arg;
    metric_i64(r->out, r->name, "schedule", s->name, r->value(s));
}

static void write_schedules(struct admin *a, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
        int64_t (*value)(const struct schedule_status *s);
    } rows[] = {
        {"bellhop_schedule_published_total", "counter", "Events of the clock that were accepted.", times_published},
        {"bellhop_schedule_refused_total", "counter", "Times that one was refused; it is offered again.", times_refused},
        {"bellhop_schedule_lost_total", "counter", "Refused until the next time was due.", times_lost},
        {"bellhop_schedule_next_timestamp_seconds", "gauge", "When the next one is due; 0 = not any more.", times_next},
        {"bellhop_schedule_last_timestamp_seconds", "gauge", "The time of the last one; 0 = none yet.", times_last},
        {"bellhop_schedule_drift_ms", "gauge", "How long after its time the last one was published.", times_drift},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct schedule_rows r = {out, rows[i].name, rows[i].value};
        metric_head(out, rows[i].name, rows[i].type, rows[i].help);
        a->env.ops->each_schedule(a->env.app, schedule_row, &r);
    }
}

static uint64_t dest_queued(const struct dest_status *d)
{
    return d->ready + d->parked + d->waiting;
}

static uint64_t dest_stored(const struct dest_status *d)
{
    return d->stored;
}

static uint64_t dest_inflight(const struct dest_status *d)
{
    return d->inflight;
}

static uint64_t dest_memory(const struct dest_status *d)
{
    return d->memory;
}

static uint64_t dest_done(const struct dest_status *d)
{
    return d->done;
}

static uint64_t dest_failed(const struct dest_status *d)
{
    return d->failed;
}

static uint64_t dest_is_up(const struct dest_status *d)
{
    return d->up;
}

static uint64_t dest_breaker(const struct dest_status *d)
{
    return d->breaker[0] == 'c' ? 0 : d->breaker[0] == 'o' ? 2 : 1;
}

struct dests { /* those with metrics; looked at once, for they lie far apart */
    struct dest_status *items;
    size_t count, cap;
};

static void add_dest(void *arg, const struct dest_status *d)
{
    struct dests *all = arg;
    if (!d->routed)
        return;
    if (all->count == all->cap) {
        all->cap = all->cap > 0 ? all->cap * 2 : 16;
        all->items = mem_realloc(all->items, all->cap * sizeof(*all->items));
    }
    all->items[all->count++] = *d;
}

static void write_destinations(struct admin *a, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
        uint64_t (*value)(const struct dest_status *d);
    } rows[] = {
        {"bellhop_destination_up", "gauge", "1 = somebody is there to take deliveries.", dest_is_up},
        {"bellhop_queue_depth", "gauge", "Deliveries waiting.", dest_queued},
        {"bellhop_stored", "gauge", "Deliveries on disk only: beyond the window, or not due.", dest_stored},
        {"bellhop_inflight", "gauge", "Deliveries handed over and not yet answered.", dest_inflight},
        {"bellhop_destination_memory_bytes", "gauge", "Bytes of messages held that are not in the store.", dest_memory},
        {"bellhop_delivered_total", "counter", "Deliveries that ended well.", dest_done},
        {"bellhop_failed_total", "counter", "Deliveries that ended with an error.", dest_failed},
        {"bellhop_circuit_state", "gauge", "0 closed, 1 half-open, 2 open.", dest_breaker},
    };
    struct dests all = {0};
    hub_each_dest(a->env.hub, add_dest, &all);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        metric_head(out, rows[i].name, rows[i].type, rows[i].help);
        for (size_t k = 0; k < all.count; k++)
            metric_u64(out, rows[i].name, "destination", all.items[k].name, rows[i].value(&all.items[k]));
    }
    mem_free(all.items);
}

static void link_row(void *arg, const struct endpoint_conf *conf, const struct endpoint_status *s,
                     int64_t expires)
{
    (void)expires;
    metric_u64(arg, "bellhop_link_up", "endpoint", conf->name,
               strcmp(s->state, "up") == 0 || strcmp(s->state, "listening") == 0);
}

static void received_row(void *arg, const struct endpoint_conf *conf, const struct endpoint_status *s,
                         int64_t expires)
{
    (void)expires;
    metric_u64(arg, "bellhop_endpoint_received_total", "endpoint", conf->name, s->received);
}

static void bad_row(void *arg, const struct endpoint_conf *conf, const struct endpoint_status *s,
                    int64_t expires)
{
    (void)expires;
    metric_u64(arg, "bellhop_endpoint_protocol_errors_total", "endpoint", conf->name, s->bad);
}

static void expiry_row(void *arg, const struct endpoint_conf *conf, const struct endpoint_status *s,
                       int64_t expires)
{
    (void)s;
    if (expires > 0)
        metric_i64(arg, "bellhop_cert_expiry_timestamp_seconds", "endpoint", conf->name, expires / 1000);
}

static void write_endpoints(struct admin *a, struct buf *out)
{
    const struct admin_app *ops = a->env.ops;
    metric_head(out, "bellhop_link_up", "gauge", "1 = listening, or connected.");
    ops->each_endpoint(a->env.app, link_row, out);
    metric_head(out, "bellhop_endpoint_received_total", "counter", "Messages and replies that came in.");
    ops->each_endpoint(a->env.app, received_row, out);
    metric_head(out, "bellhop_endpoint_protocol_errors_total", "counter", "What peers sent that broke the protocol.");
    ops->each_endpoint(a->env.app, bad_row, out);
    metric_head(out, "bellhop_cert_expiry_timestamp_seconds", "gauge", "When our own certificate expires.");
    ops->each_endpoint(a->env.app, expiry_row, out);
}

static void write_whole(struct admin *a, struct buf *out)
{
    const struct admin_app *ops = a->env.ops;
    struct server_counts s;
    server_counts(a->env.server, &s);
    metric_head(out, "bellhop_build_info", "gauge", "Always 1.");
    metric_u64(out, "bellhop_build_info", "version", BELLHOP_VERSION, 1);
    metric_head(out, "bellhop_config_generation", "gauge", "Goes up with each reload.");
    metric_u64(out, "bellhop_config_generation", NULL, NULL, ops->generation(a->env.app));
    metric_head(out, "bellhop_config_last_reload_successful", "gauge", "0 = the last reload was refused.");
    metric_u64(out, "bellhop_config_last_reload_successful", NULL, NULL, ops->reload_error(a->env.app) == NULL);
    metric_head(out, "bellhop_clients", "gauge", "Local connections.");
    metric_u64(out, "bellhop_clients", NULL, NULL, server_clients(a->env.server));
    metric_head(out, "bellhop_clients_denied_total", "counter", "Local connections refused.");
    metric_u64(out, "bellhop_clients_denied_total", NULL, NULL, s.denied);
    metric_head(out, "bellhop_late_answers_total", "counter", "Answers to deliveries no longer waited for.");
    metric_u64(out, "bellhop_late_answers_total", NULL, NULL, s.late_answers);
    metric_head(out, "bellhop_memory_bytes", "gauge", "Memory of messages held.");
    metric_u64(out, "bellhop_memory_bytes", NULL, NULL, hub_memory(a->env.hub));
    metric_head(out, "bellhop_log_lines_dropped_total", "counter", "Log lines that their reader did not take.");
    metric_u64(out, "bellhop_log_lines_dropped_total", NULL, NULL, log_dropped(a->env.log));
}

void metrics_write(struct admin *a, struct buf *out)
{
    write_whole(a, out);
    write_loop(a, out);
    write_messages(a, out);
    write_store(a, out);
    write_logs(a, out);
    write_drift(a, out);
    write_schedules(a, out);
    write_destinations(a, out);
    write_endpoints(a, out);
}
